"""A command of somebody else: its places filled in, started without a shell, ended in time."""

import hashlib
import os
import shlex
import signal
import string
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ptq_pipeline.core.errors import InputError, PtqPipelineError
from ptq_pipeline.core.inputs import read_regular

MOST_CHARACTERS = 300


@dataclass(frozen=True)
class ExternalCommand:
    """A command as somebody wrote it, with places such as ``{images}``.

    Attributes:
        text: The command.
        owner: What errors begin with.
        places: Which places there are, in the order of an example.
        optional: Which of them a command may leave out.
        failure: The error of a command that does not do its work.

    Raises:
        InputError: It cannot be read, lacks a place or has one that is not known.

    Examples:
        >>> command = ExternalCommand("run {model} {images}", "runtime", ("model", "images"))
        >>> command.arguments(model="my model.bin", images="i.npy")
        ['run', 'my model.bin', 'i.npy']
    """

    text: str
    owner: str
    places: Sequence[str]
    optional: frozenset[str] = frozenset()
    failure: type[PtqPipelineError] = InputError

    def __post_init__(self) -> None:
        try:
            # As it is written, so that nothing but a name is a place.
            named = {
                f"{name}{'!' * bool(conversion)}{conversion or ''}{':' * bool(form)}{form}"
                for _, name, form, conversion in string.Formatter().parse(self.text)
                if name is not None
            }
            shlex.split(self.text)
        except ValueError as error:
            raise InputError(f"{self.owner}: command cannot be read: {error}") from None
        if unknown := sorted(named - set(self.places)):
            known = ", ".join(f"{{{place}}}" for place in self.places)
            raise InputError(
                f"{self.owner}: command has the place '{{{unknown[0]}}}'; the places are {known}"
            )
        needed = [place for place in self.places if place not in self.optional]
        if missing := [place for place in needed if place not in named]:
            example = " ".join(f"{{{place}}}" for place in self.places if place != "seed")
            raise InputError(
                f"{self.owner}: command has no place '{{{missing[0]}}}'; write it like "
                f"'python script.py {example}'"
            )

    def scripts(self, tool: str, expected: str = "") -> str:
        """Return the SHA-256 of the files that it names, "" where it names none.

        Args:
            tool: Name and version of what it runs; needed, as no hash covers a program.
            expected: What it was before, "" for anything.

        Raises:
            InputError: There is no ``tool``, or a file has changed.
        """
        if not tool:
            raise InputError(
                f"{self.owner}: name what its command runs, with the version ('tool: vendor 1.2'), "
                "so that another version is another trial"
            )
        files = [Path(word) for word in shlex.split(self.text) if Path(word).is_file()]
        found = hashlib.sha256(b"".join(map(read_regular, files))).hexdigest() if files else ""
        if expected not in ("", found):
            raise InputError(
                f"{self.owner}: the files that its command names have changed since "
                f"{expected[:12]}...; leave 'scripts' out to audit them as they are"
            )
        return found

    def arguments(self, **values: object) -> list[str]:
        """Return the command with its places filled in, a word each."""
        return [word.format(**values) for word in shlex.split(self.text)]

    def run(self, output: Path, seconds: float, **values: object) -> None:
        """Run it in the current folder until it has written ``output``, the place of that name.

        Raises:
            PtqPipelineError: `failure`: it fails, takes longer, or writes nothing there.
        """
        words = self.arguments(output=output, **values)
        try:
            code, said = _run(words, seconds)
        except OSError as error:
            raise self.failure(
                f"{self.owner}: program '{words[0]}' cannot be started: {error.strerror}"
            ) from None
        except subprocess.TimeoutExpired:
            raise self.failure(
                f"{self.owner}: '{words[0]}' took more than {seconds:g} s; raise 'seconds', or "
                "see what it waits for"
            ) from None
        if code:
            raise self.failure(f"{self.owner}: '{words[0]}' ended with {code}: {said}")
        if not output.is_file():
            raise self.failure(f"{self.owner}: '{words[0]}' wrote nothing to {{output}}")


def _run(words: Sequence[str], seconds: float) -> tuple[int, str]:
    """Return how a program ended and the last that it said; what it started ends with it."""
    process = subprocess.Popen(
        words,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        start_new_session=True,
    )
    try:
        printed, said = process.communicate(timeout=seconds)
    except BaseException:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        raise
    return process.returncode, " ".join((said or printed).split())[-MOST_CHARACTERS:]
