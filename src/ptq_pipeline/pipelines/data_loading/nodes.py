"""Nodes of ``data_loading``."""

import logging
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from ptq_pipeline.core.errors import InputError
from ptq_pipeline.core.group_ids import GroupDefinitions, SegmentColumn, check_labels, class_ids
from ptq_pipeline.core.grouping import build_groups
from ptq_pipeline.core.groups import EVALUATED_SPLITS
from ptq_pipeline.core.units import IMAGE, OBJECTS, units_of
from ptq_pipeline.images.objects import (
    check_classes,
    encode_objects,
    image_labels,
    objects_table,
)
from ptq_pipeline.images.samples import (
    assign_splits,
    check_split_names,
    check_splits,
    encode_labels,
    require_splits,
)
from ptq_pipeline.images.source import (
    ImageSource,
    content_hashes,
    content_keys,
    decode_source,
    require_images,
)
from ptq_pipeline.models import FloatModel
from ptq_pipeline.pipelines.data_loading.parameters import (
    DataLoadingParameters,
    MetadataParameters,
)
from ptq_pipeline.profiling.features import profile_and_fit
from ptq_pipeline.profiling.plausibility import check_class_order, check_detector, suspicion
from ptq_pipeline.profiling.segments import (
    check_columns,
    define_metadata,
    define_segment,
    metadata_groups,
    require_groups,
    with_segments,
)
from ptq_pipeline.reporting.progress import track

log = logging.getLogger(__name__)

# Columns of a source's table that are not segments.
_PLAIN_COLUMNS = ("name", "label", "part", "split", "cluster", OBJECTS)


def decode_images(
    source: ImageSource, model: FloatModel, parameters: DataLoadingParameters
) -> tuple[np.ndarray, pd.DataFrame, dict[str, Any]]:
    """Decode the source once, check model, labels and splits, and hash the pixels.

    Returns:
        The uint8 images ``(N, C, H, W)``; one row per image: ``sample_id``, ``name``,
        ``content_hash``, ``split``, ``label``, optional ``cluster``, the source's metadata as
        groups; ``segments`` (how these were made) and ``left_out`` (what is no sample, by reason).
    """
    labels = check_source(source, model, parameters.metadata.most_values)
    segments = [column for column in source.table if column not in _PLAIN_COLUMNS]
    decoded = decode_source(source, parameters.max_unreadable)
    if decoded.unreadable:
        log.warning(
            "%d unreadable image(s) left out: %s",
            len(decoded.unreadable),
            "; ".join(decoded.unreadable[:5]),
        )
        labels = labels[source.table["name"].isin(decoded.table["name"])]
    table = decoded.table.assign(
        sample_id=np.arange(len(decoded.table)),
        content_hash=content_hashes(decoded.images),
        label=labels.to_numpy(),
    )
    table["split"] = assign_splits(table, source.splits, parameters.seed)
    check_splits(table, table["name"])
    _check_training_images(table, model)
    in_pool, chosen = (table["split"] == "pool").to_numpy(), parameters.metadata
    metadata = {
        column: define_metadata(table[column], in_pool, chosen.quantiles, chosen.most_values)
        for column in segments
    }
    for column, entry in metadata.items():
        table[column] = metadata_groups(table[column], entry.boundaries)
    # Sources of others may count nothing.
    left_out = {**getattr(source, "left_out", {}), "unreadable": len(decoded.unreadable)}
    left_out = {reason: count for reason, count in left_out.items() if count}
    of_objects: dict[str, SegmentColumn] = {}
    if model.task.finds_objects:
        table, of_objects = _with_objects(table, model, chosen)
    _check_groups(table, model, {**metadata, **of_objects})
    plain = ["sample_id", "name", "content_hash", "split", "label"]
    plain += [column for column in ("cluster", OBJECTS) if column in table]
    found = {"segments": metadata, **({"objects": of_objects} if of_objects else {})}
    described = {
        kind: {name: column.to_json() for name, column in columns.items()}
        for kind, columns in found.items()
    }
    return decoded.images, table[[*plain, *segments]], {**described, "left_out": left_out}


