"""The columns of the tables that leave overheard: their names, their order, and what kind of value each holds.

Pure data: CSV, JSON and Arrow take their types from here. Must not read a store or import a table library.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Kind = Literal["text", "int", "float", "bool", "instant", "texts", "sources", "org_citations"]
"""What a column holds; every kind may be None.

`instant`: milliseconds since 1970 UTC. `texts`: a list of text. `sources`: what the provider named, a list of mappings
with `SOURCE_FIELDS`. `org_citations`: what was extracted, a list of mappings with `ORG_CITATION_FIELDS`.
"""

What = Literal["question-runs", "extractions", "metrics", "joined"]
"""A table: one row a question run, one row an extraction, one row a figure, question runs with their extraction."""


@dataclass(frozen=True)
class Column:
    """A column.

    Attributes:
        name: As it stands in every format; money is in micro-dollars.
        kind: What it holds.
    """

    name: str
    kind: Kind


def _of(kind: Kind, names: str) -> list[Column]:
    return [Column(name, kind) for name in names.split()]


SOURCE_FIELDS: Sequence[Column] = (*_of("text", "url title"), *_of("bool", "cited"), *_of("int", "position"))
"""The fields of a `sources` entry: see `overheard.Citation`."""

ORG_CITATION_FIELDS: Sequence[Column] = (
    *_of("int", "position"),
    *_of("text", "url canonical_url domain type title"),
    *_of("bool", "cited"),
    *_of("text", "class source cited_text"),
)
"""The fields of an `org_citations` entry: `type` is `primary` (the org's own) or `secondary`, `class` its kind."""

_CELL = (
    *_of("text", "batch_id cell_key run_id org_id question_id question model served_model surface location"),
    *_of("int", "repeat"),
)
_RUN = (
    *_of("text", "location_applied status error_kind error_message answer_text"),
    *_of("sources", "citations"),
    *_of("texts", "search_queries"),
    *_of("bool", "web_search_triggered"),
    *_of("text", "finish_reason"),
    *_of("int", "cost_micro_usd maybe_charged_micro_usd"),
    *_of("bool", "unpriced"),
    *_of("int", "input_tokens cached_input_tokens cache_write_tokens output_tokens reasoning_tokens"),
    *_of("int", "searches records attempts"),
    *_of("instant", "started_at finished_at"),
)
_EXTRACTION = (
    *_of("bool", "extracted"),
    *_of("instant", "extracted_at"),
    *_of("text", "extraction_error"),
    *_of("int", "extraction_cost_micro_usd extraction_maybe_charged_micro_usd"),
    *_of("bool", "mentioned citation"),
    *_of("text", "sentiment"),
    *_of("int", "mention_rank"),
    *_of("float", "share_of_voice"),
    *_of("text", "mention_text method extractor_version fingerprint sentiment_quote"),
    *_of("int", "list_position occurrences"),
    *_of("float", "prominence"),
    *_of("text", "shares evidence"),  # JSON, as stored
    *_of("bool", "injection_suspected"),
    *_of("texts", "org_competitors"),
    *_of("org_citations", "org_citations"),
)
_METRIC = (
    *_of("texts", "batch_ids"),
    *_of("text", "scope model served_model surface location question_id name metric"),
    *_of("float", "value"),
    *_of("text", "unit"),
    *_of("float", "numerator denominator low high"),
    *_of("text", "interval_method verdict"),
    *_of("int", "left_out left_out_refused left_out_no_answer left_out_failed left_out_not_extracted"),
    *_of("int", "left_out_not_known"),
)

COLUMNS: dict[What, Sequence[Column]] = {
    "question-runs": (*_CELL, *_RUN),
    "extractions": (*_CELL, *_EXTRACTION),
    "metrics": _METRIC,
    "joined": (*_CELL, *_RUN, *_EXTRACTION),
}
"""The columns of each table, in order."""
