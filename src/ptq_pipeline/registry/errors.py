"""What can go wrong in the registry; each message names the file and the way out."""

from ptq_pipeline.core.errors import PtqPipelineError


class RegistryError(PtqPipelineError):
    """The registry on disk cannot be read or changed as it stands."""


class VerificationError(RegistryError):
    """A hash does not hold: something was edited, truncated or lost."""


class ChampionChangedError(RegistryError):
    """Another version became the champion since the decision was made."""


class ReleaseRefusedError(RegistryError):
    """The decision, the environment or an obligation does not allow the release."""