def _with_objects(
    table: pd.DataFrame, model: FloatModel, chosen: MetadataParameters
) -> tuple[pd.DataFrame, dict[str, SegmentColumn]]:
    """Write down what is on each image, and how the columns of objects became groups."""
    own = objects_table(table)
    in_pool = (table["split"] == "pool").to_numpy()[own[IMAGE].to_numpy()]
    groups, entries = {}, {}
    for column in own.columns.drop(IMAGE):
        entries[column] = define_metadata(
            own[column], in_pool, chosen.quantiles, chosen.most_values
        )
        groups[column] = metadata_groups(own[column], entries[column].boundaries)
    return table.assign(objects=encode_objects(table, model.classes, groups)), entries


def check_source(source: ImageSource, model: FloatModel, most_values: int) -> pd.Series:
    """Check all that is known of a source before its images are decoded, and return its labels.

    ``most_values`` are those of `define_metadata`.

    Raises:
        InputError: Columns, labels, splits or the images' shape cannot be used with this model.
    """
    require_images(source)
    segments = [column for column in source.table if column not in _PLAIN_COLUMNS]
    check_columns(segments, "the image source")
    for column in segments:
        require_groups(source.table[column], most_values)
    check_labels(class_ids(model.classes))
    check_split_names(source.table, source.splits)
    given = source.table.get("split", pd.Series(pd.NA, source.table.index, dtype=object))
    weights = (part for part in source.splits if given.isna().any())
    divided = {name for part in weights for name, weight in part.items() if weight}
    require_splits(divided | set(given.dropna()))
    _check_task(model, source)
    _check_model(model, source.shape)
    if model.task.finds_objects:
        check_classes(source.table, model.classes)
        return image_labels(source.table, model.classes)
    return encode_labels(source.table, model.classes)


def _check_task(model: FloatModel, source: ImageSource) -> None:
    """Refuse images without annotated objects for a detector, and such images for others."""
    annotated = OBJECTS in source.table
    if annotated and not model.task.finds_objects:
        raise InputError(
            "the image source has annotated objects, and the float model is a classifier; give "
            "'detector' of the model's catalog entry, or a source of labelled images"
        )
    if model.task.finds_objects and not annotated:
        raise InputError(
            "the float model is a detector, and the image source has no annotated objects; use "
            "CocoDataset, or leave 'detector' of the model's catalog entry out"
        )


def _check_groups(
    table: pd.DataFrame, model: FloatModel, metadata: Mapping[str, SegmentColumn]
) -> None:
    """Refuse two groups that would be called alike, now rather than after quantization."""
    names = {name: column.names for name, column in metadata.items()}
    groups = build_groups(units_of(table), model.classes, names, intersection_depth=1)
    for split in EVALUATED_SPLITS:
        if copies := groups.copies(split):
            log.warning(
                "%d image(s) of split %s repeat pixels and label of another; each counts once",
                copies,
                split,
            )
    if capped := groups.left_out():
        (level, name), n = next(iter(capped.items()))
        log.warning(
            "%d group(s) count only some audit images of their largest clusters, so that no "
            "cluster outweighs the others: %s '%s' leaves out %d",
            *(len(capped), level, name, n),
        )


def _check_model(model: FloatModel, image_shape: tuple[int, int, int]) -> None:
    """Fail now, not after hours, when the images do not fit or a layer cannot be quantized."""
    # Apart from the others, as they take torch.
    from ptq_pipeline.models.inference import in_torch, require_single_answers
    from ptq_pipeline.models.loading import prepared_model

    if image_shape[0] != model.preprocessing.channels:
        raise InputError(
            f"the images have {image_shape[0]} channel(s) but the model's preprocessing has "
            f"{model.preprocessing.channels}; make 'shape' and 'preprocessing' agree"
        )
    noise = np.random.default_rng(0).integers(0, 256, (8, *image_shape)).astype(np.uint8)
    require_single_answers(model, noise)
    model.task.check(in_torch(model)(model.preprocessing(noise)), len(model.classes))
    prepared_model(model, image_shape)


