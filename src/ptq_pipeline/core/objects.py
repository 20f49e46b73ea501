"""Objects below a URL of any storage that fsspec knows: written once and never changed.

Credentials come from where the storage's own tools look for them (environment, configuration
files, roles of the machine) and from nowhere else, so none is in a setting, a hash or a task.
"""

import hashlib
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple, TypeVar

from ptq_pipeline.core.errors import InputError, StorageError, first_line
from ptq_pipeline.core.file_cache import FileCache
from ptq_pipeline.core.files import write_file
from ptq_pipeline.core.inputs import require_no_secret
from ptq_pipeline.core.seals import digest

log = logging.getLogger(__name__)

T = TypeVar("T")

# Says whose folder it is. It is written first, so whoever may not write learns it before any work.
MARKER, _MARKED = "ptq_pipeline.txt", b"Objects of ptq_pipeline, written once.\n"
# A storage that is away comes back within a minute, or not soon.
_WAITS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0)
# What storages call the moment when an object was written.
_WRITTEN = ("LastModified", "last_modified", "updated", "mtime", "created")
_EXTRAS = {
    **dict.fromkeys(("s3", "s3a"), "s3"),
    **dict.fromkeys(("gs", "gcs"), "gcs"),
    **dict.fromkeys(("az", "abfs", "abfss"), "azure"),
}


class StoredObject(NamedTuple):
    """An object or a file below a folder.

    Attributes:
        name: relative to the folder.
        size: in bytes.
        written: when, in seconds since 1970, by the storage's clock; now where it does not say.
    """

    name: str
    size: int
    written: float


