"""The calibration sets of a run."""

from ptq_pipeline.calibration.sets import CalibrationSet, load_sets, save_sets
from ptq_pipeline.datasets.local import LocalDataset


class CalibrationSetsDataset(LocalDataset):
    """A folder of packed calibration sets by set id; pixels are mapped, not read.

    Saving replaces the folder as a whole, so sets of earlier runs do not stay behind.
    """

    def load(self) -> dict[str, CalibrationSet]:
        """Return all sets in the order of their ids."""
        return load_sets(self._filepath)

    def save(self, data: dict[str, CalibrationSet]) -> None:
        """Replace the folder."""
        save_sets(data, self._filepath)
