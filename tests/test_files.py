import pytest

from ptq_pipeline.files import replacing, replacing_folder


def test_a_failed_write_keeps_the_old_content(tmp_path):
    path = tmp_path / "new" / "file"
    with replacing(path) as scratch:
        scratch.write_text("old")
    with pytest.raises(RuntimeError), replacing(path) as scratch:
        scratch.write_text("half")
        raise RuntimeError
    assert path.read_text() == "old"
    assert list(path.parent.iterdir()) == [path]


def test_a_folder_is_replaced_as_a_whole_or_not_at_all(tmp_path):
    folder = tmp_path / "folder"
    with replacing_folder(folder) as scratch:
        (scratch / "a").write_text("old")
    with pytest.raises(RuntimeError), replacing_folder(folder) as scratch:
        (scratch / "b").write_text("half")
        raise RuntimeError
    assert [path.name for path in folder.iterdir()] == ["a"]
    with replacing_folder(folder) as scratch:
        (scratch / "c").write_text("new")
    assert [path.name for path in folder.iterdir()] == ["c"]
    assert list(tmp_path.iterdir()) == [folder]
