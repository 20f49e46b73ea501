"""Seals in Kedro: which datasets have one, and the hook that writes and checks them.

Sealed is what one node writes and another one reads. Before a run, everything that it reads from
earlier runs is compared with its seal, and its origin with the parameters of this run.
"""

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache, partial
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from typing import Any

from kedro.config import MissingConfigException
from kedro.framework.context import KedroContext
from kedro.framework.hooks import hook_impl
from kedro.framework.project import pipelines as project_pipelines
from kedro.io import CatalogProtocol
from kedro.pipeline import Node, Pipeline

from ptq_pipeline import pipelines
from ptq_pipeline.core.canonical import canonical_hash
from ptq_pipeline.core.seals import (
    Seal,
    SealError,
    break_seals,
    check_origin,
    checked_seal,
    digest,
    read_seal,
    write_seal,
)
from ptq_pipeline.mounting import GATHERED, mounts, stage_of
from ptq_pipeline.run_lock import RunLock
from ptq_pipeline.unchanged import Unchanged, place_of

log = logging.getLogger(__name__)

# Stages that make no evidence: see `check_reading` on what is not strict.
_READERS = frozenset({"reporting", "release", "monitoring", GATHERED})
# The audit within a mount or within this project: a namespace of its own, and one run all the same.
_INNER = "requantization"
# Settings that only say where something runs, by parameter group.
_DECIDES_NOTHING = {"quantization": frozenset({"executor"})}
# Figures of one machine and moment: nothing follows from them.
_FIGURES = frozenset({"candidate_speed"})


@cache
def sealed_names() -> frozenset[str]:
    """Return the names of the datasets that some node writes and another one reads."""
    stages = [
        import_module(f"{pipelines.__name__}.{module.name}").create_pipeline()
        for module in iter_modules(pipelines.__path__)
        if module.ispkg
    ]
    made = set().union(*(stage.all_outputs() for stage in stages))
    read = {name for stage in stages for node in stage.nodes for name in node.inputs}
    # What is acted upon by commands.
    return frozenset(made & (read | {"decision", "candidate_model", "verdict"})) - _FIGURES


def sealed_place(catalog: CatalogProtocol, name: str) -> Path | None:
    """Return the file or folder of a sealed dataset, with or without the name of a mount.

    None for what has no seal: raw data, state, what stays in memory or on another host.
    """
    sealed = {name, name.partition(".")[2]} & sealed_names()
    return place_of(catalog, name) if sealed else None


def parameter_hash(parameters: Mapping[str, Any], name: str) -> str | None:
    """Return the hash of a parameter group (``params:...``), None where there is none.

    Args:
        parameters: as configuration and ``--params`` say them. Kedro hands out what the type hints
            of the nodes at hand make of them, which is another form in another pipeline.
        name: the group's dataset; settings in it that decide nothing are left out.
    """
    keys = name.removeprefix("params:").split(".")
    value: Any = parameters
    for key in keys:
        if not isinstance(value, Mapping) or key not in value:
            return None
        value = value[key]
    idle = _DECIDES_NOTHING.get(keys[-1], frozenset())
    if isinstance(value, Mapping):
        value = {key: each for key, each in value.items() if key not in idle}
    return canonical_hash(value)


def check_reading(
    catalog: CatalogProtocol,
    names: Iterable[str],
    parameters: Mapping[str, Any],
    strict: bool = True,
) -> dict[str, str]:
    """Check what is about to be read: its content, and where it comes from.

    Args:
        catalog: Kedro's catalog.
        names: datasets; raw data and state, which have no seals, are passed over.
        parameters: of this run, see `parameter_hash`.
        strict: whether a missing seal and other parameters than those of this run are errors; if
            not, the first is passed over, and the second is worth a warning.

    Returns:
        Hashes of the inputs without seals (the float model) that it was made from, by name.

    Raises:
        SealError: naming the file and what differs.
    """
    found: dict[str, str] = {}
    for name in names:
        found |= _check(name, partial(sealed_place, catalog), parameters, strict)
    return found


def check_acting(catalog: CatalogProtocol, name: str) -> None:
    """Check what a command is about to act upon or to show.

    Its content has to be what its seal says, and the files that it was made from those of the same
    run. The parameters may have changed since, and a file that has no seal was brought by git or by
    hand: its own hashes have to vouch for it.

    Raises:
        SealError: naming the file and what differs, or that a later run did not end.
    """
    _check(name, partial(place_of, catalog), {}, strict=False)


