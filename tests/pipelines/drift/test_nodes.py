import gzip
from functools import partial

import numpy as np
import pandas as pd
import pytest
from safetensors.torch import save_file
from tests.verdicts import make_verdict

from ptq_pipeline.calibration.sets import CalibrationManifest, CalibrationSet, array_sha256
from ptq_pipeline.core.errors import InputError
from ptq_pipeline.core.group_ids import GroupDefinitions
from ptq_pipeline.images.idx import IdxSource
from ptq_pipeline.models import FloatModel, Preprocessing, load_float_model, resnet20
from ptq_pipeline.monitoring.parameters import DriftParameters
from ptq_pipeline.pipelines.data_loading import create_pipeline as data_loading
from ptq_pipeline.pipelines.data_loading.parameters import DataLoadingParameters
from ptq_pipeline.pipelines.drift import create_pipeline as drift
from ptq_pipeline.pipelines.drift.nodes import (
    CANDIDATE,
    RECIPE,
    check_columns,
    compare_with_reference,
    gather_calibration_profiles,
    gather_window_profiles,
)

PARAMETERS = DriftParameters.model_validate(
    {
        "seed": 1,
        "alpha": 0.05,
        "resamples": 200,
        "windows": ["calm", "drifted"],
        "columns": {
            "label": {"method": "jensenshannon", "threshold": 0.1, "optional": True},
            "brightness": {"method": "wasserstein", "threshold": 0.1},
        },
    }
)


def make_profiles(rows: int, seed: int, brightness: float = 0.0) -> pd.DataFrame:
    generator = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "sample_id": np.arange(rows) * 2 + 5,
            "split": np.where(np.arange(rows) % 2, "reference", "pool"),
            "label": generator.integers(0, 3, rows),
            "brightness": generator.normal(brightness, 1, rows),
        }
    )


def make_set(sample_ids: list[int], draw: int) -> CalibrationSet:
    manifest = CalibrationManifest(
        strategy="random",
        options={},
        seed=draw,
        draw=draw,
        size=len(sample_ids),
        pool_size=100,
        augmentation={},
        sample_ids=tuple(sample_ids),
        content_hashes=tuple("ab" for _ in sample_ids),
        array_sha256="cd",
        shape=(len(sample_ids), 1, 3, 3),
    )
    return CalibrationSet(manifest, np.zeros(manifest.shape, np.uint8))


def make_index(sets: list[CalibrationSet], **columns: list) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "set_id": [one.set_id for one in sets],
            "role": ["evidence"] * len(sets),
            "valid": [True] * len(sets),
        }
    ).assign(**columns)


def test_the_union_holds_valid_evidence_with_repetition_and_the_candidate_its_own_set() -> None:
    profiles = make_profiles(40, 0)
    sets = [make_set([5, 9], 0), make_set([9, 13], 1), make_set([21], 2), make_set([25], 3)]
    index = make_index(
        sets,
        valid=[True, True, False, True],
        role=["evidence", "evidence", "evidence", "comparison"],
    )
    verdict = make_verdict(set_id=sets[1].set_id)
    table = gather_calibration_profiles(
        {one.set_id: one for one in sets}, index, verdict, profiles, None, {}
    )
    by_comparison = {name: rows for name, rows in table.groupby("comparison")}
    assert sorted(by_comparison[RECIPE]["sample_id"]) == [5, 9, 9, 13]
    assert list(by_comparison[CANDIDATE]["sample_id"]) == [9, 13]
    expected = profiles.set_index("sample_id").loc[table["sample_id"], "brightness"]
    assert table["brightness"].tolist() == expected.tolist()


def test_without_a_candidate_only_the_recipe_is_compared() -> None:
    sets = [make_set([5], 0)]
    table = gather_calibration_profiles(
        {sets[0].set_id: sets[0]},
        make_index(sets),
        make_verdict(set_id=None),
        make_profiles(10, 0),
        None,
        {},
    )
    assert set(table["comparison"]) == {RECIPE}


def test_perturbed_sets_are_profiled_by_their_own_pixels() -> None:
    import torch

    from ptq_pipeline.models import FloatModel, Preprocessing

    module = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(9, 3))
    model = FloatModel(module, Preprocessing((0.0,), (1.0,)), ("a", "b", "c"), "f")
    plain = make_set([5, 9], 0)
    images = np.full((2, 1, 3, 3), 255, np.uint8)
    manifest = plain.manifest.model_copy(
        update={"augmentation": {"kind": "noise"}, "array_sha256": array_sha256(images)}
    )
    perturbed = CalibrationSet(manifest, images)
    projection = {"mean": [0.0] * 9, "components": [[0.0] * 9] * 8}
    profiles = make_profiles(10, 0)
    table = gather_calibration_profiles(
        {perturbed.set_id: perturbed},
        make_index([perturbed]),
        make_verdict(set_id=None),
        profiles,
        model,
        projection,
    )
    assert table["brightness"].tolist() == pytest.approx([1.0, 1.0])
    by_id = profiles.set_index("sample_id")
    assert table["label"].tolist() == by_id.loc[[5, 9], "label"].tolist()


def test_no_valid_set_and_an_unknown_candidate_are_errors() -> None:
    sets = [make_set([5], 0)]
    by_id = {sets[0].set_id: sets[0]}
    verdict = make_verdict(set_id="gone")
    with pytest.raises(InputError, match="no calibration set of the recipe is valid"):
        gather_calibration_profiles(
            by_id, make_index(sets, valid=[False]), verdict, make_profiles(9, 0), None, {}
        )
    with pytest.raises(InputError, match="set 'gone'"):
        gather_calibration_profiles(by_id, make_index(sets), verdict, make_profiles(9, 0), None, {})


