"""Small made-up verdicts with every key of the real ones, for tests of what follows from them."""

from ptq_pipeline.judgement.candidate import CandidateVerdict, JudgedCell
from ptq_pipeline.judgement.policy import Policy
from ptq_pipeline.judgement.recipe import RecipeVerdict
from ptq_pipeline.judgement.sentences import Reason
from ptq_pipeline.judgement.verdict import Verdict

LEVELS = ("average", "class", "segment", "intersection")
POLICY = Policy.model_validate({"limits": {level: {"points": 5.0} for level in LEVELS}})


def make_cell(group: str, *, level: str = "class", shift: str = "clean", **figures) -> JudgedCell:
    """Give a cell of a verdict; what a test does not say is plausible."""
    plain = {"n": 800, "drop": 0.0, "interval": (-0.01, 0.01), "lost": 0, "gained": 0, "flips": 0}
    accuracy = {"float_accuracy": 0.9, "quantized_accuracy": 0.9, "accuracy_lower": None}
    shown = {"limit": 0.05, "judged": True, "status": "shown_good", "critical": False}
    place = {"level": level, "group": group, "shift": shift}
    return JudgedCell.model_validate({**place, **plain, **accuracy, **shown, **figures})


def make_reason(rule: str, group: str | None = None, **figures) -> Reason:
    """Give a reason that says little."""
    text = f"{group} is open."
    subject = {"subject": "candidate", "rule": rule, "group": group, "text": text}
    return Reason.model_validate({**subject, **figures})


def make_verdict(
    result: str = "PASS",
    trial_id: str | None = "t1",
    set_id: str | None = "s1",
    reasons: tuple[Reason, ...] = (),
    cells: tuple[JudgedCell, ...] = (),
    **changes,
) -> Verdict:
    """Give a verdict about one candidate."""
    recipe = RecipeVerdict(
        result=result,
        strategy="random",
        draws=50,
        drawn=50,
        rejected_sets=0,
        failed_trials=0,
        distinct_draws=50,
        shown_good=50,
        shown_bad=0,
        not_shown_good=0,
        allowed_not_shown_good=1,
        p0=0.1,
        alpha=0.05,
        statement="50 of 50 distinct draws shown good.",
    )
    candidate = CandidateVerdict(result=result, trial_id=trial_id, set_id=set_id, cells=cells)
    plain = {
        "result": result,
        "headline": f"{result}: nothing else.",
        "reasons": reasons,
        "settle": (),
        "recipe": recipe,
        "candidate": candidate,
        "worst": None,
        "worst_by_level": {},
        "average": None,
        "draw_spread": (),
        "groups_not_judged": (),
        "policy_hash": "ab" * 32,
        "policy": POLICY,
    }
    return Verdict.model_validate(plain | changes)
