import struct
import zlib

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from ptq_pipeline.core.errors import InputError
from ptq_pipeline.images.decoding import Decoding
from ptq_pipeline.images.files import DEFAULT_SPLITS, image_folder, manifest
from ptq_pipeline.images.source import UnreadableImage, decode_source

SHAPE = (3, 8, 8)
COLOUR, GREY = Decoding(SHAPE), Decoding((1, 8, 8))


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


@pytest.mark.parametrize("name", ["name", "part"])
def test_a_column_that_would_be_overwritten_is_refused(folder, name):
    rows = pd.DataFrame({"path": ["cat/0.png", "dog/0.png"], "label": ["cat", "dog"], name: "x"})
    rows.to_csv(folder / "images.csv", index=False)
    with pytest.raises(InputError, match=f"column '{name}', and this package writes"):
        manifest(folder / "images.csv", COLOUR, {"pool": 1})


def test_image_folder_takes_labels_from_folder_names(folder):
    source = image_folder(folder, COLOUR, {"pool": 1})
    assert list(source.table["label"]) == ["cat"] * 3 + ["dog"] * 3
    decoded = decode_source(source)
    assert decoded.images.shape == (6, *SHAPE)
    assert decoded.images.dtype == np.uint8
    assert decoded.images[:, 0, 0, 0].tolist() == [0, 1, 2, 10, 11, 12]


def test_grey_and_transparent_images_become_rgb_of_the_asked_size(tmp_path):
    save(tmp_path / "a/grey.png", np.full((20, 10), 7, np.uint8))
    save(tmp_path / "a/rgba.png", np.full((10, 16, 4), 9, np.uint8))
    decoded = decode_source(image_folder(tmp_path, COLOUR, None))
    assert decoded.images[:, :, 4, 4].tolist() == [[7, 7, 7], [9, 9, 9]]


def test_exif_orientation_is_applied(tmp_path):
    pixels = np.zeros((8, 8), np.uint8)
    pixels[:, 4:] = 200
    image = Image.fromarray(pixels)
    exif = image.getexif()
    exif[0x0112] = 3  # rotated by 180 degrees
    (tmp_path / "a").mkdir()
    image.save(tmp_path / "a/turned.png", exif=exif)
    decoded = image_folder(tmp_path, GREY, None).read(0)
    assert decoded[0, 0].tolist() == [200] * 4 + [0] * 4


def deep_colour(path):
    """Write an 8 x 8 PNG of 16 bits per colour, which Pillow can read but not write."""
    pixels = np.array([0x8000, 0x4000, 0xFFFF], ">u2")
    rows = b"".join(b"\0" + np.tile(pixels, 8).tobytes() for _ in range(8))
    header = struct.pack(">IIBBBBB", 8, 8, 16, 2, 0, 0, 0)
    path.parent.mkdir(parents=True, exist_ok=True)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + b"".join(
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
            for kind, data in chunks
        )
    )


@pytest.mark.parametrize("write", [deep_colour, lambda path: save(path, deep_grey())])
def test_16_bit_images_are_refused_by_name_without_their_white(tmp_path, write):
    write(tmp_path / "a/deep.png")
    with pytest.raises(UnreadableImage, match=r"deep\.png.*more than 8 bits.*'white'"):
        image_folder(tmp_path, COLOUR, None).read(0)


def deep_grey():
    return np.full((8, 8), 2048, np.uint16)


@pytest.mark.parametrize(("white", "expected"), [(4095, 128), (65535, 8)])
@pytest.mark.parametrize("name", ["deep.png", "deep.tif"])
def test_16_bit_grey_images_are_scaled_by_their_white(tmp_path, white, expected, name):
    save(tmp_path / "a" / name, deep_grey())
    source = image_folder(tmp_path, Decoding(SHAPE, white=white), None)
    assert np.unique(source.read(0)).tolist() == [expected]


def test_16_bit_images_brighter_than_white_are_refused(tmp_path):
    save(tmp_path / "a/deep.png", deep_grey())
    with pytest.raises(UnreadableImage, match=r"deep\.png.*value 2048, brighter than 'white' 1023"):
        image_folder(tmp_path, Decoding(SHAPE, white=1023), None).read(0)


def test_16_bit_colour_images_keep_their_upper_bits(tmp_path):
    deep_colour(tmp_path / "a/deep.png")
    pixels = image_folder(tmp_path, Decoding(SHAPE, white=65535), None).read(0)
    assert pixels[:, 3, 3].tolist() == [0x80, 0x40, 0xFF]
    with pytest.raises(UnreadableImage, match=r"deep\.png.*only be 65535"):
        image_folder(tmp_path, Decoding(SHAPE, white=4095), None).read(0)


