"""A made-up audit for tests of the report. None of these numbers was ever measured.

Scores are drawn from a seeded generator; verdict and decision follow from them by the real rules.
"""

import dataclasses
import hashlib
import itertools

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from ptq_pipeline.artifact.speed import CandidateSpeed
from ptq_pipeline.core.group_ids import GroupDefinitions, SegmentColumn
from ptq_pipeline.judgement.building import AuditSetting, build_verdict
from ptq_pipeline.judgement.business import Business, business_view
from ptq_pipeline.judgement.candidate import ComparedCell
from ptq_pipeline.judgement.champion import Comparison
from ptq_pipeline.judgement.decision import Decision, Execution, Outcome
from ptq_pipeline.judgement.policy import Policy
from ptq_pipeline.judgement.sentences import Reason, place_value, say
from ptq_pipeline.judgement.verdict import Verdict
from ptq_pipeline.pipelines.reporting.worst_group import small_png
from ptq_pipeline.reporting import page
from ptq_pipeline.reporting.figures import FIGURES
from ptq_pipeline.reporting.figures.style import inline_svg
from ptq_pipeline.reporting.lost_images import LostImages
from ptq_pipeline.reporting.results import AuditResults, ReportingParameters

CLASSES = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat",
    "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip
SEGMENTS = {"tone": ("dark", "mid", "light"), "size": ("small", "medium", "large")}
SHIFTS = ("clean", "gaussian_noise", "image_size")
COUNTS = ["n", "right", "lost", "gained", "flips"]
COMPARISONS = ("class_balanced", "class_biased", "segment_biased", "noisy")
POLICY = Policy.model_validate(
    {
        "limits": {
            "average": {"points": 1.0},
            "class": {"points": 3.0},
            "segment": {"points": 2.0},
            "intersection": {"points": 6.0, "min_size": 80},
        },
        "critical": [{"level": "segment", "group": "tone=dark"}],
    }
)


@dataclasses.dataclass(frozen=True)
class MadeUpAudit:
    """Sizes and severity of a made-up audit."""

    classes: tuple[str, ...] = CLASSES
    draws: int = 50
    comparison_draws: int = 5
    severity: float = 1.0
    seed: int = 7
    shifts: tuple[str, ...] = SHIFTS
    policy: Policy = POLICY
    audit_images: int = 8000
    intersections: bool = True


def build_inputs(audit: MadeUpAudit) -> AuditResults:
    """Build tables and documents that agree with each other."""
    rng = np.random.default_rng(audit.seed)
    sets = _sets(audit, rng)
    scores = _scores(audit, sets[sets["valid"]], rng)
    trials = _trials(sets)
    setting = AuditSetting(pool_size=7000)
    judged, table = build_verdict(scores, trials, sets, audit.policy, setting)
    files = {name: hashlib.sha256(name.encode()).hexdigest() for name in ("m.bin", "m.xml")}
    return AuditResults(
        verdict=judged,
        decision=Decision.of(judged, files, "base"),
        worst_case_table=table,
        scores=scores,
        calibration_set_index=sets,
        calibration_validation=_validation(sets, rng),
        parity=_parity(audit, judged, rng),
        drift_table=_drift(rng),
        group_definitions=GroupDefinitions(
            classes=tuple(audit.classes),
            segments={
                name: SegmentColumn(names=tuple(names), feature="brightness", thresholds=(0.2, 0.4))
                for name, names in SEGMENTS.items()
            },
        ),
        trials=trials,
        parameters={
            "quantization": {
                "method": {"weight_bits": 8, "activation_bits": 4, "rounding": "nearest"},
                "runtime": {"name": "openvino"},
            },
            "stress": {"clean": {}},
        },
    )


def _sets(audit: MadeUpAudit, rng) -> pd.DataFrame:
    plan = [("random", "evidence", draw) for draw in range(audit.draws + 1)]
    plan += [
        (name, "comparison", draw) for name in COMPARISONS for draw in range(audit.comparison_draws)
    ]
    rows = []
    for number, (strategy, role, draw) in enumerate(plan):
        bad = {"noisy": "noise", "class_biased": "class_shares"}.get(strategy, "")
        if (strategy, draw) == ("random", audit.draws):
            bad = "contrast"
        rows.append(
            {
                "set_id": f"set{number:03d}",
                "strategy": strategy,
                "role": role,
                "draw": draw,
                "seed": int(rng.integers(2**31)),
                "size": 256,
                "valid": not bad or role == "comparison" and draw == 0,
                "failed_expectations": bad,
            }
        )
    return pd.DataFrame(rows)


