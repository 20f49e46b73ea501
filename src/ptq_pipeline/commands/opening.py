"""``kedro ptq open``: show the last report."""

import webbrowser
from pathlib import Path

import click

from ptq_pipeline.commands.command import Answer, command
from ptq_pipeline.core.errors import InputError

# Where commands put reports: an audit's below `data`, also of a mount or an environment, that of
# a table in the folder itself.
PLACES = ("report.html", "data/**/08_reporting/report.html")


@command(epilog="Where there is no browser it prints the path. Example: kedro ptq open audited")
@click.argument(
    "folder", default=".", type=click.Path(exists=True, file_okay=False, path_type=Path)
)
@click.option("--print", "only_print", is_flag=True, help="Print the path; start no browser.")
def open(folder: Path, only_print: bool) -> Answer:
    """Open the report in or directly below FOLDER that was written last."""
    found = [
        path
        for place in (*PLACES, *(f"*/{place}" for place in PLACES))
        for path in folder.glob(place)
        if path.is_file()
    ]
    if not found:
        raise InputError(
            f"'{folder}' holds no report; run an audit there (kedro ptq audit, kedro run) or "
            "judge a table (kedro ptq judge)"
        )
    report = max(found, key=lambda path: (path.stat().st_mtime_ns, str(path)))
    opened = not only_print and _shown(report)
    return Answer({"report": str(report), "opened": opened}, [str(report)])


def _shown(report: Path) -> bool:
    """Ask for a graphical browser; one in the terminal would show nothing of a figure."""
    try:
        browser = webbrowser.get()
    except webbrowser.Error:
        return False
    if isinstance(browser, webbrowser.GenericBrowser) and not isinstance(
        browser, webbrowser.BackgroundBrowser
    ):
        return False
    return browser.open(report.resolve().as_uri())
