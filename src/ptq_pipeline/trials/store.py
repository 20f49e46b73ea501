"""Results of trials by their id: written atomically, checked when read, never by pickle."""

import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from ptq_pipeline.core.files import replacing
from ptq_pipeline.trials.spec import TrialSpec

log = logging.getLogger(__name__)

SCHEMA_VERSION = 1


class TrialStore:
    """A folder with one ``.safetensors`` file per finished trial.

    A file holds the top-1 classes ``(N,)`` int32 of every shift, and as metadata the schema
    version, the trial's spec, the SHA-256 of the predictions and the notes of its quantization.

    Args:
        root: the folder; made when the first result is put.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    @property
    def statistics(self) -> Path:
        """Where statistics of single images are kept, beside the results."""
        return self.root / "statistics"

    def path(self, spec: TrialSpec) -> Path:
        """Return where the result of ``spec`` stands or would stand."""
        return self.root / spec.trial_id[:2] / f"{spec.trial_id}.safetensors"

    def get(self, spec: TrialSpec) -> dict[str, np.ndarray] | None:
        """Return predictions by shift, or None when the trial has to be computed.

        A damaged file, one of another schema or of another spec is reported and counts as absent.
        """
        outcome = self.outcome(spec)
        return None if outcome is None else dict(outcome[0])

    def outcome(self, spec: TrialSpec) -> tuple[dict[str, np.ndarray], tuple[str, ...]] | None:
        """Return predictions by shift and notes, or None like `get`."""
        from safetensors import SafetensorError, safe_open

        path = self.path(spec)
        if not path.is_file():
            return None
        try:
            with safe_open(path, framework="numpy") as stored:
                metadata = stored.metadata() or {}
                predictions = {name: stored.get_tensor(name) for name in spec.shifts}
            notes = tuple(json.loads(metadata["trial"]).get("notes", ()))
        except (SafetensorError, OSError, KeyError, ValueError) as error:
            log.warning("stored trial '%s' is damaged (%s) and is computed again", path, error)
            return None
        if metadata != _metadata(spec, predictions, notes):
            log.warning("stored trial '%s' does not match its spec and is computed again", path)
            return None
        return predictions, notes

    def put(
        self, spec: TrialSpec, predictions: Mapping[str, np.ndarray], notes: Sequence[str] = ()
    ) -> None:
        """Keep the predictions of ``spec``, ``(N,)`` int32 per shift, and its notes."""
        from safetensors.numpy import save_file

        arrays = {name: np.ascontiguousarray(predictions[name], np.int32) for name in spec.shifts}
        with replacing(self.path(spec)) as scratch:
            save_file(arrays, scratch, _metadata(spec, arrays, notes))


def _metadata(
    spec: TrialSpec, predictions: Mapping[str, np.ndarray], notes: Sequence[str]
) -> dict[str, str]:
    digest = hashlib.sha256()
    for name in spec.shifts:
        digest.update(name.encode() + np.ascontiguousarray(predictions[name]).tobytes())
    content = {
        "schema_version": SCHEMA_VERSION,
        "spec": spec.to_json(),
        "sha256": digest.hexdigest(),
    }
    if notes:
        content["notes"] = list(notes)
    # One entry: the format keeps the order of several only by chance, and files shall be equal.
    return {"trial": json.dumps(content, sort_keys=True)}
