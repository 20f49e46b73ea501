"""The commands `kedro ptq calibration ...`: which images calibrated a model, how sets differ."""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import numpy as np
import pandas as pd

from ptq_pipeline.calibration.draws import check_size
from ptq_pipeline.calibration.strategy import Pool
from ptq_pipeline.commands.command import Answer
from ptq_pipeline.commands.lineage import Found, find_set, loaded
from ptq_pipeline.commands.project_command import project_command
from ptq_pipeline.core.errors import InputError
from ptq_pipeline.core.group_ids import GroupDefinitions
from ptq_pipeline.judgement.ledger import Asking
from ptq_pipeline.judgement.openings import Opener
from ptq_pipeline.judgement.policy import LedgerPolicy
from ptq_pipeline.pipelines.benchmark.design import Score, candidates, confirm, search, worst_drop
from ptq_pipeline.pipelines.benchmark.trials import Sets
from ptq_pipeline.profiling.features import IMAGE_FEATURES, image_features
from ptq_pipeline.project import Project
from ptq_pipeline.routines.audits import audit_of
from ptq_pipeline.statistics.distances import WASSERSTEIN, distance
from ptq_pipeline.trials.audit import Audit
from ptq_pipeline.trials.evaluation import shifted_evaluation
from ptq_pipeline.trials.execution import TrialRunner

FIRST_IMAGES = 10
SHOWN_DESIGNS = 5
ALPHA = 0.05
SPENDING = LedgerPolicy(rule="spend")
# Of a manifest, what is listed image by image.
MEMBERS = {"sample_ids", "content_hashes"}


@click.group("calibration", epilog="Example: kedro ptq calibration show v0001")
def calibration() -> None:
    """Look into calibration sets, and search for better ones."""


@project_command(epilog="Example: kedro ptq calibration show v0001 --images")
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


@project_command(epilog="Example: kedro ptq calibration diff v0001 v0002")
@click.argument("first")
@click.argument("second")
def diff(project: Project, first: str, second: str) -> Answer:
    """Say how two calibration sets differ: manifest, shared images, composition and features.

    FIRST and SECOND are whatever `show` accepts.
    """
    content = _compare(project, find_set(project, first), find_set(project, second))
    return Answer(content, _differences(content))


@project_command(epilog="Example: kedro ptq calibration design --sizes 64,256 --draws 4")
@click.option("--sizes", default="64,256,1024", help="Sizes of the sets, with commas between.")
@click.option("--draws", default=4, type=click.IntRange(1), help="Draws of the last designs.")
def design(project: Project, sizes: str, draws: int) -> Answer:
    """Search size, composition and augmentation for the best worst group.

    The search sees the selection images only. Its one winner is entered in the audit ledger and
    compared on the audit images with random sets of the same size.
    """
    content = _design(project, _sizes(sizes), draws)
    lines = [
        *(
            f"{each['mean']:7.2f}  {each['size']:>5}  {each['name']}"
            for each in content["designs"][:SHOWN_DESIGNS]
        ),
        f"opening {content['opening']} of this audit for a design",
        content["says"],
        f"winner: {content['winner']}",
    ]
    return Answer(content, lines)


for each in (show, diff, design):
    calibration.add_command(each)


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


def _describe(project: Project, found: Found) -> dict[str, Any]:
    manifest, pixels = found.manifest, found.pixels
    members, warnings = _members(project, found)
    # The one use of MD5: it is the name by which DVC knows a file.
    md5 = None if pixels is None else hashlib.md5(pixels.read_bytes(), usedforsecurity=False)
    return {
        "set_id": manifest.set_id,
        "lineage": list(found.steps),
        "manifest": {k: v for k, v in manifest.to_json().items() if k not in MEMBERS},
        "pixels": None if pixels is None else _relative(project, pixels),
        "pixels_md5": None if md5 is None else md5.hexdigest(),
        "composition": _composition(members),
        "images": members.to_dict("records"),
        "warnings": warnings,
    }


def _relative(project: Project, path: Path) -> str:
    inside = path.is_relative_to(project.root)
    return path.relative_to(project.root).as_posix() if inside else str(path)


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
    if definitions := loaded(project, "group_definitions"):
        names = definitions.classes
        joined["label"] = [None if v is None else names[int(v)] for v in joined["label"]]
    lost = f"{missing} images of this set are not among the samples of today"
    return joined, [lost] if missing else []


