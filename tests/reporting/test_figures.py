import dataclasses
import html
import io
import re
import subprocess
import sys

import matplotlib
import numpy as np
import pytest
from matplotlib.colors import to_hex

from ptq_pipeline.core.group_ids import LEVELS
from ptq_pipeline.reporting.figures import FIGURES, style
from ptq_pipeline.reporting.figures.style import inline_svg
from ptq_pipeline.reporting.formats import points
from ptq_pipeline.reporting.results import worst_first
from ptq_pipeline.reporting.states import STATES


def draw(name, inputs, options):
    return FIGURES[name](inputs, options)


def saved(figure, file_format):
    buffer = io.BytesIO()
    figure.savefig(buffer, format=file_format)
    return buffer.getvalue()


def texts_of(figure):
    found = [text.get_text() for text in figure.findobj(matplotlib.text.Text)]
    return [text for text in found if text]


@pytest.mark.parametrize("name", list(FIGURES))
@pytest.mark.parametrize("file_format", ["svg", "png"])
def test_the_same_numbers_give_the_same_bytes(name, file_format, inputs, options):
    first = saved(draw(name, inputs, options)[0], file_format)
    with matplotlib.rc_context({"font.size": 31, "svg.hashsalt": "other", "axes.grid": True}):
        second = saved(draw(name, inputs, options)[0], file_format)
    assert first == second
    assert b"matplotlib.org" not in first


def test_drawing_leaves_the_global_settings_alone(inputs, options):
    before = dict(matplotlib.rcParams)
    saved(draw("drop_distribution", inputs, options)[0], "svg")
    assert dict(matplotlib.rcParams) == before


def test_drop_distribution_has_a_panel_for_clean_and_worst_shift(inputs, options):
    figure, words = draw("drop_distribution", inputs, options)
    figure.canvas.draw()
    assert [axis.get_title(loc="left").split(":")[0] for axis in figure.axes] == [
        "clean",
        "gaussian noise",
    ]
    for axis in figure.axes:
        labels = [label.get_text() for label in axis.get_yticklabels()]
        assert [label.split(", n=")[0] for label in labels] == inputs.classes
    assert words["n"] == 50
    shown = inputs.scores.query("role == 'evidence' and split == 'audit' and level == 'class'")
    most = 100 * shown["drop"].max()
    dots = [points for axis in figure.axes for points in axis.collections]
    assert max(dot.get_offsets()[:, 0].max() for dot in dots if len(dot.get_offsets())) == most


def test_heat_map_prints_every_mean_and_marks_what_is_shown_by_glyph_and_tint(inputs, options):
    table = inputs.worst_case_table.copy()
    sandal = (table["group"] == "Sandal") & (table["shift"] == "gaussian_noise")
    table.loc[sandal, "status"] = "shown_bad"
    changed = dataclasses.replace(inputs, worst_case_table=table)
    figure = draw("group_shift_heatmap", changed, options)[0]
    shown = table[table["level"].isin(["average", "class", "segment"])]
    axis = figure.axes[0]
    values = [text.get_text() for text in axis.texts]
    assert len(values) == len(shown)
    tints = [to_hex(patch.get_facecolor()) for patch in axis.patches if not patch.get_hatch()]
    for status, glyph in (("shown_bad", "✕"), ("open", "?")):
        count = int((shown["status"] == status).sum())
        assert sum(value.startswith(glyph) for value in values) == count > 0
        assert tints.count(STATES[status].tint) == count
    assert f"✕ {100 * table.loc[sandal, 'drop_mean'].item():.1f}" in values


def test_groups_that_a_quick_look_leaves_out_have_no_row(inputs, options):
    table = inputs.worst_case_table.query("group != 'Trouser'")
    scores = inputs.scores.query("group != 'Trouser' or split != 'audit'")
    changed = dataclasses.replace(inputs, worst_case_table=table, scores=scores)
    for name in ("group_shift_heatmap", "drop_distribution"):
        for axis in draw(name, changed, options)[0].axes:
            labels = [label.get_text() for label in axis.get_yticklabels()]
            assert labels and not [label for label in labels if label.startswith("Trouser")]


