import dataclasses

import pandas as pd
import pytest

from ptq_pipeline.artifact.speed import CandidateSpeed
from ptq_pipeline.core.errors import InputError
from ptq_pipeline.core.group_ids import LEVELS
from ptq_pipeline.reporting.lost_images import LostImages
from ptq_pipeline.reporting.results import worst_first


def test_missing_column_is_named(inputs):
    table = inputs.worst_case_table.drop(columns=["judged", "shift"])
    with pytest.raises(InputError, match="no column judged, shift; run the pipeline"):
        assert dataclasses.replace(inputs, worst_case_table=table).cells


def test_worst_first_ranks_by_evidence_and_then_by_the_use_of_the_limit(inputs):
    for levels in (("class",), LEVELS):
        cells = worst_first(inputs.cells, levels)
        ranks = [("shown_bad", "open", "shown_good", "not_judged").index(c.status) for c in cells]
        assert ranks == sorted(ranks)
        assert len(set(ranks)) > 1
        for rank in set(ranks):
            uses = [
                c.drop_mean / c.limit for c, own in zip(cells, ranks, strict=True) if own == rank
            ]
            assert uses == sorted(uses, reverse=True)
    worst = worst_first(inputs.cells, LEVELS[1:])[0]
    assert worst.key == inputs.verdict.worst.key
    classes = worst_first(inputs.cells, ("class",))
    assert classes[0].key == inputs.verdict.worst_by_level["class"].key


def test_worst_of_each_level_holds_every_level_once_per_group(inputs):
    cells = inputs.worst_of_each_level(2)
    keys = [(cell.level, cell.group) for cell in cells]
    assert len(set(keys)) == len(keys) == 6
    assert {level for level, _ in keys} == {"class", "segment", "intersection"}
    assert [cell.rank for cell in cells] == sorted(cell.rank for cell in cells)


def test_classes_stand_in_label_order_everywhere(inputs):
    backwards = inputs.worst_case_table.iloc[::-1]
    ordered = dataclasses.replace(inputs, worst_case_table=backwards).in_group_order
    classes = [cell.group for cell in ordered if cell.level == "class" and cell.shift == "clean"]
    assert classes == inputs.classes
    assert inputs.groups[1:11] == [("class", name) for name in classes]
    crossed = [cell.group for cell in ordered if cell.level == "intersection"]
    assert crossed[0].startswith(classes[0])
    assert crossed[-1].startswith(classes[-1])


def test_only_the_worst_classes_are_kept_when_there_are_many(inputs):
    kept, names = inputs.classes_to_show(3), inputs.classes
    assert len(kept) == 3
    assert "Sandal" in kept
    assert kept == [name for name in names if name in kept]


def test_evidence_drops_hold_audit_rows_of_the_recipe_only(inputs):
    drops = inputs.class_drops()
    assert len(drops) == 50 * 3 * 10
    assert set(drops["group"]) == set(inputs.classes)


def test_strategies_are_compared_on_selection_with_the_recipe_first(inputs):
    table = inputs.strategy_drops()
    assert table["trial_id"].is_unique
    assert table.loc[0, "strategy"] == "random"
    first = table.iloc[0]
    rows = inputs.scores[
        (inputs.scores["trial_id"] == first["trial_id"]) & (inputs.scores["split"] == "selection")
    ]
    assert first["worst_class_drop"] == rows.loc[rows["level"] == "class", "drop"].max()
    average = rows[(rows["level"] == "average") & (rows["shift"] == "clean")]
    assert first["average_drop"] == average["drop"].item()


def test_clean_is_the_first_shift(inputs):
    scores = pd.DataFrame({"shift": ["noise", "clean", "noise", "blur"]})
    assert dataclasses.replace(inputs, scores=scores).shifts == ["clean", "noise", "blur"]


@pytest.mark.parametrize(
    ("kind", "sentence"),
    [
        (CandidateSpeed, "candidate_speed.json is incomplete or damaged.*'promotion' again"),
        (LostImages, "lost_images.json is incomplete or damaged.*'reporting' again"),
    ],
)
def test_a_damaged_document_says_which_pipeline_writes_it(kind, sentence):
    with pytest.raises(InputError, match=sentence):
        kind.read({"trial_id": "t", "colour": "red"})


@pytest.mark.parametrize("name", ["candidate_speed", "lost_images"])
def test_a_report_can_do_without(full, name):
    assert dataclasses.replace(full, **{name: None}).check() is None
