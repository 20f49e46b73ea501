import pytest

from ptq_pipeline.files import replacing


def test_a_failed_write_keeps_the_old_content(tmp_path):
    path = tmp_path / "new" / "file"
    with replacing(path) as scratch:
        scratch.write_text("old")
    with pytest.raises(RuntimeError), replacing(path) as scratch:
        scratch.write_text("half")
        raise RuntimeError
    assert path.read_text() == "old"
    assert list(path.parent.iterdir()) == [path]
