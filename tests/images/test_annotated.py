"""Images with annotated objects from COCO, VOC and YOLO: boxes follow their images."""

import json
import logging

import numpy as np
import pytest
from kedro.io import DatasetError
from PIL import Image

from ptq_pipeline.datasets import CocoDataset, VocDataset, YoloDataset
from ptq_pipeline.images.source import UnreadableImage

# A white rectangle on a dark image of 40 x 20: left, top, width, height.
BOX = (10, 5, 16, 10)


def draw(path, box=BOX, size=(40, 20)):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.full((size[1], size[0]), 20, np.uint8)
    left, top, width, height = box
    pixels[top : top + height, left : left + width] = 255
    Image.fromarray(pixels).save(path)


def coco(folder, **more):
    draw(folder / "images/one.png")
    draw(folder / "images/two.png", (0, 0, 8, 8), (20, 20))
    document = {
        "images": [
            {"id": 1, "file_name": "images/one.png", "width": 40, "height": 20, "split": "pool"},
            {"id": 2, "file_name": "images/two.png", "width": 20, "height": 20, "split": "audit"},
        ],
        "categories": [{"id": 7, "name": "cell"}],
        "annotations": [
            {"id": 1, "image_id": 1, "category_id": 7, "bbox": BOX, "stain": "blue"},
        ],
        **more,
    }
    path = folder / "annotations.json"
    path.write_text(json.dumps(document))
    return path


def white(pixels):
    """Left, top, width, height of what is brighter than the letterbox's grey."""
    rows, columns = np.nonzero(pixels[0] > 160)
    left, top = columns.min(), rows.min()
    return left, top, columns.max() - left + 1, rows.max() - top + 1


@pytest.mark.parametrize("fit", ["letterbox", "stretch"])
@pytest.mark.parametrize("shape", [(1, 60, 80), (1, 60, 60), (3, 32, 48)])
def test_boxes_follow_their_images(tmp_path, fit, shape):
    source = CocoDataset(str(coco(tmp_path)), shape, fit=fit).load()
    (one,), nothing = source.table["objects"]
    assert nothing == []
    assert one["columns"] == {"stain": "blue", "size": "small"}
    assert np.abs(np.array(white(source.read(0))) - one["bbox"]).max() <= 1.5
    assert source.table["split"].tolist() == ["pool", "audit"]


def test_sizes_can_be_cut_at_quantiles(tmp_path):
    source = CocoDataset(str(coco(tmp_path)), (1, 20, 40), object_size="quantiles").load()
    assert source.table["objects"][0][0]["columns"]["size"] == pytest.approx(12.6)


def test_an_image_of_another_size_is_unreadable(tmp_path):
    path = coco(tmp_path)
    draw(tmp_path / "images/one.png", size=(20, 40), box=(0, 0, 5, 5))
    with pytest.raises(UnreadableImage, match="20 x 40 pixels large, and its annotations say 40"):
        CocoDataset(str(path), (1, 20, 40)).load().read(0)


def test_a_box_without_area_is_named_and_counts_nothing(tmp_path, caplog):
    boxes = [{"id": i, "image_id": 1, "category_id": 7, "bbox": BOX} for i in range(200)]
    boxes[3]["bbox"] = (10, 5, 0, 10)
    path = coco(tmp_path, annotations=boxes)
    with caplog.at_level(logging.WARNING):
        source = CocoDataset(str(path), (1, 20, 40)).load()
    assert "annotation 3 on image 1 has no area" in caplog.text
    assert [each["ignore"] for each in source.table["objects"][0]].count(1) == 1


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"images": [{"id": 1, "width": 40, "height": 20}]}, "names no image files"),
        ({"annotations": [{"id": 1, "image_id": 9, "category_id": 7, "bbox": BOX}]}, "unknown"),
        ({"annotations": [{"id": 1, "image_id": 1, "category_id": 8, "bbox": BOX}]}, "unknown"),
        (
            {"annotations": [{"id": 1, "image_id": 1, "category_id": 7, "bbox": BOX}] * 2},
            "given twice",
        ),
    ],
)
def test_annotations_that_cannot_be_used(tmp_path, change, said):
    with pytest.raises(DatasetError, match=said):
        CocoDataset(str(coco(tmp_path, **change)), (1, 20, 40)).load()


