"""The ``requantization`` pipeline: the pipelines of the audit, in a namespace."""

from kedro.pipeline import Node, Pipeline

from ptq_pipeline.pipelines import (
    calibration,
    promotion,
    quantization,
    subgroup_scoring,
    worst_case_check,
)
from ptq_pipeline.pipelines.requantization.nodes import (
    divide_predictions,
    gather_samples,
    merge_scores,
)

NAME = "requantization"
# What the audit and the requantization share.
SHARED = (
    "group_definitions",
    "float_model",
    "feature_projection",
    "calibration_validation_cache",
    "trial_store",
    "champion_baseline",
    "audit_ledger",
)


def create_pipeline(**kwargs: object) -> Pipeline:
    """Build the pipeline."""
    gathered = Node(
        gather_samples,
        [
            *("samples", "images", "profiles", "group_definitions"),
            *("production_samples", "production_images", "production_sample_profiles"),
        ],
        [
            *(f"{NAME}.samples", f"{NAME}.images", f"{NAME}.profiles"),
            *(f"{NAME}.audited.samples", f"{NAME}.production.samples"),
        ],
        name="gather_samples",
    )
    divided = Node(
        divide_predictions,
        [
            *(f"{NAME}.predictions", f"{NAME}.float_predictions"),
            *(f"{NAME}.audited.samples", f"{NAME}.production.samples", "params:reaudit"),
        ],
        [
            *(f"{NAME}.audited.predictions", f"{NAME}.audited.float_predictions"),
            *(f"{NAME}.production.predictions", f"{NAME}.production.float_predictions"),
        ],
        name="divide_predictions",
    )
    merged = Node(
        merge_scores,
        [f"{NAME}.audited.scores", f"{NAME}.production.scores"],
        f"{NAME}.scores",
        name="merge_scores",
    )
    trials = {"trials": f"{NAME}.trials"}
    return sum(
        (
            _mounted(calibration.create_pipeline(), NAME),
            _mounted(quantization.create_pipeline(), NAME),
            Pipeline([divided]),
            _mounted(subgroup_scoring.create_pipeline(), f"{NAME}.audited", trials),
            _mounted(subgroup_scoring.create_pipeline(), f"{NAME}.production", trials),
            Pipeline([merged]),
            _mounted(
                worst_case_check.create_pipeline(),
                NAME,
                # The champion's answers are known on the images of the audit.
                {
                    "samples": f"{NAME}.audited.samples",
                    "predictions": f"{NAME}.audited.predictions",
                },
            ),
            _mounted(promotion.create_pipeline(), NAME),
        ),
        Pipeline([gathered]),
    )


def _mounted(
    pipeline: Pipeline, namespace: str, renamed: dict[str, str] | None = None
) -> Pipeline:
    """Put a pipeline of the audit into a namespace; parameters and shared data stay its own."""
    inputs = pipeline.inputs()
    parameters = {name for name in inputs if name.startswith("params:")}
    mapped = {name: name for name in SHARED if name in inputs} | dict(renamed or {})
    return Pipeline(pipeline, namespace=namespace, inputs=mapped, parameters=parameters)