def _check(
    name: str, place_of: Callable[[str], Path | None], parameters: Mapping[str, Any], strict: bool
) -> dict[str, str]:
    place = place_of(name)
    # Of what is missing the dataset says best what it is, when it is loaded.
    if place is None or not place.exists() or not (strict or read_seal(place)):
        return {}
    checked_seal(place, name)
    complain = _refuse if strict else log.warning
    return check_origin(name, place_of, partial(parameter_hash, parameters), complain)


def _refuse(sentence: str) -> None:
    raise SealError(sentence)


class SealHooks:
    """Seals what stages write, checks what they read, and lets one run at a time into a folder."""

    def __init__(self) -> None:
        self._pipeline = Pipeline([])
        self._catalog: Any = None
        self._unsealed: dict[str, str] = {}
        self._lock = RunLock()
        self._strict = True
        self._broken: dict[Path, Seal] = {}
        self._decisions: set[Path] = set()
        self._configuration: Mapping[str, Any] = {"parameters": {}}
        self._parameters: Mapping[str, Any] = {}
        self._unchanged: Unchanged | None = None

    @hook_impl
    def after_context_created(self, context: KedroContext) -> None:
        """Keep what reads the parameters as configuration and ``--params`` say them."""
        self._configuration = context.config_loader

    @hook_impl
    def before_pipeline_run(
        self, run_params: dict[str, Any], pipeline: Pipeline, catalog: CatalogProtocol
    ) -> None:
        """Take the lock, check what earlier runs left, and break the seals of what is made now."""
        self._lock.release()
        gathering = _gathering(pipeline, catalog)
        pipeline = gathering + pipeline
        self._pipeline = Pipeline([node for node in pipeline.nodes if stage_of(node)])
        self._catalog, self._unsealed = catalog, {}
        stages = {stage_of(node) for node in self._pipeline.nodes}
        if not stages:
            return
        try:
            self._parameters = self._configuration["parameters"]
        except MissingConfigException:
            self._parameters = {}
        self._lock.take(_folders(self._pipeline, catalog))
        try:
            self._strict = not stages <= _READERS
            # A host's own datasets may have the names of ours: only what our nodes read counts.
            read = sorted(self._pipeline.inputs() & pipeline.inputs())
            self._unsealed = check_reading(catalog, read, self._parameters, self._strict)
            # Before any seal is broken: what cannot be gathered leaves everything as it is.
            self._gather(gathering, catalog)
            outputs = sorted(self._pipeline.all_outputs())
            places = {name: place for name in outputs if (place := sealed_place(catalog, name))}
            self._broken = {
                place: seal
                for name, place in places.items()
                if (seal := read_seal(place)) is not None
            }
            self._decisions = {place for name, place in places.items() if name.endswith("decision")}
            break_seals(places.values())
            self._unchanged = Unchanged(
                pipeline,
                catalog,
                content=self._content,
                earlier=self._earlier,
                sources=lambda node: _sources(self._pipeline, node, catalog),
            )
        except BaseException:
            self._lock.release()
            raise

    @hook_impl
    def before_dataset_loaded(self, dataset_name: str, node: Node) -> None:
        """Compare the content with the seal once more: the run may have taken hours.

        By now all that its inputs come from has run, so a node learns here whether it has to.
        """
        if stage_of(node) and self._unchanged is not None and self._unchanged.leave(node):
            self._seal_again(node)
        place = self._place(dataset_name) if stage_of(node) else None
        if place is not None and place.exists() and (self._strict or read_seal(place)):
            checked_seal(place, dataset_name)

    def _seal_again(self, node: Node) -> None:
        """Give what a node leaves as it is its seal back.

        After a run that was killed there is no whole one, and it gets a new one: the results are
        those that were recorded, or the node would run.
        """
        for name in node.outputs:
            place = self._place(name)
            if place is None or place not in self._broken:
                continue
            earlier = self._broken.pop(place)
            if earlier.content:
                write_seal(place, earlier)
            else:
                self._seal(place, node)

    @hook_impl
    def after_dataset_loaded(self, dataset_name: str, data: Any, node: Node) -> None:
        """Compare the float model with the one that earlier files were made with."""
        found = getattr(data, "fingerprint", None)
        if not stage_of(node) or not isinstance(found, str):
            return
        if self._unsealed.setdefault(dataset_name, found) != found:
            raise SealError(
                f"'{dataset_name}' is not the one that the results of earlier stages were made "
                "with (its weights, code, preprocessing or classes changed); run the pipelines "
                "from 'data_loading' on"
            )

    @hook_impl
    def after_dataset_saved(self, dataset_name: str, node: Node) -> None:
        """Write the seal."""
        if not stage_of(node) or self._unchanged is None or self._unchanged.leave(node):
            return
        place = self._place(dataset_name)
        if place is not None:
            self._broken.pop(place, None)
            self._seal(place, node)
        self._unchanged.record(node, dataset_name)

    @hook_impl
    def after_pipeline_run(self) -> None:
        """Seal what was saved in other processes, where hooks do not run, and open the lock."""
        for node in self._pipeline.nodes:
            for name in node.outputs:
                place = self._place(name)
                if place is not None and place.exists():
                    seal = read_seal(place)
                    if seal is None or not seal.content:
                        self._seal(place, node)
        self._end()

    @hook_impl
    def on_pipeline_error(self) -> None:
        """Give seals back to what the run did not come to write, and open the lock.

        The decision does not get its own back: the newest run has reached none.
        """
        for place, seal in self._broken.items():
            if place.exists() and place not in self._decisions:
                write_seal(place, seal)
        self._end()

    def _place(self, name: str) -> Path | None:
        return None if self._catalog is None else sealed_place(self._catalog, name)

    def _content(self, name: str) -> str | None:
        if name.startswith("params:"):
            return str(parameter_hash(self._parameters, name))
        place = self._place(name)
        if place is None:
            return self._unsealed.get(name)
        seal = read_seal(place)
        return seal.content or None if seal else None

    def _earlier(self, name: str) -> str | None:
        place = self._place(name)
        seal = None if place is None else self._broken.get(place)
        return seal.content or None if seal else None

    def _seal(self, place: Path, node: Node) -> None:
        parameters: dict[str, str] = {}
        inputs: dict[str, str] = {}
        for name in _sources(self._pipeline, node, self._catalog):
            if name.startswith("params:"):
                parameters[name] = str(parameter_hash(self._parameters, name))
            elif (source := self._place(name)) is not None:
                seal = read_seal(source)
                inputs[name] = seal.content if seal and seal.content else digest(source)
            elif name in self._unsealed:
                inputs[name] = self._unsealed[name]
        write_seal(
            place,
            Seal(content=digest(place), node=node.name, parameters=parameters, inputs=inputs),
        )

    def _gather(self, gathering: Pipeline, catalog: CatalogProtocol) -> None:
        for node in gathering.nodes:
            given = {name: catalog.load(name) for name in node.inputs}
            for name, data in given.items():
                self.after_dataset_loaded(name, data, node)
            for name, data in node.run(given).items():
                catalog[name] = data

    def _end(self) -> None:
        self._broken = {}
        if self._unchanged is not None:
            self._unchanged.give_back()
            self._unchanged = None
        self._lock.release()


