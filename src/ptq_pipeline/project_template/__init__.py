"""What ``kedro ptq init`` writes into a project: this project's own configuration, for one mount.

``base`` is ``conf/base`` of this repository (a link in the source, copied into the wheel), so what
a host starts from is what the tests of this project run.
"""

import re
from collections.abc import Iterable
from pathlib import Path

from ptq_pipeline.errors import InputError

BASE = Path(__file__).parent / "base"
# What a host brings itself; everything else is the same in every mount.
BROUGHT = ("image_source", "production_windows", "production_arrivals", "float_model")
GROUPS = (
    "data_loading", "calibration", "quantization", "stress", "subgroup_scoring",
    "worst_case_check", "business", "drift", "promotion", "release", "reporting", "settling",
    "monitoring", "reaudit", "ladder",
)  # fmt: skip

_ENTRY = re.compile(r'^"?([\w{}.]+)"?:')
_GLOBAL = re.compile(r"^(\w+):\s*(\S+)\s*$", re.M)

_SHIM = '''"""Audit of `{mount}`: the pipelines of ptq_pipeline under a namespace."""

from ptq_pipeline.mounting import create_pipeline as mount


def create_pipeline(**kwargs):
    """Build the pipeline; see `ptq_pipeline.mounting` for inputs of your own."""
    return mount(namespace="{mount}")
'''

# Segments that photographs have too: those of this project's own images know a dark background.
_SEGMENTS = """segments:
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

_BROUGHT = """# What `{mount}` audits. Every other entry stands in catalog_ptq.yml, for all mounts.
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
        mount: name of the mount: namespace, folder of the shim, and folder below ``data``.
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
    return (BASE.parent / "logging.yml").read_text(encoding="utf-8")


def catalog_patterns(file: str, inner: Iterable[str] = ()) -> str:
    """Return a catalog with entries as patterns ``{mount}.<entry>`` below ``data/{mount}``.

    Args:
        file: its name.
        inner: datasets of namespaces inside the mount, such as ``requantization.predictions``.
            Those without an entry stay in memory; the pattern ``{mount}.predictions`` would fit
            them too, with a mount of another name.
    """
    kept, entries, keep = [], set(), True
    for line in (BASE / file).read_text(encoding="utf-8").splitlines():
        entry = _ENTRY.match(line)
        if entry:
            keep = entry[1] not in BROUGHT
            entries.add(entry[1])
        if keep and entry:
            kept.append(f'"{{mount}}.{entry[1]}":{line[entry.end() :]}')
        elif keep or line.startswith("#"):
            kept.append(line)
    head = "# Written by `kedro ptq init`: one pattern for all mounts, each below data/<mount>.\n"
    in_memory = [
        f'"{{mount}}.{name}": {{type: MemoryDataset}}' for name in sorted(set(inner) - entries)
    ]
    return head + _without_globals("\n".join([*kept[2:], *in_memory]), "{mount}") + "\n"


def mount_parameters(mount: str) -> str:
    """Return every parameter group below the name of the mount, comments included."""
    lines = [
        "# Written by `kedro ptq init`: what the audit judges, and by which policy.",
        f"{mount}:",
    ]
    for group in GROUPS:
        text = (BASE / f"parameters_{group}.yml").read_text(encoding="utf-8")
        if group == "data_loading":
            text = text[: text.index("segments:\n")] + _SEGMENTS
        if group == "drift":
            text = text.replace("    size: {", "    detail: {")
            # The host's production windows are its own.
            text = re.sub(r"^(\s+windows:).*$", r"\1 []", text, flags=re.M)
        lines += [f"  {line}".rstrip() for line in text.splitlines()]
    return _without_globals("\n".join(lines), mount) + "\n"


def _without_globals(text: str, mount: str) -> str:
    """Replace this project's globals by their values, moved below ``data/<mount>``."""
    values = dict(_GLOBAL.findall((BASE / "globals.yml").read_text(encoding="utf-8")))
    for name, value in values.items():
        moved = re.sub(r"^data\b", f"data/{mount}", value)
        text = text.replace(f"${{globals:{name}}}", moved)
    return text
