"""Which images a trial is evaluated on, under every shift."""

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from ptq_pipeline.core.canonical import canonical_json
from ptq_pipeline.core.errors import InputError
from ptq_pipeline.core.names import CLEAN
from ptq_pipeline.core.seals import Signature, signature
from ptq_pipeline.images.audit_data import AuditData
from ptq_pipeline.images.source import content_hashes, content_keys
from ptq_pipeline.stress.shifts import StressParameters

if TYPE_CHECKING:
    from ptq_pipeline.runtimes import Predictor


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Samples to evaluate, and where their pixels are.

    Attributes:
        samples: columns ``sample_id``, ``content_hash``, ``label``; one row per evaluated sample.
        arrays: per shift, uint8 images ``(M, C, H, W)``, may be memory-mapped.
        rows: per shift, ``(len(samples),)`` int64: the row of each sample in that array.
    """

    samples: pd.DataFrame
    arrays: Mapping[str, np.ndarray]
    rows: Mapping[str, np.ndarray]
    _signatures: dict[Path, Signature] = field(default_factory=dict, init=False, repr=False)

    @cached_property
    def fingerprint(self) -> str:
        """Hash of the samples, their order, and the pixels of every shift, which are all read.

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
        )

    def predict(
        self,
        predictor: "Predictor",
        preprocessing: Callable[[np.ndarray], np.ndarray],
        shift: str,
        batch_size: int,
        positions: "np.ndarray | slice",
    ) -> np.ndarray:
        """Return a compiled model's top-1 classes, int32, of the samples at some positions."""
        from ptq_pipeline.runtimes import predict_top1

        return predict_top1(
            predictor,
            self.arrays[shift],
            preprocessing,
            batch_size=batch_size,
            rows=self.rows[shift][positions],
        )


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
    data: AuditData, stressed: Mapping[str, np.ndarray], shifts: Iterable[str]
) -> Evaluation:
    """Bring clean and stressed images of the evaluated samples together, see `Audit.stressed`."""
    chosen, names = data.evaluated, list(shifts)
    clean_rows = chosen["sample_id"].to_numpy()
    positions = np.arange(len(chosen))
    return Evaluation(
        chosen,
        {name: data.images if name == CLEAN else stressed[name] for name in names},
        {name: clean_rows if name == CLEAN else positions for name in names},
    )


def shifted_evaluation(data: AuditData, shifts: StressParameters, split: str) -> Evaluation:
    """Return the images of one split under every shift, made now."""
    chosen = data.of(split)
    clean = np.asarray(data.images[chosen["sample_id"].to_numpy()])
    made = {CLEAN: clean, **dict(shifts.shifted(clean, content_keys(chosen["content_hash"])))}
    rows = np.arange(len(chosen))
    return Evaluation(
        chosen, {name: made[name] for name in shifts.root}, dict.fromkeys(shifts.root, rows)
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
