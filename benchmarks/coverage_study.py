"""The long form of the coverage study; writes docs/coverage.md.

Usage: python benchmarks/coverage_study.py [--repeats 2000] [--output docs/coverage.md]
"""

import argparse
import platform
import time
from pathlib import Path

import numpy
import scipy
import verdict_simulation as simulation
from bound_simulation import run, table

HEAD = """# Error rates, coverage and power

Every bound of [what the verdict rests on](statistics.md), simulated under known truths at the
edge of its hypothesis. Written by `make coverage-study`; a short form runs in the test suite.
{machine}

Errors must stay at or under their levels, and intervals must cover at least as often as they say.
Lines without a bound are power, or a comparison and say so. At {repeats:,} repeats the standard
error of a share near 5 % is {error:.2f} points.

## Single bounds

"""
VERDICTS = """
## Whole verdicts

{count:,} verdicts per line by the code that decides. *Shared images*: all draws of a kind have
the very same outcomes, the worst that shared images can do.
"""


def main() -> None:
    """Run the study and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=2000)
    parser.add_argument("--output", type=Path, default=Path("docs/coverage.md"))
    arguments = parser.parse_args()
    start = time.perf_counter()
    findings = run(arguments.repeats)
    verdicts = max(arguments.repeats // 2, 100)
    parts = [VERDICTS.format(count=verdicts)]
    for title, scenarios in (
        ("PASS is wrong for the recipe", simulation.WRONG_PASS),
        ("FAIL is wrong; PASS is wrong for the candidate", simulation.WRONG_FAIL),
        ("Power", simulation.POWER),
    ):
        lines = simulation.table(scenarios, verdicts)
        parts.append(f"\n### {title}\n\n" + "\n".join(lines) + "\n")
    machine = (
        f"Python {platform.python_version()}, numpy {numpy.__version__}, "
        f"scipy {scipy.__version__}; seeded, so the machine only decides how long it takes."
    )
    error = 100 * (0.05 * 0.95 / arguments.repeats) ** 0.5
    head = HEAD.format(machine=machine, error=error, repeats=arguments.repeats)
    arguments.output.write_text(head + "\n".join(table(findings)) + "\n" + "".join(parts))
    broken = [each.what for each in findings if not each.holds]
    print(
        f"{len(findings)} lines in {time.perf_counter() - start:.0f} s; broken: {broken or 'none'}"
    )
    if broken:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
