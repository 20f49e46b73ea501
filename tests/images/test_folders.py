import hashlib
import os
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from PIL import Image

from ptq_pipeline.core.errors import InputError
from ptq_pipeline.images.decoding import Decoding
from ptq_pipeline.images.files import image_folder, list_images, manifest
from ptq_pipeline.images.source import UnreadableImage, decode_source

GREY = Decoding((1, 8, 8))
NOBODY = 65534


def save(path, value=7, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((8, 8), value, np.uint8)).save(path, **options)
    return path


@pytest.fixture
def root(tmp_path):
    save(tmp_path / "root/cat/1.png", 1)
    save(tmp_path / "root/dog/1.png", 2)
    return tmp_path / "root"


def labels(root, **options):
    return image_folder(root, GREY, None, **options).table["label"].tolist()


def test_a_class_behind_a_link_is_read(root):
    save(root / "dog/small/3.png", 3)
    (root / "puppy").symlink_to(root / "dog/small/..")
    with pytest.raises(InputError, match="are the same on disk, so images would count twice"):
        labels(root)
    (root / "puppy").unlink()
    (root / "dog/small").rename(root / ".store")
    (root / "puppy").symlink_to(".store")
    assert labels(root) == ["cat", "dog", "puppy"]


@pytest.mark.parametrize("kind", ["folder", "file"])
def test_a_link_out_of_the_root_is_refused_unless_allowed(root, kind):
    outside = save(root.parent / "elsewhere/9.png", 9)
    link = root / "owl" if kind == "folder" else root / "dog/9.png"
    link.symlink_to(outside.parent if kind == "folder" else outside)
    with pytest.raises(InputError, match=r"link .* leaves its folder, to .*'allow_outside: true'"):
        labels(root)
    assert len(labels(root, allow_outside=True)) == 3
    (root / "list.csv").write_text(f"path,label\n{link.relative_to(root)}/../9.png,owl\n")
    if kind == "folder":
        with pytest.raises(InputError, match="leaves its folder"):
            manifest(root / "list.csv", GREY, None)
        assert manifest(root / "list.csv", GREY, None, allow_outside=True) is not None


def test_links_in_a_circle_are_refused(root):
    (root / "dog/again").symlink_to(root)
    with pytest.raises(InputError, match="the same on disk"):
        labels(root)
    (root / "dog/again").unlink()
    (root / "dog/a").symlink_to(root / "dog/b")
    (root / "dog/b").symlink_to(root / "dog/a")
    with pytest.raises(InputError, match="cannot be followed"):
        labels(root)


@pytest.mark.parametrize("suffix", ["gif", "jfif", "avif", "JPG", "jpe", "webp", "tif", "pgm"])
def test_every_kind_of_image_is_read(root, suffix):
    options = {"format": "JPEG"} if suffix in ("jfif", "jpe", "JPG") else {}
    save(root / f"owl/1.{suffix}", 200, **options)
    source = image_folder(root, GREY, None)
    assert source.table["label"].tolist() == ["cat", "dog", "owl"]
    assert abs(int(source.read(2).mean()) - 200) < 3


def test_what_is_no_image_is_counted_and_said(root, caplog):
    save(root / "cat/.ipynb_checkpoints/1-checkpoint.png")
    save(root / "cat/._1.png")
    save(root / "loose.png")
    (root / "dog/Thumbs.db").touch()
    (root / "dog/photo.heic").touch()
    (root / "empty").mkdir()
    source = image_folder(root, GREY, None)
    assert len(source.table) == 2
    assert source.left_out == {"hidden": 3, "outside_classes": 1, "no_image": 1, "empty_classes": 1}
    assert "left out as no_image: 1, dog/photo.heic" in caplog.text
    assert image_folder(root.parent / "root", GREY, None).left_out == source.left_out


