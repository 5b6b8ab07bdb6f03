"""The tables, in one place, for SQLite and PostgreSQL alike. No statements, no connection.

Columns of a question run that can be large stand last: SQLite reads a row from the front and stops at what it needs.
`cell_key` is the reversible text `question_id|model|location|repeat`, the key of a cell within its batch.
No snapshot id of a provider is ever stored here.
"""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    Dialect,
    Double,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
    false,
    text,
)
from sqlalchemy.dialects import postgresql
from sqlalchemy.types import TypeEngine

metadata = MetaData()


class Instant(TypeDecorator[int]):
    """Milliseconds since 1970 UTC in the program; ISO 8601 text with `Z` in SQLite, `timestamptz` in PostgreSQL."""

    impl = Text
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """The column's type."""
        if dialect.name == "sqlite":
            return dialect.type_descriptor(Text())
        return dialect.type_descriptor(DateTime(timezone=True))

    def process_bind_param(self, value: int | None, dialect: Dialect) -> Any:
        """Into the database."""
        if value is None:
            return None
        moment = datetime.fromtimestamp(value / 1000, timezone.utc)
        if dialect.name == "sqlite":
            return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
        return moment

    def process_result_value(self, value: Any, dialect: Dialect) -> int | None:
        """Out of the database."""
        if value is None:
            return None
        moment = datetime.fromisoformat(value.replace("Z", "+00:00")) if isinstance(value, str) else value
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=timezone.utc)
        return round(moment.timestamp() * 1000)


def batch_id_of(text: str) -> str | None:
    """A batch id as PostgreSQL has it (lower case, with its hyphens); None: the text is no UUID."""
    try:
        found = str(UUID(text))
    except (ValueError, AttributeError, TypeError):
        return None
    return found if found == text.lower() else None  # braces, a prefix, no hyphens: no id of ours


class BatchId(TypeDecorator[str]):
    """Text in the program and in SQLite, `uuid` in PostgreSQL, where a text that is no UUID finds nothing (NULL).

    What is written must be looked at before: see `SqlStore.save_batch`.
    """

    impl = Text
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """The column's type."""
        if dialect.name == "sqlite":
            return dialect.type_descriptor(Text())
        return dialect.type_descriptor(postgresql.UUID(as_uuid=False))

    def process_bind_param(self, value: str | None, dialect: Dialect) -> Any:
        """Into the database."""
        return value if value is None or dialect.name == "sqlite" else batch_id_of(value)

    def process_result_value(self, value: Any, dialect: Dialect) -> str | None:
        """Out of the database."""
        return None if value is None else str(value)


def _big(name: str, *, nullable: bool = False) -> Column[Any]:
    default = None if nullable else text("0")
    return Column(name, BigInteger, nullable=nullable, server_default=default)


# Pages are ordered by the key's bytes, whatever language a database was made for; SQLite does so by itself.
_CELL_KEY = Text().with_variant(postgresql.TEXT(collation="C"), "postgresql")


def _text(name: str, *, nullable: bool = True) -> Column[Any]:
    return Column(name, Text, nullable=nullable)


migrations = Table(
    "overheard_migrations",
    metadata,
    Column("version", Integer, primary_key=True, autoincrement=False),
    Column("applied_at", Instant, nullable=False),
)

orgs = Table(
    "orgs",
    metadata,
    Column("org_id", Text, primary_key=True),
    _text("name", nullable=False),
    # JSON lists, as the org file has them.
    Column("websites", Text, nullable=False, server_default=text("'[]'")),
    Column("aliases", Text, nullable=False, server_default=text("'[]'")),
    Column("competitors", Text, nullable=False, server_default=text("'[]'")),
    Column("models", Text, nullable=False, server_default=text("'[]'")),
    Column("locations", Text, nullable=False, server_default=text("'[]'")),
    # What else the rules of extraction are told, a JSON mapping: confusables, homonyms, context, keep_apart.
    _text("rules"),
)

questions = Table(
    "questions",
    metadata,
    Column("org_id", Text, ForeignKey("orgs.org_id", ondelete="CASCADE"), primary_key=True),
    Column("question_id", Text, primary_key=True),
    Column("position", Integer, nullable=False),
    _text("text", nullable=False),
)

