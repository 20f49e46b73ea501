"""Parameters of ``quantization`` and of the shifts it evaluates under."""

from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, RootModel, field_validator, model_validator

from ptq_pipeline.stress import build_shift


class StressParameters(RootModel[dict[str, dict[str, Any]]]):
    """Shifts by name; ``clean`` must be among them, because every drop is read beside it."""

    @model_validator(mode="after")
    def _known(self) -> Self:
        if "clean" not in self.root:
            raise ValueError("stress: the shift 'clean' is missing; add 'clean: {}'")
        for name, options in self.root.items():
            build_shift(name, options)
        return self


class OpenvinoParameters(BaseModel):
    """Integer kernels on the CPU."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Literal["openvino"]
    threads: int = Field(default=2, ge=1)
    batch_size: int = Field(default=50, ge=1)

    @property
    def options(self) -> dict[str, Any]:
        """What the runtime is built with."""
        return {"threads": self.threads}


class SimulatedParameters(BaseModel):
    """Fake quantization in torch on any of its devices."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Literal["simulated"]
    device: str = "cpu"
    batch_size: int = Field(default=50, ge=1)

    @property
    def options(self) -> dict[str, Any]:
        """What the runtime is built with."""
        return {"device": self.device}


class OnnxruntimeParameters(BaseModel):
    """ONNX Runtime on the CPU, executing files in QDQ form."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Literal["onnxruntime"]
    threads: int = Field(default=2, ge=1)
    optimization: Literal["all", "none"] = "all"
    opset: int = Field(default=18, ge=18)
    batch_size: int = Field(default=50, ge=1)

    @property
    def options(self) -> dict[str, Any]:
        """What the runtime is built with."""
        return {"threads": self.threads, "optimization": self.optimization, "opset": self.opset}


RuntimeParameters = OpenvinoParameters | SimulatedParameters | OnnxruntimeParameters


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


class QuantizationParameters(BaseModel):
    """The method under audit and how its models are executed."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    method: dict[str, Any]
    runtime: RuntimeParameters = Field(discriminator="name")
    parity_draws: int = Field(default=1, ge=0)
    executor: ExecutorParameters = ExecutorParameters()
    statistics: Literal["shared", "direct"] = "shared"

    @model_validator(mode="after")
    def _executable(self) -> Self:
        from ptq_pipeline.ptq import method_from_json

        written = getattr(method_from_json(self.method), "file_format", None)
        if written == "openvino" and self.runtime.name != "openvino":
            raise ValueError(
                f"quantization: method {self.method['name']!r} writes OpenVINO files, which the "
                f"runtime {self.runtime.name!r} cannot execute; set runtime.name to openvino"
            )
        return self

    @field_validator("method")
    @classmethod
    def _complete(cls, method: dict[str, Any]) -> dict[str, Any]:
        from ptq_pipeline.ptq import method_from_json

        return method_from_json(method).to_json()
