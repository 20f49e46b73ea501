"""Parameters of ``worst_case_check``: the policy itself."""

from ptq_pipeline.reliability.business import Business
from ptq_pipeline.reliability.policy import Policy


class WorstCaseCheckParameters(Policy):
    """The policy, as the group ``worst_case_check`` of the configuration."""


class BusinessParameters(Business):
    """The business view, as the group ``business`` of the configuration."""
