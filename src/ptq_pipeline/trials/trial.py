"""A trial: what decides it, what came of it, and where that is kept, never by pickle."""

import hashlib
import json
import logging
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ptq_pipeline.core.answers import FloatAnswers, TrialAnswers
from ptq_pipeline.core.canonical import canonical_hash
from ptq_pipeline.core.errors import InputError
from ptq_pipeline.core.files import write_file
from ptq_pipeline.core.objects import ObjectFolder, StoredObject
from ptq_pipeline.trials.changed import ChangedAnswers

if TYPE_CHECKING:
    from ptq_pipeline.ptq import MethodConfig
    from ptq_pipeline.trials.evaluation import Evaluation

log = logging.getLogger(__name__)

# Of a result that holds every answer, and of one that holds what differs from the float model's.
SCHEMA_VERSION, CHANGES_VERSION = 1, 2
# A trial, and the machine whose answers these are; earlier releases had it in the trial's name.
_RESULT = re.compile(r"[0-9a-f]{2}/([0-9a-f]{16})(?:-[0-9a-f]{8})?\.safetensors")
# What a runtime says of the machine that it runs on; another one may answer all the same.
MACHINE = frozenset({"threads", "torch_threads", "cpu_flags", "capabilities"})


def trial_id_of(spec: Mapping[str, Any]) -> str:
    """First 16 hexadecimal digits of the hash of a spec's JSON form, without the machine.

    So what follows from equal answers names the same trials, wherever they came from.
    """
    runtime = {key: value for key, value in spec["runtime"].items() if key not in MACHINE}
    return canonical_hash({**spec, "runtime": runtime})[:16]


@dataclass(frozen=True)
class TrialSpec:
    """A small JSON-ready description of one trial.

    Attributes:
        model: fingerprint of the float model, its preprocessing and its classes.
        method: the quantization method; None evaluates the float model itself.
        calibration_set: id of the calibration set; None for the float model.
        evaluation: hash of the evaluated samples in their order, see :func:`evaluation_hash`.
        shifts: name and options of every shift, in the order of evaluation.
        runtime: name, version, threads and CPU flags of what executes the model.
        engine: version of the quantization engine.
        statistics: hash of the grid that activations were counted on, where it is shared by all
            draws and so decides about their ranges; left out of the JSON form when there is none.
        repeat: number of the seed of everything random in the method, from 0 on; left out of the
            JSON form when it is 0.
        sampled: hash of what decides which of the samples are evaluated, see
            `judgement.sampling`; left out of the JSON form when all are.
    """

    model: str
    method: "MethodConfig | None"
    calibration_set: str | None
    evaluation: str
    shifts: Mapping[str, Mapping[str, Any]]
    runtime: Mapping[str, Any]
    engine: str
    statistics: str | None = None
    repeat: int = 0
    sampled: str | None = None

    @cached_property
    def trial_id(self) -> str:
        """Its name in tables and documents, see :func:`trial_id_of`."""
        return trial_id_of(self.to_json())

    @cached_property
    def stored_as(self) -> str:
        """Its name where results are kept: with the machine, so no other one's are taken."""
        machine = {key: value for key, value in self.runtime.items() if key in MACHINE}
        return f"{self.trial_id}-{canonical_hash(machine)[:8]}"

    @property
    def method_seed(self) -> int:
        """Seed of everything random in the method, see `ptq_pipeline.ptq.method_seed`."""
        from ptq_pipeline.ptq import method_seed

        return method_seed(self.model, self.method, self.calibration_set, self.repeat)

    def to_json(self) -> dict[str, Any]:
        """Return plain dictionaries."""
        content = {each.name: getattr(self, each.name) for each in fields(self)}
        content["method"] = None if self.method is None else self.method.to_json()
        if self.statistics is None:
            del content["statistics"]
        if not self.repeat:
            del content["repeat"]
        if self.sampled is None:
            del content["sampled"]
        return content


