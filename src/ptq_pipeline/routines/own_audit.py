"""The audit of a model that somebody brings: a Kedro project of its own, and the run of it."""

import inspect
import io
import shutil
from collections.abc import Mapping
from contextlib import chdir
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ptq_pipeline.core.errors import InputError
from ptq_pipeline.core.files import write_file
from ptq_pipeline.core.group_ids import LEVELS
from ptq_pipeline.datasets.float_model import FloatModelDataset
from ptq_pipeline.datasets.image_sources import ImageFolderDataset, ImageManifestDataset
from ptq_pipeline.images.files import DEFAULT_SPLITS
from ptq_pipeline.images.source import ImageSource
from ptq_pipeline.judgement.decision import Decision
from ptq_pipeline.judgement.verdict import Verdict
from ptq_pipeline.models import FloatModel
from ptq_pipeline.models.factories import import_factory
from ptq_pipeline.models.onnx_file import SUFFIX, images_of_onnx
from ptq_pipeline.models.presets import preset_of
from ptq_pipeline.pipelines.data_loading.nodes import check_source
from ptq_pipeline.pipelines.data_loading.parameters import MetadataParameters
from ptq_pipeline.project import opened
from ptq_pipeline.project_template.standalone import (
    MOUNT,
    PACKAGE,
    standalone_files,
    with_values,
)
from ptq_pipeline.tasks.reading import texts_of
from ptq_pipeline.tasks.rows import in_order

# Of a small pool a set takes no more than this share: larger ones are too much alike.
SHARE_OF_POOL, FEWEST_IMAGES, MOST_IMAGES = 8, 16, 256
# What stays of an audit that is not kept: its configuration, and below data/<mount> these.
KEPT = ("06_models", "08_reporting")
# Limits under noise and at another size, beside those of clean images, as the shipped ones.
STRESSED = 1.5


@dataclass(frozen=True)
class Brought:
    """What somebody brings, and how images are prepared; None where it is not said.

    Attributes:
        images: Folder with a folder for each class, or a manifest.
        weights: State dict, or ONNX file.
        factory: Dotted path of what builds the network; None for an ONNX file.
        arguments: Of the factory.
        classes: In the order of the outputs.
        size: Side of the images.
        resize: Shorter side before the crop.
        mean: By channel, or one for all.
        std: Likewise.
        grey: Whether images have one channel.
    """

    images: Path
    weights: Path
    factory: str | None
    arguments: Mapping[str, Any]
    classes: tuple[str, ...] | None
    size: int | None
    resize: int | None
    mean: tuple[float, ...] | None
    std: tuple[float, ...] | None
    grey: bool