def _trials(sets: pd.DataFrame) -> pd.DataFrame:
    trials = sets.loc[sets["valid"], ["set_id", "strategy", "role", "draw"]].copy()
    trials.insert(0, "trial_id", "trial" + trials["set_id"])
    return trials.assign(status="done", error="", runtime="openvino").reset_index(drop=True)


def _scores(audit: MadeUpAudit, sets: pd.DataFrame, rng) -> pd.DataFrame:
    groups = list(itertools.product(audit.classes, *SEGMENTS.values()))
    tone_share = {"dark": 0.3, "mid": 0.45, "light": 0.25}
    size_share = {"small": 0.25, "medium": 0.5, "large": 0.25}
    shares = np.array([tone_share[tone] * size_share[size] for _, tone, size in groups])
    shares *= np.array([0.02 if c == "Trouser" and s == "large" else 1.0 for c, _, s in groups])
    hurt = {"Sandal": 4.0, "Shirt": 1.8, "Coat": 1.3}
    harm = np.array([hurt.get(c, 0.7) * (1.6 if t == "dark" else 0.8) for c, t, _ in groups])
    factor = {"clean": 1.0, "gaussian_noise": 1.9, "image_size": 1.4}
    named, member = _levels(groups, audit.intersections)
    parts = []
    for record in sets.to_dict("records"):
        draw_effect = np.exp(rng.normal(0, 0.35))
        splits = ["selection", "audit"] if record["role"] == "evidence" else ["selection"]
        for split, shift in itertools.product(splits, audit.shifts):
            total = audit.audit_images if split == "audit" else 2000
            n = np.maximum(1, np.round(total / len(audit.classes) * shares)).astype(int)
            right = np.random.default_rng(3).binomial(n, 0.93 if shift == "clean" else 0.85)
            rate = np.clip(
                0.016 * audit.severity * harm * factor.get(shift, 1.2) * draw_effect, 0, 0.6
            )
            lost = rng.binomial(right, rate)
            gained = rng.binomial(n - right, np.clip(rate, 0, 0.2))
            other = rng.binomial(n - right - gained, 0.1)
            counts = member @ np.stack([n, right, lost, gained, lost + gained + other], axis=1)
            base = {key: record[key] for key in ("set_id", "strategy", "role", "draw")}
            base |= {"trial_id": f"trial{record['set_id']}", "split": split, "shift": shift}
            part = named.assign(**base)[[*base, *named]]
            parts.append(pd.concat([part, pd.DataFrame(counts, columns=COUNTS)], axis=1))
    frame = pd.concat(parts, ignore_index=True)
    frame["float_accuracy"] = frame["right"] / frame["n"]
    frame["drop"] = (frame["lost"] - frame["gained"]) / frame["n"]
    frame["quantized_accuracy"] = frame["float_accuracy"] - frame["drop"]
    return frame.drop(columns="right")


def _levels(cells, intersections: bool):
    """The groups by level and name, and which cells belong to each, ``(groups, cells)``."""
    columns = pd.DataFrame(cells, columns=["class", *SEGMENTS])
    names = [("class", columns["class"])]
    for segment in SEGMENTS:
        of_segment = f"{segment}=" + columns[segment]
        names.append(("segment", of_segment))
        if intersections:
            names.append(("intersection", columns["class"] + " & " + of_segment))
    named, members = [("average", "all")], [np.ones((1, len(columns)), int)]
    for level, of_level in names:
        codes, found = pd.factorize(of_level)
        named += [(level, name) for name in found]
        ones = np.ones(len(codes), int), (codes, np.arange(len(codes)))
        members.append(sparse.csr_array(ones, shape=(len(found), len(codes))))
    return pd.DataFrame(named, columns=["level", "group"]), sparse.vstack(members).tocsr()