batches = Table(
    "batches",
    metadata,
    Column("batch_id", BatchId, primary_key=True),
    _text("org_id", nullable=False),
    _text("batch_key"),
    Column("batch_size", Integer, nullable=False),
    # The plan as JSON: org, models, locations, questions, repeats, extraction, max_cost_micro_usd.
    Column("config", Text, nullable=False, server_default=text("'{}'")),
    # Charges that belong to no question run (name variations), over all starts.
    _big("overhead_micro_usd"),
    Column("created_at", Instant, nullable=False),
    Column("finished_at", Instant),
)
Index(
    "uq_batches_org_key",
    batches.c.org_id,
    batches.c.batch_key,
    unique=True,
    sqlite_where=batches.c.batch_key.is_not(None),
    postgresql_where=batches.c.batch_key.is_not(None),
)
Index("idx_batches_org", batches.c.org_id, batches.c.created_at)

# Another system may insert queued rows here with the first six columns alone, so no foreign key leads to `batches`.
geo_runs = Table(
    "geo_runs",
    metadata,
    Column("run_id", Text, primary_key=True),
    Column("batch_id", BatchId, nullable=False),
    Column("batch_size", Integer, nullable=False),
    _text("org_id", nullable=False),
    _text("model", nullable=False),
    Column("status", Text, nullable=False, server_default=text("'queued'")),
    Column("surface", Text, nullable=False, server_default=text("''")),
    _big("query_count"),
    _big("current_query_index"),
    Column("progress_pct", Double, nullable=False, server_default=text("0")),
    _big("answered"),
    _big("failed"),
    Column("score", Double),
    Column("started_at", Instant),
    Column("finished_at", Instant),
    _text("error_message"),
    _text("lease_owner"),
    _big("lease_expires_at_ms", nullable=True),
    _big("lease_fence"),
    _text("journal_id"),
    _text("journal_host"),
    # Money of no cell: name variations, duplicate submissions. Only the lease's holder writes it.
    _big("overhead_micro_usd"),
    _big("overhead_maybe_charged_micro_usd"),
    CheckConstraint("status IN ('queued', 'running', 'completed', 'failed')", name="ck_geo_runs_status"),
)
Index("idx_geo_runs_batch", geo_runs.c.batch_id)

question_runs = Table(
    "question_runs",
    metadata,
    Column("batch_id", BatchId, primary_key=True),
    Column("cell_key", _CELL_KEY, primary_key=True),
    Column("run_id", Text, ForeignKey("geo_runs.run_id", ondelete="CASCADE"), nullable=False),
    _text("org_id", nullable=False),
    _text("question_id", nullable=False),
    _text("model", nullable=False),
    _text("location", nullable=False),
    Column("repeat", Integer, nullable=False),
    _text("status", nullable=False),
    _text("error_kind"),
    _big("cost_micro_usd", nullable=True),
    _big("maybe_charged_micro_usd"),
    Column("unpriced", Boolean, nullable=False, server_default=false()),
    _big("input_tokens", nullable=True),
    _big("cached_input_tokens"),
    _big("cache_write_tokens"),
    _big("output_tokens", nullable=True),
    _big("reasoning_tokens"),
    _big("searches"),
    _big("records"),
    Column("attempts", Integer, nullable=False, server_default=text("0")),
    _big("started_at_ms"),
    _big("finished_at_ms"),
    _text("served_model"),
    _text("location_applied"),
    Column("web_search_triggered", Boolean),
    _text("finish_reason"),
    _text("question", nullable=False),
    _text("error"),
    _text("search_queries"),
    _text("citations"),
    _text("answer_text"),
    Column("raw_body", LargeBinary),
    UniqueConstraint("batch_id", "question_id", "model", "location", "repeat", name="uq_question_runs_cell"),
    CheckConstraint("status IN ('answered', 'refused', 'no_answer', 'failed')", name="ck_question_runs_status"),
)
Index("idx_question_runs_run", question_runs.c.run_id)

# Whether a question run is extracted, and at what charge: a fact of its own, whatever rows there are. It has a table of
# its own because a column of `question_runs` would rewrite the whole row, bodies included: 30 µs a run more (measured).
extractions = Table(
    "extractions",
    metadata,
    Column("batch_id", BatchId, primary_key=True),
    Column("cell_key", _CELL_KEY, primary_key=True),
    # NULL: the extraction failed, `error` says why, and the run is still to be extracted.
    _big("extracted_at_ms", nullable=True),
    _big("cost_micro_usd", nullable=True),
    _big("maybe_charged_micro_usd"),
    _big("citation_count"),
    _big("competitor_count"),
    _text("error"),
    ForeignKeyConstraint(
        ["batch_id", "cell_key"], ["question_runs.batch_id", "question_runs.cell_key"], ondelete="CASCADE"
    ),
    sqlite_with_rowid=False,
)