def write_idx(path, array) -> str:
    header = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes()
    path.write_bytes(gzip.compress(header + array.tobytes()))
    return str(path)


@pytest.fixture
def model(tmp_path) -> FloatModel:
    save_file(resnet20(classes=3).state_dict(), tmp_path / "weights.safetensors")
    return load_float_model(
        "ptq_pipeline.models.resnet20",
        tmp_path / "weights.safetensors",
        Preprocessing((0.3,), (0.3,)),
        tuple("abc"),
        {"classes": 3},
    )


@pytest.fixture
def available(tmp_path):
    """One window that can be read, and several that cannot."""
    pixels = np.random.default_rng(0).integers(0, 256, (40, 12, 12), np.uint8)
    images, labels = np.arange(40, dtype=np.uint8) % 3, np.full(40, 9, np.uint8)
    calm = {"images": write_idx(tmp_path / "images.gz", pixels)}
    calm["labels"] = write_idx(tmp_path / "labels.gz", images)
    wrong = calm | {"labels": write_idx(tmp_path / "wrong.gz", labels)}
    empty = {"images": write_idx(tmp_path / "empty.gz", pixels[:0])}
    colour = {"images": write_idx(tmp_path / "colour.gz", np.zeros((2, 4, 4, 3), np.uint8))}
    gone = {"images": tmp_path / "gone.gz"}
    parts = {"calm": calm, "wrong": wrong, "empty": empty, "colour": colour, "gone": gone}
    return {name: partial(IdxSource, [part]) for name, part in parts.items()}


TONE = {"feature": "brightness", "thresholds": [0.5], "names": ["dark", "light"]}
DEFINITIONS = GroupDefinitions(classes=("a", "b", "c"), segments={"tone": TONE})
PROJECTION = {"mean": [0.0] * 64, "components": [[0.0] * 64] * 8}


def gather(available, model, *names):
    parameters = PARAMETERS.model_copy(update={"windows": names})
    loading = DataLoadingParameters(seed=1)
    return gather_window_profiles(available, model, PROJECTION, DEFINITIONS, loading, parameters)


def test_named_windows_are_profiled_and_no_other_is_opened(available, model) -> None:
    table = gather(available, model, "calm")
    assert set(table["comparison"]) == {"production_calm"}
    assert table["label"].tolist() == [number % 3 for number in range(40)]
    assert set(table["tone"]) <= {"dark", "light"}
    assert {"brightness", "predicted", "component_8"} <= set(table)
    assert gather(available, model).empty


@pytest.mark.parametrize(
    ("window", "reason"),
    [
        ("wrong", r"label '9' .* outside the model's 3 classes"),
        ("empty", "it holds no image"),
        ("colour", r"3 channel\(s\) and the model takes 1"),
        ("gone", "gone.gz' does not exist"),
        ("tomorrow", r"it does not exist; there are \['calm', 'colour'"),
    ],
)
def test_a_named_window_that_cannot_be_compared_is_an_error(
    available, model, window, reason
) -> None:
    with pytest.raises(InputError, match=f"window '{window}' cannot be compared: .*{reason}"):
        gather(available, model, "calm", window)


def test_comparisons_end_in_table_summary_and_reports() -> None:
    profiles = make_profiles(2_000, 1)
    windows = pd.concat(
        [
            make_profiles(800, 2).assign(comparison="production_calm"),
            make_profiles(800, 3, brightness=0.5).assign(
                comparison="production_drifted", label=np.nan
            ),
        ],
        ignore_index=True,
    )
    sets = [make_set(list(range(5, 505, 4)), 0)]
    verdict = make_verdict(set_id=sets[0].set_id)
    gathered = gather_calibration_profiles(
        {sets[0].set_id: sets[0]}, make_index(sets), verdict, profiles, None, {}
    )
    table, summary, reports = compare_with_reference(gathered, windows, profiles, PARAMETERS)
    names = [RECIPE, CANDIDATE, "production_calm", "production_drifted"]
    assert list(table["comparison"].unique()) == names
    assert list(table.columns[:2]) == ["comparison", "column"]
    assert {"method", "threshold", "value", "drifted", "n"} <= set(table.columns)
    comparisons = summary["comparisons"]
    assert not comparisons["production_calm"]["drifted"]
    assert comparisons["production_drifted"]["drifted_columns"] == ["brightness"]
    assert comparisons["production_drifted"]["skipped_columns"] == ["label"]
    assert comparisons["production_drifted"]["furthest"]["column"] == "brightness"
    assert comparisons[CANDIDATE]["n"] == 125
    assert set(reports) == {f"{name}.{kind}" for name in names for kind in ("html", "json")}
    again = compare_with_reference(gathered, windows, profiles, PARAMETERS)
    pd.testing.assert_frame_equal(table, again[0])
    assert summary == again[1]


def test_a_column_that_this_audit_lacks_is_an_error_before_any_trial() -> None:
    columns = {"tone": {"method": "jensenshannon", "threshold": 0.1}}
    parameters = PARAMETERS.model_validate({**PARAMETERS.model_dump(), "columns": columns})
    definitions = GroupDefinitions(classes=("a", "b"), segments={"customer": {"names": ["new"]}})
    with pytest.raises(InputError, match=r"no column 'tone'; take it out of 'drift.columns', or"):
        check_columns(make_profiles(40, 0), definitions, parameters)


def test_drift_is_checked_before_the_trials() -> None:
    # It asks for nothing that comes after `data_loading`.
    (node,) = [each for each in drift().nodes if each.name == "check_drift_columns"]
    assert set(node.inputs) <= data_loading().all_outputs() | {"params:drift"}
