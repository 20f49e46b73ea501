import io
import subprocess
import sys

from rich.console import Console

from ptq_pipeline.reporting.progress import track


def test_items_come_through_in_order_without_a_terminal():
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=False)
    assert list(track(range(5), description="trials", console=console)) == [0, 1, 2, 3, 4]
    assert stream.getvalue() == ""


def test_without_a_terminal_a_line_comes_every_half_minute(caplog):
    ticks = iter(range(0, 1000, 10))
    console = Console(file=io.StringIO(), force_terminal=False)
    with caplog.at_level("INFO", "ptq_pipeline"):
        assert list(track(range(8), 8, "trials", console, clock=lambda: next(ticks))) == [*range(8)]
    assert caplog.messages == ["trials 2/8, about 2 min left", "trials 5/8, about 1 min left"]


def test_terminal_shows_what_is_done_and_the_time_left():
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=True, width=120)
    assert list(track(iter("abc"), total=3, description="[trials]", console=console)) == list("abc")
    shown = stream.getvalue()
    assert "[trials]" in shown
    assert "3/3" in shown
    assert "time left" in shown


def test_items_are_consumed_lazily():
    taken = []

    def source():
        for number in range(10):
            taken.append(number)
            yield number

    console = Console(file=io.StringIO(), force_terminal=True)
    for number in track(source(), total=10, console=console):
        if number == 2:
            break
    assert taken == [0, 1, 2]


def test_nothing_is_written_when_standard_error_is_a_pipe():
    code = (
        "from ptq_pipeline.reporting.progress import track; list(track(range(3), description='x'))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == done.stderr == ""