def test_a_class_of_files_that_are_no_images_is_refused(root):
    save(root / "owl/1.png").rename(root / "owl/1.heic")
    with pytest.raises(InputError, match=r"'.*owl' holds 1 file\(s\) and no image, first '1.heic'"):
        labels(root)


def test_a_folder_that_may_not_be_read_is_refused():
    # Not below pytest's own folder, which nobody else may enter.
    with TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        save(Path(folder) / "cat/1.png").parent.chmod(0)
        me = os.geteuid()
        # Root may read everything, nobody may not.
        os.seteuid(me or NOBODY)
        try:
            with pytest.raises(InputError, match="cat' cannot be read"):
                labels(Path(folder))
        finally:
            os.seteuid(me)
            Path(folder, "cat").chmod(0o700)


def test_pipes_are_unreadable_and_never_waited_for(root):
    os.mkfifo(root / "cat/2.png")
    source = image_folder(root, GREY, None)
    with pytest.raises(UnreadableImage, match=r"2\.png' is a named pipe"):
        source.read(1)
    assert decode_source(source, 1).unreadable[0].count("named pipe") == 1
    os.mkfifo(root / "list.csv")
    with pytest.raises(InputError, match="is a named pipe"):
        manifest(root / "list.csv", GREY, None)


def test_names_are_listed_in_one_order(root):
    save(root / "cat/a/1.png")
    save(root / "cat/B.png")
    paths, _ = list_images(root)
    assert paths == sorted(paths)


def test_pictures_of_several_frames_are_refused(root):
    frames = [Image.fromarray(np.full((8, 8), value, np.uint8)) for value in (1, 200)]
    frames[0].save(root / "cat/move.gif", save_all=True, append_images=frames[1:])
    with pytest.raises(UnreadableImage, match=r"move\.gif' holds several pictures"):
        image_folder(root, GREY, None).read(1)


def test_only_formats_of_images_are_opened(root):
    (root / "cat/1.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n")
    with pytest.raises(UnreadableImage, match=r"1\.png' cannot be decoded"):
        image_folder(root, GREY, None).read(0)


def test_pixels_below_zero_are_refused(root):
    Image.fromarray(np.full((8, 8), -5, np.int32)).save(root / "cat/1.tif")
    source = image_folder(root, Decoding((1, 8, 8), white=4095), None)
    with pytest.raises(UnreadableImage, match=r"1\.tif' holds the value -5, darker than black"):
        source.read(1)


@pytest.mark.parametrize("way", ["manifest", "annotations"])
def test_the_hash_of_a_file_is_checked_when_it_is_read(root, way):
    rows = ["path,sha256" + (",label" if way == "manifest" else "")]
    for name in ("cat", "dog"):
        digest = hashlib.sha256((root / name / "1.png").read_bytes()).hexdigest()
        rows.append(f"{name}/1.png,{digest}" + (f",{name}" if way == "manifest" else ""))
    (root / "list.csv").write_text("\n".join(rows))

    def opened():
        if way == "manifest":
            return manifest(root / "list.csv", GREY, None)
        return image_folder(root, GREY, None, root / "list.csv")

    assert "sha256" not in opened().table
    assert len(decode_source(opened()).images) == 2
    save(root / "dog/1.png", 3)
    with pytest.raises(InputError, match=r"dog/1\.png' is not the file that its 'sha256' declares"):
        decode_source(opened(), max_unreadable=2)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("cat/1.png,cat\ncat/1.png,cat\n", r"1\.png' twice \(1 such row"),
        ("cat/1.png,cat\ndog/../cat/1.png,dog\n", "twice"),
        (",cat\n", "row 1 has no path"),
        ("s3://bucket/1.png,cat\n", "is a URL"),
        ("a\0b.png,cat\n", "cannot be followed"),
    ],
)
def test_manifest_rows_that_would_count_wrong_are_refused(root, rows, message):
    (root / "list.csv").write_text(f"path,label\n{rows}")
    with pytest.raises(InputError, match=message):
        manifest(root / "list.csv", GREY, None)
