"""The candidate's files: whether they answer as judged, how large and how fast they are."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from ptq_pipeline.judgement.decision import Execution
from ptq_pipeline.reporting.formatting import clean_text, count, number
from ptq_pipeline.reporting.tables import Row, Table, make_table, worst_first_if_long
from ptq_pipeline.reporting.texts import Texts
from ptq_pipeline.reporting.wording import shift_name

Mapped = Mapping[str, Any]


@dataclass(frozen=True)
class Thumbnail:
    """A small image with the words that stand for it."""

    source: str
    alt: str
    caption: str


@dataclass(frozen=True)
class LostImages:
    """Images of the worst group: what the candidate loses, and what calibrated it."""

    intro: str
    lost: tuple[Thumbnail, ...]
    calibration_intro: str
    calibration: tuple[Thumbnail, ...]


def lost_images(texts: Texts, found: Mapped) -> LostImages | None:
    """Put the gathered images into words; ``None`` without a worst group."""
    from ptq_pipeline.reporting.wording import group_words, shift_words

    place = found.get("group")
    if not place:
        return None
    lost = [
        Thumbnail(
            f"data:image/png;base64,{image['png']}",
            texts(
                "lost_images.image",
                number=number_,
                label=clean_text(image["label"]),
                answer=clean_text(image["answer"]),
            ),
            texts("lost_images.short", label=image["label"], answer=image["answer"]),
        )
        for number_, image in enumerate(found["lost"], 1)
    ]
    calibration = [
        Thumbnail(
            f"data:image/png;base64,{image['png']}",
            texts(
                "lost_images.calibration_image",
                number=number_,
                label=clean_text(image["label"]),
            ),
            clean_text(image["label"]),
        )
        for number_, image in enumerate(found["calibration"], 1)
    ]
    group = group_words(texts, place["level"], place["group"])
    shift = shift_words(texts, place["shift"])
    intro = texts(
        "lost_images.intro" if lost else "lost_images.none",
        group=group,
        shift=shift,
        shown=len(lost),
        lost=count(found["lost_count"]),
        images=count(found["n"]),
    )
    used = texts(
        "lost_images.calibration" if calibration else "lost_images.no_calibration",
        group=group,
        shown=len(calibration),
        used=count(found["calibration_count"]),
        size=count(found["set_size"]),
    )
    return LostImages(intro, tuple(lost), used, tuple(calibration))


def execution_table(texts: Texts, execution: Execution) -> Table:
    """Say for every shift how many images the exported file answers other than judged."""
    rows = [
        Row(
            {
                "shift": shift_name(texts, shift),
                "n": answers.n,
                "different": answers.different,
            },
            "bad" if answers.different else "plain",
        )
        for shift, answers in execution.answers.items()
    ]
    columns = (("shift", "text"), ("n", "count"), ("different", "count"))
    files = ", ".join(execution.files)
    return make_table(texts, texts("artifact.caption_execution", files=files), columns, rows)


def other_files_table(texts: Texts, execution: Execution) -> Table:
    """Say of every file beside the served one whether it answers as judged and ships."""
    rows = []
    for other in execution.others:
        mode = f" ({other.optimization})" if other.optimization else ""
        values = {
            "file": other.file,
            "executed_in": other.runtime + mode,
            "n": other.n,
            "different": other.different,
            "ships": texts("artifact.ships_yes" if other.ships else "artifact.ships_no"),
        }
        rows.append(Row(values, "plain" if other.ships else "bad"))
    columns = (
        *(("file", "name"), ("executed_in", "text"), ("n", "count"), ("different", "count")),
        ("ships", "text"),
    )
    return make_table(texts, texts("artifact.caption_others"), columns, rows)


def exported_parity_table(texts: Texts, execution: Execution, max_rows: int) -> Table:
    """Compare the exported file with the simulation, class by class."""
    rows = [Row(each.model_dump(by_alias=True)) for each in execution.parity]
    columns = (
        ("class", "name"),
        ("n", "count"),
        ("agreement", "percent"),
        ("drop_difference", "points"),
    )
    rows = worst_first_if_long(rows, "drop_difference", max_rows)
    return make_table(texts, texts("artifact.caption_parity"), columns, rows, max_rows)


def speed_table(texts: Texts, speed: Mapped) -> Table:
    """Put float model and candidate side by side: size, latency and throughput."""
    measured = [(key, speed.get(key)) for key in ("float", "candidate")]
    rows = [
        Row(
            {
                "model": texts(f"artifact.model_{key}"),
                "kib": round(found["bytes"] / 1024),
                "latency_ms": found["latency_ms"],
                "images_per_second": round(found["images_per_second"]),
            }
        )
        for key, found in measured
        if found
    ]
    columns = (
        ("model", "text"),
        ("kib", "count"),
        ("latency_ms", "number"),
        ("images_per_second", "count"),
    )
    caption = texts("artifact.caption_speed", batch=count(speed.get("batch_size")))
    return make_table(texts, caption, columns, rows)


def speed_line(texts: Texts, speed: Mapped) -> str | None:
    """Say in one line how much smaller and faster the candidate is; ``None`` if not measured."""
    before, now = speed.get("float"), speed.get("candidate")
    if not before or not now:
        return None
    return texts(
        "artifact.line",
        size=number(now["bytes"] / before["bytes"], 2),
        candidate_kib=count(now["bytes"] / 1024),
        float_kib=count(before["bytes"] / 1024),
        candidate_ms=number(now["latency_ms"], 2),
        float_ms=number(before["latency_ms"], 2),
    )


def speed_conditions(texts: Texts, speed: Mapped) -> str:
    """Say where the speed was measured: runtime, threads and processor."""
    runtime = speed.get("runtime") or {}
    return texts(
        "artifact.conditions",
        runtime=" ".join(str(runtime[key]) for key in ("name", "version") if runtime.get(key)),
        threads=runtime.get("threads") or "–",
        machine=" ".join([str(speed.get("machine") or ""), *(runtime.get("cpu_flags") or ())]),
    )


def layer_table(texts: Texts, layers: pd.DataFrame, most: int = 10) -> Table:
    """Give the layers whose outputs differ most in the worst group, with their clip rates."""
    keys = ("error_group", "error_all", "clip_group", "clip_all")
    rows = [
        Row({"layer": row["layer"], **{key: row[key] for key in keys}})
        for row in layers.to_dict("records")
    ]
    columns: Sequence[tuple[str, str]] = (
        ("layer", "name"),
        *((key, "percent") for key in keys),
    )
    return make_table(texts, texts("layers.caption"), columns, rows, most)
