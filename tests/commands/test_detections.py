"""A verdict on two detectors' files, counted by an independent script."""

import json

import numpy as np
import pytest
from click.testing import CliRunner
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from ptq_pipeline.commands import ptq
from ptq_pipeline.judgement.verdict import Verdict

IMAGES, SIDE, CLASSES = 600, 100, ("cup", "fork")


@pytest.fixture
def here(tmp_path, monkeypatch):
    """Annotations, and what a good float detector finds: 95 % of cups and forks."""
    monkeypatch.chdir(tmp_path)
    generator = np.random.default_rng(0)
    objects = []
    for image in range(1, IMAGES + 1):
        for row in range(3):
            for column in range(int(generator.integers(1, 4))):
                box = [33 * column + 2, 33 * row + 2, *generator.integers(20, 30, size=2).tolist()]
                objects.append(
                    {
                        "id": len(objects) + 1,
                        "image_id": image,
                        "category_id": int(generator.integers(1, 3)),
                        "bbox": box,
                        "area": box[2] * box[3],
                        "iscrowd": 0,
                    }
                )
    images = [
        {"id": each, "width": SIDE, "height": SIDE, "file_name": f"{each}.png", "site": "a"}
        for each in range(1, IMAGES + 1)
    ]
    categories = [{"id": place + 1, "name": name} for place, name in enumerate(CLASSES)]
    document = {"images": images, "annotations": objects, "categories": categories}
    (tmp_path / "objects.json").write_text(json.dumps(document))
    found = [_detection(each, generator) for each in objects if generator.random() < 0.95]
    (tmp_path / "float.json").write_text(json.dumps(found))
    return tmp_path


def _detection(each, generator):
    moved = [value + float(generator.integers(-2, 3)) for value in each["bbox"]]
    score = float(generator.integers(60, 100)) / 100
    return {
        **{key: each[key] for key in ("image_id", "category_id")},
        "bbox": moved,
        "score": score,
    }


def _quantized(here, lost, name="int8.json"):
    """What the float detector finds, without a share of each class."""
    generator = np.random.default_rng(1)
    found = [
        each
        for each in json.loads((here / "float.json").read_text())
        if generator.random() >= lost[each["category_id"] - 1]
    ]
    (here / name).write_text(json.dumps(found))


def run(*arguments):
    given = ["objects.json", "--float", "float.json", "--quantized", "int8.json", *arguments]
    return CliRunner().invoke(ptq, ["detections", *given])


def _found(here, name, category):
    """Objects of a class that pycocotools says are found."""
    truth = COCO(str(here / "objects.json"))
    evaluation = COCOeval(truth, truth.loadRes(str(here / name)), "bbox")
    evaluation.params.iouThrs, evaluation.params.catIds = np.array([0.5]), [category]
    evaluation.params.areaRng, evaluation.params.areaRngLbl = [[0, 1e10]], ["all"]
    evaluation.evaluate()
    matched = [each["dtMatches"][0] for each in evaluation.evalImgs if each is not None]
    return set(np.concatenate(matched).astype(int)) - {0}


@pytest.mark.parametrize(
    ("lost", "code"), [((0.0, 0.0), 0), ((0.0, 0.2), 3)], ids=["same", "forks disappear"]
)
def test_a_class_that_disappears_is_refused_and_counted_as_pycocotools_does(here, lost, code):
    _quantized(here, lost)
    ended = run("--limit", "class=5", "--no-report")
    assert ended.exit_code == code, ended.output
    verdict = Verdict.read(json.loads((here / "judged/verdict.json").read_text()))
    assert [each.name for each in verdict.source.files] == [
        *("objects.json", "float.json", "int8.json")
    ]
    assert verdict.recipe.identical_sets == 0
    cells = {(cell.level, cell.group): cell for cell in verdict.candidate.cells}
    for category, name in enumerate(CLASSES, start=1):
        before, after = (_found(here, each, category) for each in ("float.json", "int8.json"))
        cell = cells["class", name]
        assert (cell.lost, cell.gained) == (len(before - after), len(after - before))
    if code:
        bad = [cell for cell in verdict.candidate.cells if cell.status == "shown_bad"]
        assert ("class", "fork") in {(cell.level, cell.group) for cell in bad}
        assert ("class", "cup") not in {(cell.level, cell.group) for cell in bad}


def test_several_draws_are_a_recipe(here):
    for draw in range(3):
        _quantized(here, (0.0, 0.2), f"draw{draw}.json")
    more = [part for draw in (1, 2) for part in ("--quantized", f"draw{draw}.json")]
    _quantized(here, (0.0, 0.2))
    ended = run(*more, "--no-report", "--limit", "class=5")
    assert "over 3 calibration draws" in ended.stdout


def test_added_false_alarms_are_judged_per_image(here):
    _quantized(here, (0.0, 0.0))
    found = json.loads((here / "int8.json").read_text())
    ghosts = [
        {"image_id": each, "category_id": 1, "bbox": [70, 70, 8, 8], "score": 0.9}
        for each in range(1, IMAGES + 1, 2)
    ]
    (here / "int8.json").write_text(json.dumps([*found, *ghosts]))
    ended = run("--alarms", "2", "--no-report", "--limit", "class=5")
    assert ended.exit_code == 3, ended.output
    cells = Verdict.read(json.loads((here / "judged/verdict.json").read_text())).candidate.cells
    cup = next(cell for cell in cells if (cell.level, cell.group) == ("class", "cup"))
    # An alarm on every second image is half of a cap of two on them.
    assert cup.drop == pytest.approx(0.25, abs=0.01)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--score", "0.999"], "finds none of"),
        (["--score", "2"], "operating threshold is within"),
        (["--alarms", "0"], "at least one false alarm"),
        (["--quantized", "nothing.json"], "cannot be read"),
    ],
)
def test_what_cannot_be_judged_is_one_sentence(here, arguments, said):
    _quantized(here, (0.0, 0.0))
    ended = run(*arguments)
    assert ended.exit_code == 1 and said in ended.stderr
    assert not (here / "judged").exists()


def test_an_integer_detector_that_finds_nothing_is_a_finding(here):
    (here / "int8.json").write_text("[]")
    assert run("--no-report").exit_code == 3
