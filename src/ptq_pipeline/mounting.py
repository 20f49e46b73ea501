"""The audit as a component: the same pipelines under a namespace in any Kedro project.

A project that mounts it has a folder ``pipelines/<name>`` with one function::

    from ptq_pipeline.mounting import create_pipeline as mount


    def create_pipeline(**kwargs):
        return mount(namespace="shop")

Kedro finds it there, also with selective loading; ``kedro ptq init`` writes it.
"""

from collections.abc import Iterable, Mapping
from importlib import import_module

from kedro.pipeline import Node, Pipeline

from ptq_pipeline.core.errors import InputError

DEFAULT = (
    "data_loading",
    "calibration",
    "quantization",
    "subgroup_scoring",
    "worst_case_check",
    "drift",
    "promotion",
    "reporting",
)
# Nouns that are nodes themselves: their class gathers what the catalog stores in parts.
GATHERED = "gathered"
_NOUNS = frozenset({"ptq_pipeline.images.audit_data", "ptq_pipeline.trials.audit"})


def create_pipeline(
    namespace: str | None = None,
    *,
    inputs: Mapping[str, str] | None = None,
    outputs: Mapping[str, str] | None = None,
    stages: Iterable[str] = DEFAULT,
) -> Pipeline:
    """Build the audit, or some of its stages, for one mount.

    Args:
        namespace: put in front of every dataset and parameter, so that two mounts do not touch each
            other; None for none.
        inputs: datasets of the host's own, by the name that the stages use, for example
            ``{"float_model": "shop_model", "image_source": "shop_images"}``. They keep their names.
        outputs: likewise, for example ``{"decision": "shop_decision"}``.
        stages: names of the stages, in any order.

    Raises:
        InputError: there is no such stage, or nothing in the stages has that name.
    """
    chain = sum((_stage(name) for name in stages), Pipeline([]))
    for what, named, existing in (
        ("input", inputs, chain.inputs()),
        ("output", outputs, chain.all_outputs()),
    ):
        unknown = sorted(set(named or {}) - existing)
        if unknown:
            data = sorted(name for name in existing if not name.startswith("params:"))
            raise InputError(
                f"create_pipeline: the stages have no {what} '{unknown[0]}'; they have "
                f"{', '.join(data)}"
            )
    return Pipeline(
        chain, namespace=namespace, inputs=dict(inputs or {}), outputs=dict(outputs or {})
    )


def stage_of(node: Node) -> str:
    """Return the stage of this package that a node belongs to; empty for a node of the host.

    What several stages gather from stored files and hand on in memory belongs to `GATHERED`.
    """
    module = getattr(node.func, "__module__", None) or ""
    if module in _NOUNS:
        return GATHERED
    package, _, rest = module.partition(".pipelines.")
    return rest.split(".")[0] if package == "ptq_pipeline" else ""


def mounts(pipeline: Pipeline) -> list[str]:
    """Return the namespaces that nodes of this package are in, the outermost of each."""
    own = [node for node in pipeline.nodes if node.namespace and stage_of(node)]
    return sorted({str(node.namespace).split(".")[0] for node in own})


def _stage(name: str) -> Pipeline:
    if not name.isidentifier():
        raise InputError(f"create_pipeline: '{name}' is no name of a stage")
    module = f"ptq_pipeline.pipelines.{name}"
    try:
        found = import_module(module)
    except ModuleNotFoundError as error:
        if error.name != module:
            raise
        raise InputError(
            f"create_pipeline: there is no stage '{name}'; the audit's are {', '.join(DEFAULT)}"
        ) from None
    # Kedro-Viz shows one stage of a mount alone by its tag.
    return Pipeline(found.create_pipeline(), tags=[name])
