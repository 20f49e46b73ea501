"""What the statistics say: a key with values, and the English that goes with it.

``verdict.json`` holds a sentence twice: as English text, and as key and values, from which a
report says it in another language and with that language's numbers. A reason is one rule, what it
saw, and one sentence.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from string import Formatter
from typing import Any, ClassVar, Literal, Self

from pydantic import Field

from ptq_pipeline.core.documents import Document, Interval
from ptq_pipeline.core.group_ids import Level

Result = Literal["PASS", "FAIL", "INCONCLUSIVE"]
# Of what is found beside the verdict; NONE where there is nothing to find.
BesideResult = Literal["PASS", "FAIL", "INCONCLUSIVE", "NONE"]
Subject = Literal["recipe", "candidate"]

# ``{name:kind}``: count, ``+noun`` (a count with its noun), points, percent (of a fraction, with an
# optional format), floor_percent, ordinal, loss (a drop as a verb), at_most (a count), name (of a
# shift or subject), group and cell; without a kind the value as it is.
_JUDGED = "This is the {index:ordinal} question asked of these audit images"
_OPEN = (
    "{open:count} of {draws:+draw} are not shown to keep every limit, and {allowed:at_most} may be "
    "left open"
)
_WORST = (
    "{result}: {cell:cell} {mean:loss} on average over {draws:+draw}, {worst:points} in the worst "
    "one (limit {limit:points})"
)
_MODEL = "{result}: {cell:cell} {mean:loss} (limit {limit:points})"
_MORE = "About {more:count} more audit samples of {cell:cell} would show that the {subject:name} "
_FLOOR = "{to} is promised {floor:percent.1f} accuracy for {cell:cell}"
_REACHED = "; the candidate reaches {accuracy:percent.1f} on {n:+sample}"
_AT_LEAST = _REACHED + " (at least {lower:percent.1f}): "
_TOLD = "{to} must be told before this release: {flips:count} of {n:+answer} for {cell:cell} differ"
_LOSS = ": {drop:points} on {n:+sample}."

ENGLISH: dict[str, str] = {
    "headline.nothing_judged": "{result}: no class, segment or intersection could be judged.",
    "headline.worst": _WORST + ".",
    "headline.model": _MODEL + ".",
    "headline.model_and_average": _MODEL + "; the average under {shift:name} {average:loss}.",
    "headline.worst_and_average": _WORST + "; the average under {shift:name} {average:loss}.",
    "recipe.shown_bad": "{bad:count} of {draws:+draw} are shown to exceed a limit or failed to "
    "run, so more than {p0:percent} of draws are bad (certain enough after {after:+draw}).",
    "recipe.few_sets": "Only {some:count} valid sets of the preset {preset:count} were drawn.",
    "recipe.no_trial": "{some:+accepted calibration set} have no trial yet.",
    "recipe.cannot_show": "{draws:+distinct draw} cannot show that at most {p0:percent} of draws "
    "are bad, even if all are good; {needed:count} can.",
    "recipe.open": _OPEN + ".",
    "recipe.open_by": _OPEN + "; {cell:cell} stands in the way of {blocked:count} of them.",
    "recipe.one_model": "One model was judged, without calibration draws: nothing is said of what "
    "the same recipe does with other calibration data.",
    "recipe.says_bad": "{bad:count} of {draws:+distinct draw} shown to lose more than a limit.",
    "recipe.says_nothing": "{good:count} of {draws:+distinct draw} shown good: nothing is shown "
    "yet about the share of good draws.",
    "recipe.says_good": "{good:count} of {draws:+distinct draw} shown good: at least "
    "{share:floor_percent} of draws from this pool are good, at {confidence:percent} confidence.",
    "recipe.says_good_by_sample": "{good:count} of {draws:+distinct draw} shown good, "
    "{sampled:count} of the draws evaluated by a sample, with {looked_at:percent.1f} of all "
    "answers: at least {share:floor_percent} of draws from this pool are good, at "
    "{confidence:percent} confidence.",
    "tolerance.no_share": "These draws bound no share of all draws.",
    "tolerance.no_bound": "These draws bound no loss below 99 points.",
    "tolerance.bound": "With {confidence:percent} confidence at least {share:floor_percent} of "
    "all draws from this pool lose no more than {bound:points.2} in the worst judged group.",
    "ledger.spent": _JUDGED + ", at a level of {alpha:percent.2g}.",
    "ledger.first": _JUDGED + ".",
    "ledger.not_fresh": _JUDGED + ", and policy asks for fresh ones.",
    "ledger.look": "This look may spend {share:percent.3g} of its level, because policy plans "
    "others or they were taken.",
    "ledger.again": _JUDGED + "; that some one of {index:count} passes wrongly has a chance of up "
    "to {bound:percent.3g}, not {alpha:percent}.",
    "worst_group.bound": "With {confidence:percent} confidence the candidate loses no more than "
    "{drop:points.2} in the worst judged group; with the same confidence it is right on at least "
    "{accuracy:percent.1f} in the group that it is right on least often.",
    "candidate.missing": "No trial of the recipe finished, so there is nothing that could ship.",
    "candidate.shown_bad": "The drop of {cell:cell} is shown to exceed its limit of {limit:points}"
    + _LOSS,
    "candidate.open": "The drop of {cell:cell} is not shown to stay below its limit of "
    "{limit:points}" + _LOSS,
    "candidate.execution": "the exported {file} answers {different:count} of {n:count} images "
    "under {shift:name} differently from the model that was judged, so the verdict does not hold "
    "for it",
    "candidate.parity": "the exported {file} answers {different:count} of {n:count} selection "
    "images differently from the simulation of its integers, {lost:count} of {size:count} in class "
    "{label}, so its kernels do not compute what was quantized",
    "audit_reused": "These audit images were asked {before:+other question} before, and policy "
    "asks for fresh ones (ledger.rule: fresh).",
    "audit_questions_spent": "Policy divides its error among {questions:+question} to these audit "
    "images, and this is the {index:ordinal} (ledger.questions).",
    "audit_looks_spent": "This recipe was asked about on these audit images before, with other "
    "draws, groups, limits, shifts or images, and policy planned no further look that could pass "
    "(ledger.looks).",
    "quick_look": "Only a few groups are judged (worst_case_check.representatives): such a look "
    "can refuse a recipe, it cannot pass one.",
    "critical_not_judged": "Policy names {group:group} critical, but its {n:+sample} cannot be "
    "judged: {needed:count} are needed.",
    "group_not_judged": "{group:group} has {n:+audit image} and needs {needed:count} to be judged.",
    "float_floor": "The float model is right on {accuracy:percent.1f} of {n:+image} of "
    "{cell:cell}, which does not show more than {floor:percent.1f}: nothing is left to lose there, "
    "so it is not judged.",
    "not_judged.all": "Not judged: {groups:unjudged}.",
    "not_judged.some": "Not judged: {groups:unjudged}, and {more:+other group}.",
    "nothing_judged": "No group is large enough for its limit, so nothing is judged.",
    "clustered_data": "{group:group} and other groups hold several samples of one cluster, and "
    "the answers by cluster are not at hand; these samples are not independent.",
    "settle.fresh_images": "Fresh audit images: the error of this question to these ones is spent, "
    "and another look at them could not pass.",
    "settle.group_samples": "{more:count} more audit samples of {group:group} would let it be "
    "judged.",
    "settle.allow_not_judged": "Or name the classes and segments that may ship without having been "
    "judged in worst_case_check.allow_not_judged.",
    "settle.float_floor": "A float model that is right more often under {shift:name}, or an audit "
    "without that shift.",
    "settle.preset_draws": "{more:+more draw}, as preset.",
    "settle.trials": "The trials of {some:+accepted calibration set}.",
    "settle.distinct_draws": "{more:+more distinct draw} (preset {preset:count} or more).",
    "settle.new_run": "A new run preset to about {draws:count} draws could pass if the share of "
    "draws not shown good stayed at {share:percent.0f}.",
    "settle.keeps": _MORE + "keeps the limit there, at the rates seen.",
    "settle.out_of_reach": "Whether the {subject:name} keeps the limit of {cell:cell} cannot be "
    "settled with data of this size: its drop there is too near the limit.",
    "settle.exceeds": _MORE + "exceeds the limit there, at the rates seen.",
    "settle.other_groups": "{some:count} other groups need more samples too.",
    "champion.no_candidate": "There is no candidate to compare with the version that serves.",
    "champion.other_images": "Version {version} was audited on other images than this candidate, "
    "so the two cannot be compared answer by answer: audit the version that serves on these images "
    "first (re-audit), or waive champion.not_comparable.",
    "champion.no_shift": "Version {version} was audited under none of the shifts of this audit.",
    "champion.nothing_judged": "No group is large enough for the tolerance, so nothing is "
    "compared.",
    "champion.not_judged": "Against version {version}, {group:group} has {n:+audit image} and "
    "needs {needed:count} to be compared.",
    "champion.shown_bad": "Against version {version}, {cell:cell} is shown to lose more than the "
    "tolerance of {limit:points}" + _LOSS,
    "champion.open": "Against version {version}, {cell:cell} is not shown to lose less than the "
    "tolerance of {limit:points}" + _LOSS,
    "floor.not_measured": _FLOOR + ", which was not measured.",
    "floor.below": _FLOOR + _AT_LEAST + "below it.",
    "floor.not_shown": _FLOOR + _AT_LEAST + "too few samples to show it.",
    "floor.not_independent": _FLOOR + _REACHED + ", which are not independent: it cannot be shown.",
    "notice.not_measured": "{to} must be told of changes to {cell:cell}; it was not measured.",
    "notice.champion": _TOLD + " from the version that serves.",
    "notice.float_model": _TOLD + " from the float model.",
    "business.shares_of_audit": "requests of the groups of '{level}' come in shares as in the "
    "audit",
    "business.shares_given": "requests of the groups of '{level}' come in shares as given",
    "business.clean": "production looks like the clean audit images; shifts are not priced",
    "business.same_cost": "every added error costs the same within its group, every error that "
    "goes away saves it",
    "business.prices": "serving is priced as given",
    "business.latency": "serving is priced by measured latency on machines that are always busy",
    "business.intervals": "intervals hold for all groups together at {confidence:percent} and know "
    "image error of this one artifact, not the spread over calibration draws",
    "business.exact": "requests, prices and costs are taken as exact",
}


class Sentence(Document):
    """One thing that is said, by its key in :data:`ENGLISH`.

    Values are fractions, counts and names; a group is a mapping of ``level`` and ``group``, a cell
    of these and ``shift``.
    """

    key: str
    values: dict[str, Any] = Field(default_factory=dict)

    @property
    def text(self) -> str:
        """The sentence in English."""
        return _ENGLISH.vformat(ENGLISH[self.key], (), self.values)

    @property
    def of_units(self) -> str:
        """The same about whatever can be right or wrong, not about images.

        Examples:
            >>> cell = {"level": "class", "group": "image", "shift": "clean"}
            >>> right = {"accuracy": 0.3, "n": 40, "floor": 0.2}
            >>> say("float_floor", cell=cell, **right).of_units.partition(",")[0]
            'The float model is right on 30.0 % of 40 units of class image under clean'
        """
        return _OF_UNITS.vformat(_without_images(ENGLISH[self.key]), (), self.values)


def say(key: str, **values: Any) -> Sentence:
    """Give the sentence of ``key``.

    Examples:
        >>> say("settle.trials", some=2).text
        'The trials of 2 accepted calibration sets.'
    """
    plain = {k: v.item() if hasattr(v, "item") else v for k, v in values.items()}
    return Sentence(key=key, values=plain)


class Reason(Document):
    """Why a verdict is what it is.

    Attributes:
        rule: Name of the rule, e.g. ``candidate.limit``.
        text: What it says, in English.
        observed: Observed value; a drop is a fraction, a count of draws a count.
        limit: What it was held against.
        n: Samples or draws behind it.
    """

    added: ClassVar[frozenset[str]] = frozenset({"sentence"})

    rule: str
    subject: Subject
    text: str
    sentence: Sentence | None = None
    level: Level | None = None
    group: str | None = None
    shift: str | None = None
    observed: float | None = None
    interval: Interval | None = None
    limit: float | None = None
    n: int | None = None

    @classmethod
    def of(
        cls,
        rule: str,
        subject: Subject,
        sentence: Sentence,
        place: Sequence[str] = (),
        **figures: Any,
    ) -> Self:
        """Give a reason by its sentence.

        ``place`` is the group or cell that is concerned; ``figures`` are ``observed``,
        ``interval``, ``limit``, ``n`` and, without a group, ``shift``.
        """
        said = {"rule": rule, "subject": subject, "text": sentence.text, "sentence": sentence}
        return cls.model_validate({**said, **place_value(place), **figures})

    @property
    def of_units(self) -> Self:
        """The same about whatever can be right or wrong, not about images."""
        text = self.text if self.sentence is None else self.sentence.of_units
        return self.model_copy(update={"text": text})


def combine(results: Sequence[BesideResult]) -> Result:
    """FAIL if any fails, PASS if all pass, otherwise INCONCLUSIVE; NONE says nothing."""
    if "FAIL" in results:
        return "FAIL"
    found = [result for result in results if result != "NONE"]
    return "PASS" if found and all(result == "PASS" for result in found) else "INCONCLUSIVE"


def place_value(place: Sequence[str]) -> dict[str, str]:
    """A group, or a group under a shift, as the value of a sentence."""
    return dict(zip(("level", "group", "shift"), place, strict=False))


def points(fraction: float) -> str:
    """A fraction of accuracy as points, e.g. ``8.8 points``."""
    return f"{100 * fraction:z.1f} points"


def loss(fraction: float) -> str:
    """What is lost, as a verb, e.g. ``loses 8.8 points`` or ``gains 0.1 points``.

    Examples:
        >>> loss(0.088), loss(-0.001), loss(0.0001)
        ('loses 8.8 points', 'gains 0.1 points', 'loses nothing')
    """
    shown = points(abs(fraction))
    if shown == points(0.0):
        return "loses nothing"
    return f"{'loses' if fraction > 0 else 'gains'} {shown}"


def group_name(level: str, group: str) -> str:
    """A group with its level, e.g. ``class Sandal``."""
    return "the average" if level == "average" else f"{level} {group}"


def cell_name(level: str, group: str, shift: str) -> str:
    """A group with its shift, e.g. ``class Sandal under gaussian_noise``."""
    return f"{group_name(level, group)} under {shift}"


def plural(count: int, noun: str) -> str:
    """A count with its noun, e.g. ``1 draw`` or ``3 draws``."""
    return f"{count:,} {noun}" + ("" if count == 1 else "s")


def unjudged_words(value: Mapping[str, Any], noun: str = "image") -> str:
    """A group that is not judged, with what it has and needs, e.g. ``bag (3 images, needs 42)``."""
    if value["accuracy"] is None:
        why = f"{plural(value['n'], noun)}, needs {value['needed']:,}"
    else:
        right = f"{100 * value['accuracy']:z.1f} %"
        why = f"under {value['shift']} the float model is right on {right}"
    allowed = "; policy allows it" if value["allowed"] else ""
    return f"{group_name(value['level'], value['group'])} ({why}{allowed})"


def ordinal(index: int) -> str:
    """A place in a row, e.g. ``2nd``."""
    suffix = "th" if index % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(index % 10)
    return f"{index}{suffix or 'th'}"


class Wording(Formatter):
    """Fills the templates of one language.

    ``kinds`` say how a value is said, by the kind that is behind its name in the template; each is
    given the value and what follows the kind (``.1f`` without its dot, or a noun).
    """

    def __init__(self, kinds: Mapping[str, Callable[[Any, str], str]]) -> None:
        self.kinds = kinds

    def format_field(self, value: Any, format_spec: str) -> str:
        """Say one value."""
        if format_spec.startswith("+"):
            return self.kinds["+"](value, format_spec[1:])
        kind, _, argument = format_spec.partition(".")
        return self.kinds[kind](value, argument)


_ENGLISH = Wording(
    {
        "": lambda value, _: str(value),
        "name": lambda value, _: str(value),
        "+": plural,
        "count": lambda value, _: f"{value:,}",
        "points": lambda value, digits: f"{100 * value:z.{digits or 1}f} points",
        "percent": lambda value, form: f"{format(100 * value, f'z.{form}' if form else 'zg')} %",
        "floor_percent": lambda value, _: f"{math.floor(100 * value)} %",
        "ordinal": lambda value, _: ordinal(value),
        "loss": lambda value, _: loss(value),
        "at_most": lambda value, _: f"at most {value:,}" if value else "none",
        "group": lambda value, _: group_name(**value),
        "cell": lambda value, _: cell_name(**value),
        "unjudged": lambda value, _: ", ".join(map(unjudged_words, value)),
    }
)
_OF_UNITS = Wording(
    {
        **_ENGLISH.kinds,
        "unjudged": lambda value, _: ", ".join(unjudged_words(each, "unit") for each in value),
    }
)


def _without_images(template: str) -> str:
    # Also the nouns of counts, which are within the braces; no value is called so.
    return re.sub(r"\b(?:audit )?image", "unit", template)
