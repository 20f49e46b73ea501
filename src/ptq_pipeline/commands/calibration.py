"""The commands `kedro ptq calibration ...`: which images calibrated a model, how sets differ."""

import hashlib
from collections.abc import Iterator
from typing import Any

import click
import numpy as np
import pandas as pd

from ptq_pipeline.commands.calibration_design import design
from ptq_pipeline.commands.lineage import Found, find_set
from ptq_pipeline.commands.running import Answer, project_command
from ptq_pipeline.core.errors import InputError
from ptq_pipeline.profiling import IMAGE_FEATURES, image_features
from ptq_pipeline.project import Project
from ptq_pipeline.statistics.distances import WASSERSTEIN, distance

FIRST_IMAGES = 10


@click.group("calibration", epilog="Example: kedro ptq calibration show v0001")
def calibration() -> None:
    """Look into calibration sets, and search for better ones."""


@project_command("show", epilog="Example: kedro ptq calibration show v0001 --images")
@click.argument("reference")
@click.option("--images", "all_images", is_flag=True, help="List every image, not the first ten.")
def show(project: Project, reference: str, all_images: bool) -> Answer:
    """Go from anything of an audit or a release to the exact images that calibrated it.

    REFERENCE is a set id, a trial id, the hash of a verdict, a decision or a record, a version of
    the registry, or the path of an exported model or of any of these files.
    """
    content = _describe(project, find_set(project, reference))
    notes = [f"warning: {warning}" for warning in content["warnings"]]
    return Answer(content, _shown(content, all_images), notes)


def _shown(content: dict[str, Any], all_images: bool) -> Iterator[str]:
    yield " -> ".join(content["lineage"])
    manifest = content["manifest"]
    yield (
        f"{manifest['size']} of {manifest['pool_size']} images, strategy {manifest['strategy']}, "
        f"draw {manifest['draw']}, seed {manifest['seed']}"
    )
    if manifest["augmentation"]:
        yield f"augmentation: {manifest['augmentation']}"
    yield f"pixels: {content['pixels'] or 'not here'} (MD5 {content['pixels_md5']})"
    for column, counts in content["composition"].items():
        yield f"{column}: {', '.join(f'{name} {count}' for name, count in counts.items())}"
    shown = content["images"] if all_images else content["images"][:FIRST_IMAGES]
    for image in shown:
        details = {k: v for k, v in image.items() if k not in ("sample_id", "content_hash")}
        note = "  ".join(f"{key}={value}" for key, value in details.items())
        yield f"{image['sample_id']:>8}  {image['content_hash'][:16]}  {note}"
    if len(shown) < len(content["images"]):
        yield f"and {len(content['images']) - len(shown)} more (--images)"


@project_command("diff", epilog="Example: kedro ptq calibration diff v0001 v0002")
@click.argument("first")
@click.argument("second")
def diff(project: Project, first: str, second: str) -> Answer:
    """Say how two calibration sets differ: manifest, shared images, composition and features.

    FIRST and SECOND are whatever `show` accepts.
    """
    content = _compare(project, find_set(project, first), find_set(project, second))
    return Answer(content, _differences(content))


def _differences(content: dict[str, Any]) -> Iterator[str]:
    yield f"{' -> '.join(content['first'])}\n{' -> '.join(content['second'])}"
    if content["identical"]:
        yield "identical"
        return
    for key, (a, b) in content["manifest"].items():
        yield f"{key}: {a} | {b}"
    yield f"images in both: {content['shared_images']}"
    for column, counts in content["composition"].items():
        for name, (a, b) in counts.items():
            yield f"{column} {name}: {a} | {b}"
    for name, row in content["features"].items():
        yield (
            f"{name}: mean {row['first']:.4g} | {row['second']:.4g}  "
            f"distance {row['distance']:.3f} standard deviations"
        )


calibration.add_command(show)
calibration.add_command(diff)
calibration.add_command(design)


