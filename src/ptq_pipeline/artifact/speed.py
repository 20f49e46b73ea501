"""Size and speed of what ships beside the float model's: the document of one measurement."""

from typing import ClassVar

from pydantic import ConfigDict, Field

from ptq_pipeline.core.documents import Document


class MeasuredRuntime(Document):
    """The runtime that speed was measured in; each has further settings of its own."""

    model_config = ConfigDict(extra="allow")

    name: str
    version: str
    threads: int | None = None
    cpu_flags: tuple[str, ...] = ()


class ModelSpeed(Document):
    """Size on disk, latency of one image, and images a second in batches."""

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