def _folders(pipeline: Pipeline, catalog: CatalogProtocol) -> list[Path]:
    """Return where the results of our nodes are: the project's own, and those of mounts."""
    names = [f"{mount}.verdict" for mount in mounts(pipeline)]
    if any(not node.namespace or node.namespace.startswith(_INNER) for node in pipeline.nodes):
        names.append("verdict")
    places = (sealed_place(catalog, name) for name in names)
    return sorted({place.parent for place in places if place is not None})


def _gathering(pipeline: Pipeline, catalog: CatalogProtocol) -> Pipeline:
    """Find the nodes that gather what stays in memory, for a run that starts behind them."""
    found = Pipeline([])
    while missing := {n for n in (found + pipeline).inputs() if n not in catalog}:
        makers = [
            node
            for each in project_pipelines.values()
            for node in each.nodes
            if missing & set(node.outputs)
            and stage_of(node)
            # What is stored is written by its own run, with its seal.
            and not any(output in catalog for output in node.outputs)
        ]
        if not makers:
            # Kedro says what is missing.
            return Pipeline([])
        found += Pipeline(dict.fromkeys(makers))
    return found


def _sources(pipeline: Pipeline, node: Node, catalog: CatalogProtocol) -> Iterator[str]:
    """Yield parameters and stored datasets that a node's results come from, through memory."""
    makers = {output: each for each in pipeline.nodes for output in each.outputs}
    waiting, seen = sorted(node.inputs), set(node.inputs)
    while waiting:
        name = waiting.pop()
        if name in makers and sealed_place(catalog, name) is None:
            waiting.extend(sorted(set(makers[name].inputs) - seen))
            seen |= set(makers[name].inputs)
        else:
            yield name


seal_hooks = SealHooks()
