"""`kedro ptq compare` and `answers`: model files of any toolchain on a folder of images."""

from pathlib import Path
from typing import Any

import click
import numpy as np
import pandas as pd

from ptq_pipeline.commands.command import Answer, command, tell
from ptq_pipeline.commands.judge import judged_answer, judging_options
from ptq_pipeline.commands.options import FILE, Numbers
from ptq_pipeline.core.errors import InputError
from ptq_pipeline.core.files import replacing
from ptq_pipeline.images.decoding import Decoding
from ptq_pipeline.images.files import FileSource, image_folder, manifest
from ptq_pipeline.images.source import decode_source
from ptq_pipeline.judgement.verdict import SourceFile
from ptq_pipeline.runtimes.model_files import FileModel, open_model
from ptq_pipeline.tasks.reading import texts_of
from ptq_pipeline.tasks.rows import in_order

ANSWERS = "answers.parquet"
PIXELS = {"0-1": 1 / 255, "0-255": 1.0}
# Columns of an image source that say nothing of the image.
_OWN = ("label", "name", "part", "split")


def image_options(function: Any) -> Any:
    """Options that say which images, and how they are prepared."""
    for option in (
        click.option(
            "--classes",
            default=None,
            help="Names of the outputs in order, by comma; the sorted labels by default.",
        ),
        click.option("--resize", type=int, help="Shorter side before the crop, in pixels."),
        click.option("--size", type=int, help="Side of the images where the file leaves it open."),
        click.option("--std", default="1", type=Numbers(), help="Divided by, by channel."),
        click.option("--mean", default="0", type=Numbers(), help="Taken off, by channel."),
        click.option(
            "--pixels",
            type=click.Choice(list(PIXELS)),
            default="0-1",
            show_default=True,
            help="Range of pixels before mean and std.",
        ),
        click.option(
            "--images",
            required=True,
            type=click.Path(path_type=Path),
            help="Folder with a folder for each class, or a CSV or parquet manifest.",
        ),
    ):
        function = option(function)
    return function


@command(
    epilog="Exits with 0 for PASS, 3 for FAIL, 4 for INCONCLUSIVE. Example: kedro ptq compare "
    "float.onnx int8.tflite --images test --mean 0.5 --std 0.5",
)
@click.argument("float_model", type=FILE)
@click.argument("quantized_model", type=FILE)
@image_options
@judging_options
def compare(**options: Any) -> Answer:
    """Run FLOAT_MODEL and QUANTIZED_MODEL on the same images here, and judge their answers.

    Each is an ONNX, TFLite or OpenVINO (.xml) file, run by its own runtime.
    """
    models = [open_model(options[name]) for name in ("float_model", "quantized_model")]
    if models[0].input.shape != models[1].input.shape and not options["size"]:
        shapes = " and ".join(f"'{each.path}' {each.input.shape}" for each in models)
        raise InputError(
            f"the models take images of other sizes (channels, height, width): {shapes}"
        )
    table = _asked(models, options)
    sides = dict(zip(("float_answer", "quantized_answer"), models, strict=True))
    for name, model in sides.items():
        right = float((table[name] == table["label"]).mean())
        tell(f"{model.path.name}: right on {100 * right:.1f} % ({model.runtime})")
    files = [SourceFile(name=each.path.name, sha256=each.sha256) for each in models]
    answer = judged_answer(table, f"'{options['images']}'", files, options)
    _write(table, options["out"] / ANSWERS)
    return answer


@command(epilog="Example: kedro ptq answers model.onnx --images test --out here.parquet")
@click.argument("model", type=FILE)
@image_options
@click.option("--out", "-o", type=FILE, default=Path(ANSWERS), show_default=True, help="The table.")
def answers(**options: Any) -> Answer:
    """Write what MODEL answers on this machine, for `judge --float` and `--quantized`.

    The same file on two machines may answer differently: give the table of each to `judge`.
    """
    model = open_model(options["model"])
    table = _asked([model], options).rename(columns={"unit_id": "id", "float_answer": "answer"})
    _write(table, options["out"])
    right = float((table["answer"] == table["label"]).mean())
    line = f"{options['out']}: {len(table):,} answers, {100 * right:.1f} % right ({model.runtime})"
    found = {"table": str(options["out"]), "answers": len(table), "right": right}
    return Answer(found | {"runtime": model.runtime}, [line])


def _asked(models: list[FileModel], options: dict[str, Any]) -> pd.DataFrame:
    """What the models answer on the images: ids, labels, groups and answers as texts."""
    source = _source(options, models[0].input.shape)
    decoded = decode_source(source, setting="images")
    rows = decoded.table.reset_index(drop=True)
    if rows["label"].isna().any():
        raise InputError(f"'{options['images']}': an image has no label; every one needs one")
    labels = texts_of(rows["label"])
    classes = (
        [name.strip() for name in options["classes"].split(",")]
        if options["classes"]
        else in_order(labels.unique())
    )
    if unknown := sorted(set(labels) - set(classes)):
        raise InputError(f"--classes: no output is called '{unknown[0]}', which is a label")
    scale, mean, std = PIXELS[options["pixels"]], *(_channels(options, n) for n in ("mean", "std"))
    table = pd.DataFrame({"unit_id": _names(rows["name"], options["images"]), "label": labels})
    for column in rows.columns.difference(_OWN):
        table[column] = texts_of(rows[column])
    for name, model in zip(("float_answer", "quantized_answer"), models, strict=False):
        step = 20 * (model.input.batch or 64)
        found = [
            model.answers((block.astype(np.float32) * scale - mean) / std, len(classes))
            for start in range(0, len(rows), step)
            for block in [decoded.images[start : start + step]]
        ]
        named = np.array(classes, dtype=object)[np.concatenate(found)]
        table[name] = pd.Series(named, dtype="str")
    return table


def _names(names: pd.Series, root: Path) -> list[str]:
    """Names of images below their folder, so that they are the same on every machine."""
    folder = (root if root.is_dir() else root.parent).resolve()
    found = []
    for name in names:
        path = Path(name).resolve()
        found.append(str(path.relative_to(folder)) if path.is_relative_to(folder) else name)
    return found


def _channels(options: dict[str, Any], name: str) -> np.ndarray:
    """Values of a setting by channel, shape (1, channels or 1, 1, 1)."""
    values = options[name]
    if len(values) not in (1, 3) or (name == "std" and 0 in values):
        shown = ",".join(f"{value:g}" for value in values)
        raise InputError(f"--{name} '{shown}': give one number, or three by comma")
    return np.array(values, dtype=np.float32).reshape(1, -1, 1, 1)


def _source(options: dict[str, Any], shape: tuple[int, int, int]) -> FileSource:
    side = options["size"]
    shape = (shape[0], side or shape[1], side or shape[2])
    if 0 in shape:
        raise InputError("the model takes images of any size; say of which (--size)")
    decoding, images = Decoding(shape, options["resize"]), options["images"]
    if images.is_dir():
        return image_folder(images, decoding, {})
    return manifest(images, decoding, {})


def _write(table: pd.DataFrame, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary:
        table.to_parquet(temporary, index=False)