def test_16_bit_images_are_turned_upright(tmp_path):
    pixels = np.zeros((8, 8), np.uint16)
    pixels[:, 4:] = 4095
    image = Image.fromarray(pixels)
    exif = image.getexif()
    exif[0x0112] = 3
    (tmp_path / "a").mkdir()
    image.save(tmp_path / "a/turned.png", exif=exif)
    source = image_folder(tmp_path, Decoding((1, 8, 8), white=4095), None)
    assert source.read(0)[0, 0].tolist() == [255] * 4 + [0] * 4


def test_float_pixels_are_refused_by_name(tmp_path):
    save(tmp_path / "a/height.tif", np.ones((8, 8), np.float32))
    with pytest.raises(UnreadableImage, match=r"height\.tif.*floating point"):
        image_folder(tmp_path, Decoding(SHAPE, white=4095), None).read(0)


@pytest.mark.parametrize("size", [(50, 31), (31, 50), (40, 40)])
def test_resizing_before_the_crop_is_torchvisions(tmp_path, size):
    from torchvision.transforms import v2

    pixels = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    path = save(tmp_path / "a/1.png", pixels)
    read = image_folder(tmp_path, Decoding((3, 16, 16), resize_size=20), None).read(0)
    preset = v2.Compose([v2.Resize(20), v2.CenterCrop(16)])
    assert np.array_equal(read, np.asarray(preset(Image.open(path))).transpose(2, 0, 1))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"resize_size": 4}, "smaller than the crop"),
        ({"interpolation": "cubic"}, "interpolation 'cubic' is unknown; choose one of nearest"),
        ({"white": 255}, "'white' must lie between 256 and 65535"),
    ],
)
def test_bad_decodings_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        Decoding(SHAPE, **options)


def annotate(folder, **columns):
    path = folder.parent / "notes.csv"
    pd.DataFrame({"path": ["dog/1.png", "cat/0.png"]} | columns).to_csv(path, index=False)
    return image_folder(folder, COLOUR, None, path)


def test_annotations_add_columns_to_a_folder(folder):
    source = annotate(folder, customer=["north", "south"])
    assert source.table["customer"].fillna("-").tolist() == ["south", "-", "-", "-", "north", "-"]
    assert source.table["label"].tolist() == ["cat"] * 3 + ["dog"] * 3
    assert source.splits == [DEFAULT_SPLITS]
    assert annotate(folder, split=["audit", "pool"]).splits == [{}]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"path": ["dog/9.png", "cat/0.png"]}, "'dog/9.png' which is no image of"),
        ({"path": ["cat/0.png", "cat/0.png"]}, "'cat/0.png' twice"),
        ({"label": ["dog", "cat"]}, "column 'label', but the class folders"),
    ],
)
def test_annotations_that_do_not_fit_are_refused(folder, columns, message):
    with pytest.raises(InputError, match=message):
        annotate(folder, **columns)


def test_palette_and_cmyk_files_keep_their_colours(tmp_path):
    (tmp_path / "a").mkdir()
    red = Image.new("RGB", (16, 16), (200, 20, 40))
    red.quantize(4).save(tmp_path / "a/palette.png")
    red.convert("CMYK").save(tmp_path / "a/print.jpg", quality=95)
    decoded = decode_source(image_folder(tmp_path, COLOUR, None)).images
    assert np.abs(decoded[:, :, 4, 4].astype(int) - [200, 20, 40]).max() <= 4


def test_images_of_different_sizes_keep_their_middle(tmp_path):
    wide = np.zeros((10, 30, 3), np.uint8)
    wide[:, 10:20] = 255
    save(tmp_path / "a/wide.png", wide)
    save(tmp_path / "a/tall.png", wide.transpose(1, 0, 2))
    decoded = decode_source(image_folder(tmp_path, COLOUR, None)).images
    assert decoded.shape == (2, *SHAPE)
    assert decoded[:, :, 2:6, 2:6].min() == 255


def test_manifest_keeps_its_columns(folder):
    table = pd.DataFrame(
        {"path": ["cat/0.png", "dog/1.png"], "label": ["cat", "dog"], "customer": ["x", "y"]}
    )
    table.to_csv(folder / "list.csv", index=False)
    source = manifest(folder / "list.csv", COLOUR, None)
    assert list(source.table["customer"]) == ["x", "y"]
    assert source.read(1)[0, 0, 0] == 11


