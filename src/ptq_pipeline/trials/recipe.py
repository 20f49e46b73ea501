"""How models are quantized and executed, parsed once: the parameters of ``quantization``."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PlainSerializer,
    PlainValidator,
    model_validator,
)

from ptq_pipeline.core.overlays import WITHOUT_NULL
from ptq_pipeline.trials.executors import DaskExecutor, Executor, ProcessExecutor, SerialExecutor

if TYPE_CHECKING:
    from ptq_pipeline.runtimes import Runtime


class _Built(BaseModel):
    """Base of the runtimes' parameters."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    def build(self) -> "Runtime":
        """Return the runtime."""
        from ptq_pipeline.runtimes import build_runtime

        return build_runtime(**self.model_dump(exclude={"batch_size"}))


class OpenvinoParameters(_Built):
    """Integer kernels on the CPU."""

    name: Literal["openvino"]
    threads: int = Field(default=2, ge=1)
    batch_size: int = Field(default=50, ge=1)


class SimulatedParameters(_Built):
    """Fake quantization in torch on any of its devices."""

    name: Literal["simulated"]
    device: str = "cpu"
    batch_size: int = Field(default=50, ge=1)


class OnnxruntimeParameters(_Built):
    """ONNX Runtime on the CPU, executing files in QDQ form."""

    name: Literal["onnxruntime"]
    threads: int = Field(default=2, ge=1)
    optimization: Literal["all", "none"] = "all"
    opset: int = Field(default=18, ge=18)
    batch_size: int = Field(default=50, ge=1)


class ExternalParameters(_Built):
    """A device of one's own, which a command runs models on, see `ExternalRuntime`."""

    name: Literal["external"]
    command: str
    tool: str
    seconds: float = Field(default=3600.0, gt=0)
    threads: int = Field(default=2, ge=1)
    batch_size: int = Field(default=10_000, ge=1)


RuntimeParameters = (
    OpenvinoParameters | SimulatedParameters | OnnxruntimeParameters | ExternalParameters
)


class SecurityParameters(BaseModel):
    """TLS credentials of this client for a Dask scheduler: PEM files.

    Attributes:
        ca_file: certificate of the authority that signed all of them.
        cert: this client's certificate.
        key: its private key.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    ca_file: str
    cert: str
    key: str


class ExecutorParameters(BaseModel):
    """Where trials run; results are the same wherever they do.

    Attributes:
        kind: ``serial`` in this process, ``process`` in worker processes of this machine, ``dask``
            on a cluster.
        workers: worker processes of this machine; 2 when left out.
        address: of a running Dask scheduler, which then brings its own workers; left out, a
            cluster is started on this machine.
        security: credentials for a scheduler at a ``tls://`` address.
        dashboard: whether the cluster of this machine serves Dask's dashboard.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["serial", "process", "dask"] = "serial"
    workers: int | None = Field(default=None, ge=1)
    address: str | None = None
    security: SecurityParameters | None = None
    dashboard: bool = False

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        encrypted = (self.address or "").startswith("tls://")
        if encrypted != (self.security is not None):
            raise ValueError(
                "executor: 'security' goes with an address that begins with tls://, and such an "
                "address with 'security'"
            )
        if self.dashboard and (self.kind != "dask" or self.address is not None):
            raise ValueError(
                "executor: 'dashboard' is for kind 'dask' without an address; a scheduler of its "
                "own has its own"
            )
        if self.address is not None and self.kind != "dask":
            raise ValueError(f"executor: an address is for kind 'dask', not '{self.kind}'")
        if self.workers is not None and (self.kind == "serial" or self.address is not None):
            raise ValueError(
                "executor: 'workers' is for kind 'process', and for kind 'dask' without an address"
            )
        return self

    def build(self) -> Executor:
        """Return the executor."""
        if self.kind == "process":
            return ProcessExecutor(self.workers or 2)
        if self.kind == "dask":
            security = None if self.security is None else self.security.model_dump()
            return DaskExecutor(
                self.address, self.workers or 2, security=security, dashboard=self.dashboard
            )
        return SerialExecutor()


def _parsed(method: Any) -> Any:
    from ptq_pipeline.ptq import method_from_json

    return method_from_json(method) if isinstance(method, Mapping) else method


class Recipe(BaseModel):
    """The method under audit and how its models are executed: the parameters of ``quantization``.

    Attributes:
        method: a `ptq_pipeline.ptq.MethodConfig`; its JSON form is complete, whatever was left out.
            Not named as a type, because methods bring torch along, which listing pipelines need
            not wait for.
        runtime: what executes the models.
        parity_draws: draws that the simulation runs too.
        executor: where trials run.
        statistics: ``shared`` calibrates draws from statistics of single images, ``direct`` by
            passes of their own.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    method: Annotated[
        Any, PlainValidator(_parsed), WITHOUT_NULL, PlainSerializer(lambda each: each.to_json())
    ]
    runtime: Annotated[RuntimeParameters, Field(discriminator="name"), WITHOUT_NULL]
    parity_draws: int = Field(default=1, ge=0)
    executor: ExecutorParameters = ExecutorParameters()
    statistics: Literal["shared", "direct"] = "shared"

    @property
    def file_format(self) -> str | None:
        """Format of the files of a method of another tool; None for methods of this package."""
        found: str | None = self.method.file_format
        return found

    @model_validator(mode="after")
    def _executable(self) -> Self:
        needed = {"openvino": "openvino", "blob": "external"}.get(self.file_format or "")
        if needed is not None and self.runtime.name not in (needed, "external"):
            raise ValueError(
                f"quantization: method {self.method.name!r} writes {self.file_format} files, which "
                f"the runtime {self.runtime.name!r} cannot execute; set runtime.name to {needed}"
            )
        return self
