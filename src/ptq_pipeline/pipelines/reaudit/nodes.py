"""Nodes of ``reaudit``."""

import logging
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from ptq_pipeline.errors import InputError
from ptq_pipeline.images import ImageSource
from ptq_pipeline.models import FloatModel
from ptq_pipeline.monitoring.windows import (
    Arrival,
    Status,
    UnusableWindow,
    Window,
    accept,
    as_audited,
    divide_windows,
)
from ptq_pipeline.pipelines.monitoring.parameters import MonitoringParameters
from ptq_pipeline.pipelines.reaudit.parameters import ReauditParameters
from ptq_pipeline.pipelines.worst_case_check.parameters import WorstCaseCheckParameters
from ptq_pipeline.registry import Registry
from ptq_pipeline.reliability import Ledger, audit_hash
from ptq_pipeline.stress.parameters import StressParameters

log = logging.getLogger(__name__)


def divide_production(
    available: Mapping[str, Callable[[], ImageSource]],
    history: Mapping[str, Any],
    samples: pd.DataFrame,
    images: np.ndarray,
    model: FloatModel,
    projection: dict[str, Any],
    definitions: Mapping[str, Any],
    monitoring: MonitoringParameters,
    parameters: ReauditParameters,
) -> tuple[pd.DataFrame, np.ndarray, pd.DataFrame]:
    """Divide the event's windows into ``production_{pool,reference,selection,audit}``.

    Each is read again, and must hold the images that it was accepted with.

    Returns:
        ``production_samples`` (sample ids count from 0), their images, and their profiles.

    Raises:
        InputError: no window is named.
        UnusableWindow: one is missing, changed since, or cannot be believed.
    """
    if not parameters.windows:
        raise InputError(
            "reaudit: no window is named; `kedro ptq watch` names those of an event, or give "
            '--params "reaudit.windows=[NAME]"'
        )

    contents = {
        record["window"]: record["content"]
        for record in history.get("windows", [])
        if record["status"] == Status.ACCEPTED
    }

    def read(name: str) -> Window:
        if name not in available:
            raise UnusableWindow(name, "does not exist any more; bring its folder back")
        decided = accept(
            Arrival(name, "", available[name]),
            images.shape[1:],
            lambda table: as_audited(table, model.classes, definitions),
            set(samples["content_hash"]),
            {},
            monitoring.acceptance.rules,
        )
        if decided.window is None:
            raise UnusableWindow(name, f"cannot be used any more. {decided.reason}")
        if decided.window.content != contents.get(name, decided.window.content):
            raise UnusableWindow(
                name, "holds other images than when it was accepted; bring those back"
            )
        return decided.window

    table, pixels = divide_windows(
        [read(name) for name in parameters.windows],
        [read(name) for name in parameters.audit_windows],
        parameters.shares,
        parameters.seed,
    )
    return _profiled(table, pixels, model, projection, definitions)


def _profiled(
    table: pd.DataFrame,
    pixels: np.ndarray,
    model: FloatModel,
    projection: dict[str, Any],
    definitions: Mapping[str, Any],
) -> tuple[pd.DataFrame, np.ndarray, pd.DataFrame]:
    from ptq_pipeline.profiling import Projection, profile, with_segments

    profiles = profile(pixels, model, Projection.from_json(projection))
    given = [name for name, e in definitions["segments"].items() if "thresholds" not in e]
    plain = ["window", "content_hash", "split", "label"]
    plain += ["cluster"] if "cluster" in table else []
    samples = table[plain].assign(
        label=table["label"].astype("Int64"),
        **{name: table[name] for name in given},
    )
    samples.insert(0, "sample_id", np.arange(len(samples)))
    samples = with_segments(samples, profiles, definitions)
    profiles = pd.concat([samples[["sample_id", "split", "label"]], profiles], axis=1)
    segments = {name: samples[name] for name in definitions["segments"]}
    log.info("production: %s", samples["split"].value_counts().to_dict())
    return samples, pixels, profiles.assign(**segments)


def audit_champion(
    samples: pd.DataFrame,
    images: np.ndarray,
    model: FloatModel,
    registry: Registry,
    definitions: Mapping[str, Any],
    policy: WorstCaseCheckParameters,
    stress: StressParameters,
    ledger: Ledger,
    audited: pd.DataFrame,
    parameters: ReauditParameters,
) -> dict[str, Any]:
    """Judge the champion on the production audit images, with its own files.

    That these images are asked is entered in the audit ledger. ``audited`` are the samples of the
    audit: what it judged must be judged here, or the champion was not shown to hold.

    Raises:
        InputError: nothing serves yet, no image is left to audit, or a shift is unknown.
    """
    from ptq_pipeline.monitoring.reaudit import judged_in_audit, reaudit, worst_cell

    champion = registry.champion()
    if champion is None:
        raise InputError("reaudit: no version serves yet; `kedro ptq promote` makes one champion")
    audit = samples[samples["split"] == "production_audit"].reset_index(drop=True)
    if audit.empty:
        raise InputError("reaudit: no image of the windows is left to audit; raise 'shares.audit'")
    pixels = np.asarray(images)[audit["sample_id"].to_numpy()]
    question = {
        "champion": champion.record_hash,
        "policy": policy.hash,
        "shifts": list(parameters.shifts),
    }
    ledger.enter(audit_hash(audit["content_hash"]), "reaudit", question)
    shifted = _under_shifts(pixels, audit, stress, parameters.shifts)
    result = reaudit(
        audit,
        _answers(champion, model, shifted),
        definitions,
        policy,
        champion.version,
        judged_in_audit(audited, definitions, policy),
    )
    worst = worst_cell(result)
    log.info(
        "re-audit of %s on %d images: %s%s",
        *(champion.version, result["n"], result["result"]),
        f"; worst {worst['group']}: {100 * worst['drop']:.1f} points" if worst else "",
    )
    return {
        "event": parameters.event,
        "windows": list(parameters.windows),
        "audit_windows": list(parameters.audit_windows),
        **result,
    }


def _under_shifts(
    pixels: np.ndarray, audit: pd.DataFrame, stress: StressParameters, shifts: tuple[str, ...]
) -> dict[str, np.ndarray]:
    from ptq_pipeline.images import content_keys
    from ptq_pipeline.stress import build_shift

    if unknown := sorted(set(shifts) - set(stress.root)):
        raise InputError(
            f"reaudit: shift '{unknown[0]}' is not one of `stress`: {', '.join(stress.root)}"
        )
    keys = content_keys(audit["content_hash"])
    return {name: build_shift(name, stress.root[name])(pixels, keys) for name in shifts}


def _answers(champion: Any, model: FloatModel, shifted: Mapping[str, np.ndarray]) -> Any:
    import torch

    from ptq_pipeline.monitoring.reaudit import Answers
    from ptq_pipeline.monitoring.served import ServedModel
    from ptq_pipeline.ptq import prepare
    from ptq_pipeline.runtimes import predict_top1

    served = ServedModel(champion.version, champion.folder)
    shape = next(iter(shifted.values())).shape[1:]
    prepared = prepare(model.module, torch.from_numpy(model.example_input(shape)))
    floating = served.runtime.compile(prepared, None)
    return Answers(
        {name: served.predict(images, model) for name, images in shifted.items()},
        {
            name: predict_top1(floating, images, model.preprocessing)
            for name, images in shifted.items()
        },
    )