def test_a_crop_would_cut_objects_off(tmp_path):
    with pytest.raises(DatasetError, match="fit 'crop' would cut some off"):
        CocoDataset(str(coco(tmp_path)), (1, 20, 40), fit="crop").load()


def voc(folder, extra="", **names):
    draw(folder / "JPEGImages/one.png")
    text = f"""<annotation>{extra}<filename>one.png</filename>
      <size><width>40</width><height>20</height><depth>3</depth></size>
      <object><name>cell</name><pose>Left</pose><difficult>1</difficult>
      <bndbox><xmin>11</xmin><ymin>6</ymin><xmax>26</xmax><ymax>15</ymax></bndbox></object>
    </annotation>"""
    path = folder / "Annotations/one.xml"
    path.parent.mkdir()
    path.write_text(text)
    return folder


def test_voc_counts_pixels_from_one_and_ignores_what_is_difficult(tmp_path):
    (tmp_path / "ImageSets/Main").mkdir(parents=True)
    (tmp_path / "ImageSets/Main/test.txt").write_text("one\n")
    source = VocDataset(str(voc(tmp_path)), (1, 20, 40)).load()
    (one,) = source.table["objects"][0]
    assert tuple(one["bbox"]) == BOX == white(source.read(0))
    assert (one["label"], one["ignore"]) == ("cell", 1)
    assert one["columns"] == {"pose": "Left", "size": "small"}
    assert source.table["split"].tolist() == ["audit"]


def test_voc_without_entities_and_with_all_its_parts(tmp_path):
    with pytest.raises(DatasetError, match="no 'Annotations/"):
        VocDataset(str(tmp_path), (1, 20, 40)).load()
    folder = voc(tmp_path)
    path = folder / "Annotations/one.xml"
    text = path.read_text()
    path.write_text('<!DOCTYPE a [<!ENTITY b "c">]>' + text)
    with pytest.raises(DatasetError, match="declares a document type"):
        VocDataset(str(folder), (1, 20, 40)).load()
    path.write_text(text.replace("<width>40</width>", ""))
    with pytest.raises(DatasetError, match="has no 'size/width'"):
        VocDataset(str(folder), (1, 20, 40)).load()


def yolo(folder, line="0 0.45 0.5 0.4 0.5"):
    draw(folder / "images/val/one.png")
    draw(folder / "images/val/none.png", size=(10, 10), box=(0, 0, 2, 2))
    (folder / "labels/val").mkdir(parents=True)
    (folder / "labels/val/one.txt").write_text(f"{line}\n")
    (folder / "data.yaml").write_text("names: {0: cell, 1: dust}\n")
    return folder


def test_yolo_boxes_are_shares_of_the_image(tmp_path):
    source = YoloDataset(str(yolo(tmp_path)), (1, 20, 40)).load()
    nothing, (one,) = source.table["objects"]
    assert nothing == []
    assert one["bbox"] == pytest.approx(BOX)
    assert white(source.read(1)) == BOX
    assert source.table["split"].tolist() == ["selection"] * 2


@pytest.mark.parametrize(
    "line", ["2 0.5 0.5 0.1 0.1", "0 20 10 5 5", "0 0.5 0.5 0.1", "cell 0.5 0.5 0.1 0.1"]
)
def test_a_line_of_yolo_that_says_nothing(tmp_path, line):
    with pytest.raises(DatasetError, match="is no class below 2"):
        YoloDataset(str(yolo(tmp_path, line)), (1, 20, 40)).load()


def test_yolo_labels_of_no_image(tmp_path):
    (yolo(tmp_path) / "labels/val/other.txt").write_text("")
    with pytest.raises(DatasetError, match="belong to no image, first 'labels/val/other.txt'"):
        YoloDataset(str(tmp_path), (1, 20, 40)).load()
