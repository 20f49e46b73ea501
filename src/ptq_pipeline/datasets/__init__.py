"""Kedro datasets for what this package hands from stage to stage."""

from ptq_pipeline.datasets.arrays import (
    ArrayDataset,
    ArrayFolderDataset,
    CalibrationSetsDataset,
    SafetensorsDataset,
)
from ptq_pipeline.datasets.directory import (
    CandidateDirectory,
    DirectoryDataset,
    GrowingDirectory,
)
from ptq_pipeline.datasets.expectations import GreatExpectationsValidator
from ptq_pipeline.datasets.float_model import FloatModelDataset
from ptq_pipeline.datasets.image_sources import (
    CocoDataset,
    IdxImageDataset,
    ImageFolderDataset,
    ImageManifestDataset,
    ImageWindowsDataset,
    SceneDataset,
    VocDataset,
    YoloDataset,
)
from ptq_pipeline.datasets.production import (
    HistoryDataset,
    ProductionArrivalsDataset,
)
from ptq_pipeline.datasets.state import (
    AuditLedgerDataset,
    BaselineDataset,
    ChampionDataset,
    DecisionLogDataset,
    RegistryDataset,
    TrialStoreDataset,
    ValidationCacheDataset,
)
from ptq_pipeline.datasets.whole import (
    CSVDataset,
    JSONDataset,
    OptionalJSONDataset,
    ParquetDataset,
    TextDataset,
)

__all__ = [
    "ArrayDataset",
    "ArrayFolderDataset",
    "AuditLedgerDataset",
    "BaselineDataset",
    "CSVDataset",
    "CalibrationSetsDataset",
    "CocoDataset",
    "CandidateDirectory",
    "ChampionDataset",
    "DecisionLogDataset",
    "DirectoryDataset",
    "FloatModelDataset",
    "GreatExpectationsValidator",
    "GrowingDirectory",
    "HistoryDataset",
    "IdxImageDataset",
    "ImageFolderDataset",
    "ImageManifestDataset",
    "ImageWindowsDataset",
    "JSONDataset",
    "OptionalJSONDataset",
    "ParquetDataset",
    "ProductionArrivalsDataset",
    "RegistryDataset",
    "SafetensorsDataset",
    "SceneDataset",
    "TextDataset",
    "TrialStoreDataset",
    "ValidationCacheDataset",
    "VocDataset",
    "YoloDataset",
]
