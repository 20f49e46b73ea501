"""Kedro datasets for what this package hands from stage to stage.

Each is imported when a catalog first asks for it, so that who reads the registry waits for nothing
else.
"""

from importlib import import_module
from typing import Any

_MODULES = {
    "arrays": (
        "ArrayDataset",
        "ArrayFolderDataset",
        "CalibrationSetsDataset",
        "SafetensorsDataset",
    ),
    "directory": (
        "CandidateDirectory",
        "DirectoryDataset",
        "GrowingDirectory",
    ),
    "documents": ("DocumentDataset",),
    "expectations": ("GreatExpectationsValidator",),
    "float_model": ("FloatModelDataset",),
    "image_sources": (
        "CocoDataset",
        "IdxImageDataset",
        "ImageFolderDataset",
        "ImageManifestDataset",
        "ImageWindowsDataset",
        "SceneDataset",
        "VocDataset",
        "YoloDataset",
    ),
    "production": ("ProductionArrivalsDataset",),
    "registry": (
        "BaselineDataset",
        "ChampionDataset",
        "DecisionLogDataset",
        "RegistryDataset",
    ),
    "state": (
        "AuditLedgerDataset",
        "TrialStoreDataset",
        "ValidationCacheDataset",
    ),
    "whole": (
        "CSVDataset",
        "JSONDataset",
        "ParquetDataset",
        "TextDataset",
    ),
}
_PLACES = {name: module for module, names in _MODULES.items() for name in names}
__all__ = sorted(_PLACES)  # noqa: PLE0605


def __getattr__(name: str) -> Any:
    """Import a dataset."""
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_PLACES[name]}"), name)


def __dir__() -> list[str]:
    return [*globals(), *_PLACES]
