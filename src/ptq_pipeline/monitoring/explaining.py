"""Why one group loses more than the others: what is cut off, where the error arises."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch

from ptq_pipeline.models import Preprocessing
from ptq_pipeline.monitoring.clipping import CLIP_PREFIX, clip_rates
from ptq_pipeline.ptq import PreparedModel, QuantizationParameters
from ptq_pipeline.ptq.hooks import one_thread
from ptq_pipeline.runtimes.simulated import SimulatedRuntime

MOST_IMAGES = 200


@dataclass(frozen=True)
class Explanation:
    """What sets a group apart from all images.

    Attributes:
        layers: one row per quantized place: ``layer``, share of activations cut off in the group
            (``clip_group``) and in all images (``clip_all``), and relative error of the layer's
            output (``error_group``, ``error_all``), largest error in the group first.
        images: number of images of the group that were run.
        others: number of images that stand for all.
    """

    layers: pd.DataFrame
    images: int
    others: int


def explain(
    prepared: PreparedModel,
    parameters: QuantizationParameters,
    group: np.ndarray,
    others: np.ndarray,
    preprocessing: Preprocessing,
) -> Explanation:
    """Compare a group with all images, place by place.

    The relative error of a place is ``|quantized - float|^2 / |float|^2`` of its output, both
    models run from the image on, so that it holds what arose in the layers before.

    Args:
        prepared: the float model that was quantized.
        parameters: integers and scales.
        group: uint8 images of the group, ``(N, C, H, W)``.
        others: uint8 images that represent all.
        preprocessing: what the model takes.
    """
    columns = {}
    for name, given in (("group", group), ("all", others)):
        images = np.asarray(given[:MOST_IMAGES])
        with one_thread():
            rates = clip_rates(prepared, parameters, images, preprocessing).mean()
            errors = _output_errors(prepared, parameters, preprocessing(images))
        rates = rates[[each for each in rates.index if each.startswith(CLIP_PREFIX)]]
        columns[f"clip_{name}"] = rates.rename(lambda each: each.removeprefix(CLIP_PREFIX))
        columns[f"error_{name}"] = pd.Series(errors)
    table = pd.DataFrame(columns).rename_axis("layer").reset_index()
    table = table.sort_values("error_group", ascending=False, kind="stable", ignore_index=True)
    return Explanation(table, min(len(group), MOST_IMAGES), min(len(others), MOST_IMAGES))


def nearest(
    features: np.ndarray, group: np.ndarray, candidates: np.ndarray, most: int
) -> list[int]:
    """Return the ``candidates``, ``most`` of them, that are nearest to the centre of ``group``.

    All are rows of ``features``, which may have any scale: every column is standardised.
    """
    spread = features.std(axis=0)
    scaled = (features - features.mean(axis=0)) / np.where(spread > 0, spread, 1.0)
    distance = np.linalg.norm(scaled[candidates] - scaled[group].mean(axis=0), axis=1)
    return [int(row) for row in candidates[np.argsort(distance, kind="stable")[:most]]]


def _output_errors(
    prepared: PreparedModel, parameters: QuantizationParameters, batch: np.ndarray
) -> dict[str, float]:
    outputs: dict[str, dict[str, torch.Tensor]] = {}
    for kind, of in (("float", None), ("quantized", parameters)):
        module = SimulatedRuntime().compile(prepared, of).module
        seen = outputs.setdefault(kind, {})
        handles = [
            module.get_submodule(name).register_forward_hook(
                lambda m, args, out, n=name, s=seen: s.__setitem__(n, out.detach())
            )
            for name in parameters.layers
        ]
        with torch.inference_mode():
            module(torch.from_numpy(batch))
        for handle in handles:
            handle.remove()
    errors = {}
    for name, true in outputs["float"].items():
        power = float((true**2).sum())
        wrong = float(((outputs["quantized"][name] - true) ** 2).sum())
        errors[name] = wrong / power if power > 0 else 0.0
    return errors
