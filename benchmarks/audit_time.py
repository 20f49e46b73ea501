"""Where the time of the default audit goes: with empty stores, then with everything in them.

Usage: ``python benchmarks/audit_time.py`` (or ``make bench``). Writes below ``data/bench`` and
prints a table of node times; compare figures of one run only.
"""

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]
DATA = PROJECT / "data/bench"


def run() -> tuple[float, dict[str, float]]:
    """Run the audit in its own process; return wall seconds and seconds by node."""
    started = time.monotonic()
    command = [sys.executable, "-m", "kedro", "run", "--env", "study/bench"]
    subprocess.run(command, cwd=PROJECT, check=True, stdout=subprocess.DEVNULL)
    seconds = time.monotonic() - started
    provenance = json.loads((DATA / "08_reporting/provenance.json").read_text(encoding="utf-8"))
    return seconds, provenance["node_seconds"]


def main() -> None:
    """Measure and print."""
    shutil.rmtree(DATA, ignore_errors=True)
    cold, cold_nodes = run()
    warm, warm_nodes = run()
    print(f"{'node':<36}{'empty stores, s':>16}{'full stores, s':>16}")
    for name in sorted(cold_nodes, key=lambda node: -cold_nodes[node]):
        print(f"{name:<36}{cold_nodes[name]:>16.2f}{warm_nodes[name]:>16.2f}")
    print(f"{'whole process':<36}{cold:>16.1f}{warm:>16.1f}")


if __name__ == "__main__":
    main()