def _describe(project: Project, found: Found) -> dict[str, Any]:
    manifest = found.manifest
    members, warnings = _members(project, found)
    pixels = found.pixels
    # The one use of MD5: it is the name by which DVC knows a file.
    md5 = None if pixels is None else hashlib.md5(pixels.read_bytes(), usedforsecurity=False)
    return {
        "set_id": manifest.set_id,
        "lineage": list(found.steps),
        "manifest": {
            key: value
            for key, value in manifest.to_json().items()
            if key not in ("sample_ids", "content_hashes")
        },
        "pixels": None if pixels is None else _relative(project, pixels),
        "pixels_md5": None if md5 is None else md5.hexdigest(),
        "composition": _composition(members),
        "images": members.to_dict("records"),
        "warnings": warnings,
    }


def _members(project: Project, found: Found) -> tuple[pd.DataFrame, list[str]]:
    """The images of a set in its order, with label and segments where the samples are at hand."""
    manifest = found.manifest
    members = pd.DataFrame(
        {"sample_id": manifest.sample_ids, "content_hash": manifest.content_hashes}
    )
    try:
        samples = project.load("samples")
    except InputError as error:
        return members, [f"labels and segments are not known: {error}"]
    # An image keeps its content hash when the table is made again; its id may change.
    known = samples.drop(columns="sample_id").drop_duplicates("content_hash")
    joined = members.merge(known, on="content_hash", how="left", validate="m:1")
    missing = int(joined["split"].isna().sum())
    joined = joined.astype(object).where(joined.notna(), None)
    if "label" in joined and not missing:
        joined["label"] = joined["label"].astype(int)
    names = _class_names(project)
    if names:
        joined["label"] = [None if v is None else names[int(v)] for v in joined["label"]]
    if missing:
        return joined, [f"{missing} images of this set are not among the samples of today"]
    return joined, []


def _class_names(project: Project) -> list[str]:
    try:
        return list(project.load("group_definitions")["classes"])
    except InputError:
        return []


def _composition(members: pd.DataFrame) -> dict[str, dict[str, int]]:
    columns = [
        name
        for name in members.columns
        if name not in ("sample_id", "content_hash", "split", "cluster")
        and members[name].nunique() <= max(20, len(members) // 4)
    ]
    return {
        name: {
            str(key): int(count)
            for key, count in members[name].value_counts(dropna=False).sort_index().items()
        }
        for name in columns
    }


def _compare(project: Project, first: Found, second: Found) -> dict[str, Any]:
    a, b = first.manifest, second.manifest
    skipped = {"sample_ids", "content_hashes"}
    left, right = a.to_json(), b.to_json()
    compositions = [_composition(_members(project, found)[0]) for found in (first, second)]
    columns = [name for name in compositions[0] if name in compositions[1]]
    return {
        "first": list(first.steps),
        "second": list(second.steps),
        "identical": a.set_id == b.set_id,
        "manifest": {
            key: [left[key], right[key]]
            for key in left
            if key not in skipped and left[key] != right[key]
        },
        "shared_images": len(set(a.content_hashes) & set(b.content_hashes)),
        "composition": {
            column: {
                name: [part[column].get(name, 0) for part in compositions]
                for name in sorted({*compositions[0][column], *compositions[1][column]})
            }
            for column in columns
        },
        "features": _feature_distances(first, second),
    }


def _feature_distances(first: Found, second: Found) -> dict[str, dict[str, float]]:
    """Features of the sets' own pixels, so that an augmentation shows."""
    if first.pixels is None or second.pixels is None:
        return {}
    tables = [
        image_features(np.load(found.pixels, mmap_mode="r", allow_pickle=False))
        for found in (first, second)
    ]
    return {
        name: {
            "first": float(tables[0][name].mean()),
            "second": float(tables[1][name].mean()),
            "distance": distance(WASSERSTEIN, tables[0][name], tables[1][name]),
        }
        for name in IMAGE_FEATURES
    }


def _relative(project: Project, path: Any) -> str:
    try:
        return path.relative_to(project.root).as_posix()
    except ValueError:
        return str(path)
