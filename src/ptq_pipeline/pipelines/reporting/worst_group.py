"""Groups looked at closely: their members, images that are lost, layers where the error arises."""

import base64
import io
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image, ImageDraw

from ptq_pipeline.artifact import PARAMETERS
from ptq_pipeline.calibration.sets import CalibrationSet
from ptq_pipeline.core.answers import FloatAnswers
from ptq_pipeline.core.errors import InputError
from ptq_pipeline.core.group_ids import (
    AVERAGE_GROUP,
    CLASS_COLUMN,
    LEVELS,
    NAMED_LEVELS,
    CellDocument,
    GroupDefinitions,
    GroupId,
)
from ptq_pipeline.core.names import ALARMS, CLEAN
from ptq_pipeline.core.units import (
    IMAGE,
    NO_CLASS,
    OBJECTS,
    object_position,
    objects_of,
    units_of,
)
from ptq_pipeline.images.audit_data import AuditData
from ptq_pipeline.judgement.verdict import Verdict
from ptq_pipeline.models import FloatModel
from ptq_pipeline.reporting.lost_images import (
    Confusion,
    GroupImage,
    LostImage,
    LostImages,
    ShiftImage,
)
from ptq_pipeline.trials.evaluation import Evaluation, build_evaluation

MOST_IMAGES = 12
PIXELS = 96
# Okabe and Ito's vermilion, which most people can tell from its surroundings.
FRAME = (213, 94, 0)
NOT_FOUND = "—"
LAYER_COLUMNS = ("layer", "clip_group", "clip_all", "error_group", "error_all")


def gather_lost_images(
    verdict: Verdict,
    data: AuditData,
    stressed: Mapping[str, np.ndarray],
    float_predictions: pd.DataFrame,
    predictions: pd.DataFrame,
    calibration_sets: Mapping[str, CalibrationSet],
) -> LostImages:
    """Gather audit images of the worst group that the candidate loses, and what calibrated it.

    Lost means that the float model gets the image right and the candidate does not; of a detector,
    that an object is no longer found, which a frame shows, or that alarms were added. Images are
    as the models saw them: under the worst group's shift, and with the calibration set's pixels.

    Returns:
        Up to 12 images of each kind,
        and the group's first image under every shift.
    """
    chosen, worst = verdict.candidate, verdict.worst
    trial_id, set_id = chosen.trial_id, chosen.set_id
    if trial_id is None or set_id is None or worst is None:
        return LostImages(trial_id=trial_id)
    if trial_id not in set(predictions["trial_id"]) or set_id not in calibration_sets:
        raise InputError(
            f"the verdict's candidate {trial_id} has no predictions or no calibration set here, so "
            "they come from two audits; run the pipelines from quantization on again"
        )
    definitions = data.definitions
    shift, _ = under_condition(data.samples, definitions, worst.shift)
    evaluation = build_evaluation(data, stressed, [CLEAN, *stressed])
    seen = _units(evaluation.samples, definitions)
    judged = _in_cell(seen, definitions, worst) & (seen["split"] == "audit").to_numpy()
    ids = seen["sample_id"].to_numpy()
    floats = FloatAnswers.of(float_predictions)
    answers = floats.of_trial(predictions, trial_id, ids)[shift]
    before = floats.answers[shift][floats.places(ids)]
    labels = seen["label"].to_numpy()
    worse = np.where(labels == NO_CLASS, answers > before, (before == labels) & (answers != labels))
    lost = np.flatnonzero(judged & worse)
    look = _Look(evaluation.samples, definitions.classes)
    pixels = evaluation.arrays[shift], evaluation.rows[shift]
    said = [(look.label(seen.iloc[i]), look.answer(seen.iloc[i], answers[i])) for i in lost]
    return LostImages(
        trial_id=trial_id,
        group=CellDocument(**worst.key._asdict()),
        n=int(judged.sum()),
        lost_count=len(lost),
        lost=tuple(
            LostImage(answer=answer, **look.shown(seen.iloc[i], *pixels))
            for i, (_, answer) in zip(lost[:MOST_IMAGES], said, strict=False)
        ),
        confusions=tuple(
            Confusion(label=label, answer=answer, count=count)
            for (label, answer), count in Counter(said).most_common()
        ),
        example=_examples(evaluation, look, seen[judged].head(1)),
        **_calibrating(calibration_sets[set_id], data, worst),
    )


def _units(samples: pd.DataFrame, definitions: GroupDefinitions) -> pd.DataFrame:
    return units_of(samples, definitions.classes, definitions.alarms)


