"""What audits must say to the byte: verdict, answers, identities, ledger and candidate.

A change of `tests/locked/` is a change of meaning: it has a commit of its own, which says what
changed and why. ``WRITE_LOCKED=1 pytest ...`` writes them again.

Bytes of answers depend on processor and libraries, so `machine.json` says where the
files were made. Elsewhere the calibration sets are compared, which depend on neither.
"""

import hashlib
import json
import os
from importlib.metadata import version
from pathlib import Path

import pandas as pd

from ptq_pipeline.core.answers import every_answer
from ptq_pipeline.core.provenance import cpu_flags

LOCKED = Path(__file__).with_suffix("")
MACHINE = LOCKED / "machine.json"
# Kept as text, so that a change can be read; of the rest the hashes are kept.
TEXTS = ("08_reporting/verdict.json", "08_reporting/decision.json")
LEDGER = "06_models/audit_ledger.jsonl"
HASHED = (
    "07_model_output/scores.parquet",
    "07_model_output/trials.parquet",
    "07_model_output/float_predictions.parquet",
    "06_models/candidate",
)
ANYWHERE = ("05_model_input/calibration_sets",)
LIBRARIES = ("torch", "openvino", "onnx", "onnxruntime", "numpy", "pandas", "pyarrow", "scipy")


def machine():
    """What decides how answers are rounded and tables are written."""
    return {"cpu_flags": cpu_flags(), **{name: version(name) for name in LIBRARIES}}


def hashes(data, names):
    """The SHA-256 of each file of `names` and of the files in folders of `names`."""
    found = {}
    for name in names:
        path = data / name
        for each in [path] if path.is_file() else sorted(path.rglob("*")):
            if each.is_file() and ".seals" not in each.parts:
                content = hashlib.sha256(each.read_bytes()).hexdigest()
                found[each.relative_to(data).as_posix()] = content
    return found


def answers(data):
    """The SHA-256 of a table with each answer in a row of its own, however answers are stored."""
    names = [f"07_model_output/{name}.parquet" for name in ("predictions", "float_predictions")]
    table = every_answer(*(pd.read_parquet(data / name) for name in names))
    return {names[0]: hashlib.sha256(table.to_parquet()).hexdigest()}


def assert_locked(data: Path, name: str) -> None:
    """Compare the results of an audit below `data` with the locked ones called `name`."""
    folder = LOCKED / name
    found = {"anywhere": hashes(data, ANYWHERE), "here": hashes(data, HASHED) | answers(data)}
    # An environment of this project enters what it opens in the ledger of `base`.
    ledger = next(path for path in (data / LEDGER, data.parent / LEDGER) if path.exists())
    texts = {path.name: path.read_text("utf-8") for path in (ledger, *map(data.joinpath, TEXTS))}
    if os.environ.get("WRITE_LOCKED"):
        folder.mkdir(parents=True, exist_ok=True)
        for file, text in texts.items():
            (folder / file).write_text(text, "utf-8")
        for path, content in (
            (folder / "hashes.json", found),
            (LOCKED / "machine.json", machine()),
        ):
            path.write_text(json.dumps(content, indent=1) + "\n", "utf-8")
    locked = json.loads((folder / "hashes.json").read_text("utf-8"))
    assert locked["anywhere"] == found["anywhere"]
    assert {path.name for path in folder.iterdir()} == {*texts, "hashes.json"}
    if json.loads(MACHINE.read_text("utf-8")) == machine():
        for file, text in texts.items():
            assert (folder / file).read_text("utf-8") == text, f"{name}: {file} changed"
        assert locked["here"] == found["here"]
