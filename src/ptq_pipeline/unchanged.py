"""Nodes that have nothing to do: what they were made from is what it was, by content.

Beside the seal of every stored result is a record of what decided it: parameters, the contents of
its inputs, the code of this package, versions, processor. Where all of that is the same, and the
stored result is the one that was recorded, the node leaves it as it is. A node that hands on its
results in memory runs if somebody needs them.

What runs the code of others, or reads what has no hash of its own, runs in every run: decoding
images, profiling production windows, shifts, strategies, and the page, which names the moment.
Trials are looked up again once their store is empty.
"""

from collections.abc import Callable, Iterator
from functools import cache, update_wrapper
from pathlib import Path
from typing import Any

from kedro.io import CatalogProtocol, MemoryDataset
from kedro.pipeline import Node, Pipeline
from pydantic import ValidationError

from ptq_pipeline.core.canonical import canonical_hash, file_bytes
from ptq_pipeline.core.documents import Document
from ptq_pipeline.core.files import write_file
from ptq_pipeline.core.handed_on import UNCHANGED
from ptq_pipeline.core.names import ENTERS_A_LOOK, RUNS_CODE_OF_OTHERS
from ptq_pipeline.core.provenance import cpu_flags, installed, source_hash
from ptq_pipeline.core.seals import digest, seal_path
from ptq_pipeline.mounting import DEFAULT, GATHERED, stage_of

# Beside a seal; no DVC out, as it names the code and the processor.
SUFFIX = ".made"
# State: what decides counts by the content of its file, a store by whether there is anything in it.
_STATE = frozenset({"audit_ledger", "champion_baseline"})
_STORES = frozenset({"trial_store"})


class Made(Document):
    """What a stored result was made from, and the hash of its content then."""

    decided_by: str
    content: str


class _Left:
    """Stands in a node for its function when there is nothing to do."""

    def __init__(self, node: Node) -> None:
        update_wrapper(self, node.func)
        # One name, a list of names, or a mapping to names: the function answers in that form.
        self._outputs = node._outputs

    def __call__(self, *inputs: Any, **named: Any) -> Any:
        if not self._outputs:
            return None
        if isinstance(self._outputs, str):
            return UNCHANGED
        if isinstance(self._outputs, dict):
            return dict.fromkeys(self._outputs, UNCHANGED)
        return [UNCHANGED] * len(self._outputs)


