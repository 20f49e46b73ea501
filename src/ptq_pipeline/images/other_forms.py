"""Folders in Pascal VOC's and in YOLO's form, read into COCO's."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from ptq_pipeline.core.errors import InputError
from ptq_pipeline.core.inputs import read_regular
from ptq_pipeline.images.decoding import FORMATS
from ptq_pipeline.images.files import SUFFIXES

# Names of lists and folders of splits, and what they are called here.
SPLITS = {"train": "pool", "val": "selection", "valid": "selection", "test": "audit"}


def voc_document(folder: Path) -> dict[str, Any]:
    """Read ``Annotations/*.xml`` of Pascal VOC, with images in ``JPEGImages``.

    Lists ``ImageSets/Main/{train,val,test}.txt`` give splits, where there are any. Objects that are
    ``difficult`` are neither found nor lost; ``pose``, ``truncated`` and ``occluded`` make groups.

    Raises:
        InputError: There is no annotation, or a file is not of this form.
    """
    files = sorted((folder / "Annotations").glob("*.xml"))
    if not files:
        raise InputError(f"'{folder}' holds no 'Annotations/*.xml'; is it in Pascal VOC's form?")
    splits = _voc_splits(folder)
    images, objects, names = [], [], dict[str, int]()
    for number, path in enumerate(files, 1):
        root = _xml(path)
        image: dict[str, Any] = {
            "id": number,
            "file_name": f"JPEGImages/{_text(root, 'filename', path)}",
            "width": int(float(_text(root, "size/width", path))),
            "height": int(float(_text(root, "size/height", path))),
        }
        if splits:
            image["split"] = splits.get(path.stem)
        images.append(image)
        for each in root.iterfind("object"):
            name, found = _voc_object(each, path)
            category = names.setdefault(name, len(names) + 1)
            objects.append(
                {"id": len(objects) + 1, "image_id": number, "category_id": category, **found}
            )
    return _document(images, objects, names)


def yolo_document(folder: Path) -> dict[str, Any]:
    """Read ``images`` and ``labels`` of a YOLO folder; classes are ``names`` in ``data.yaml``.

    A label file has a line an object: class number, centre, width and height as shares of the
    image. An image without a label file has no objects. Below ``images``, folders ``train``,
    ``val`` and ``test`` give splits.

    Raises:
        InputError: A folder or ``data.yaml`` is missing, or a line is not of this form.
    """
    names = _yolo_names(folder)
    files = sorted(p for p in (folder / "images").rglob("*") if p.suffix.lower() in SUFFIXES)
    if not files:
        raise InputError(f"'{folder}' holds no image below 'images'; is it in YOLO's form?")
    labels = {
        p.relative_to(folder / "labels").with_suffix("") for p in (folder / "labels").rglob("*.txt")
    }
    images, objects = [], []
    for number, path in enumerate(files, 1):
        inside = path.relative_to(folder / "images")
        image = _yolo_image(path, inside, number)
        images.append(image)
        if inside.with_suffix("") not in labels:
            continue
        labels.discard(inside.with_suffix(""))
        lines = folder / "labels" / inside.with_suffix(".txt")
        for place, box in _yolo_boxes(lines, len(names), image["width"], image["height"]):
            objects.append(
                {
                    "id": len(objects) + 1,
                    "image_id": number,
                    "category_id": place + 1,
                    "bbox": box,
                }
            )
    if labels:
        raise InputError(
            f"'{folder}': {len(labels)} label file(s) belong to no image, first "
            f"'labels/{min(labels).as_posix()}.txt'; add the image, or remove them"
        )
    return _document(images, objects, {name: i for i, name in enumerate(names, 1)})


def _document(
    images: list[dict[str, Any]], objects: list[dict[str, Any]], names: dict[str, int]
) -> dict[str, Any]:
    categories = [{"id": number, "name": name} for name, number in names.items()]
    return {"images": images, "annotations": objects, "categories": categories}


def _xml(path: Path) -> ElementTree.Element:
    content = read_regular(path)
    # Entities of a document type can stand for any amount of text.
    if b"<!DOCTYPE" in content or b"<!ENTITY" in content:
        raise InputError(
            f"'{path}' declares a document type, which annotations need not; remove it"
        )
    try:
        return ElementTree.fromstring(content)
    except ElementTree.ParseError as error:
        raise InputError(f"'{path}' is no XML ({error}); write it again") from None


def _text(element: ElementTree.Element, tag: str, path: Path) -> str:
    found = (element.findtext(tag) or "").strip()
    if not found:
        raise InputError(f"'{path}' has no '{tag}' where Pascal VOC has one; correct it")
    return found


def _voc_object(each: ElementTree.Element, path: Path) -> tuple[str, dict[str, Any]]:
    """Return the class of an object, and its box and columns in COCO's form."""
    low, high = (
        [float(_text(each, f"bndbox/{side}{end}", path)) for side in "xy"] for end in ("min", "max")
    )
    plain = {
        tag: found.strip()
        for tag in ("pose", "truncated", "occluded")
        if (found := each.findtext(tag))
    }
    # VOC counts pixels from 1, and the last one is inside.
    box = [*(v - 1 for v in low), *(b - a + 1 for a, b in zip(low, high, strict=True))]
    difficult = int((each.findtext("difficult") or "0").strip() == "1")
    return _text(each, "name", path), {"bbox": box, "difficult": difficult, **plain}


def _voc_splits(folder: Path) -> dict[str, str]:
    splits: dict[str, str] = {}
    for name, split in SPLITS.items():
        path = folder / "ImageSets" / "Main" / f"{name}.txt"
        if path.is_file():
            for line in read_regular(path).decode("utf-8").split("\n"):
                if line.strip():
                    splits[line.split()[0]] = split
    return splits


def _yolo_names(folder: Path) -> list[str]:
    import yaml

    path = folder / "data.yaml"
    try:
        named = yaml.safe_load(read_regular(path))["names"]
    except (OSError, KeyError, TypeError, yaml.YAMLError) as error:
        raise InputError(
            f"'{path}' does not say the 'names' of classes ({error}); add them"
        ) from None
    ordered = [named[key] for key in sorted(named)] if isinstance(named, dict) else list(named)
    return [str(name) for name in ordered]


def _yolo_image(path: Path, inside: Path, number: int) -> dict[str, Any]:
    width, height = _size(path)
    name = f"images/{inside.as_posix()}"
    image = {"id": number, "file_name": name, "width": width, "height": height}
    if len(inside.parts) > 1 and inside.parts[0] in SPLITS:
        image["split"] = SPLITS[inside.parts[0]]
    return image


def _yolo_boxes(
    path: Path, classes: int, width: int, height: int
) -> Iterator[tuple[int, list[float]]]:
    """Yield class and box of each object: left, top, width and height in pixels."""
    for place, centre, sides in _yolo_lines(path, classes):
        across, down = sides[0] * width, sides[1] * height
        yield (
            place,
            [centre[0] * width - across / 2, centre[1] * height - down / 2, across, down],
        )


def _yolo_lines(path: Path, classes: int) -> Iterator[tuple[int, list[float], list[float]]]:
    for number, line in enumerate(read_regular(path).decode("utf-8").splitlines(), 1):
        if not line.strip():
            continue
        try:
            place, *numbers = line.split()
            values = [float(value) for value in numbers]
            known = 0 <= int(place) < classes
        except ValueError:
            known, values = False, []
        if not known or len(values) != 4 or not all(0 <= value <= 1 for value in values):
            raise InputError(
                f"'{path}', line {number}: '{line.strip()}' is no class below {classes} with "
                "centre, width and height as shares of the image; correct it"
            )
        yield int(place), values[:2], values[2:]


def _size(path: Path) -> tuple[int, int]:
    from PIL import Image, ImageOps

    try:
        with Image.open(path, formats=FORMATS) as image:
            return ImageOps.exif_transpose(image).size
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise InputError(f"'{path}' cannot be opened ({error}); repair or remove it") from error
