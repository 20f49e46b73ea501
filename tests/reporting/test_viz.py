"""The figures in Kedro-Viz, built without a network."""

import base64

import pytest
from kedro.framework.project import configure_project, pipelines
from tests.project import built_viz

from ptq_pipeline.reporting.figures import FIGURES


@pytest.mark.slow
def test_kedro_viz_shows_the_figures_and_names_the_pipelines(small, inputs, options):
    folder = small / "data/08_reporting/figures"
    folder.mkdir(parents=True)
    for name, draw in FIGURES.items():
        figure, _ = draw(inputs, options)
        for kind in ("png", "svg"):
            figure.savefig(folder / f"{name}.{kind}")
    named, previews = built_viz(small)
    configure_project("ptq_pipeline")
    assert named == set(pipelines)
    for name in FIGURES:
        shown = base64.b64decode(previews[f"{name}_figure"])
        assert shown == (folder / f"{name}.png").read_bytes()
        assert previews[f"{name}_drawing"] is None