class Unchanged:
    """Says of the nodes of one run which have nothing to do, and lets these do nothing.

    Args:
        pipeline: All nodes of the run.
        catalog: Kedro's catalog.
        content: Hash of a parameter group or a sealed dataset as it is now; None where it is not
            known, for example before its node has run.
        earlier: Hash of what a dataset held before this run; None where it is not known.
        sources: Parameters and stored datasets that a node's results come from.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        catalog: CatalogProtocol,
        *,
        content: Callable[[str], str | None],
        earlier: Callable[[str], str | None],
        sources: Callable[[Node], Iterator[str]],
    ) -> None:
        self._pipeline, self._catalog = pipeline, catalog
        self._content, self._earlier, self._sources = content, earlier, sources
        self._makers = {name: node for node in pipeline.nodes for name in node.outputs}
        self._decided: dict[Node, bool] = {}
        self._functions: dict[Node, Callable[..., Any]] = {}

    def leave(self, node: Node) -> bool:
        """Decide, when its first input is about to be loaded, whether a node does nothing."""
        if node not in self._decided:
            self._decided[node] = self._is_unchanged(node, {})
            if self._decided[node]:
                self._functions[node] = node.func
                node.func = _Left(node)
        return self._decided[node]

    def give_back(self) -> None:
        """Give all nodes their functions back."""
        for node, function in self._functions.items():
            # Kedro's setter forgets the names of inputs, which it must have seen to forget.
            assert node.inputs
            node.func = function
        self._functions = {}

    def record(self, node: Node, name: str) -> None:
        """Write down what decided a result that a node has just stored."""
        place = _stored(self._catalog, name) if _may_be_left(node) else None
        decided_by = None if place is None else self._decided_by(node, {})
        if place is not None and decided_by is not None:
            made = Made(decided_by=decided_by, content=digest(place))
            write_file(_record_path(place), file_bytes(made.to_json()))

    def _is_unchanged(self, node: Node, seen: dict[Node, bool]) -> bool:
        known = self._decided.get(node, seen.get(node))
        if known is None:
            known = seen[node] = self._look(node, seen)
        return known

    def _look(self, node: Node, seen: dict[Node, bool]) -> bool:
        if not _may_be_left(node):
            return False
        if all(_is_memory(self._catalog, name) for name in node.outputs):
            outputs = set(node.outputs)
            readers = [each for each in self._pipeline.nodes if outputs & set(each.inputs)]
            if not outputs:
                # What only checks does so for the results of its stage.
                own = [each for each in self._pipeline.nodes if each.outputs]
                readers = [each for each in own if stage_of(each) == stage_of(node)]
            return bool(readers) and all(self._is_unchanged(each, seen) for each in readers)
        places = [_stored(self._catalog, name) for name in node.outputs]
        decided_by = None if None in places else self._decided_by(node, seen)
        return decided_by is not None and all(
            place.exists() and _made(place) == (decided_by, digest(place))
            for place in places
            if place is not None
        )

    def _decided_by(self, node: Node, seen: dict[Node, bool]) -> str | None:
        """Return the hash of all that decides a node's results; None while some is not known."""
        parts: dict[str, str] = {}
        for name in self._sources(node):
            plain = name.rpartition(".")[2]
            if plain in _STATE | _STORES and not name.startswith("params:"):
                exists = ENTERS_A_LOOK in node.tags or plain in _STORES
                found = _state(self._catalog, name, exists=exists)
            else:
                found = self._content(name)
                maker = self._makers.get(name)
                if found is None and maker is not None and self._is_unchanged(maker, seen):
                    found = self._earlier(name)
            if found is None:
                return None
            parts[name] = found
        return canonical_hash({"node": node.name, "sources": parts, "code": _code()})


def place_of(catalog: CatalogProtocol, name: str) -> Path | None:
    """Return the file or folder of a dataset; None for what is in memory or on another host."""
    if name not in catalog:
        return None
    described = catalog.get(name)._describe()
    place = described.get("filepath")
    if place is None or described.get("protocol", "file") != "file":
        return None
    return Path(str(place)).absolute()


def _may_be_left(node: Node) -> bool:
    return stage_of(node) in (*DEFAULT, GATHERED) and RUNS_CODE_OF_OTHERS not in node.tags


def _is_memory(catalog: CatalogProtocol, name: str) -> bool:
    return name not in catalog or isinstance(catalog.get(name), MemoryDataset)


def _stored(catalog: CatalogProtocol, name: str) -> Path | None:
    """Return the place of a dataset that can be left as it is."""
    if name in catalog and getattr(catalog.get(name), "leaves_unchanged", False):
        return place_of(catalog, name)
    return None


def _state(catalog: CatalogProtocol, name: str, *, exists: bool) -> str | None:
    place = place_of(catalog, name)
    if place is None:
        return None
    if not place.exists():
        return ""
    if exists:
        return str(place.is_file() or any(place.iterdir()))
    return digest(place)


def _record_path(place: Path) -> Path:
    return seal_path(place).with_suffix(SUFFIX)


def _made(place: Path) -> tuple[str, str] | None:
    try:
        made = Made.model_validate_json(_record_path(place).read_bytes())
    except (OSError, ValidationError):
        return None
    return made.decided_by, made.content


@cache
def _code() -> str:
    """Hash of what computes: this package's source, versions, and the processor."""
    return canonical_hash([source_hash(), installed(), cpu_flags()])