@dataclass(frozen=True)
class Wanted:
    """An audit that can be made: its catalog entries, loaded once, and its settings.

    Attributes:
        entries: Of the catalog, by their names in a mount.
        source: The images.
        model: The float model.
        said: What was taken where nothing was said.
    """

    entries: Mapping[str, Any]
    source: ImageSource
    model: FloatModel
    said: tuple[str, ...]

    @property
    def calibration_images(self) -> int:
        """How many images a calibration set has, unless somebody says it."""
        table, total = self.source.table, sum(DEFAULT_SPLITS.values())
        if "split" in table:
            pool = int((table["split"] == "pool").sum())
        else:
            pool = len(table) * DEFAULT_SPLITS["pool"] // total
        return min(MOST_IMAGES, max(FEWEST_IMAGES, pool // SHARE_OF_POOL))


def wanted_audit(brought: Brought) -> Wanted:
    """Check all that is brought, before anything is written.

    Raises:
        InputError: Something is missing, or does not fit something else.
    """
    said: list[str] = []
    entry, source = _source(brought, said)
    labels = source.table["label"]
    if labels.isna().any():
        raise InputError(f"'{brought.images}': an image has no label; every one needs one")
    classes = list(brought.classes or in_order(texts_of(labels).unique()))
    model_entry = _model_entry(brought, classes, entry["shape"][0])
    model = FloatModelDataset(**_keys(model_entry)).load()
    check_source(source, model, MetadataParameters().most_values)
    said.append(f"{len(labels):,} images of {len(classes)} classes: {', '.join(classes[:8])}")
    return Wanted({"image_source": entry, "float_model": model_entry}, source, model, tuple(said))


def _keys(entry: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in entry.items() if key != "type"}


def _source(brought: Brought, said: list[str]) -> tuple[dict[str, Any], ImageSource]:
    """Catalog entry of the images, and what it loads."""
    preset = preset_of(brought.factory) if brought.factory else None
    size, resize, interpolation = brought.size, brought.resize, "bilinear"
    shape = (1 if brought.grey else 3, 0, 0)
    if brought.weights.suffix.lower() == SUFFIX:
        shape = images_of_onnx(brought.weights)
    elif preset is not None and size is None:
        size, resize, interpolation = preset.size, resize or preset.resize, preset.interpolation
        said.append(
            f"Images as torchvision prepares them for this network: shorter side {resize}, the "
            f"middle {size} (--size says otherwise)"
        )
    shape = (shape[0], size or shape[1], size or shape[2])
    if 0 in shape:
        raise InputError("nothing says how large the images of this model are; give --size")
    folder = brought.images.is_dir()
    made = ImageFolderDataset if folder else ImageManifestDataset
    entry: dict[str, Any] = {
        "type": f"ptq_pipeline.datasets.{made.__name__}",
        "filepath": str(brought.images.resolve()),
        "shape": list(shape),
    }
    if resize is not None:
        entry["resize_size"] = resize
    if interpolation != "bilinear":
        entry["interpolation"] = interpolation
    return entry, made(**_keys(entry)).load()


def _model_entry(brought: Brought, classes: list[str], channels: int) -> dict[str, Any]:
    preset = preset_of(brought.factory) if brought.factory else None
    mean, std = brought.mean, brought.std
    if preset is not None and channels == len(preset.mean):
        mean, std = mean or preset.mean, std or preset.std
    entry: dict[str, Any] = {"type": "ptq_pipeline.datasets.FloatModelDataset"}
    if brought.factory:
        arguments = dict(brought.arguments)
        if _takes_classes(brought.factory):
            arguments = {"num_classes": len(classes), **arguments}
        entry |= {"factory": brought.factory, "arguments": arguments}
    return {
        **entry,
        "weights": str(brought.weights.resolve()),
        "preprocessing": {
            "mean": _by_channel(mean or (0.0,), channels, "--mean"),
            "std": _by_channel(std or (1.0,), channels, "--std"),
        },
        "classes": classes,
    }


def _takes_classes(factory: str) -> bool:
    try:
        parameters = inspect.signature(import_factory(factory)).parameters.values()
    except ValueError:  # written in C, or without a signature
        return False
    return any(each.name == "num_classes" or each.kind is each.VAR_KEYWORD for each in parameters)


def _by_channel(values: tuple[float, ...], channels: int, option: str) -> list[float]:
    if len(values) not in (1, channels):
        raise InputError(f"{option}: {len(values)} values for {channels} channel(s); give one each")
    return [float(value) for value in (values * channels)[:channels]]


def settings_of(
    bits: int,
    activation_bits: int,
    draws: int | None,
    limits: Mapping[str, float],
) -> dict[str, Any]:
    """Values of parameters by their keys below the mount."""
    method = "quantization.method."
    found: dict[str, Any] = {
        f"{method}weight_bits": bits,
        f"{method}activation_bits": activation_bits,
    }
    if draws is not None:
        found |= {"calibration.draws": draws, "worst_case_check.draws": draws}
    for level, points in limits.items():
        if level not in LEVELS:
            raise InputError(f"--limit: '{level}' is no level; they are {', '.join(LEVELS)}")
        place = f"worst_case_check.limits.{level}."
        stressed = dict.fromkeys(("gaussian_noise", "image_size"), STRESSED * points)
        found |= {f"{place}points": points, f"{place}shifts": stressed}
    return found


def project_files(
    wanted: Wanted, mount_files: Mapping[Path, bytes], settings: Mapping[str, Any]
) -> dict[Path, bytes]:
    """Return all files of the project, by path relative to it.

    Args:
        wanted: What is audited.
        mount_files: What `kedro ptq init` writes.
        settings: Parameters that differ, by their keys below the mount.
    """
    parameters = Path(f"conf/base/parameters_{MOUNT}.yml")
    below = {f"{MOUNT}.{key}": value for key, value in settings.items()}
    text = with_values(mount_files[parameters].decode(), below)
    own = standalone_files(version("kedro"), wanted.entries) | {parameters: text}
    return {**mount_files, **{path: each.encode() for path, each in own.items()}}


def write_project(root: Path, files: Mapping[Path, bytes]) -> bool:
    """Write the project, where no finished one of other settings is.

    Returns:
        Whether the folder is new.

    Raises:
        InputError: The folder holds something else, or an audit of other settings.
    """
    new = not root.exists() or not any(root.iterdir())
    if not new and not (root / "src" / PACKAGE).is_dir():
        raise InputError(f"'{root}' holds other things; give a folder of its own (--out)")
    # What is below `data` is state, which only a release writes.
    changed = [
        path
        for path, content in files.items()
        if not (root / path).is_file()
        or (path.parts[0] != "data" and (root / path).read_bytes() != content)
    ]
    if changed and (root / f"data/{MOUNT}/08_reporting/verdict.json").exists():
        raise InputError(
            f"'{root}' holds an audit of other settings ('{changed[0]}' differs); give another "
            f"--out, or change the file and call `kedro run` there"
        )
    # The package last: it says that the folder is a project of this command.
    for path in sorted(changed, key=lambda path: path.parts[0] == "src"):
        write_file(root / path, files[path])
    return new


def run_audit(root: Path) -> tuple[Verdict, Decision, Path]:
    """Run the project's audit; what it prints at its end is left to whoever calls.

    Returns:
        The opened project's verdict, decision and the path of its report relative to the project.
    """
    with chdir(root), opened(mount=MOUNT) as project:
        project.run("__default__", ending=io.StringIO())
        verdict = project.document("verdict", Verdict)
        return verdict, project.document("decision", Decision), project.path("report")


def forget_data(root: Path) -> None:
    """Remove what a run can make again, and leave models and results."""
    for folder in sorted((root / "data" / MOUNT).iterdir()):
        if folder.is_dir() and folder.name not in KEPT:
            shutil.rmtree(folder)
