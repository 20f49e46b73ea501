"""The documentation builds without a warning, fetches nothing, and its commands exist."""

import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import click
import pytest
from kedro.framework.project import configure_project, pipelines

from ptq_pipeline.commands import ptq

PROJECT = Path(__file__).resolve().parents[1]
PAGES = [PROJECT / "README.md", *sorted((PROJECT / "docs").rglob("*.md"))]
# Names of mounts in a reader's own project.
MOUNTS = {"shop", "farm"}
COMMAND = re.compile(r"^(?:\$ )?(?:\S*/)?(make|kedro|python|dvc)\s+(.*)$")


def commands_of(page):
    """Return the commands in code blocks and in inline code."""
    text = page.read_text()
    blocks = re.findall(r"^```(?:bash|sh|console|text)?\n(.*?)^```", text, re.S | re.M)
    lines = [line.strip() for block in blocks for line in block.splitlines()]
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
            if env.isidentifier():
                assert (PROJECT / "conf" / env).is_dir()
        for names in option(words, "--pipelines"):
            assert {name for name in names.split(",") if name.islower()} <= set(pipelines) | MOUNTS


def test_the_documentation_has_commands():
    assert {("make", "audit"), ("make", "test")} <= {(p, " ".join(words_of(a))) for p, a in FOUND}


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
    for page in pages:
        parser = Fetched()
        parser.feed(page.read_text())
        fetched = [a for a in parser.addresses if a.startswith(("http:", "https:", "//"))]
        assert not fetched, f"{page.name} fetches {fetched}"
