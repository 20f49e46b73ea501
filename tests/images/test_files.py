import numpy as np
import pandas as pd
import pytest
from PIL import Image

from ptq_pipeline.errors import InputError
from ptq_pipeline.images.files import image_folder, manifest
from ptq_pipeline.images.source import UnreadableImage, decode_source

SHAPE = (3, 8, 8)


def save(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)
    return path


@pytest.fixture
def folder(tmp_path):
    for number, name in enumerate(["cat", "dog"]):
        for index in range(3):
            save(tmp_path / name / f"{index}.png", np.full((8, 8, 3), 10 * number + index, "u1"))
    return tmp_path


def test_image_folder_takes_labels_from_folder_names(folder):
    source = image_folder(folder, SHAPE, {"pool": 1})
    assert list(source.table["label"]) == ["cat"] * 3 + ["dog"] * 3
    decoded = decode_source(source)
    assert decoded.images.shape == (6, *SHAPE)
    assert decoded.images.dtype == np.uint8
    assert decoded.images[:, 0, 0, 0].tolist() == [0, 1, 2, 10, 11, 12]


def test_grey_and_transparent_images_become_rgb_of_the_asked_size(tmp_path):
    save(tmp_path / "a/grey.png", np.full((20, 10), 7, np.uint8))
    save(tmp_path / "a/rgba.png", np.full((10, 16, 4), 9, np.uint8))
    decoded = decode_source(image_folder(tmp_path, SHAPE, None))
    assert decoded.images[:, :, 4, 4].tolist() == [[7, 7, 7], [9, 9, 9]]


def test_exif_orientation_is_applied(tmp_path):
    pixels = np.zeros((8, 8), np.uint8)
    pixels[:, 4:] = 200
    image = Image.fromarray(pixels)
    exif = image.getexif()
    exif[0x0112] = 3  # rotated by 180 degrees
    (tmp_path / "a").mkdir()
    image.save(tmp_path / "a/turned.png", exif=exif)
    decoded = image_folder(tmp_path, (1, 8, 8), None).read(0)
    assert decoded[0, 0].tolist() == [200] * 4 + [0] * 4


def test_16_bit_images_are_refused_by_name(tmp_path):
    save(tmp_path / "a/deep.png", np.full((8, 8), 3000, np.uint16))
    with pytest.raises(UnreadableImage, match=r"deep\.png.*8 bits"):
        image_folder(tmp_path, SHAPE, None).read(0)


def test_palette_and_cmyk_files_keep_their_colours(tmp_path):
    (tmp_path / "a").mkdir()
    red = Image.new("RGB", (16, 16), (200, 20, 40))
    red.quantize(4).save(tmp_path / "a/palette.png")
    red.convert("CMYK").save(tmp_path / "a/print.jpg", quality=95)
    decoded = decode_source(image_folder(tmp_path, SHAPE, None)).images
    assert np.abs(decoded[:, :, 4, 4].astype(int) - [200, 20, 40]).max() <= 4


def test_images_of_different_sizes_keep_their_middle(tmp_path):
    wide = np.zeros((10, 30, 3), np.uint8)
    wide[:, 10:20] = 255
    save(tmp_path / "a/wide.png", wide)
    save(tmp_path / "a/tall.png", wide.transpose(1, 0, 2))
    decoded = decode_source(image_folder(tmp_path, SHAPE, None)).images
    assert decoded.shape == (2, *SHAPE)
    assert decoded[:, :, 2:6, 2:6].min() == 255


def test_manifest_keeps_its_columns(folder):
    table = pd.DataFrame(
        {"path": ["cat/0.png", "dog/1.png"], "label": ["cat", "dog"], "customer": ["x", "y"]}
    )
    table.to_csv(folder / "list.csv", index=False)
    source = manifest(folder / "list.csv", SHAPE, None)
    assert list(source.table["customer"]) == ["x", "y"]
    assert source.read(1)[0, 0, 0] == 11


def test_manifest_paths_may_not_leave_the_folder(folder):
    table = pd.DataFrame({"path": ["../cat/0.png"], "label": ["cat"]})
    (folder / "dog" / "list.csv").write_text(table.to_csv(index=False))
    with pytest.raises(InputError, match="leaves the manifest's folder"):
        manifest(folder / "dog" / "list.csv", SHAPE, None)


def test_a_manifest_without_labels_is_refused(folder):
    (folder / "list.csv").write_text("path\ncat/0.png\n")
    with pytest.raises(InputError, match="no column 'label'"):
        manifest(folder / "list.csv", SHAPE, None)


def test_corrupt_images_are_named_and_tolerated_up_to_the_limit(folder):
    (folder / "cat/1.png").write_bytes(b"not an image")
    source = image_folder(folder, SHAPE, None)
    with pytest.raises(InputError, match=r"cat/1\.png.*max_unreadable"):
        decode_source(source)
    decoded = decode_source(source, max_unreadable=1)
    assert len(decoded.images) == len(decoded.table) == 5
    assert decoded.images[:, 0, 0, 0].tolist() == [0, 2, 10, 11, 12]
    assert len(decoded.unreadable) == 1


def test_an_empty_folder_is_refused(tmp_path):
    with pytest.raises(InputError, match="holds no image"):
        image_folder(tmp_path, SHAPE, None)
