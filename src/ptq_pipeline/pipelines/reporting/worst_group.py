"""The worst group looked at closely: images that it loses, and layers where its error arises."""

import base64
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ptq_pipeline.artifact import PARAMETERS
from ptq_pipeline.calibration.sets import CalibrationSet
from ptq_pipeline.core.errors import InputError
from ptq_pipeline.images.audit_data import AuditData
from ptq_pipeline.judgement.verdict import Verdict
from ptq_pipeline.models import FloatModel
from ptq_pipeline.pipelines.reporting.members import members, under_condition
from ptq_pipeline.trials.evaluation import build_evaluation

MOST_IMAGES = 12
PIXELS = 96
LAYERS = ("layer", "clip_group", "clip_all", "error_group", "error_all")


def gather_lost_images(
    verdict: Mapping[str, Any],
    samples: pd.DataFrame,
    group_definitions: Mapping[str, Any],
    images: np.ndarray,
    stressed: Mapping[str, np.ndarray],
    float_predictions: pd.DataFrame,
    predictions: pd.DataFrame,
    calibration_sets: Mapping[str, CalibrationSet],
) -> dict[str, Any]:
    """Gather audit images of the worst group that the candidate loses, and what calibrated it.

    Lost means that the float model gets the image right and the candidate does not. Images are as
    the models saw them: under the worst group's shift, and with the calibration set's pixels.

    Raises:
        InputError: verdict, predictions and calibration sets come from two audits.

    Returns:
        ``trial_id``, the ``group``, numbers, and up to 12 images each under ``lost`` and
        ``calibration``, with labels and a small PNG in base64; empty without a candidate.
    """
    found = Verdict.read(verdict)
    trial_id, set_id, worst = found.candidate.trial_id, found.candidate.set_id, found.worst
    if trial_id is None or set_id is None or worst is None:
        return {"trial_id": trial_id, "group": None, "lost": [], "calibration": []}
    level, group, shift = worst.key
    classes = [str(name) for name in group_definitions["classes"]]
    seen_under, _ = under_condition(samples, group_definitions, shift)
    evaluation = build_evaluation(AuditData(samples, images, stressed), [seen_under])
    seen = evaluation.samples
    judged = members(seen, group_definitions, level, group) & (seen["split"] == "audit").to_numpy()
    judged &= under_condition(seen, group_definitions, shift)[1]
    own = predictions[predictions["trial_id"] == trial_id]
    if own.empty or set_id not in calibration_sets:
        raise InputError(
            f"the verdict's candidate {trial_id} has no predictions or no calibration set here, so "
            "they come from two audits; run the pipelines from quantization on again"
        )
    right = _answers(float_predictions, seen_under, seen) == seen["label"].to_numpy()
    answers = _answers(own, seen_under, seen)
    lost = np.flatnonzero(judged & right & (answers != seen["label"].to_numpy()))
    chosen = calibration_sets[set_id]
    used = samples.set_index("sample_id").loc[list(chosen.manifest.sample_ids)].reset_index()
    same = np.flatnonzero(members(used, group_definitions, level, group))
    return {
        "trial_id": trial_id,
        "group": worst.key._asdict(),
        "n": int(judged.sum()),
        "lost_count": len(lost),
        "lost": [
            {
                "sample_id": int(seen["sample_id"].iloc[i]),
                "label": classes[int(seen["label"].iloc[i])],
                "answer": classes[int(answers[i])],
                "png": small_png(evaluation.arrays[seen_under][evaluation.rows[seen_under][i]]),
            }
            for i in lost[:MOST_IMAGES]
        ],
        "calibration_count": len(same),
        "set_size": len(used),
        "calibration": [
            {
                "sample_id": int(used["sample_id"].iloc[i]),
                "label": classes[int(used["label"].iloc[i])],
                "png": small_png(chosen.images[i]),
            }
            for i in same[:MOST_IMAGES]
        ],
    }


def _answers(predictions: pd.DataFrame, shift: str, seen: pd.DataFrame) -> np.ndarray:
    rows = predictions[predictions["shift"] == shift].set_index("sample_id")["predicted"]
    return rows.loc[seen["sample_id"]].to_numpy()


def small_png(pixels: np.ndarray) -> str:
    """Return an image of at most 96 pixels a side as PNG in base64.

    Args:
        pixels: uint8 ``(C, H, W)``, grey with one channel, else its first three as colours.
    """
    from PIL import Image

    array = np.asarray(pixels)
    image = Image.fromarray(array[0] if len(array) < 3 else array[:3].transpose(1, 2, 0))
    image.thumbnail((PIXELS, PIXELS))
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", optimize=True)
    return base64.b64encode(buffer.getvalue()).decode("ascii")


def explain_worst_group(
    verdict: Mapping[str, Any],
    samples: pd.DataFrame,
    group_definitions: Mapping[str, Any],
    images: np.ndarray,
    model: FloatModel,
    candidate: Mapping[str, Path],
) -> pd.DataFrame:
    """Compare the worst group with all images, layer by layer.

    Returns:
        As from :func:`explain_group`; no row without a candidate, and for files of another tool,
        which hold no steps that could be looked at.
    """
    worst = Verdict.read(verdict).worst
    if worst is None or PARAMETERS not in candidate:
        return pd.DataFrame({name: pd.Series(dtype=object) for name in LAYERS})
    mask = members(samples, group_definitions, worst.level, worst.group)
    mask &= under_condition(samples, group_definitions, worst.shift)[1]
    return explain_group(mask, samples, images, model, candidate)[list(LAYERS)]


def explain_group(
    member: np.ndarray,
    samples: pd.DataFrame,
    images: np.ndarray,
    model: FloatModel,
    candidate: Mapping[str, Path],
) -> pd.DataFrame:
    """Run the candidate's simulation on up to 200 clean audit images of a group and of all.

    Args:
        member: which samples belong to the group, shape ``(samples,)``.
        samples: the samples.
        images: uint8 ``(N, C, H, W)``, row ``sample_id`` of every sample.
        model: the float model.
        candidate: the candidate's files.

    Returns:
        ``layer``, ``clip_group``, ``clip_all``, ``error_group`` and ``error_all``, as in
        :class:`.Explanation`; ``attrs`` holds the numbers of ``images`` and ``others``.
    """
    from ptq_pipeline.artifact.loading import Artifact, prepared_model
    from ptq_pipeline.monitoring.explaining import explain

    parameters = Artifact(candidate, "the candidate").parameters
    if parameters is None:
        raise InputError(
            f"the candidate holds no '{PARAMETERS}': files of another tool cannot be looked into"
        )
    audit = (samples["split"] == "audit").to_numpy()
    ids = samples["sample_id"].to_numpy()
    others = np.sort(np.random.default_rng(0).permutation(ids[audit])[:200])
    found = explain(
        prepared_model(model, images.shape[1:]),
        parameters,
        images[ids[member & audit][:200]],
        images[others],
        model.preprocessing,
    )
    found.layers.attrs = {"images": found.images, "others": found.others}
    return found.layers