def test_manifest_paths_may_not_leave_the_folder(folder):
    table = pd.DataFrame({"path": ["../cat/0.png"], "label": ["cat"]})
    (folder / "dog" / "list.csv").write_text(table.to_csv(index=False))
    with pytest.raises(InputError, match=r"0\.png. leaves its folder.*allow_outside: true"):
        manifest(folder / "dog" / "list.csv", COLOUR, None)


def test_a_manifest_without_labels_is_refused(folder):
    (folder / "list.csv").write_text("path\ncat/0.png\n")
    with pytest.raises(InputError, match="no column 'label'"):
        manifest(folder / "list.csv", COLOUR, None)


def test_corrupt_images_are_named_and_tolerated_up_to_the_limit(folder):
    (folder / "cat/1.png").write_bytes(b"not an image")
    source = image_folder(folder, COLOUR, None)
    with pytest.raises(InputError, match=r"cat/1\.png.*max_unreadable"):
        decode_source(source)
    decoded = decode_source(source, max_unreadable=1)
    assert len(decoded.images) == len(decoded.table) == 5
    assert decoded.images[:, 0, 0, 0].tolist() == [0, 2, 10, 11, 12]
    assert len(decoded.unreadable) == 1


def test_an_empty_folder_is_refused(tmp_path):
    with pytest.raises(InputError, match="holds no image"):
        image_folder(tmp_path, COLOUR, None)


def test_a_bitmap_of_16_bits_for_all_colours_is_read(tmp_path):
    (tmp_path / "a").mkdir()
    size, pixels = 4, np.full((4, 4), 0b1111100000000000, "<u2")
    masks = np.array([0xF800, 0x07E0, 0x001F], "<u4").tobytes()
    head = b"BM" + np.array([14 + 40 + 12 + 32, 0, 66], "<u4").tobytes()
    info = np.array([40, size, size], "<u4").tobytes() + np.array([1, 16], "<u2").tobytes()
    info += np.array([3, 32, 2835, 2835, 0, 0], "<u4").tobytes()
    (tmp_path / "a/red.bmp").write_bytes(head + info + masks + pixels.tobytes())
    red = Decoding((3, size, size)).read(tmp_path / "a/red.bmp")
    assert red[0].min() > 240 and red[1:].max() == 0


def test_12_bits_are_told_their_own_white(tmp_path):
    values = (np.arange(64).reshape(8, 8) * 65).astype(np.uint16)
    save(tmp_path / "a/deep.png", values)
    with pytest.raises(UnreadableImage, match="4095 is its largest value; give .* such as 4095,"):
        Decoding((1, 8, 8)).read(tmp_path / "a/deep.png")


def test_every_unreadable_image_is_counted(tmp_path):
    for number in range(6):
        path = tmp_path / f"a/{number}.png"
        save(path, np.zeros((8, 8), np.uint8))
        if number % 2:
            path.write_bytes(b"nothing")
    source = image_folder(tmp_path, Decoding((1, 8, 8)), None)
    with pytest.raises(InputError, match=r"3 unreadable image\(s\) of 6, 0 tolerated"):
        decode_source(source)


@pytest.mark.parametrize("written", ["a\\caf\u00e9.png", "a/cafe\u0301.png", "a/caf\u00e9.png"])
@pytest.mark.parametrize("stored", ["caf\u00e9.png", "cafe\u0301.png"])
def test_a_path_may_be_written_as_another_system_does(tmp_path, written, stored):
    save(tmp_path / "a" / stored, np.zeros((8, 8), np.uint8))
    (tmp_path / "images.csv").write_text(f"path,label\n{written},x\n")
    source = manifest(tmp_path / "images.csv", Decoding((1, 8, 8)), None)
    assert source.read(0).shape == (1, 8, 8)


def test_links_into_a_cache_are_copies(tmp_path):
    save(tmp_path / "cache/0f.png", np.zeros((8, 8), np.uint8)).rename(tmp_path / "cache/0f")
    names = ["one.png", "two.png"]
    for name in names:
        (tmp_path / "own/a").mkdir(parents=True, exist_ok=True)
        (tmp_path / "own/a" / name).symlink_to(tmp_path / "cache/0f")
    (tmp_path / "own/images.csv").write_text("path,label\n" + "".join(f"a/{n},x\n" for n in names))
    decoding = Decoding((1, 8, 8))
    sources = [
        manifest(tmp_path / "own/images.csv", decoding, None, allow_outside=True),
        image_folder(tmp_path / "own", decoding, None, allow_outside=True),
    ]
    for source in sources:
        assert len(source.table) == 2
        assert (source.read(0) == source.read(1)).all()
