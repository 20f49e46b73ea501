"""`kedro ptq card` and the model card that a promotion leaves; `report` before an audit."""

import json
from hashlib import sha256

import yaml
from tests.commands.test_registry import decided, run
from tests.registry.conftest import candidate


def promoted(root, name="a"):
    decided(root, *candidate(name))
    result = run("promote", "--by", "Kim")
    assert result.exit_code == 0, result.output
    return root / "data/06_models/registry/versions/v0001"


def test_a_promotion_leaves_a_card_that_its_record_seals(small):
    folder = promoted(small)
    card = (folder / "MODEL_CARD.md").read_text("utf-8")
    fields = yaml.safe_load(card.split("---\n")[1])
    assert (fields["version"], fields["verdict"], fields["language"]) == ("v0001", "PASS", "en")
    record = json.loads((folder / "record.json").read_text("utf-8"))
    assert record["content"]["card"] == sha256(card.encode()).hexdigest()
    assert run("verify").exit_code == 0
    (folder / "MODEL_CARD.md").write_text(card.replace("PASS", "perfect"))
    changed = run("verify")
    assert changed.exit_code == 5
    assert "MODEL_CARD.md" in changed.stderr


def test_the_command_writes_the_same_card_again_and_in_japanese(small):
    folder = promoted(small)
    result = run("card", "v0001", "-o", "card.md")
    assert result.exit_code == 0, result.output
    assert (small / "card.md").read_text("utf-8") == (folder / "MODEL_CARD.md").read_text("utf-8")
    japanese = run("card", "--language", "ja")
    assert "# 版 v0001 のモデルカード" in japanese.stdout


def test_a_card_of_no_version_names_those_that_there_are(small):
    result = run("card")
    assert result.exit_code == 1
    assert "no card of the champion: the promoted versions are none yet" in result.stderr
    promoted(small)
    result = run("card", "v0009")
    assert result.exit_code == 1
    assert "no card of v0009: the promoted versions are v0001" in result.stderr


def test_a_report_before_an_audit_says_what_to_run(small):
    result = run("report")
    assert result.exit_code == 1
    assert "'verdict' does not exist yet" in result.stderr
    assert "Traceback" not in result.stderr


def test_an_unknown_language_is_refused_by_name(small):
    promoted(small)
    for command in ("card", "report"):
        result = run(command, "--language", "xx")
        assert result.exit_code == 1
        assert "one of: en, ja" in result.stderr and "unexpected" not in result.stderr
