"""What lm-evaluation-harness writes with ``--log_samples``: one JSON object a line and document.

Each holds ``doc_id``, ``doc`` (the fields of the data set), ``doc_hash``, ``filter``, the names of
its ``metrics`` and their values, such as ``acc``. The task is in the name of the file,
``samples_<task>_<time>.jsonl``. Source: the project's ``lm_eval/evaluator.py``, version 0.4.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from ptq_pipeline.core.errors import InputError
from ptq_pipeline.core.inputs import read_regular
from ptq_pipeline.judgement.verdict import SourceFile
from ptq_pipeline.tasks.reading import texts_of

SUFFIX = ".jsonl"
# Of several metrics the first of these is taken.
USUAL = ("acc", "exact_match")
_NAME = re.compile(r"samples_(.+?)(?:_\d{4}-\d{2}-\d{2}T[\d.:-]+)?")
_NEEDED = ("doc_id", "doc")


@dataclass(frozen=True)
class SampleFields:
    """What of each sample is used.

    Attributes:
        metric: Name of the metric, or ``metric,filter`` as the tool's tables call it; the only one,
            ``acc`` or ``exact_match`` where it is left out.
        groups: Fields of the document that make groups, such as ``subject``.
        cluster: Field of the document whose values belong together, such as a passage.
    """

    metric: str | None = None
    groups: Sequence[str] = ()
    cluster: str | None = None


def read_samples(path: Path, fields: SampleFields) -> tuple[pd.DataFrame, list[SourceFile]]:
    """Read one file of samples, or all of a folder.

    Returns:
        ``id``, ``ok`` (what the metric gives), ``task`` and the groups, as texts; and the files.

    Raises:
        InputError: There is no such file, it holds no samples, or the metric is not one number in
            [0, 1] for every document.
    """
    paths = sorted(path.glob(f"samples_*{SUFFIX}")) if path.is_dir() else [path]
    if not paths:
        raise InputError(f"'{path}' holds no samples_*{SUFFIX}; run lm_eval with --log_samples")
    rows: list[dict[str, Any]] = []
    files = []
    for each in paths:
        try:
            content = read_regular(each)
        except FileNotFoundError:
            raise InputError(f"'{each}' does not exist; check the path") from None
        files.append(SourceFile(name=each.name, sha256=hashlib.sha256(content).hexdigest()))
        task = found[1] if (found := _NAME.fullmatch(each.stem)) else each.stem
        samples = list(_samples(each, content))
        metric = _metric(each, samples, fields.metric)
        rows += [
            _row(each, task, sample, metric, fields) for sample in samples if _own(sample, metric)
        ]
    table = pd.DataFrame(rows)
    if table["task"].nunique() == 1:
        table = table.drop(columns="task")
    return pd.DataFrame({name: texts_of(table[name]) for name in table}), files


def _samples(path: Path, content: bytes) -> Iterable[Mapping[str, Any]]:
    try:
        # Within a text may be what other systems end lines with.
        lines = content.decode("utf-8").split("\n")
        samples = [json.loads(line) for line in lines if line.strip()]
    except ValueError as error:
        raise InputError(f"'{path}' is no JSON a line ({error})") from None
    if not samples:
        raise InputError(f"'{path}' holds no sample")
    for number, sample in enumerate(samples, 1):
        if not isinstance(sample, dict) or any(key not in sample for key in _NEEDED):
            raise InputError(
                f"'{path}', line {number}: no sample of lm-evaluation-harness, which has "
                f"{' and '.join(_NEEDED)}"
            )
    return samples


def _metric(
    path: Path, samples: Iterable[Mapping[str, Any]], wanted: str | None
) -> tuple[str, str | None]:
    """Name of the metric, and the filter that its values are taken of; None for the only one."""
    named = {name for sample in samples for name in sample.get("metrics", USUAL) if name in sample}
    filters = {str(sample["filter"]) for sample in samples if "filter" in sample}
    name, _, chosen = (wanted or "").partition(",")
    if not name:
        usual = [each for each in USUAL if each in named]
        name = next(iter(named)) if len(named) == 1 else next(iter(usual), "")
    if name not in named or (chosen and chosen not in filters) or (not chosen and len(filters) > 1):
        raise InputError(
            f"'{path}' has the metrics {', '.join(sorted(named)) or 'none'} with the filters "
            f"{', '.join(sorted(filters)) or 'none'}; name one by --metric METRIC,FILTER"
        )
    return name, chosen or None


def _own(sample: Mapping[str, Any], metric: tuple[str, str | None]) -> bool:
    return metric[1] is None or sample.get("filter") == metric[1]


def _row(
    path: Path,
    task: str,
    sample: Mapping[str, Any],
    metric: tuple[str, str | None],
    fields: SampleFields,
) -> dict[str, Any]:
    value, document = sample.get(metric[0]), sample["doc"]
    if isinstance(value, bool) or not isinstance(value, int | float):
        value = int(value) if isinstance(value, bool) else None
    if value is None:
        raise InputError(
            f"'{path}': document {sample['doc_id']} has no number for '{metric[0]}'; choose "
            "another metric (--metric)"
        )
    # The hash tells documents apart that two runs gave one number.
    content = str(sample.get("doc_hash", ""))[:12]
    row = {"id": f"{task}/{sample['doc_id']}/{content}", "ok": value, "task": task}
    wanted = [*((name, name) for name in fields.groups)]
    wanted += [("cluster", fields.cluster)] if fields.cluster else []
    for column, field in wanted:
        if not isinstance(document, dict) or field not in document:
            raise InputError(
                f"'{path}': document {sample['doc_id']} has no field '{field}'; it has "
                f"{', '.join(map(str, document)) if isinstance(document, dict) else 'none'}"
            )
        row[column] = str(document[field])
    return row
