"""Audit post-training quantization by its worst case, before a model ships."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ptq_pipeline.tasks.checking import check as check

__version__ = "0.1.0"
__all__ = ["check"]


def __getattr__(name: str) -> Any:
    # Who imports the package for its pipelines does not wait for pandas and scipy.
    if name != "check":
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    from ptq_pipeline.tasks.checking import check

    return check
