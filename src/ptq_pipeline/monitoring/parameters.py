"""The parameter group ``monitoring``."""

from pydantic import BaseModel, ConfigDict, Field

from ptq_pipeline.monitoring.trigger import TriggerRules
from ptq_pipeline.monitoring.windows import AcceptanceRules


class MonitoringParameters(BaseModel):
    """How production windows are looked at, beside the columns of ``drift``.

    Attributes:
        acceptance: when a window is believed.
        served_threshold: material Jensen-Shannon distance of the served model's answers.
        clip_threshold: material rise of a clip rate, in standard deviations of the reference's
            images, of which 0.001 is the least that counts.
        trigger: when drift becomes an event.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    acceptance: AcceptanceRules = AcceptanceRules()
    served_threshold: float = Field(default=0.1, gt=0)
    clip_threshold: float = Field(default=0.5, gt=0)
    trigger: TriggerRules = TriggerRules()