def _composition(members: pd.DataFrame) -> dict[str, dict[str, int]]:
    """Count the values of each column that has few of them."""
    others = members.drop(
        columns=["sample_id", "content_hash", "split", "cluster"], errors="ignore"
    )
    return {
        name: {
            str(key): int(count)
            for key, count in column.value_counts(dropna=False).sort_index().items()
        }
        for name, column in others.items()
        if column.nunique() <= max(20, len(members) // 4)
    }


def _compare(project: Project, first: Found, second: Found) -> dict[str, Any]:
    a, b = first.manifest, second.manifest
    left, right = a.to_json(), b.to_json()
    compositions = [_composition(_members(project, found)[0]) for found in (first, second)]
    return {
        "first": list(first.steps),
        "second": list(second.steps),
        "identical": a.set_id == b.set_id,
        "manifest": {
            key: [left[key], right[key]]
            for key in left
            if key not in MEMBERS and left[key] != right[key]
        },
        "shared_images": len(set(a.content_hashes) & set(b.content_hashes)),
        "composition": {
            column: {
                name: [part[column].get(name, 0) for part in compositions]
                for name in sorted({*compositions[0][column], *compositions[1][column]})
            }
            for column in compositions[0]
            if column in compositions[1]
        },
        "features": _feature_distances(first, second),
    }


def _feature_distances(first: Found, second: Found) -> dict[str, dict[str, float]]:
    """Features of the sets' own pixels, so that an augmentation shows."""
    if first.pixels is None or second.pixels is None:
        return {}
    a, b = (
        image_features(np.load(found.pixels, mmap_mode="r", allow_pickle=False))
        for found in (first, second)
    )
    return {
        name: {
            "first": float(a[name].mean()),
            "second": float(b[name].mean()),
            "distance": distance(WASSERSTEIN, a[name], b[name]),
        }
        for name in IMAGE_FEATURES
    }


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


def _sizes(text: str) -> list[int]:
    try:
        found = sorted({int(each) for each in text.split(",")})
    except ValueError:
        found = []
    if not found or found[0] < 2:
        raise InputError(f"--sizes: give whole numbers from 2 on, such as 64,256; got '{text}'")
    return found


def _design(project: Project, sizes: list[int], draws: int) -> dict[str, Any]:
    # A ledger that cannot be read is an error before anything else happens.
    ledger = project.load("audit_ledger")
    audit = audit_of(project, statistics="direct")
    samples, runner = audit.data.samples, audit.runner()
    definitions = project.document("group_definitions", GroupDefinitions)
    pool = Pool.from_samples(samples, definitions, profiles=project.load("profiles"))
    for size in sizes:
        check_size(pool, size)
    sets = Sets(pool, audit.data.images, int(project.group("calibration")["seed"]), sizes[0])
    found = search(candidates(sizes), _scorer(audit, runner, sets, "selection"), draws)
    best = found[0]
    draw = min(range(len(best.scores)), key=best.scores.__getitem__)
    winner = sets(best.choice, draw)
    question = {
        "model": audit.model.fingerprint,
        "method": runner.method.to_json(),
        "set": winner.set_id,
        "shifts": {name: dict(options) for name, options in runner.shifts.items()},
    }
    entry = Opener.of(ledger, samples).enter(Asking("design", question))
    score = _scorer(audit, runner, sets, "audit")
    result = confirm(
        score(best.choice, draw), winner.manifest.size, score, SPENDING.part(entry.index) * ALPHA
    )
    return {
        "winner": winner.set_id,
        "choice": best.choice.model_dump(),
        "draw": draw,
        "opening": entry.index,
        "better": result.better,
        "p_value": result.p_value,
        "level": result.level,
        "worst_group_drop": result.winner,
        "random_drops": list(result.random),
        "says": result.says(),
        "designs": [
            {"name": _name(each.choice), "size": each.choice.size, "mean": each.mean}
            for each in found
        ],
    }


def _name(choice: Any) -> str:
    details = [f"{key}={value}" for key, value in choice.options.items()]
    if choice.augmentation:
        details.append(f"augmentation={choice.augmentation['kind']}")
    return " ".join([choice.strategy, *details])


def _scorer(audit: Audit, runner: TrialRunner, sets: Sets, split: str) -> Score:
    evaluation = shifted_evaluation(audit.data, audit.shifts, split)
    labels = evaluation.samples["label"].to_numpy()
    reference = runner.run(None, None, evaluation).predictions or {}

    def score(choice: Any, draw: int) -> float:
        drawn = sets(choice, draw)
        outcome = runner.run(drawn.set_id, drawn.images, evaluation)
        if outcome.predictions is None:
            raise InputError(f"calibration set {drawn.set_id} failed: {outcome.error}")
        return worst_drop(outcome.predictions, reference, labels, len(audit.model.classes))

    return score