@dataclass(frozen=True)
class TrialOutcome:
    """What came of one trial.

    Attributes:
        predictions: an answer a unit ``(N,)`` int32 per shift (the top-1 class of an image); None
            when the trial failed.
        error: why it failed, or "".
        notes: fallbacks that its quantization took, one sentence each.
    """

    spec: TrialSpec
    predictions: Mapping[str, np.ndarray] | None
    error: str = ""
    notes: tuple[str, ...] = ()

    def table(self, evaluation: "Evaluation") -> pd.DataFrame:
        """Return ``trial_id``, ``shift``, ``sample_id``, ``predicted`` of a trial that was done."""
        ids = evaluation.units["sample_id"].to_numpy()
        tables = [
            pd.DataFrame({"shift": shift, "sample_id": ids, "predicted": predicted})
            for shift, predicted in (self.predictions or {}).items()
        ]
        table = pd.concat(tables, ignore_index=True)
        table.insert(0, "trial_id", self.spec.trial_id)
        return table


def predictions_table(
    done: Sequence[tuple[TrialOutcome, "Evaluation"]], float_predictions: pd.DataFrame
) -> pd.DataFrame:
    """Return what trials that were done answer otherwise than the float model: a row a shift.

    See `core.answers`; ``float_predictions`` are its answers, ``shift``, ``sample_id``,
    ``predicted``.
    """
    floats = FloatAnswers.of(float_predictions)

    def rows() -> Iterator[TrialAnswers]:
        for evaluation, outcomes in groupby(done, lambda each: each[1]):
            places = floats.places(evaluation.units["sample_id"].to_numpy())
            for outcome, _ in outcomes:
                for shift, answers in (outcome.predictions or {}).items():
                    yield floats.beside(outcome.spec.trial_id, shift, places, answers)

    return floats.table(rows())


