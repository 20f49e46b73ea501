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
# What the audit and the requantization share, where a pipeline reads it.
SHARED = (
    "group_definitions",
    "float_model",
    "feature_projection",
    "calibration_validation_cache",
    "trial_store",
    "champion_baseline",
    "audit_ledger",
)
PRODUCTION_TABLES = ("production_samples", "production_images", "production_sample_profiles")


def create_pipeline(**kwargs: object) -> Pipeline:
    """Build the pipeline."""
    gathered = Node(
        gather_samples,
        ["old_samples", "old_images", "old_profiles", *PRODUCTION_TABLES],
        ["samples", "images", "profiles", "audited_samples", "production_judged_samples"],
        name="gather_samples",
    )
    divided = Node(
        divide_predictions,
        [
            *("predictions", "float_predictions"),
            *("audited_samples", "production_judged_samples", "params:reaudit"),
        ],
        [
            *("audited_predictions", "audited_float_predictions"),
            *("production_judged_predictions", "production_judged_float_predictions"),
        ],
        name="divide_predictions",
    )
    merged = Node(
        merge_scores,
        [
            *("audited_scores", "production_judged_scores"),
            *("production_judged_samples", "trials", "audit_ledger", "params:worst_case_check"),
        ],
        "scores",
        name="merge_scores",
    )
    # The champion's answers are known on the images of the audit.
    judged = _renamed(
        worst_case_check.create_pipeline(),
        {name: f"audited_{name}" for name in ("samples", "predictions", "float_predictions")},
    )
    chain = (
        Pipeline([gathered, divided, merged])
        + calibration.create_pipeline()
        + quantization.create_pipeline()
        + _scored("audited")
        + _scored("production_judged")
        + judged
        + promotion.create_pipeline()
    )
    inputs = chain.inputs()
    shared = {name: name for name in (*SHARED, *PRODUCTION_TABLES) if name in inputs}
    shared |= {f"old_{name}": name for name in ("samples", "images", "profiles")}
    return Pipeline(chain, namespace=NAME, inputs=shared, parameters=_parameters(chain))


def _scored(images: str) -> Pipeline:
    """Score the groups of the audit's images, or of production's."""
    pipeline = subgroup_scoring.create_pipeline()
    own = {name: f"{images}_{name}" for name in ("samples", "predictions", "float_predictions")}
    return Pipeline(
        pipeline,
        namespace=images,
        inputs=own | {name: name for name in ("trials", "group_definitions")},
        outputs={"scores": f"{images}_scores"},
        parameters=_parameters(pipeline),
    )


def _renamed(pipeline: Pipeline, inputs: dict[str, str]) -> Pipeline:
    return Pipeline(pipeline, inputs=inputs, parameters=_parameters(pipeline))


def _parameters(pipeline: Pipeline) -> set[str]:
    """Parameters keep their names: the requantization asks what the audit asks."""
    return {name for name in pipeline.inputs() if name.startswith("params:")}
