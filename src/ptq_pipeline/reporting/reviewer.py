"""What the reviewer asks of an audit's identity, its history, and the machine behind the page."""

import json
from functools import cached_property

from ptq_pipeline.reporting.formats import MISSING
from ptq_pipeline.reporting.tables import Part, Row, Table

Facts = list[tuple[str, str]]


class Reviewer(Part):
    """Values of ``reviewer.html.j2``."""

    @cached_property
    def log(self) -> Table:
        """The registry's records, the newest first: what happened, when, by whom."""
        rows = []
        for record in reversed(self.audit.decision_log):
            # Each kind of record says what it is about in its own words.
            content = record["content"]
            values = {
                "sequence": record["sequence"],
                "time": self.texts.moment(record["time"]),
                "kind": self.texts(f"log.{record['kind']}"),
                "what": content.get("version") or content.get("rule") or content.get("outcome"),
                "replaces": content.get("replaces"),
                "by": content.get("by") or None,
                "why": content.get("reason") or content.get("trigger"),
                "record": record["record_hash"][:12],
            }
            rows.append(Row(values))
        return self.table(self.texts("log.caption"), rows, why="name")

    @cached_property
    def origin(self) -> Facts:
        """What wrote the page: revision, versions and processor."""
        texts, machine = self.texts, self.audit.machine
        if not machine:
            return []
        revision = machine["git"]["revision"] or MISSING
        if machine["git"]["dirty"]:
            revision = texts("origin.dirty", revision=revision)
        versions = [f"{name} {each}" for name, each in machine["versions"].items() if each]
        return [
            (texts("origin.revision"), revision),
            (texts("origin.python"), machine["python"]),
            (texts("origin.versions"), ", ".join(versions)),
            (texts("origin.processor"), " ".join([machine["machine"], *machine["cpu_flags"]])),
        ]

    @cached_property
    def made(self) -> Facts:
        """How the candidate's trial ran, and which seed drew its calibration set."""
        audit, candidate = self.audit, self.audit.verdict.candidate
        index, trials = audit.calibration_set_index, audit.trials
        found: dict[str, object] = {}
        for own in index[index["set_id"] == candidate.set_id].head(1).to_dict("records"):
            found |= {key: own[key] for key in ("draw", "seed") if key in own}
        for own in trials[trials["trial_id"] == candidate.trial_id].head(1).to_dict("records"):
            spec = json.loads(own.get("spec", "{}"))
            parts = ("engine", "model", "method", "runtime", "evaluation")
            found |= {key: spec[key] for key in parts if spec.get(key) is not None}
        return [(self.texts(f"origin.{key}"), _plain(value)) for key, value in found.items()]

    @cached_property
    def policy(self) -> str:
        """The policy as JSON."""
        return _indented(self.audit.verdict.policy.to_json())

    @cached_property
    def parameters(self) -> list[tuple[str, str]]:
        """The parameter groups as JSON, by name."""
        return [(name, _indented(group)) for name, group in self.audit.parameters.items()]

    @cached_property
    def files(self) -> list[tuple[str, str]]:
        """The candidate's files with their hashes."""
        return sorted(self.audit.decision.candidate.files.items())


def _plain(value: object) -> str:
    return json.dumps(value, sort_keys=True) if isinstance(value, dict | list) else str(value)


def _indented(value: object) -> str:
    return json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False)