def _validation(sets: pd.DataFrame, rng) -> pd.DataFrame:
    checks = [
        ("class_shares", "label", "jensen_shannon"), ("tone_shares", "tone", "jensen_shannon"),
        ("noise", "noise", "ks"), ("contrast", "contrast", "ks"), ("size", "", "count"),
    ]  # fmt: skip
    rows = []
    for record in sets.to_dict("records"):
        failed = set(record["failed_expectations"].split(","))
        for expectation, column, metric in checks:
            success = expectation not in failed
            rows.append(
                {
                    **{key: record[key] for key in ("set_id", "strategy", "role")},
                    "expectation": expectation,
                    "column": column,
                    "metric": metric,
                    "observed": float(rng.uniform(0.01, 0.05) + (0 if success else 0.2)),
                    "threshold": 0.08,
                    "success": success,
                    "error": "",
                }
            )
    return pd.DataFrame(rows)


def _parity(audit: MadeUpAudit, verdict: Verdict, rng) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "trial_id": verdict.candidate.trial_id,
            "class": list(audit.classes),
            "n": 800,
            "agreement": 1 - rng.integers(0, 4, len(audit.classes)) / 800,
            "difference": rng.integers(-2, 3, len(audit.classes)) / 800,
        }
    )


def _drift(rng) -> pd.DataFrame:
    columns = ["brightness", "contrast", "sharpness", "noise", "entropy", "label", "tone", "size"]
    rows = []
    for comparison, shift in (("calibration", 0.0), ("calm", 0.0), ("drifted", 0.3)):
        for column in columns:
            moved = shift if column in ("brightness", "contrast", "tone") else 0.0
            value = float(rng.uniform(0.01, 0.06) + moved)
            rows.append(
                {
                    "comparison": comparison, "column": column, "method": "wasserstein",
                    "threshold": 0.1, "value": value, "drifted": value > 0.1, "n": 1000,
                }
            )  # fmt: skip
    return pd.DataFrame(rows)


def restate(inputs: AuditResults, decision: str | None = None, **changes) -> AuditResults:
    """Change the verdict and let the decision follow, or be another one."""
    # What is said again has no key yet.
    said = {"headline": {"headline_sentence": None}, "settle": {"settle_sentences": ()}}
    for name in said.keys() & changes:
        changes |= said[name]
    verdict = inputs.verdict.model_copy(update=changes)
    decided = Decision.of(verdict, inputs.decision.candidate.files, "base")
    if decision is not None:
        decided = decided.model_copy(update={"outcome": Outcome(decision)})
    return dataclasses.replace(inputs, verdict=verdict, decision=decided)


def complete(inputs: AuditResults, prices: dict | None = None) -> AuditResults:
    """Add what an audit has when something serves, speed was measured and prices are set."""
    rng = np.random.default_rng(1)
    business = Business.model_validate(PRICES | (prices or {}))
    view = business_view(inputs.verdict.candidate.cells, business, 0.95)
    verdict = inputs.verdict.model_copy(update={"business": view})
    comparison, files = _comparison(verdict), inputs.decision.candidate.files
    trial = verdict.candidate.trial_id
    classes = inputs.classes
    worst = verdict.worst
    return dataclasses.replace(
        inputs,
        verdict=verdict,
        decision=Decision.of(verdict, files, "base", comparison=comparison),
        champion_comparison=comparison,
        candidate_execution=Execution(
            trial_id=trial,
            files=("model.xml", "model.bin"),
            result="PASS",
            answers={shift: {"n": 10000, "different": 0} for shift in SHIFTS},
            parity=tuple(
                {"class": name, "n": 200, "agreement": 0.995, "drop_difference": 0.005}
                for name in classes
            ),
        ),
        candidate_speed=CandidateSpeed.model_validate(
            {
                "trial_id": trial,
                "runtime": {"name": "openvino", "version": "2026.4", "cpu_flags": ["avx2"]},
                "machine": "x86_64",
                "batch_size": 250,
                "rounds": 5,
                "one_image": {"median": 2.48, "low": 2.2, "high": 2.6},
                "batches": {"median": 2.4, "low": 0.7, "high": 3.1},
                "measured_at": "2026-11-26T04:10:00+00:00",
                "float": {"bytes": 1148000, "latency_ms": 0.52, "images_per_second": 9000.0},
                "candidate": {"bytes": 396000, "latency_ms": 0.21, "images_per_second": 22000.0},
            }
        ),
        lost_images=LostImages.model_validate(
            {
                "trial_id": trial,
                "group": worst.key._asdict(),
                "n": 280,
                "lost_count": 46,
                "confusions": [
                    {"label": "Sandal", "answer": "Sneaker", "count": 40},
                    {"label": "Sandal", "answer": "Bag", "count": 6},
                ],
                "set_size": 256,
                "calibration_count": 3,
                "lost": [
                    {"sample_id": i, "label": "Sandal", "answer": "Sneaker", "png": _noise(rng)}
                    for i in range(12)
                ],
                "example": [{"shift": shift, "png": _noise(rng)} for shift in SHIFTS],
                "calibration": [
                    {"sample_id": i, "label": "Sandal", "png": _noise(rng)} for i in range(3)
                ],
            }
        ),
        worst_group_layers=pd.DataFrame(
            {
                "layer": [f"blocks.{i}.conv1" for i in range(12)],
                "error_group": np.linspace(0.09, 0.01, 12),
                "error_all": 0.01,
                "clip_group": 0.03,
                "clip_all": 0.001,
            }
        ),
        decision_log=_log(),
        machine={
            "python": "3.11.7",
            "machine": "x86_64",
            "cpu_flags": ["avx2", "avx512_vnni"],
            "versions": {"ptq-pipeline": "0.1.0", "dvc": None},
            "git": {"revision": "1234567890abcdef" * 2, "dirty": True},
        },
    )


