"""What the exit code of every ``kedro ptq`` command means."""

from enum import IntEnum


class ExitCode(IntEnum):
    """Exit codes; 2 is click's own for wrong usage."""

    DONE = 0
    ERROR = 1
    USAGE = 2
    REFUSED = 3
    INCONCLUSIVE = 4
    VERIFICATION_FAILED = 5
    BUSY = 6
    REQUANTIZATION_ADVISED = 10
    NO_CANDIDATE_PASSED = 11
    WINDOW_SET_ASIDE = 12
    INTERRUPTED = 130
