"""What production is compared with, and whether a window of it can be believed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256

import numpy as np
import pandas as pd

from ptq_pipeline.core.errors import InputError
from ptq_pipeline.core.group_ids import GroupDefinitions
from ptq_pipeline.core.grouping import SubgroupScoringParameters
from ptq_pipeline.core.handed_on import HandedOn
from ptq_pipeline.core.names import MISSING
from ptq_pipeline.images.audit_data import AuditData
from ptq_pipeline.images.samples import encode_labels
from ptq_pipeline.images.source import ImageSource, content_hashes, decode_source
from ptq_pipeline.models import FloatModel
from ptq_pipeline.monitoring.parameters import AcceptanceRules
from ptq_pipeline.monitoring.windows import Acceptance, Arrival, Status, Window
from ptq_pipeline.profiling.features import Projection
from ptq_pipeline.profiling.segments import metadata_groups, profile_as_audited


@dataclass(frozen=True, eq=False)
class ProductionAudit(HandedOn):
    """The production images that a champion is judged on.

    Attributes:
        samples: their samples.
        images: uint8 ``(N, C, H, W)`` under each shift, row by row those of ``samples``.
    """

    samples: pd.DataFrame
    images: Mapping[str, np.ndarray]


@dataclass(frozen=True, eq=False)
class Audited(HandedOn):
    """The images, the model and the groups of the audit.

    Attributes:
        projection: of the model's features, fitted on the reference.
        scoring: which groups the audit scored.
    """

    data: AuditData
    model: FloatModel
    projection: Projection
    scoring: SubgroupScoringParameters = SubgroupScoringParameters()

    def reference(self) -> tuple[pd.DataFrame, np.ndarray]:
        """Return profiles and images of the split ``reference``, row by row."""
        profiles = self.data.profiles[self.data.profiles["split"] == "reference"]
        return profiles.reset_index(drop=True), self.data.images[profiles["sample_id"].to_numpy()]

    def profile(self, window: Window) -> pd.DataFrame:
        """Return profiles, label and segments of a window's images, as those of the audit."""
        return profile_as_audited(
            window.images, window.table, self.model, self.projection, self.data.definitions
        )

    def accept(
        self, arrival: Arrival, earlier: Mapping[str, str], rules: AcceptanceRules
    ) -> Acceptance:
        """Check a window's schema, images, labels, duplicates and ranges.

        Whatever its files make of the reading of it, the window is set aside and nothing is raised:
        the windows behind it must not wait for its repair.

        Args:
            arrival: the window.
            earlier: names of accepted windows by the hash of their content.
            rules: what is tolerated.
        """
        try:
            with arrival.guard():
                return self._accept(arrival, earlier, rules)
        except (InputError, OSError) as error:
            reason = str(error)
        except Exception as error:  # noqa: BLE001 - files of others can raise anything in a decoder
            reason = f"its files cannot be read ({type(error).__name__}: {error})"
        return Acceptance(Status.REJECTED, f"window '{arrival.name}': {reason}")

    def _accept(
        self, arrival: Arrival, earlier: Mapping[str, str], rules: AcceptanceRules
    ) -> Acceptance:
        nothing = Acceptance(Status.EMPTY, f"window '{arrival.name}' holds no image")
        if arrival.empty:
            return nothing
        source = arrival.open()
        if not len(source.table):
            return nothing
        self._check_shape(source)
        table = as_audited(source.table, self.model.classes, self.data.definitions)
        tolerated = int(rules.max_unreadable * len(table))
        decoded = decode_source(source, tolerated, "monitoring.acceptance.max_unreadable")
        table = table[table["name"].isin(decoded.table["name"])].reset_index(drop=True)
        hashes = content_hashes(decoded.images)
        content = sha256("".join(sorted(hashes)).encode()).hexdigest()
        if content in earlier:
            return Acceptance(
                Status.REPEATED,
                f"window '{arrival.name}' holds the same images as '{earlier[content]}'",
            )
        table["content_hash"] = hashes
        window = Window(arrival.name, decoded.images, table, content)
        decided = self._accept_content(window, rules)
        labels = int(source.table["label"].notna().sum())
        if decided.window is None or labels in (0, len(source.table)):
            return decided
        partly = f"{labels} of {len(source.table)} labels are there, so it counts as unlabelled"
        return replace(decided, reason="; ".join(filter(None, (decided.reason, partly))))

    def _check_shape(self, source: ImageSource) -> None:
        shape = self.data.image_shape
        if tuple(source.shape) != shape:
            raise InputError(
                f"its images are {tuple(source.shape)} and the audit's are {shape} "
                "(channels, height, width); deliver the same format"
            )

    def _accept_content(self, window: Window, rules: AcceptanceRules) -> Acceptance:
        """Leave out images that say nothing new; too many of them, and nothing is believed."""
        flat, hashes = window.images.reshape(len(window.images), -1), window.table["content_hash"]
        dead = flat.min(1) == flat.max(1)
        known = hashes.isin(set(self.data.samples["content_hash"]))
        repeated = (hashes.duplicated() | known).to_numpy()
        for wrong, limit, what in (
            (dead, rules.max_flat, "hold one value only"),
            (repeated, rules.max_duplicates, "repeat others of it or of the audit"),
        ):
            if wrong.mean() > limit:
                return Acceptance(
                    Status.REJECTED,
                    f"window '{window.name}': {int(wrong.sum())} of {len(wrong)} images {what}, "
                    f"more than {limit:.1%}",
                )
        kept = ~(dead | repeated)
        reason = f"{int((~kept).sum())} images left out" if not kept.all() else ""
        table = window.table[kept].reset_index(drop=True)
        left = replace(window, images=np.asarray(window.images[kept]), table=table)
        return Acceptance(Status.ACCEPTED, reason, left)


def as_audited(
    table: pd.DataFrame, classes: Sequence[str], definitions: GroupDefinitions
) -> pd.DataFrame:
    """Return a window's table (``name``, ``label``, segment columns) in the terms of the audit.

    Returns:
        Labels as class indices, missing when any of them is; metadata as the groups of the audit.

    Raises:
        InputError: a label or a segment's value is unknown, or such a column is missing.
    """
    table = table.copy()
    for column, defined in definitions.segments.items():
        if defined.feature is not None:
            continue
        if column not in table:
            raise InputError(f"its table has no segment column '{column}', which the audit has")
        table[column] = metadata_groups(table[column], defined.boundaries)
        if unknown := sorted(set(table[column]) - {*defined.names, MISSING}):
            raise InputError(
                f"segment '{column}' holds '{unknown[0]}'; the audit knows {list(defined.names)}"
            )
    if table["label"].notna().all():
        return table.assign(label=encode_labels(table, tuple(classes)))
    return table.assign(label=pd.Series(pd.NA, table.index, dtype="Int64"))
