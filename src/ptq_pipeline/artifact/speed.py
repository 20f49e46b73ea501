"""Size and speed of what ships beside the float model's: the document of one measurement."""

from collections.abc import Sequence
from statistics import median
from typing import ClassVar, Self

from pydantic import ConfigDict, Field

from ptq_pipeline.core.documents import Document


class MeasuredRuntime(Document):
    """The runtime that speed was measured in; each has further settings of its own."""

    model_config = ConfigDict(extra="allow")

    name: str
    version: str
    threads: int | None = None
    cpu_flags: tuple[str, ...] = ()


class Ratio(Document):
    """How many times as fast the candidate is, over rounds of measuring both in turn."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, rounds: Sequence[float]) -> Self:
        """Sum up the rounds."""
        shown = [float(f"{value:.3g}") for value in (median(rounds), min(rounds), max(rounds))]
        return cls(median=shown[0], low=shown[1], high=shown[2])

    @property
    def reliable(self) -> bool:
        """Whether all rounds agree which model is faster, and differ by less than a factor of 2."""
        return (self.low >= 1 or self.high <= 1) and self.high < 2 * self.low


class ModelSpeed(Document):
    """Size on disk, latency of one image, and images a second in batches: medians of rounds."""

    bytes: int
    latency_ms: float
    images_per_second: float


class CandidateSpeed(Document):
    """Candidate and float model on one machine at one moment, ``candidate_speed.json``.

    Attributes:
        trial_id: The candidate's; None without a candidate, and then nothing was measured.
        runtime: What serves, with threads and the processor's flags.
        machine: The processor's architecture.
        batch_size: Images of one inference in batches.
        measured_at: When, in UTC (ISO 8601): the report's date.
        rounds: How often both were measured in turn.
        one_image: How many times as fast the candidate answers one image alone.
        batches: The same for images in batches.
    """

    called: ClassVar[str] = "candidate_speed.json"
    way_out: ClassVar[str] = "run the pipeline 'promotion' again"

    schema_version: int = 1
    trial_id: str | None
    runtime: MeasuredRuntime
    machine: str
    batch_size: int
    float_: ModelSpeed | None = Field(default=None, alias="float")
    candidate: ModelSpeed | None = None
    measured_at: str | None = None
    rounds: int = 1
    one_image: Ratio | None = None
    batches: Ratio | None = None