org_evals = Table(
    "org_evals",
    metadata,
    Column("batch_id", BatchId, primary_key=True),
    Column("cell_key", _CELL_KEY, primary_key=True),
    _text("run_id", nullable=False),
    _text("org_id", nullable=False),
    Column("mentioned", Boolean, nullable=False),
    Column("citation", Boolean, nullable=False),
    _text("sentiment"),
    Column("mention_rank", Integer),
    Column("share_of_voice", Double),
    _text("method", nullable=False),
    _text("extractor_version", nullable=False),
    _big("cost_micro_usd", nullable=True),
    _big("maybe_charged_micro_usd"),
    _big("extracted_at_ms"),
    _text("usage"),
    _text("dropped"),
    _text("mention_text"),
    # NULL in rows of versions that did not look at it.
    _text("sentiment_quote"),
    Column("list_position", Integer),
    Column("occurrences", Integer),
    Column("prominence", Double),
    _text("shares"),
    _text("evidence"),
    _text("fingerprint"),
    Column("injection_suspected", Boolean),
    # Always NULL: a failed extraction has no row here. The engine's rows carry it, and go in as they are.
    _text("error"),
    ForeignKeyConstraint(
        ["batch_id", "cell_key"], ["extractions.batch_id", "extractions.cell_key"], ondelete="CASCADE"
    ),
    sqlite_with_rowid=False,
)


def _child(name: str, *columns: Column[Any]) -> Table:
    return Table(
        name,
        metadata,
        Column("batch_id", BatchId, primary_key=True),
        Column("cell_key", _CELL_KEY, primary_key=True),
        Column("position", Integer, primary_key=True, autoincrement=False),
        *columns,
        ForeignKeyConstraint(
            ["batch_id", "cell_key"], ["org_evals.batch_id", "org_evals.cell_key"], ondelete="CASCADE"
        ),
        sqlite_with_rowid=False,
    )


org_competitors = _child(
    "org_competitors",
    _text("name", nullable=False),
    Column("occurrences", Integer),
    _text("parent"),
    # Other forms that were counted as this brand, and why, as JSON; NULL: none.
    _text("merged"),
)

org_citations = _child(
    "org_citations",
    _text("url", nullable=False),
    _text("canonical_url", nullable=False),
    _text("domain", nullable=False),
    Column("type", Text, CheckConstraint("type IN ('primary', 'secondary')"), nullable=False),
    _text("title"),
    Column("cited", Boolean),
    _text("class"),
    _text("source"),
    _text("cited_text"),
)

facts = Table(
    "facts",
    metadata,
    Column("name", Text, primary_key=True),
    _text("value", nullable=False),
    Column("updated_at", Instant, nullable=False),
)

# Work that follows the end of a batch, done once for each revision of its answers: see `protocols.ClaimStore`.
claims = Table(
    "claims",
    metadata,
    Column("name", Text, primary_key=True),
    Column("revision", Integer, primary_key=True, autoincrement=False),
    # What the answers were: another mark is another revision.
    _text("mark", nullable=False),
    _text("owner", nullable=False),
    _big("expires_at_ms"),
    Column("takeovers", Integer, nullable=False, server_default=text("0")),
    # What the owner noted before it did something that cannot be undone, as JSON.
    _text("note"),
    Column("done_at", Instant),
)

# The comparison of a batch's models, one row a revision of its answers; never an answer's text.
geo_batch_insights = Table(
    "geo_batch_insights",
    metadata,
    Column("batch_id", BatchId, primary_key=True),
    Column("revision", Integer, primary_key=True, autoincrement=False),
    _text("org_id", nullable=False),
    # NULL: written from rules.
    _text("model"),
    _text("prompt_version", nullable=False),
    # The statements that were kept, and how many were dropped and why, as JSON.
    _text("content", nullable=False),
    _big("cost_micro_usd", nullable=True),
    _big("maybe_charged_micro_usd"),
    Column("created_at", Instant, nullable=False),
)