def _calibrating(chosen: CalibrationSet, data: AuditData, worst: CellDocument) -> dict[str, Any]:
    """Return how much of a calibration set belongs to the worst group, and its first images."""
    by_id = data.samples.set_index("sample_id")
    used = by_id.loc[list(chosen.manifest.sample_ids)].reset_index()
    units = _units(used, data.definitions)
    inside = units[members(units, data.definitions, worst.level, worst.group)]
    if units is not used:
        # Alarms are no objects that an image could bring.
        inside = inside[inside["label"] != NO_CLASS].drop_duplicates(IMAGE)
    look = _Look(used, data.definitions.classes)
    pixels = chosen.images, np.arange(len(used))
    return {
        "calibration_count": len(inside),
        "set_size": len(used),
        "calibration": tuple(
            GroupImage(**look.shown(inside.iloc[i], *pixels))
            for i in range(min(len(inside), MOST_IMAGES))
        ),
    }


class _Look:
    """How units of some samples are shown, in words and as pictures."""

    def __init__(self, samples: pd.DataFrame, classes: Sequence[str]) -> None:
        self.samples, self.classes = samples, classes
        self._place = {number: place for place, number in enumerate(samples["sample_id"])}

    def label(self, unit: pd.Series) -> str:
        """Name the class of a unit, or whose false alarms are counted."""
        label = int(unit["label"])
        return str(unit[ALARMS]) if label == NO_CLASS else self.classes[label]

    def answer(self, unit: pd.Series, answer: int) -> str:
        """Say what the candidate answers: a class, that it finds nothing, or how many alarms."""
        if int(unit["label"]) == NO_CLASS:
            return f"{int(answer)}+"
        return self.classes[answer] if answer < len(self.classes) else NOT_FOUND

    def shown(self, unit: pd.Series, array: np.ndarray, rows: np.ndarray) -> dict[str, Any]:
        """Return what a `GroupImage` shows of a unit, with a frame around an object."""
        place = self._place[int(unit.get(IMAGE, unit["sample_id"]))]
        box = None
        if IMAGE in unit and int(unit["label"]) != NO_CLASS:
            position = object_position(int(unit["sample_id"]))
            box = objects_of(self.samples[OBJECTS].iloc[place])[position]["bbox"]
        return {
            "sample_id": int(self.samples["sample_id"].iloc[place]),
            "label": self.label(unit),
            "png": small_png(array[rows[place]], box),
        }


def _examples(evaluation: Evaluation, look: _Look, units: pd.DataFrame) -> tuple[ShiftImage, ...]:
    """Show units under every shift."""
    return tuple(
        ShiftImage(shift=name, png=look.shown(unit, array, evaluation.rows[name])["png"])
        for _, unit in units.iterrows()
        for name, array in evaluation.arrays.items()
    )


def small_png(pixels: np.ndarray, box: Sequence[float] | None = None) -> str:
    """Return an image of at most 96 pixels a side as PNG in base64.

    Args:
        pixels: uint8 ``(C, H, W)``, grey with one channel, else its first three as colours.
        box: left, top, width and height of what is framed, in pixels of the image.
    """
    array = np.asarray(pixels)
    image = Image.fromarray(array[0] if len(array) < 3 else array[:3].transpose(1, 2, 0))
    scale = min(1.0, PIXELS / max(image.size))
    image.thumbnail((PIXELS, PIXELS))
    if box is not None:
        image = image.convert("RGB")
        left, top, width, height = (scale * side for side in box)
        corners = [left - 1, top - 1, left + width, top + height]
        ImageDraw.Draw(image).rectangle(corners, outline=FRAME)
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", optimize=True)
    return base64.b64encode(buffer.getvalue()).decode("ascii")


def explain_worst_group(
    verdict: Verdict, data: AuditData, model: FloatModel, candidate: Mapping[str, Path]
) -> pd.DataFrame:
    """Compare the worst group with all images, layer by layer.

    Returns:
        As from :func:`explain_group`; no row without a candidate, and for files of another tool,
        which hold no scales that could be looked at.
    """
    worst = verdict.worst
    if worst is None or PARAMETERS not in candidate:
        return pd.DataFrame({name: pd.Series(dtype=object) for name in LAYER_COLUMNS})
    mask = _in_cell(data.samples, data.definitions, worst)
    return explain_group(mask, data, model, candidate)[list(LAYER_COLUMNS)]


