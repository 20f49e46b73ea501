"""Figures; apart from the other datasets, as drawing is slow to import."""

from kedro_datasets import matplotlib

from ptq_pipeline.datasets.whole import Whole


class MatplotlibDataset(Whole, matplotlib.MatplotlibDataset):
    """A figure in an image file."""
