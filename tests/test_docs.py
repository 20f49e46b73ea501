"""The documentation builds without a warning, fetches nothing, and its commands exist."""

import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import click
import pytest
from kedro.framework.project import configure_project, pipelines
from tests.documented import NOT_RUN, RUN_BY

from ptq_pipeline.commands import ptq

PROJECT = Path(__file__).resolve().parents[1]
PAGES = [PROJECT / "README.md", *sorted((PROJECT / "docs").rglob("*.md"))]
# Names of mounts and environments in a reader's own project.
MOUNTS = {"shop", "farm", "fruit", "harvest"}
ENVIRONMENTS = {"night"}
SHELLS = {"", "bash", "sh", "console", "text"}
COMMAND = re.compile(r"^(?:\$ )?(?:\S*/)?(make|kedro|python|dvc)\s+(.*)$")


def commands_of(page):
    """Return the commands in code blocks and in inline code."""
    text = page.read_text()
    # Every block, so that the end of one is not taken for the start of another.
    blocks = re.findall(r"^ *```(\w*)[^\n]*\n(.*?)^ *```", text, re.S | re.M)
    shown = [block for language, block in blocks if language in SHELLS]
    lines = [line.strip() for block in shown for line in block.splitlines()]
    lines += re.findall(r"`([^`\n]+)`", text)
    return [match.groups() for line in lines if (match := COMMAND.match(line))]


FOUND = sorted({command for page in PAGES for command in commands_of(page)})


def words_of(arguments):
    return re.split(r"\s+#", arguments)[0].replace("…", "...").split()


def option(words, *names):
    return [words[i + 1] for i, word in enumerate(words[:-1]) if word in names]


@pytest.mark.parametrize(("program", "arguments"), FOUND, ids=lambda value: value[:60])
def test_every_command_in_the_docs_exists(program, arguments):
    words = words_of(arguments)
    if program == "make":
        targets = re.findall(r"^([a-z-]+):", (PROJECT / "Makefile").read_text(), re.M)
        assert words[0] in targets
    elif program == "python" and words[0].endswith(".py"):
        assert (PROJECT / words[0]).is_file()
    elif program == "kedro" and words[0] == "ptq":
        group, context = ptq, click.Context(ptq)
        for word in words[1:]:
            if not isinstance(group, click.Group) or word.startswith(("-", ".", "<")):
                break
            group = group.get_command(context, word)
            assert group is not None, f"kedro ptq has no command {word!r}"
            context = click.Context(group)
        known = {name for parameter in group.params for name in parameter.opts} | {"--help", "-h"}
        assert {word.split("=")[0] for word in words if word.startswith("--")} <= known
    elif program == "kedro" and words[0] == "run":
        configure_project("ptq_pipeline")
        for env in option(words, "--env", "-e"):
            if env.isidentifier() and env not in ENVIRONMENTS:
                assert (PROJECT / "conf" / env).is_dir()
        for names in option(words, "--pipelines"):
            assert {name for name in names.split(",") if name.islower()} <= set(pipelines) | MOUNTS


def test_the_documentation_has_commands():
    assert {("make", "audit"), ("make", "test")} <= {(p, " ".join(words_of(a))) for p, a in FOUND}


WHERE = {pattern: test for test, patterns in RUN_BY.items() for pattern in patterns}
SAID = sorted({f"{program} {' '.join(words_of(arguments))}" for program, arguments in FOUND})


@pytest.mark.parametrize("said", SAID)
def test_every_command_in_the_docs_is_run_by_a_test_or_says_why_not(said):
    assert any(re.fullmatch(pattern, said) for pattern in [*WHERE, *NOT_RUN]), (
        f"no test in tests/documented.py runs `{said}`"
    )


@pytest.mark.parametrize("pattern", [*WHERE, *NOT_RUN])
def test_what_is_said_of_a_command_is_of_one_that_the_docs_have(pattern):
    assert any(re.fullmatch(pattern, said) for said in SAID)


@pytest.mark.parametrize("test", RUN_BY)
def test_the_tests_that_run_commands_exist(test):
    path, _, name = test.partition("::")
    assert f"def {name}(" in (PROJECT / path).read_text()


def test_the_walks_pass_modules_that_exist():
    page = (PROJECT / "docs/architecture.md").read_text()
    walks = page[page.index("## Four walks") : page.index("## Rooms")]
    named = set(re.findall(r"`([a-z_]+(?:/[a-z_]+)+)(?:\.[A-Za-z_.]+)?`", walks))
    assert len(named) > 40
    source = PROJECT / "src/ptq_pipeline"
    missing = [
        name
        for name in sorted(named)
        if not (source / name).is_dir() and not (source / f"{name}.py").is_file()
    ]
    assert missing == []


def test_library_examples_run_as_they_are_written():
    page = (PROJECT / "docs/methods.md").read_text()
    blocks = re.findall(r"^```python\n(.*?)^```", page, re.S | re.M)
    assert len(blocks) == 2
    names = {}
    for block in blocks:
        exec(block, names)  # noqa: S102
    assert names["top1"].shape == (64,)
    config = names["Mine"](name="mine", weight_bits=3, activation_bits=8)
    made = names["MINE"].run(names["prepared"], names["batches"], config, 0, None)
    assert {layer.weight.scheme.bits for layer in made.layers.values()} == {3}


def test_every_study_can_be_loaded():
    paths = sorted(
        str(p) for name in ("benchmarks", "scripts") for p in PROJECT.glob(f"{name}/*.py")
    )
    load = (
        "import runpy, sys\n"
        "for path in sys.argv[1:]:\n"
        "    sys.path.insert(0, path.rpartition('/')[0])\n"
        "    runpy.run_path(path, run_name='loaded')\n"
    )
    assert len(paths) > 15
    subprocess.run([sys.executable, "-c", load, *paths], cwd=PROJECT, check=True)


def test_a_study_of_seconds_runs(tmp_path):
    script = "benchmarks/shift_contact_sheet.py"
    subprocess.run([sys.executable, script, str(tmp_path)], cwd=PROJECT, check=True)
    assert {path.name for path in tmp_path.iterdir()} == {
        "shifts_28_grey.png",
        "shifts_224_colour.png",
    }


class Fetched(HTMLParser):
    """Collects what a browser would fetch to show a page."""

    def __init__(self):
        super().__init__()
        self.addresses = []

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        if tag in {"script", "img", "iframe", "source"}:
            self.addresses.append(given.get("src") or "")
        if tag == "link" and given.get("rel") not in {"canonical", "alternate"}:
            self.addresses.append(given.get("href") or "")


def test_the_site_builds_strictly_and_fetches_nothing(tmp_path):
    subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--quiet", "--site-dir", str(tmp_path / "site")],
        cwd=PROJECT,
        check=True,
    )
    pages = list((tmp_path / "site").rglob("*.html"))
    assert len(pages) >= len(list((PROJECT / "docs").rglob("*.md")))
    for page in (tmp_path / "site" / "reference").glob("*.html"):
        assert "doc-heading" in page.read_text(), f"{page.name} documents nothing"
    for page in pages:
        parser = Fetched()
        parser.feed(page.read_text())
        fetched = [a for a in parser.addresses if a.startswith(("http:", "https:", "//"))]
        assert not fetched, f"{page.name} fetches {fetched}"
    # What search from a folder needs; `test_browser.py` searches.
    assert any(address.endswith("iframe-worker.js") for address in parser.addresses)
    assert (tmp_path / "site/search/search_index.js").read_text().startswith("var __index")