def test_groups_that_are_not_judged_are_hatched_and_named(inputs, options):
    table = inputs.worst_case_table.copy()
    table.loc[table["group"] == "Trouser", ["judged", "status"]] = [False, "not_judged"]
    changed = dataclasses.replace(inputs, worst_case_table=table)
    heat_map = draw("group_shift_heatmap", changed, options)[0].axes[0]
    assert sum(patch.get_hatch() is not None for patch in heat_map.patches) == 3
    drops = draw("drop_distribution", changed, options)[0]
    for axis in drops.axes:
        labels = [label.get_text() for label in axis.get_yticklabels()]
        assert [label for label in labels if "not judged" in label] == [
            "Trouser, n=604\nnot judged"
        ]


def test_worst_groups_show_the_interval_and_the_average(inputs, options):
    figure = draw("worst_groups", inputs, options)[0]
    axis = figure.axes[0]
    labels = [label.get_text() for label in axis.get_yticklabels()]
    assert labels[-1].startswith("All images")
    worst = worst_first(inputs.cells, LEVELS[1:])[0]
    assert labels[0].startswith(worst.group)
    ends = [tuple(line.get_xdata()) for line in axis.lines if len(line.get_xdata()) == 2]
    expected = [100 * end / worst.limit for end in worst.interval]
    assert any(np.allclose(end, expected) for end in ends)
    markers = {line.get_marker() for line in axis.lines} - {"None"}
    statuses = {cell.status for cell in inputs.worst_of_each_level(3)}
    assert {STATES[status].marker for status in statuses} <= markers


def test_strategy_figure_labels_what_is_no_evidence(inputs, options):
    labels = texts_of(draw("strategy_comparison", inputs, options)[0])
    assert "random\nrecipe, 50 draws" in labels
    assert "class balanced\ncomparison, 5 draws" in labels


def test_inline_svg_stands_alone_and_follows_the_theme(inputs, options):
    svg = inline_svg(draw("worst_groups", inputs, options)[0], "worst")
    assert svg.startswith("<svg")
    assert "viewBox=" in svg[:200]
    assert "<style" not in svg
    assert "<metadata" not in svg
    assert "xlink" not in svg
    assert "var(--ink)" in svg
    assert svg.count('id="') == svg.count('id="worst-')


@pytest.mark.parametrize("name", list(FIGURES))
def test_every_mark_says_its_value_under_the_pointer(name, inputs, options):
    figure = draw(name, inputs, options)[0]
    said = [html.unescape(each) for each in re.findall("<title>([^<]*)", inline_svg(figure, name))]
    assert set(said) == set(figure.hovers.values())
    cells = [cell for cell in inputs.cells if f"loses {points(cell.drop)} points" in "".join(said)]
    assert cells if name in ("worst_groups", "group_shift_heatmap") else "draws lose" in said[0]


def test_group_names_are_text_and_not_mathematics(inputs, options):
    name = "$5 <b>& $10"
    frame = inputs.worst_case_table.replace({"group": {"Sandal": name}})
    changed = dataclasses.replace(inputs, worst_case_table=frame)
    svg = inline_svg(draw("worst_groups", changed, options)[0], "worst")
    assert "$5 &lt;b&gt;&amp; $10" in svg


def test_importing_the_pipeline_does_not_import_matplotlib():
    code = (
        "import sys, ptq_pipeline.pipelines.reporting as p; p.create_pipeline();"
        "heavy = {'matplotlib', 'jinja2', 'torch'} & set(sys.modules); assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_without_a_japanese_font_the_log_says_once_what_to_install(
    inputs, options, monkeypatch, caplog
):
    monkeypatch.setattr(style, "japanese_font", lambda: None)
    style.warn_without_font.cache_clear()
    draw("worst_groups", inputs, options)
    assert not caplog.messages
    for _ in range(2):
        draw("worst_groups", inputs, options.model_copy(update={"language": "ja"}))
    assert [
        message for message in caplog.messages if "fonts-noto-cjk" in message
    ] == caplog.messages
    assert len(caplog.messages) == 1
    style.warn_without_font.cache_clear()
