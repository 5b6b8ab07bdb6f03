"""The record classes: frozen views on the core's data, also exported by the package itself. No code of its own."""

from overheard._core import (
    Ask,
    Citation,
    Competitor,
    ExistingKey,
    ExtractedCitation,
    Extraction,
    OrgEvaluation,
    Outcome,
    QuestionRun,
    Usage,
)

__all__ = [
    "Ask",
    "Citation",
    "Competitor",
    "ExistingKey",
    "ExtractedCitation",
    "Extraction",
    "OrgEvaluation",
    "Outcome",
    "QuestionRun",
    "Usage",
]
