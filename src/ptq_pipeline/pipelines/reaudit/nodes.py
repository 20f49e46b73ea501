"""Nodes of ``reaudit``."""

import logging
from collections.abc import Callable, Mapping

import numpy as np
import pandas as pd

from ptq_pipeline.core.errors import InputError
from ptq_pipeline.images.source import ImageSource, content_keys
from ptq_pipeline.judgement.ledger import Ledger
from ptq_pipeline.judgement.openings import Opener
from ptq_pipeline.judgement.policy import Policy
from ptq_pipeline.monitoring.audited import Audited, ProductionAudit
from ptq_pipeline.monitoring.history import WindowHistory
from ptq_pipeline.monitoring.parameters import MonitoringParameters, ReauditParameters
from ptq_pipeline.monitoring.reaudit import (
    ChampionAnswers,
    EventReaudit,
    judged_in_audit,
    open_reaudit,
    reaudit,
)
from ptq_pipeline.monitoring.windows import Arrival, UnusableWindow, Window, divide_windows
from ptq_pipeline.profiling.features import profile
from ptq_pipeline.profiling.segments import with_segments
from ptq_pipeline.registry.agreement import Registry
from ptq_pipeline.registry.store import Champion
from ptq_pipeline.stress.shifts import StressParameters

log = logging.getLogger(__name__)


def divide_production(
    available: Mapping[str, Callable[[], ImageSource]],
    history: WindowHistory | None,
    audited: Audited,
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
    accepted = (history or WindowHistory()).accepted

    def read(name: str) -> Window:
        if name not in available:
            raise UnusableWindow(name, "does not exist any more; bring its folder back")
        arrival = Arrival(name, "", available[name])
        decided = audited.accept(arrival, {}, monitoring.acceptance)
        if decided.window is None:
            raise UnusableWindow(name, f"cannot be used any more. {decided.reason}")
        if name in accepted and decided.window.content != accepted[name].content:
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
    return _profiled(table, pixels, audited)


def _profiled(
    table: pd.DataFrame, pixels: np.ndarray, audited: Audited
) -> tuple[pd.DataFrame, np.ndarray, pd.DataFrame]:
    profiles = profile(pixels, audited.model, audited.projection)
    segments = audited.data.definitions.segments
    given = [name for name, column in segments.items() if column.feature is None]
    plain = ["window", "content_hash", "split", "label"]
    plain += ["cluster"] if "cluster" in table else []
    samples = table[plain].assign(
        label=table["label"].astype("Int64"),
        **{name: table[name] for name in given},
    )
    samples.insert(0, "sample_id", np.arange(len(samples)))
    samples = with_segments(samples, profiles, audited.data.definitions)
    profiles = pd.concat([samples[["sample_id", "split", "label"]], profiles], axis=1)
    log.info("production: %s", samples["split"].value_counts().to_dict())
    return samples, pixels, profiles.assign(**{name: samples[name] for name in segments})


def shift_production(
    samples: pd.DataFrame,
    images: np.ndarray,
    stress: StressParameters,
    parameters: ReauditParameters,
) -> ProductionAudit:
    """Return the production audit images under the shifts of the re-audit.

    Raises:
        InputError: no image is left to audit, or a shift is unknown.
    """
    audit = samples[samples["split"] == "production_audit"].reset_index(drop=True)
    if audit.empty:
        raise InputError("reaudit: no image of the windows is left to audit; raise 'shares.audit'")
    if unknown := sorted(set(parameters.shifts) - set(stress.root)):
        raise InputError(
            f"reaudit: shift '{unknown[0]}' is not one of `stress`: {', '.join(stress.root)}"
        )
    pixels = np.asarray(images)[audit["sample_id"].to_numpy()]
    keys = content_keys(audit["content_hash"])
    shifted = {name: stress.shifts[name](pixels, keys) for name in parameters.shifts}
    return ProductionAudit(audit, shifted)


def audit_champion(
    production: ProductionAudit,
    audited: Audited,
    registry: Registry,
    ledger: Ledger,
    policy: Policy,
    parameters: ReauditParameters,
) -> EventReaudit:
    """Judge the champion on the production audit images, with its own files.

    That these images are asked is entered in the audit ledger. What the audit judged must be judged
    here, or the champion was not shown to hold.

    Raises:
        InputError: nothing serves yet.
    """
    champion = registry.champion()
    if champion is None:
        raise InputError("reaudit: no version serves yet; `kedro ptq promote` makes one champion")
    audit = production.samples
    opener = Opener.of(ledger, audit.assign(split="audit"))
    opening = open_reaudit(opener, champion.record_hash, policy, parameters.shifts)
    answers = _answers(champion, audited, production.images)
    data, scoring = audited.data, audited.scoring
    required = judged_in_audit(data.samples, data.definitions, policy, scoring)
    found = reaudit(audit, answers, data.definitions, opening, scoring, required)
    log.info("re-audit: %s", found.describe())
    return EventReaudit(
        event=parameters.event,
        windows=parameters.windows,
        audit_windows=parameters.audit_windows,
        **dict(found),
    )


def _answers(
    champion: Champion, audited: Audited, shifted: Mapping[str, np.ndarray]
) -> ChampionAnswers:
    # Loading what serves takes torch.
    from ptq_pipeline.monitoring.measuring import ServedModel
    from ptq_pipeline.runtimes import predict_top1

    served = ServedModel.of_champion(champion, audited)
    floating = served.float_predictor()
    return ChampionAnswers(
        champion.version,
        {name: served.answers(images) for name, images in shifted.items()},
        {
            name: predict_top1(floating, images, audited.model.preprocessing)
            for name, images in shifted.items()
        },
    )
