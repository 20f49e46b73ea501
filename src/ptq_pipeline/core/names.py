"""Names that several parts say, one constant each."""

# The shift that leaves images as they are; conditions of control columns are looked at under it.
CLEAN = "clean"
# What a segment column holds where nothing is known of a sample.
MISSING = "missing"

# What the champion answers, in git: the face of the registry.
CHAMPION_FILE = "champion_baseline.json"
