import pytest

from ptq_pipeline.core.errors import InputError
from ptq_pipeline.judgement.summary import SpreadCell
from ptq_pipeline.reporting import frames


def test_missing_column_is_named(inputs):
    with pytest.raises(InputError, match="no column judged, shift; run the pipeline"):
        SpreadCell.of_table(inputs.worst_case_table.drop(columns=["judged", "shift"]))


def test_worst_first_ranks_by_the_mean_over_draws(inputs):
    cells = frames.worst_first(SpreadCell.of_table(inputs.worst_case_table), ("class",))
    drops = [cell.drop_mean for cell in cells]
    assert drops == sorted(drops, reverse=True)
    assert cells[0].group == inputs.verdict.worst_by_level["class"].group


def test_worst_of_each_level_holds_every_level_once_per_group(inputs):
    cells = frames.worst_of_each_level(SpreadCell.of_table(inputs.worst_case_table), each=2)
    keys = [(cell.level, cell.group) for cell in cells]
    assert len(set(keys)) == len(keys) == 6
    assert {level for level, _ in keys} == {"class", "segment", "intersection"}
    assert [cell.drop for cell in cells] == sorted((cell.drop for cell in cells), reverse=True)


def test_classes_stand_in_label_order_everywhere(inputs):
    definitions = inputs.group_definitions
    cells = SpreadCell.of_table(inputs.worst_case_table)
    ordered = frames.in_group_order(reversed(cells), definitions, ["clean", "gaussian_noise"])
    classes = [cell.group for cell in ordered if cell.level == "class" and cell.shift == "clean"]
    assert classes == definitions["classes"]
    assert frames.group_order(definitions)[1:11] == [("class", name) for name in classes]
    crossed = [cell.group for cell in ordered if cell.level == "intersection"]
    assert crossed[0].startswith(classes[0])
    assert crossed[-1].startswith(classes[-1])


def test_only_the_worst_classes_are_kept_when_there_are_many(inputs):
    cells = SpreadCell.of_table(inputs.worst_case_table)
    kept = frames.classes_to_show(inputs.group_definitions, cells, 3)
    names = inputs.group_definitions["classes"]
    assert len(kept) == 3
    assert "Sandal" in kept
    assert kept == [name for name in names if name in kept]


def test_evidence_drops_hold_audit_rows_of_the_recipe_only(inputs):
    drops = frames.evidence_class_drops(inputs.scores)
    assert len(drops) == 50 * 3 * 10
    assert set(drops["group"]) == set(inputs.group_definitions["classes"])


def test_strategies_are_compared_on_selection_with_the_recipe_first(inputs):
    table = frames.strategy_drops(inputs.scores)
    assert table["trial_id"].is_unique
    assert table.loc[0, "strategy"] == "random"
    first = table.iloc[0]
    rows = inputs.scores[
        (inputs.scores["trial_id"] == first["trial_id"]) & (inputs.scores["split"] == "selection")
    ]
    assert first["worst_class_drop"] == rows.loc[rows["level"] == "class", "drop"].max()
    average = rows[(rows["level"] == "average") & (rows["shift"] == "clean")]
    assert first["average_drop"] == average["drop"].item()


def test_clean_is_the_first_shift():
    assert frames.shift_order(["noise", "clean", "noise", "blur"]) == ["clean", "noise", "blur"]
