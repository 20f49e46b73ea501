"""Nodes of ``requantization``: bring old and new images together, and their scores."""

import numpy as np
import pandas as pd

from ptq_pipeline.core.answers import answers_to
from ptq_pipeline.core.errors import InputError
from ptq_pipeline.core.names import CLEAN
from ptq_pipeline.judgement.ledger import Asking, Ledger
from ptq_pipeline.judgement.openings import Opener, recipe_question, spec_of
from ptq_pipeline.judgement.policy import Policy
from ptq_pipeline.monitoring.parameters import ReauditParameters
from ptq_pipeline.monitoring.windows import SPLIT_PREFIX

JUDGED = ("selection", "audit")
# Under this name the window's images appear beside the shifts of the audit.
PRODUCTION = "production"


def gather_samples(
    samples: pd.DataFrame,
    images: np.ndarray,
    profiles: pd.DataFrame,
    production: pd.DataFrame,
    production_images: np.ndarray,
    production_profiles: pd.DataFrame,
) -> tuple[pd.DataFrame, np.ndarray, pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Calibrate on production, judge on both: pool and reference are the window's.

    Returns:
        ``samples``, ``images`` and ``profiles`` of the requantization; the same samples as the
        gate of the audit sees them; and the production images that are judged.

    Raises:
        InputError: the window has no labels, or a split of it is empty.
    """
    if production["label"].isna().any():
        raise InputError(
            "requantization: the window has no labels; without them a candidate can never be "
            "promoted: label a part of it, or wait for a window with labels"
        )
    old = samples[samples["split"].isin(JUDGED)]
    renamed = production["split"].str.removeprefix(SPLIT_PREFIX)
    new = production.assign(
        split=renamed,
        label=production["label"].astype(np.int64),
        sample_id=production["sample_id"] + len(images),
    )
    if missing := sorted({"pool", "reference", *JUDGED} - set(renamed)):
        raise InputError(
            f"requantization: no production image is in split {missing[0]}; wait for larger "
            "windows, or change 'reaudit.shares'"
        )
    new = new[~new["content_hash"].isin(set(old["content_hash"]))]
    new_profiles = production_profiles.assign(
        split=renamed, sample_id=production["sample_id"] + len(images)
    )
    new_profiles = new_profiles[new_profiles["sample_id"].isin(new["sample_id"])]
    columns = [column for column in samples if column in new]
    judged = new["split"].isin(JUDGED)
    tables = pd.concat([old[columns], new[columns]], ignore_index=True)
    return (
        tables,
        np.concatenate([images, production_images]),
        pd.concat([profiles[profiles["sample_id"].isin(old["sample_id"])], new_profiles]),
        pd.concat([old[columns], new.loc[~judged, columns]], ignore_index=True),
        new.loc[judged, columns].reset_index(drop=True),
    )


def divide_predictions(
    predictions: pd.DataFrame,
    float_predictions: pd.DataFrame,
    audited: pd.DataFrame,
    production: pd.DataFrame,
    parameters: ReauditParameters,
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Part the answers on old images from those on production images."""
    seen = [
        table[table["shift"].isin(parameters.shifts)] for table in (predictions, float_predictions)
    ]
    return (
        *answers_to(predictions, float_predictions, audited["sample_id"]),
        *answers_to(*seen, production["sample_id"]),
    )


def merge_scores(
    audited: pd.DataFrame,
    production: pd.DataFrame,
    production_samples: pd.DataFrame,
    trials: pd.DataFrame,
    ledger: Ledger,
    policy: Policy,
) -> pd.DataFrame:
    """Return one table of scores: production is a shift of its own beside those of the audit.

    So one candidate is chosen and judged on both, by the rules and limits of the audit. That the
    production audit images are asked is entered in the ledger; the check enters the others.
    """
    evidence = trials[trials["role"] == "evidence"].sort_values("draw", kind="stable").iloc[0]
    question = recipe_question(spec_of(trials), evidence["strategy"], evidence["set_id"])
    asking = Asking("recipe", question, {"policy": policy.hash, "images": PRODUCTION})
    Opener.of(ledger, production_samples).enter(asking)
    shift = production["shift"].astype(str)
    named = shift.where(shift != CLEAN, PRODUCTION).where(shift == CLEAN, PRODUCTION + ":" + shift)
    audited = audited.assign(shift=audited["shift"].astype(str))
    return pd.concat([audited, production.assign(shift=named)], ignore_index=True)