class TrialStore:
    """A folder with one ``.safetensors`` file per finished trial, here or in object storage.

    A file holds the top-1 classes ``(N,)`` int32 of every shift, -1 where a sampled trial has none,
    and as metadata the schema version, the trial's spec, the SHA-256 of the predictions and the
    notes of its quantization. Where the float model's trial on the same images is stored, only the
    answers that differ from it are, and the hash of the float model's.

    Args:
        root: the folder; made when the first result is put.
        objects: where results are instead, shared by hosts; ``root`` then keeps what this host has
            computed on the way.
    """

    def __init__(self, root: Path, objects: ObjectFolder | None = None) -> None:
        self.root, self.objects = root, objects
        self._float: TrialOutcome | None = None

    @property
    def statistics(self) -> Path:
        """Where statistics of single images are kept, beside the results."""
        return self.root / "statistics"

    def path(self, spec: TrialSpec) -> Path:
        """Return where the result of ``spec`` is or would be in a folder."""
        return self.root / _name(spec)

    def get(self, spec: TrialSpec) -> TrialOutcome | None:
        """Return the outcome, or None when the trial has to be computed.

        A damaged file, one of another schema or of another spec is reported and counts as absent.
        """
        if self.objects is not None:
            content, place = self.objects.read(_name(spec)), f"{self.objects.url}/{_name(spec)}"
            return None if content is None else self._outcome(spec, content, place)
        path = self.path(spec)
        if not path.is_file():
            return None
        try:
            return self._outcome(spec, path.read_bytes(), str(path))
        except OSError as error:
            log.warning("stored trial '%s' cannot be read (%s): computed again", path, error)
            return None

    def put(
        self, spec: TrialSpec, predictions: Mapping[str, np.ndarray], notes: Sequence[str] = ()
    ) -> TrialOutcome:
        """Keep the predictions of ``spec``, ``(N,)`` int32 per shift, and its notes.

        Returns:
            The outcome as it is stored, which takes little memory.

        Raises:
            InputError: object storage holds other predictions of this trial, whole ones.
        """
        from safetensors.numpy import save

        arrays = {name: np.ascontiguousarray(predictions[name], np.int32) for name in spec.shifts}
        reference = self._of_float(spec)
        changed = None if reference is None else ChangedAnswers.of(arrays, reference)
        outcome = TrialOutcome(spec, changed or arrays, notes=tuple(notes))
        metadata = _metadata(spec, arrays, notes, reference if changed else None)
        content = save(changed.arrays() if changed else arrays, metadata)
        if self.objects is None:
            write_file(self.path(spec), content)
        elif not self.objects.add(_name(spec), content):
            stored = self.get(spec)
            if stored is not None and not _equal(stored.predictions or {}, arrays):
                raise InputError(
                    f"'{self.objects.url}/{_name(spec)}' holds other answers of the same trial: "
                    "what decides a trial is in its name, so one of the two machines computes "
                    "wrongly; find out which (kedro ptq doctor) before you remove the file"
                )
            if stored is None:
                self.objects.replace(_name(spec), content)
        return outcome

    def _of_float(self, spec: TrialSpec) -> Mapping[str, np.ndarray] | None:
        """Return the float model's answers to the images of a trial; None where none are stored."""
        if spec.method is None:
            return None
        changes = {"statistics": None, "repeat": 0, "sampled": None}
        wanted = replace(spec, method=None, calibration_set=None, **changes)
        if self._float is None or self._float.spec.stored_as != wanted.stored_as:
            self._float = self.get(wanted)
        return None if self._float is None else self._float.predictions

    def _outcome(self, spec: TrialSpec, content: bytes, place: str) -> TrialOutcome | None:
        """Read a stored trial; say what is wrong with one that is not whole or of another spec."""
        from safetensors import SafetensorError
        from safetensors.numpy import load

        reference = None
        try:
            arrays = load(content)
            # The format begins with the length of its header, which is JSON.
            header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
            metadata = header.get("__metadata__", {})
            trial = json.loads(metadata["trial"])
            notes = tuple(trial.get("notes", ()))
            predictions: Mapping[str, np.ndarray]
            if trial["schema_version"] == CHANGES_VERSION:
                reference = self._of_float(spec)
                if reference is None:
                    raise ValueError("the float model's answers, which it refers to, are gone")
                predictions = ChangedAnswers.read(arrays, reference, spec.shifts)
            else:
                predictions = {name: arrays[name] for name in spec.shifts}
            expected = _metadata(spec, predictions, notes, reference)
        except (SafetensorError, KeyError, ValueError) as error:
            log.warning("stored trial '%s' is damaged (%s) and is computed again", place, error)
            return None
        if metadata != expected:
            log.warning("stored trial '%s' does not match its spec and is computed again", place)
            return None
        return TrialOutcome(spec, predictions, notes=notes)

    def names(self) -> Iterator[StoredObject]:
        """Yield everything that is stored: results, and what was computed or sent on the way."""
        if self.objects is not None:
            yield from self.objects.names()
        for path in sorted(self.root.rglob("*")):
            if path.is_file():
                found = path.stat()
                name = path.relative_to(self.root).as_posix()
                yield StoredObject(name, found.st_size, found.st_mtime)

    def remove(self, name: str) -> None:
        """Remove what `names` has listed."""
        if self.objects is not None:
            self.objects.remove(name)
        (self.root / name).unlink(missing_ok=True)


def trial_of(name: str) -> str | None:
    """Return the id of the trial whose result has this name in a store; None for others."""
    found = _RESULT.fullmatch(name)
    return found and found[1]


def _name(spec: TrialSpec) -> str:
    return f"{spec.trial_id[:2]}/{spec.stored_as}.safetensors"


def _equal(first: Mapping[str, np.ndarray], second: Mapping[str, np.ndarray]) -> bool:
    return all(np.array_equal(first[name], second[name]) for name in (*first, *second))


def _digest(shifts: Iterable[str], predictions: Mapping[str, np.ndarray]) -> str:
    digest = hashlib.sha256()
    for name in shifts:
        digest.update(name.encode() + np.ascontiguousarray(predictions[name]).tobytes())
    return digest.hexdigest()


def _metadata(
    spec: TrialSpec,
    predictions: Mapping[str, np.ndarray],
    notes: Sequence[str],
    reference: Mapping[str, np.ndarray] | None = None,
) -> dict[str, str]:
    content = {
        "schema_version": SCHEMA_VERSION if reference is None else CHANGES_VERSION,
        "spec": spec.to_json(),
        "sha256": _digest(spec.shifts, predictions),
    }
    if reference is not None:
        content["float_sha256"] = _digest(spec.shifts, reference)
    if notes:
        content["notes"] = list(notes)
    # One entry: the format keeps the order of several only by chance, and files shall be equal.
    return {"trial": json.dumps(content, sort_keys=True)}
