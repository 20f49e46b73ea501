"""Where audits are sent; apart from what sends them, as every start of Kedro reads it."""

from importlib.util import find_spec
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field


class TrackingParameters(BaseModel):
    """Where audits are sent.

    Attributes:
        tracking_uri: Of the server, or of a database (``sqlite:///mlflow.db``); None sends nothing.
        experiment: Name of the experiment whose runs audits become.
        registered_model: Name of the model whose versions are promoted.
        timeout_seconds: After which an answer is no longer waited for.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    tracking_uri: str | None = None
    experiment: str = Field(default="ptq", min_length=1)
    registered_model: str = Field(default="model", pattern=r"^[^/:]+$")
    timeout_seconds: int = Field(default=20, ge=1)

    def without_password(self, text: str) -> str:
        """Give a text without the name and password that the server's address may hold."""
        secret, at, _ = urlsplit(self.tracking_uri or "").netloc.rpartition("@")
        return text.replace(f"{secret}@", "") if at else text

    @property
    def is_missing(self) -> bool:
        """Whether audits are to be sent and the package is not there."""
        return self.tracking_uri is not None and find_spec("mlflow") is None
