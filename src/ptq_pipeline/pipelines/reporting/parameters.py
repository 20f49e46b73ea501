"""Parameters of ``reporting``."""

from pydantic import BaseModel, ConfigDict, Field, field_validator

from ptq_pipeline.reporting.texts import available_languages


class ReportingParameters(BaseModel):
    """How the report looks; see ``reporting.inputs.ReportOptions``.

    ``report_path`` is what the last line of a run names; the catalog says where the report goes.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    title: str | None = Field(default=None, min_length=1)
    language: str = "en"
    worst_cells: int = Field(default=12, ge=1)
    max_classes: int = Field(default=30, ge=1)
    max_rows: int = Field(default=400, ge=1)
    name_length: int = Field(default=40, ge=3)
    report_path: str = Field(default="data/08_reporting/report.html", min_length=1)

    @field_validator("language")
    @classmethod
    def _has_texts(cls, language: str) -> str:
        if language not in available_languages():
            raise ValueError(
                f"there are no texts for '{language}'; choose one of {available_languages()}"
            )
        return language
