"""Which images a trial is evaluated on, under every shift."""

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ptq_pipeline.core.canonical import canonical_hash, canonical_json
from ptq_pipeline.core.errors import InputError
from ptq_pipeline.core.names import CLEAN
from ptq_pipeline.core.seals import Signature, signature
from ptq_pipeline.core.units import IMAGE, OBJECTS, finds_objects
from ptq_pipeline.images.audit_data import AuditData
from ptq_pipeline.images.source import content_hashes, content_keys
from ptq_pipeline.stress.shifts import StressParameters
from ptq_pipeline.tasks.task import Classification, Task

if TYPE_CHECKING:
    from ptq_pipeline.runtimes import Predictor

CLASSIFICATION = Classification()


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Samples to evaluate, where their pixels are, and what an answer to them is.

    Attributes:
        samples: columns ``sample_id``, ``content_hash``, ``label``, and ``objects`` where a
            detector is audited; one row per evaluated image, by increasing ``sample_id``.
        arrays: per shift, uint8 images ``(M, C, H, W)``, may be memory-mapped.
        rows: per shift, ``(len(samples),)`` int64: the row of each sample in that array.
        task: what makes answers of outputs.
    """

    samples: pd.DataFrame
    arrays: Mapping[str, np.ndarray]
    rows: Mapping[str, np.ndarray]
    task: Task = CLASSIFICATION
    _signatures: dict[Path, Signature] = field(default_factory=dict, init=False, repr=False)

    @cached_property
    def units(self) -> pd.DataFrame:
        """What is answered, one row a unit: the samples, or the objects on them."""
        return self.task.units(self.samples)

    @cached_property
    def _truth(self) -> Any:
        return self.task.truth(self.samples)

    @cached_property
    def _image_of(self) -> np.ndarray | None:
        """Position of each unit's image in ``samples``; None where images are the units."""
        if self.units is self.samples:
            return None
        return np.searchsorted(self.samples["sample_id"].to_numpy(), self.units[IMAGE].to_numpy())

    @cached_property
    def fingerprint(self) -> str:
        """Hash of the samples with their objects and order, and of the pixels of every shift.

        Raises:
            InputError: a clean image is not the one that the table names.
        """
        self._signatures.update(_signatures(self.arrays))
        shifted = {}
        for name, array in self.arrays.items():
            rows = self.rows[name]
            if name == CLEAN:
                _compare(self.samples, array, rows)
                continue
            digest = hashlib.sha256(str(array.shape[1:]).encode())
            for row in rows:
                digest.update(np.ascontiguousarray(array[row]).data)
            shifted[name] = digest.hexdigest()
        if finds_objects(self.samples):
            shifted[OBJECTS] = canonical_hash(self.samples[OBJECTS].tolist())
        return evaluation_hash(
            self.samples["sample_id"].to_numpy(), self.samples["content_hash"], shifted
        )

    def require_unchanged(self) -> None:
        """Check that nobody has written to the files of the pixels since they were hashed.

        Raises:
            InputError: naming the file.
        """
        now = _signatures(self.arrays)
        for path, then in self._signatures.items():
            if now.get(path) != then:
                raise InputError(
                    f"'{path}' was written to while trials read it, so their answers are not "
                    "kept; run the pipeline again when nothing else writes there"
                )

    def of(self, split: str, shifts: list[str] | None = None) -> "Evaluation":
        """Return the evaluation of the samples of one split, under all shifts when left out."""
        return self.only((self.samples["split"] == split).to_numpy(), shifts)

    def only(self, keep: np.ndarray, shifts: list[str] | None = None) -> "Evaluation":
        """Return the evaluation of the samples where the boolean ``keep`` holds."""
        names = list(self.arrays) if shifts is None else shifts
        return Evaluation(
            self.samples[keep],
            {name: self.arrays[name] for name in names},
            {name: self.rows[name][keep] for name in names},
            self.task,
        )

    def predict(
        self,
        predictor: "Predictor",
        preprocessing: Callable[[np.ndarray], np.ndarray],
        shift: str,
        batch_size: int,
        positions: "np.ndarray | slice",
    ) -> np.ndarray:
        """Return a compiled model's answers, int32, to the units at some positions."""
        from ptq_pipeline.runtimes import read_outputs

        images = positions
        if (image_of := self._image_of) is not None:
            # Every image once, whatever number of its units is asked for.
            images = np.unique(image_of[positions])
        read = read_outputs(
            predictor,
            self.arrays[shift],
            preprocessing,
            self.task.read,
            batch_size,
            rows=self.rows[shift][images],
        )
        if image_of is None:
            return self.task.answers(read, None)
        whole = len(images) == len(self.samples)
        truth = self._truth if whole else self.task.truth(self.samples.iloc[images])
        answers = np.empty(len(self.units), np.int32)
        answers[np.isin(image_of, images)] = self.task.answers(read, truth)
        return answers[positions]


def evaluation_hash(
    sample_ids: np.ndarray, content_hashes: Iterable[str], shifted: Mapping[str, str] | None = None
) -> str:
    """Return the hash of which samples are evaluated, with which pixels, in which order.

    Args:
        sample_ids: ``(N,)`` integers.
        content_hashes: SHA-256 (hex) of each sample's own pixels.
        shifted: SHA-256 (hex) of the pixels of all samples under each shift other than clean.
    """
    digest = hashlib.sha256(np.ascontiguousarray(sample_ids, np.int64).tobytes())
    for value in content_hashes:
        digest.update(bytes.fromhex(value))
    for name, value in sorted((shifted or {}).items()):
        digest.update(canonical_json([name, value]))
    return digest.hexdigest()


def build_evaluation(
    data: AuditData,
    stressed: Mapping[str, np.ndarray],
    shifts: Iterable[str],
    task: Task = CLASSIFICATION,
) -> Evaluation:
    """Bring clean and stressed images of the evaluated samples together, see `Audit.stressed`."""
    chosen, names = data.evaluated, list(shifts)
    clean_rows = chosen["sample_id"].to_numpy()
    positions = np.arange(len(chosen))
    return Evaluation(
        chosen,
        {name: data.images if name == CLEAN else stressed[name] for name in names},
        {name: clean_rows if name == CLEAN else positions for name in names},
        task,
    )


def shifted_evaluation(
    data: AuditData, shifts: StressParameters, split: str, task: Task = CLASSIFICATION
) -> Evaluation:
    """Return the images of one split under every shift, made now."""
    chosen = data.of(split)
    clean = np.asarray(data.images[chosen["sample_id"].to_numpy()])
    made = {CLEAN: clean, **dict(shifts.shifted(clean, content_keys(chosen["content_hash"])))}
    rows = np.arange(len(chosen))
    return Evaluation(
        chosen, {name: made[name] for name in shifts.root}, dict.fromkeys(shifts.root, rows), task
    )


def _compare(samples: pd.DataFrame, images: np.ndarray, rows: np.ndarray) -> None:
    found = content_hashes(images[row] for row in rows)
    wrong = samples.loc[(samples["content_hash"] != found).to_numpy(), "sample_id"]
    if len(wrong):
        place = getattr(images, "filename", None) or "the image array"
        raise InputError(
            f"the pixels of sample {wrong.iloc[0]} in '{place}' are not those of the table "
            "'samples'; restore the file (`dvc checkout`), or run the pipeline 'data_loading' again"
        )


def _signatures(arrays: Mapping[str, np.ndarray]) -> dict[Path, Signature]:
    places = {getattr(array, "filename", None) for array in arrays.values()} - {None}
    return {Path(place): signature(Path(place)) for place in places if Path(place).is_file()}