def _check_training_images(table: pd.DataFrame, model: FloatModel) -> None:
    if model.training_keys is None:
        log.warning("the model records no training images: whether any is audited is unknown")
        return
    known = np.isin(content_keys(table["content_hash"]), model.training_keys)
    judged = known & table["split"].isin(["selection", "audit"]).to_numpy()
    if judged.any():
        row = int(np.flatnonzero(judged)[0])
        raise InputError(
            f"{int(judged.sum())} image(s) of selection or audit trained the model, first "
            f"'{table['name'][row]}'; judge on images the model has never seen"
        )
    if known.any():
        log.warning("%d image(s) of pool or reference trained the model", int(known.sum()))


def profile_samples(
    table: pd.DataFrame, images: np.ndarray, model: FloatModel, parameters: DataLoadingParameters
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Compute every sample's profile; the projection is fitted on the reference."""
    from ptq_pipeline.models.inference import require_logit, require_single_answers

    require_single_answers(model, images)
    reference = (table["split"] == "reference").to_numpy()
    columns, projection = profile_and_fit(
        images, model, reference, lambda each, total: track(each, total, "profiles")
    )
    profiles = pd.concat([table[["sample_id", "split", "label"]], columns], axis=1)
    if model.task.finds_objects:
        check_detector(model, images, table)
        return profiles, projection.to_json()
    require_logit(model, profiles["predicted"].to_numpy(), profiles["confidence"].to_numpy())
    labels, predicted = profiles["label"].to_numpy(), profiles["predicted"].to_numpy()
    log.info("float model: %.2f %% of all samples right", 100 * (labels == predicted).mean())
    check_class_order(labels, predicted, model.classes)
    doubt = suspicion(labels, predicted, parameters.expected_accuracy)
    if doubt is not None:
        log.warning("%s", doubt)
    return profiles, projection.to_json()


def define_segments(
    metadata: dict[str, Any],
    profiles: pd.DataFrame,
    model: FloatModel,
    parameters: DataLoadingParameters,
) -> GroupDefinitions:
    """Freeze the thresholds of every segment on the pool and name all groups."""
    check_columns(parameters.segments, "'data_loading.segments'")
    segments = {name: SegmentColumn.read(column) for name, column in metadata["segments"].items()}
    pool = profiles[profiles["split"] == "pool"]
    for column, rule in parameters.segments.items():
        if column in segments:
            raise InputError(
                f"segment '{column}' is a column of the image source and is also defined in "
                "'data_loading.segments'; rename one of them"
            )
        segments[column] = define_segment(rule, column, pool[rule.feature])
    for column in parameters.controls:
        if column not in segments:
            raise InputError(
                f"data_loading.controls: there is no segment column '{column}'; the columns are "
                f"{', '.join(segments) or 'none'}"
            )
        segments[column] = segments[column].model_copy(update={"control": True})
    of_objects = metadata.get("objects", {})
    return GroupDefinitions(
        classes=tuple(model.classes),
        segments=segments,
        left_out=metadata["left_out"],
        objects={name: SegmentColumn.read(column) for name, column in of_objects.items()},
        alarms=model.task.facts.get("alarms"),
    )


def build_samples(
    table: pd.DataFrame, profiles: pd.DataFrame, definitions: GroupDefinitions
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Add the segment columns to samples and profiles, and check that groups can be judged."""
    samples = with_segments(table.drop(columns="name"), profiles, definitions)
    return samples, profiles.assign(**{name: samples[name] for name in definitions.segments})
