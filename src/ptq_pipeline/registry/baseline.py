"""What the champion answers on the audit images: what the next candidate is compared with.

`champion_baseline.json` stands in git, so that continuous integration compares with the champion
without a registry. Only a release or a rollback rewrites it, from the version's own
`baseline.json`.
"""

from ptq_pipeline.core.canonical import file_bytes
from ptq_pipeline.judgement import Baseline

BASELINE_FILE = "baseline.json"


def baseline_bytes(baseline: Baseline) -> bytes:
    """Return the bytes of the file; equal baselines give equal bytes."""
    return file_bytes(baseline.to_json())


def no_champion() -> bytes:
    """Return the content of `champion_baseline.json` before the first promotion."""
    return baseline_bytes(Baseline())
