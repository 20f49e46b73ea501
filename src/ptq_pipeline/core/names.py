"""Names that several parts say, one constant each."""

# The shift that leaves images as they are; conditions of control columns are looked at under it.
CLEAN = "clean"
# What a segment column holds where nothing is known of a sample.
MISSING = "missing"
# The column of those units of a detector that are images: of which class false alarms are counted.
ALARMS = "false_alarms"

# Tags of nodes: what runs shifts or strategies that others bring, without any hash of them; what
# enters a look in the audit ledger, to which later looks add, and takes nothing else from it.
RUNS_CODE_OF_OTHERS = "runs_code_of_others"
ENTERS_A_LOOK = "enters_a_look"

# Files of a candidate, of a version and of the reports.
VERDICT_FILE = "verdict.json"
DECISION_FILE = "decision.json"
TRIAL_FILE = "trial.json"
