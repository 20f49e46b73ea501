"""Parameters of ``worst_case_check``: the policy itself."""

from ptq_pipeline.judgement.business import Business
from ptq_pipeline.judgement.policy import Policy


class WorstCaseCheckParameters(Policy):
    """The policy, as the group ``worst_case_check`` of the configuration."""


class BusinessParameters(Business):
    """The business view, as the group ``business`` of the configuration."""