PRICES = {
    "requests_per_month": 2e7,
    "error_cost": {"Sandal": 0.4},
    "default_error_cost": 0.05,
    "prices": {"float_model": 0.08, "integer_model": 0.03},
    "switching_cost": 4000,
}


def _comparison(verdict: Verdict) -> Comparison:
    """Compare with a version that answers as the float model does, so that losses are drops."""
    cells = [
        ComparedCell.model_validate(cell.model_dump(exclude={"accuracy_lower", "critical"}))
        for cell in verdict.candidate.cells
    ]
    worst = max((cell for cell in cells if cell.judged), key=lambda cell: cell.drop)
    sentence = say(
        "champion.shown_bad",
        version="v0001",
        cell=place_value(worst.key),
        limit=worst.limit,
        drop=worst.drop,
        n=worst.n,
    )
    reason = Reason.of("champion.shown_bad", "candidate", sentence, worst.key, n=worst.n)
    return Comparison(
        result="FAIL",
        champion={"version": "v0001", "decision_hash": "c" * 64},
        reasons=(reason,),
        not_compared=("fog",),
        cells=tuple(cells),
    )


def _log() -> list[dict]:
    promotion = {
        "version": "v0001", "replaces": None, "by": "Ada", "trigger": "manual", "reasons": [],
    }  # fmt: skip
    waiver = {"rule": "candidate.limit", "by": "Bo", "reason": "<b>not sold</b> before May"}
    return [
        {
            "sequence": number,
            "kind": kind,
            "time": f"2026-11-2{number}T02:00:00+00:00",
            "content": content,
            "record_hash": f"{number}" * 64,
        }
        for number, (kind, content) in enumerate(
            [("promotion", promotion), ("waiver", waiver)], start=1
        )
    ]


def _noise(rng) -> str:
    return small_png(rng.integers(0, 255, (1, 28, 28)).astype(np.uint8))


@pytest.fixture(scope="session", autouse=True)
def drawn_once():
    """Pages of the same tables have the same figures, which take most of a page's time."""
    drawn, written = {}, {}

    def once(name, draw):
        def drawing(audit, options):
            tables = (audit.worst_case_table, audit.scores)
            key = (name, audit.of, audit.group_definitions.hash, options.model_dump_json())
            key += tuple(map(id, tables))
            # Kept with its tables, whose identity is then no other's.
            if key not in drawn:
                drawn[key] = draw(audit, options), tables
            return drawn[key][0]

        return drawing

    def svg(figure, name):
        key = (id(figure), name)
        if key not in written:
            written[key] = inline_svg(figure, name), figure
        return written[key][0]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(page, "FIGURES", {each: once(each, draw) for each, draw in FIGURES.items()})
        patch.setattr(page, "inline_svg", svg)
        yield


@pytest.fixture(scope="session")
def full(inputs) -> AuditResults:
    return complete(inputs)


@pytest.fixture(scope="session")
def restated():
    return restate


@pytest.fixture(scope="session")
def inputs() -> AuditResults:
    return build_inputs(MadeUpAudit())


@pytest.fixture(scope="session")
def options() -> ReportingParameters:
    return ReportingParameters()
