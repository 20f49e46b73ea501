"""Promotions as git tags of GTO, for teams that read their registry from git.

The files on disk stay the truth that serving reads: tags follow them, under the same number
(``v0003`` is ``model@v0.0.3``, and serving is ``model#production#N``). Tags name the commit of the
audit, so the tree must be clean: what the tag names is then what was decided on.
"""

import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ptq_pipeline.registry.records import RegistryError


@dataclass(frozen=True)
class GtoTags:
    """Tags of an artifact, whose champion has a stage, in the git repository around ``root``.

    The ``baseline`` need not be committed, as a release rewrites it.
    """

    root: Path
    name: str
    stage: str
    baseline: Path

    def check(self) -> None:
        """Refuse early what could not be tagged.

        Raises:
            RegistryError: git or GTO is missing, there is no commit, or the tree is not clean.
        """
        try:
            import gto  # noqa: F401
        except ImportError as error:
            raise RegistryError(
                f"--gto needs the package 'gto', which comes with DVC ({error}); `pip install dvc`"
            ) from error
        self._git("rev-parse", "--verify", "HEAD")
        lines = self._git("status", "--porcelain", "--untracked-files=all", "-z").split("\0")
        top = Path(self._git("rev-parse", "--show-toplevel").strip())
        changed = [line[3:] for line in lines if line]
        left = [name for name in changed if (top / name).resolve() != self.baseline.resolve()]
        if left:
            raise RegistryError(
                f"--gto tags a commit, and '{left[0]}' is not committed ({len(left)} such files); "
                "commit or stash them first"
            )

    def promoted(self, version: str) -> list[str]:
        """Tag a version and give it the stage; what is tagged already stays as it is.

        A tag that cannot be made takes those of this call back. The new ones are returned.

        Raises:
            RegistryError: a tag cannot be made; the version serves all the same.
        """
        before = self._tags()
        try:
            if f"{self.name}@{semantic(version)}" not in before:
                self._call("register", ref="HEAD", version=semantic(version))
            self._assign(version)
        except RegistryError:
            self._delete(self._tags() - before)
            raise
        return sorted(self._tags() - before)

    def rolled_back(self, version: str) -> list[str]:
        """Give the stage back to an earlier version, and return the new tags.

        Raises:
            RegistryError: that version was never tagged, or the tag cannot be made.
        """
        before = self._tags()
        if f"{self.name}@{semantic(version)}" not in before:
            raise RegistryError(
                f"version {version} serves again, but it has no tag "
                f"'{self.name}@{semantic(version)}': it was promoted without --gto; check out its "
                f"commit and run `gto register {self.name} --version {semantic(version)}`"
            )
        self._assign(version)
        return sorted(self._tags() - before)

    def _assign(self, version: str) -> None:
        if self._serving_commit() != self._commit(f"{self.name}@{semantic(version)}"):
            self._call("assign", stage=self.stage, version=semantic(version), force=True)

    def _serving_commit(self) -> str | None:
        """The commit that the newest tag of the stage names; GTO allows one version per commit."""
        prefix = f"{self.name}#{self.stage}#"
        numbers = [tag.removeprefix(prefix) for tag in self._tags() if tag.startswith(prefix)]
        newest = max((int(number) for number in numbers if number.isdigit()), default=None)
        return None if newest is None else self._commit(f"{prefix}{newest}")

    def _commit(self, tag: str) -> str:
        return self._git("rev-parse", "--verify", f"{tag}^{{commit}}").strip()

    def _call(self, action: str, **options: Any) -> None:
        import gto.api
        from gto.exceptions import GTOException

        try:
            getattr(gto.api, action)(str(self.root), self.name, **options)
        except GTOException as error:
            raise RegistryError(
                f"the version serves, but GTO cannot {action} it: {error}; commit the audit that "
                "it rests on, then run the same command again"
            ) from error
        except Exception as error:  # git's own errors have no common base class there
            raise RegistryError(
                f"the version serves, but git refused the tag ({error}); correct that, then run "
                "the same command again"
            ) from error

    def _tags(self) -> set[str]:
        return set(self._git("tag", "--list").split())

    def _delete(self, tags: set[str]) -> None:
        if tags:
            self._git("tag", "--delete", *sorted(tags))

    def _git(self, *arguments: str) -> str:
        try:
            found = subprocess.run(
                ["git", *arguments], cwd=self.root, capture_output=True, text=True, check=False
            )
        except OSError as error:
            raise RegistryError(
                f"--gto needs git, which cannot be run ({error}); install it, or promote without "
                "--gto"
            ) from error
        if found.returncode:
            raise RegistryError(
                f"--gto needs a git repository with a commit: {found.stderr.strip()}"
            )
        return found.stdout


def semantic(version: str) -> str:
    """Return GTO's form of a version.

    Examples:
        >>> semantic("v0003")
        'v0.0.3'
    """
    return f"v0.0.{int(version.removeprefix('v'))}"
