"""What ``kedro ptq init`` writes into a project: this project's own configuration, for one mount.

``base`` is ``conf/base`` of this repository (a link in the source, copied into the wheel), so what
a host starts from is what the tests of this project run.
"""

from collections.abc import Iterable
from functools import cache
from pathlib import Path
from textwrap import indent
from typing import Any

import yaml

from ptq_pipeline.core.errors import InputError

BASE = Path(__file__).parent / "base"
LOGGING_FILE = Path(__file__).parent / "logging.yml"
# What a host brings itself; everything else is the same in every mount.
BROUGHT = ("image_source", "production_windows", "production_arrivals", "float_model")
GROUPS = (
    "data_loading", "calibration", "quantization", "stress", "subgroup_scoring",
    "worst_case_check", "business", "drift", "promotion", "release", "reporting", "settling",
    "monitoring", "reaudit", "ladder", "repair", "mlflow",
)  # fmt: skip

_SHIM = '''"""Audit of `{mount}`: the pipelines of ptq_pipeline under a namespace."""

from ptq_pipeline.mounting import create_pipeline as mount


def create_pipeline(**kwargs):
    """Build the pipeline; see `ptq_pipeline.mounting` for inputs of your own."""
    return mount(namespace="{mount}")
'''

# Segments that photographs have too: those of this project's own images know a dark background.
_SEGMENTS = """  segments:
    tone:
      feature: brightness
      quantiles: [0.3333, 0.6667]
      names: [dark, mid, light]
    detail:
      feature: sharpness
      quantiles: [0.3333, 0.6667]
      names: [smooth, medium, detailed]
"""

# A host whose windows hold image files gives a `shape` in entries of its own.
_WINDOWS = """
# Production windows, one folder each: those named in drift.windows, and all for `kedro ptq watch`.
"{mount}.production_windows":
  type: ptq_pipeline.datasets.ImageWindowsDataset
  filepath: data/{mount}/01_raw/production

"{mount}.production_arrivals":
  type: ptq_pipeline.datasets.ProductionArrivalsDataset
  filepath: data/{mount}/01_raw/production
  checkpoint: data/{mount}/07_model_output/monitoring/arrivals.json
"""

_BROUGHT = """# What `{mount}` audits. Every other entry is in catalog_ptq.yml, for all mounts.
{mount}.image_source:
  type: ptq_pipeline.datasets.ImageManifestDataset
  filepath: data/{mount}/01_raw/images.csv    # columns: path, label, any segments
  shape: [3, 224, 224]                        # every image is decoded to this size
  # splits: {{pool: 4, reference: 2, selection: 1, audit: 3}}   # for rows without a split

{mount}.float_model:
  type: ptq_pipeline.datasets.FloatModelDataset
  factory: torchvision.models.resnet18        # a dotted path is code that runs; restrict it below
  arguments: {{num_classes: 2}}
  allowed_factories: [torchvision.models.]
  weights: data/{mount}/06_models/model.safetensors
  preprocessing: {{mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225]}}
  classes: [first, second]                    # in the order of the model's outputs
"""


def host_files(package: Path, mount: str, inner: Iterable[str] = ()) -> dict[Path, str]:
    """Return what a mount needs, by path relative to the project.

    Args:
        package: the host's package, relative to the project, for example ``src/shop``.
        mount: namespace, folder of the shim, and folder below ``data``.
        inner: datasets of namespaces inside the mount; see `catalog_patterns`.

    Raises:
        InputError: the name is no Python identifier.
    """
    if not mount.isidentifier():
        raise InputError(
            f"the name '{mount}' of a mount must be a Python identifier, such as 'shop'"
        )
    conf = Path("conf/base")
    return {
        conf / "catalog_ptq.yml": catalog_patterns("catalog.yml") + _WINDOWS,
        conf / "catalog_ptq_production.yml": catalog_patterns("catalog_production.yml", inner),
        conf / f"catalog_{mount}.yml": _BROUGHT.format(mount=mount),
        conf / f"parameters_{mount}.yml": mount_parameters(mount),
        package / "pipelines" / mount / "__init__.py": _SHIM.format(mount=mount),
    }


def logging_configuration() -> str:
    """Return this project's logging, for a host that has none of its own.

    Kedro's own would announce itself on the standard output before any ``--json``, and show every
    dataset that is loaded.
    """
    return LOGGING_FILE.read_text(encoding="utf-8")


def catalog_patterns(file: str, inner: Iterable[str] = ()) -> str:
    """Return a catalog with entries as patterns ``{mount}.<entry>`` below ``data/{mount}``.

    Args:
        file: its name.
        inner: datasets of namespaces inside the mount, such as ``requantization.predictions``.
            Those without an entry stay in memory; the pattern ``{mount}.predictions`` would fit
            them too, with a mount of another name.
    """
    entries = yaml.safe_load((BASE / file).read_text(encoding="utf-8"))
    # What begins with an underscore is only there for its anchor, which is resolved by now.
    patterns = {
        f"{{mount}}.{name}": entry
        for name, entry in entries.items()
        if name not in BROUGHT and not name.startswith("_")
    }
    patterns |= {
        f"{{mount}}.{name}": {"type": "MemoryDataset"} for name in sorted(set(inner) - set(entries))
    }
    head = "# Written by `kedro ptq init`: one pattern for all mounts, each below data/<mount>.\n"
    return head + yaml.dump(
        _moved(patterns, "{mount}"), Dumper=_WithoutAliases, sort_keys=False, width=100
    )


class _WithoutAliases(yaml.SafeDumper):
    """Writes what several entries share once in each of them."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def mount_parameters(mount: str) -> str:
    """Return every parameter group below the name of the mount, comments included."""
    texts = {
        group: (BASE / f"parameters_{group}.yml").read_text(encoding="utf-8") for group in GROUPS
    }
    loading, _, _ = texts["data_loading"].partition("  segments:\n")
    # The host's production windows are its own.
    drift = texts["drift"].replace("  windows: [calm, drifted]\n", "  windows: []\n")
    # So are its model and its data, which commands in the report reach by the name of the mount.
    reporting = texts["reporting"].replace("model_name: ResNet-20", f"model_name: {mount}")
    reporting = reporting.replace("data_name: Fashion-MNIST", "data_name: null")
    texts |= {
        "data_loading": loading + _SEGMENTS,
        "drift": drift,
        "reporting": reporting.replace("mount: null", f"mount: {mount}"),
    }
    head = "# Written by `kedro ptq init`: what the audit judges, and by which policy.\n"
    groups = indent("".join(texts.values()), "  ")
    return str(_moved(f"{head}{mount}:\n{groups}", mount))


def _moved(value: Any, mount: str) -> Any:
    """Replace this project's globals by their values, moved below ``data/<mount>``."""
    if isinstance(value, dict):
        return {key: _moved(each, mount) for key, each in value.items()}
    if isinstance(value, list):
        return [_moved(each, mount) for each in value]
    if isinstance(value, str):
        for name, place in _globals().items():
            first, slash, rest = place.partition("/")
            moved = f"data/{mount}{slash}{rest}" if first == "data" else place
            value = value.replace(f"${{globals:{name}}}", moved)
    return value


@cache
def _globals() -> dict[str, str]:
    return dict(yaml.safe_load((BASE / "globals.yml").read_text("utf-8")))