class ObjectFolder:
    """Objects by name below a URL such as ``s3://bucket/audit``.

    Args:
        url: where they are; nothing is asked before it is needed.
        setting: what the URL is the value of, for errors.
        waits: seconds between attempts while the storage does not answer.

    Raises:
        InputError: the URL holds a secret.
    """

    def __init__(
        self, url: str, setting: str = "filepath", waits: Sequence[float] = _WAITS
    ) -> None:
        require_no_secret(url, setting)
        self.url, self.waits = url.rstrip("/"), waits

    def require(self) -> None:
        """Check that objects can be read and written here.

        Raises:
            InputError: what the URL needs is not installed, or there is no such bucket.
            StorageError: it does not answer, or lets nobody in with the credentials found.
        """
        if self.read(MARKER) is None:
            self.add(MARKER, _MARKED)

    def read(self, name: str) -> bytes | None:
        """Return an object's content; None where there is no such object."""
        return self._tried(name, lambda fs, path: fs.cat_file(path), missing=None)

    def add(self, name: str, content: bytes) -> bool:
        """Create an object; say whether it is there with this content.

        False means that an object of that name holds another content, which is left as it is.
        """

        def create(fs: Any, path: str) -> bool:
            try:
                fs.pipe_file(path, content, mode="create")
            except FileExistsError:
                return bool(fs.cat_file(path) == content)
            return True

        return self._written(name, create)

    def replace(self, name: str, content: bytes) -> None:
        """Write an object in the place of one that is damaged."""
        self._written(name, lambda fs, path: fs.pipe_file(path, content))

    def upload(self, path: Path, name: str) -> bool:
        """Create an object from a file; False where there is one, whose content is in its name."""

        def create(fs: Any, target: str) -> bool:
            if fs.exists(target):
                return False
            try:
                fs.put_file(str(path), target, mode="create")
            except FileExistsError:
                return False
            return True

        return self._written(name, create)

    def fetch(self, name: str, path: Path) -> bool:
        """Write an object to a file; say whether there is such an object."""

        def get(fs: Any, source: str) -> bool:
            fs.get_file(source, str(path))
            return True

        return self._tried(name, get, missing=False)

    def version(self, name: str = "") -> str | None:
        """Return what changes whenever an object is written; None where there is none."""
        return self._tried(name, lambda fs, path: str(fs.ukey(path)), missing=None)

    def names(self, below: str = "") -> Iterator[StoredObject]:
        """Yield the objects whose names begin with ``below``, a folder, in the order of names."""
        root = self._place("")

        def find(fs: Any, path: str) -> dict[str, dict[str, Any]]:
            return dict(fs.find(path, detail=True, refresh=True))

        nothing: dict[str, dict[str, Any]] = {}
        for path, found in sorted(self._tried(below, find, missing=nothing).items()):
            written = next((found[key] for key in _WRITTEN if found.get(key)), time.time())
            moment = written.timestamp() if isinstance(written, datetime) else float(written)
            yield StoredObject(path.removeprefix(root).lstrip("/"), int(found["size"]), moment)

    def remove(self, name: str) -> None:
        """Remove an object; one that is missing stays so."""
        self._tried(name, lambda fs, path: fs.rm_file(path), missing=None)

    @cached_property
    def _opened(self) -> tuple[Any, str]:
        from fsspec.core import url_to_fs

        try:
            # What other hosts have written has to be seen.
            return url_to_fs(self.url, use_listings_cache=False)
        except (ImportError, ValueError) as error:
            extra = _EXTRAS.get(self.url.partition(":")[0].lower())
            way = f"pip install 'ptq-pipeline[{extra}]'" if extra else "give another URL or a path"
            raise InputError(
                f"'{self.url}' cannot be opened ({first_line(error)}): {way}"
            ) from None

    def _place(self, name: str) -> str:
        root: str = self._opened[1]
        return f"{root}/{name}" if name else root

    def _written(self, name: str, action: Callable[[Any, str], T]) -> T:
        def write(fs: Any, path: str) -> T:
            try:
                return action(fs, path)
            except FileNotFoundError as error:
                raise InputError(
                    f"'{self.url}' cannot be written, as its bucket or container does not exist "
                    f"({first_line(error)}); create it, or correct the URL"
                ) from None

        return self._tried(name, write)

    def _tried(self, name: str, action: Callable[[Any, str], T], **missing: T) -> T:
        """Do something with an object, again and again while the storage does not answer."""
        fs, path = self._opened[0], self._place(name)
        for wait in (*self.waits, None):
            try:
                return action(fs, path)
            except InputError:
                raise
            except FileNotFoundError:
                return missing["missing"]
            except Exception as error:  # noqa: BLE001 - each storage has errors of its own
                if _refuses(error):
                    raise StorageError(
                        f"'{self.url}' lets nobody in with the credentials found here "
                        f"({first_line(error)}); give this machine those that may read and write it"
                    ) from None
                if wait is None:
                    raise StorageError(
                        f"'{self.url}' does not answer ({first_line(error)}); what is stored there "
                        "is kept: run the same command again when it does"
                    ) from None
                log.warning("'%s' does not answer (%s); asked again", self.url, first_line(error))
                time.sleep(wait)
        raise AssertionError


def fetched(url: str, setting: str = "filepath") -> Path:
    """Return a copy of a file at a URL, as it is there now, in the cache of this host.

    Raises:
        InputError: there is no such file, or the URL cannot be used.
        StorageError: the storage does not answer, or lets nobody in.
    """
    objects, _, name = url.rpartition("/")
    folder, cache = ObjectFolder(objects, setting), FileCache.of_this_host()
    require_no_secret(url, setting)
    while True:
        version = folder.version(name)
        if version is None:
            raise InputError(f"'{setting}: {url}' does not exist; correct the URL, or upload it")
        known = cache.root / "urls" / hashlib.sha256(f"{url}\n{version}".encode()).hexdigest()
        suffix = PurePosixPath(name).suffix
        if known.is_file() and (path := cache.find(known.read_text("ascii"), suffix)):
            return path
        with cache.folder() as arriving:
            copy = arriving / "copy"
            # Whoever overwrites it meanwhile would leave a mixture.
            if folder.fetch(name, copy) and folder.version(name) == version:
                cache.make_room(copy.stat().st_size)
                content = digest(copy)
                path = cache.add(copy, content, suffix)
                write_file(known, content.encode("ascii"))
                return path


def _refuses(error: Exception) -> bool:
    """Say whether a storage asks for other credentials; each library has names of its own."""
    name = type(error).__name__
    return isinstance(error, PermissionError) or "Credential" in name or "Authentic" in name
