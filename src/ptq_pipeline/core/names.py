"""Names that several parts say, one constant each."""

# The shift that leaves images as they are; conditions of control columns are looked at under it.
CLEAN = "clean"
# What a segment column holds where nothing is known of a sample.
MISSING = "missing"

# Files of a candidate, of a version and of the reports.
VERDICT_FILE = "verdict.json"
DECISION_FILE = "decision.json"
TRIAL_FILE = "trial.json"
