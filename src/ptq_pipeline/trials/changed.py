"""Answers of a quantized model as what differs from the float model's: few of them, so little."""

from collections.abc import Iterable, Iterator, Mapping

import numpy as np

# A position and an answer take twice the bytes of an answer.
_WORTH_IT = 0.4


class ChangedAnswers(Mapping[str, np.ndarray]):
    """Answers ``(N,)`` int32 per shift, put together whenever they are looked at.

    Args:
        reference: the float model's answers to the same units, which many trials share.
        changes: per shift positions ``(c,)`` uint32 in increasing order, and the answers
            ``(c,)`` int32 that are there instead.
    """

    def __init__(
        self,
        reference: Mapping[str, np.ndarray],
        changes: Mapping[str, tuple[np.ndarray, np.ndarray]],
    ) -> None:
        self._reference, self._changes = reference, changes

    @classmethod
    def of(
        cls, predictions: Mapping[str, np.ndarray], reference: Mapping[str, np.ndarray]
    ) -> "ChangedAnswers | None":
        """Compare answers; None where they are of other units, or so many differ that all are less.

        Examples:
            >>> reference = {"clean": np.array([3, 1, 4, 1, 5], np.int32)}
            >>> found = ChangedAnswers.of({"clean": np.array([3, 1, 4, 2, 5])}, reference)
            >>> found["clean"]
            array([3, 1, 4, 2, 5], dtype=int32)
            >>> found.arrays()["clean.at"]
            array([3], dtype=uint32)
        """
        changes = {}
        for name, answers in predictions.items():
            if name not in reference or reference[name].shape != answers.shape:
                return None
            at = np.flatnonzero(answers != reference[name])
            if len(at) > _WORTH_IT * len(answers) or len(answers) > np.iinfo(np.uint32).max:
                return None
            changes[name] = at.astype(np.uint32), answers[at].astype(np.int32)
        return cls(reference, changes)

    @classmethod
    def read(
        cls,
        arrays: Mapping[str, np.ndarray],
        reference: Mapping[str, np.ndarray],
        shifts: Iterable[str],
    ) -> "ChangedAnswers":
        """Read what `arrays` wrote, in the order of ``shifts``.

        Raises:
            KeyError: an array is missing.
            ValueError: a position is none of the reference.
        """
        changes = {name: (arrays[f"{name}.at"], arrays[f"{name}.answers"]) for name in shifts}
        for name, (at, answers) in changes.items():
            if at.shape != answers.shape or (at >= len(reference[name])).any():
                raise ValueError(f"positions under shift '{name}' are none of the float model's")
        return cls(reference, changes)

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the changes as arrays by name: ``SHIFT.at`` and ``SHIFT.answers``."""
        found = {}
        for name, (at, answers) in self._changes.items():
            found |= {f"{name}.at": at, f"{name}.answers": answers}
        return found

    def __getitem__(self, shift: str) -> np.ndarray:
        at, answers = self._changes[shift]
        found = self._reference[shift].astype(np.int32)
        found[at] = answers
        return found

    def __iter__(self) -> Iterator[str]:
        return iter(self._changes)

    def __len__(self) -> int:
        return len(self._changes)
