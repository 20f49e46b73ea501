"""Parameters of ``release``."""

from pydantic import BaseModel, ConfigDict, Field


class ReleaseParameters(BaseModel):
    """Which decisions may be released, and what the record says about it.

    Attributes:
        allowed_environments: environments whose decisions are accepted.
        acknowledged: touched obligations that somebody took note of, by name and figure.
        by: who releases.
        trigger: what caused the release.
        gto_name: GTO's name of the artifact, for ``--gto``.
        gto_stage: the stage that the champion has there.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    allowed_environments: tuple[str, ...] = Field(default=("base",), min_length=1)
    acknowledged: tuple[str, ...] = ()
    by: str = ""
    trigger: str = Field(default="manual", min_length=1)
    gto_name: str = Field(default="model", pattern=r"^[a-z][a-z0-9-]*[a-z0-9]$")
    gto_stage: str = Field(default="production", pattern=r"^[a-z][a-z0-9-]*[a-z0-9]$")