def explain_group(
    member: np.ndarray, data: AuditData, model: FloatModel, candidate: Mapping[str, Path]
) -> pd.DataFrame:
    """Run the candidate's simulation on up to 200 clean audit images of a group and of all.

    ``member`` tells which samples belong to the group, shape ``(samples,)``.

    Returns:
        ``layer``, ``clip_group``, ``clip_all``, ``error_group`` and ``error_all``, as in
        :class:`.Explanation`; ``attrs`` holds the numbers of ``images`` and ``others``.
    """
    from ptq_pipeline.artifact.loading import Artifact
    from ptq_pipeline.models.loading import prepared_model
    from ptq_pipeline.monitoring.explaining import MOST_IMAGES as MOST_EXPLAINED
    from ptq_pipeline.monitoring.explaining import explain

    parameters = Artifact(candidate, "the candidate").parameters
    if parameters is None:
        raise InputError(
            f"the candidate holds no '{PARAMETERS}': files of another tool cannot be looked into"
        )
    audit = (data.samples["split"] == "audit").to_numpy()
    ids = data.samples["sample_id"].to_numpy()
    others = np.sort(np.random.default_rng(0).permutation(ids[audit])[:MOST_EXPLAINED])
    found = explain(
        prepared_model(model, data.image_shape),
        parameters,
        data.images[ids[member & audit][:MOST_EXPLAINED]],
        data.images[others],
        model.preprocessing,
    )
    found.layers.attrs = {"images": found.images, "others": found.others}
    return found.layers


def members(
    samples: pd.DataFrame, definitions: GroupDefinitions, level: str, group: str
) -> np.ndarray:
    """Tell for every sample, in any split, whether it belongs to a group: bool ``(samples,)``.

    An image with annotated objects belongs to the groups of what is on it.

    Raises:
        InputError: there is no such group, and the message names those that there are; or there
            are two.
    """
    found = list(_called(definitions, level, group))
    if len(found) > 1:
        raise InputError(
            f"two groups are called '{group}': {found[0].described}, and {found[1].described}; "
            "rename a class, column or value"
        )
    if not found:
        known = [each.label for kind in NAMED_LEVELS for each in definitions.ids(kind)]
        raise InputError(f"there is no group '{group}'; the groups are {', '.join(known[:40])}")
    classes, units = definitions.classes, _units(samples, definitions)
    mask = np.array(units["label"] != NO_CLASS)
    for column, value in zip(found[0].columns, found[0].values, strict=True):
        wanted = classes.index(value) if column == CLASS_COLUMN else value
        if column == ALARMS:
            mask = np.full(len(units), True)
        mask &= (units[column] == wanted).to_numpy()
    if units is samples:
        return mask
    return samples["sample_id"].isin(units.loc[mask, IMAGE]).to_numpy()


def under_condition(
    samples: pd.DataFrame, definitions: GroupDefinitions, shift: str
) -> tuple[str, np.ndarray]:
    """Tell under which shift images are seen, and which of them count: bool ``(samples,)``.

    A ``shift`` may also be the value of a control column (``store=Lyon``), which is looked at on
    unchanged images.
    """
    controls = {name: each for name, each in definitions.segments.items() if each.control}
    only = GroupDefinitions(classes=(), segments=controls)
    if any(_called(only, "segment", shift)):
        return CLEAN, members(samples, only, "segment", shift)
    return shift, np.full(len(samples), True)


def _in_cell(
    samples: pd.DataFrame, definitions: GroupDefinitions, cell: CellDocument
) -> np.ndarray:
    inside = members(samples, definitions, cell.level, cell.group)
    return inside & under_condition(samples, definitions, cell.shift)[1]


def level_of(definitions: GroupDefinitions, group: str) -> tuple[str, str]:
    """Find the level of a group that somebody named, with or without its level in front.

    Returns:
        Level and label; where no group has that name the level in front of it, or ``class``.

    Raises:
        InputError: groups of two levels have that name.
    """
    if group in (AVERAGE_GROUP, "average"):
        return "average", AVERAGE_GROUP
    found = [level for level in LEVELS[1:] if any(_called(definitions, level, group))]
    if len(found) > 1:
        raise InputError(
            f"a {found[0]} and a {found[1]} are called '{group}': write '{found[0]} {group}' or "
            f"'{found[1]} {group}'"
        )
    if found:
        return found[0], group
    for level in LEVELS[1:]:
        name = group.removeprefix(f"{level} ")
        if name != group:
            return level, name
    return "class", group


def _called(definitions: GroupDefinitions, level: str, label: str) -> Iterator[GroupId]:
    return (each for each in definitions.ids(level) if each.label == label)
