"""The Rust core: record classes, rows for SQL stores, and the bridge that `_driver.py` speaks to.

Users meet the record classes through `overheard`; the rest is private to the package. Checked by stubtest.
"""

import os
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, ClassVar, Final, Literal, TypeAlias, final, type_check_only

from typing_extensions import Self

from overheard.errors import OverheardError

__all__ = [
    "ERROR_KINDS",
    "ORG_CITATION_COLUMNS",
    "ORG_COMPETITOR_COLUMNS",
    "ORG_EVAL_COLUMNS",
    "QUESTION_RUN_COLUMNS",
    "Ask",
    "Citation",
    "Competitor",
    "ExistingKey",
    "ExtractedCitation",
    "Extraction",
    "InsightsTable",
    "LocalExtractor",
    "OrgEvaluation",
    "Outcome",
    "Port",
    "QuestionRun",
    "Session",
    "Simulator",
    "Usage",
    "__version__",
    "_live_sessions",
    "_restore",
    "_selftest",
    "_shutdown",
    "extraction_rows",
    "extractions_from_rows",
    "inspect_journal",
    "provider_facts",
    "question_run_rows",
    "question_runs_from_rows",
    "quote",
    "quote_structured",
    "start_ask",
    "start_extract",
    "start_quote",
    "start_run",
    "start_structured",
]

_Status: TypeAlias = Literal["answered", "refused", "no_answer", "failed"]

__version__: Final[str]
ERROR_KINDS: Final[tuple[str, ...]]
QUESTION_RUN_COLUMNS: Final[tuple[str, ...]]
ORG_EVAL_COLUMNS: Final[tuple[str, ...]]
ORG_COMPETITOR_COLUMNS: Final[tuple[str, ...]]
ORG_CITATION_COLUMNS: Final[tuple[str, ...]]

@type_check_only
class _Record:
    def to_dict(self) -> dict[str, Any]:
        """The fields as plain data; times in milliseconds since 1970 UTC, money in micro-dollars."""

    def to_json(self) -> str:
        """`to_dict()` as a JSON text."""

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any], /) -> Self:
        """A record from the form that `to_dict()` gives.

        Raises:
            TypeError: Not a mapping.
            ValueError: A field is unknown, missing or wrong.
        """

    def __eq__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...
    def __reduce__(self) -> tuple[Any, ...]: ...

@final
class Citation(_Record):
    """A source the provider named. Offsets count characters of the answer text."""

    __match_args__: ClassVar[tuple[Literal["url"], Literal["title"], Literal["cited"]]]

    def __new__(
        cls,
        url: str,
        *,
        title: str | None = None,
        cited: bool | None = None,
        position: int | None = None,
        start: int | None = None,
        end: int | None = None,
        cited_text: str | None = None,
    ) -> Citation: ...
    @property
    def url(self) -> str:
        """As the provider sent it."""

    @property
    def title(self) -> str | None:
        """As the provider sent it; `None` when absent."""

    @property
    def cited(self) -> bool | None:
        """True: cited in the answer; False: only retrieved; `None`: the provider does not say."""

    @property
    def position(self) -> int | None:
        """The provider's position, from 1; `None` when absent."""

    @property
    def start(self) -> int | None:
        """First character of the cited span."""

    @property
    def end(self) -> int | None:
        """One past the last character of the cited span."""

    @property
    def cited_text(self) -> str | None:
        """The sentence the source is cited for, when the provider quotes it."""

@final
class Usage(_Record):
    """What the provider counted. `None` where the reply carried no count: unknown is not zero."""

    __match_args__: ClassVar[
        tuple[Literal["input_tokens"], Literal["output_tokens"], Literal["searches"], Literal["records"]]
    ]

    def __new__(
        cls,
        *,
        input_tokens: int | None = None,
        output_tokens: int | None = None,
        cached_input_tokens: int = 0,
        cache_write_tokens: int = 0,
        reasoning_tokens: int = 0,
        searches: int = 0,
        records: int = 0,
    ) -> Usage: ...
    @property
    def input_tokens(self) -> int | None:
        """All input tokens, cached ones included, cache writes not."""

    @property
    def output_tokens(self) -> int | None:
        """Output tokens, reasoning included."""

    @property
    def cached_input_tokens(self) -> int:
        """Input tokens read from the provider's cache; part of `input_tokens`."""

    @property
    def cache_write_tokens(self) -> int:
        """Input tokens written to the provider's cache; not part of `input_tokens`."""

    @property
    def reasoning_tokens(self) -> int:
        """Reasoning tokens; part of `output_tokens`."""

    @property
    def searches(self) -> int:
        """Charged web searches."""

    @property
    def records(self) -> int:
        """Charged records (Bright Data)."""

@final
class Outcome(_Record):
    """What asking one question gave: an answer, or a typed failure."""

    __match_args__: ClassVar[tuple[Literal["status"], Literal["text"], Literal["citations"]]]

    def __new__(
        cls,
        text: str | None = None,
        *,
        status: _Status | None = None,
        citations: Sequence[Citation | str | Mapping[str, Any]] | None = None,
        usage: Usage | Mapping[str, Any] | None = None,
        cost_micro_usd: int | None = None,
        maybe_charged_micro_usd: int = 0,
        served_model: str | None = None,
        location_applied: str | None = None,
        web_search_triggered: bool | None = None,
        search_queries: Sequence[str] = (),
        finish_reason: str | None = None,
        error: BaseException | Mapping[str, Any] | str | None = None,
        raw: bytes | None = None,
    ) -> Outcome:
        """An outcome of a user's provider.

        Args:
            text: The answer.
            status: Default: `failed` with an `error`, `answered` with a `text`, else `no_answer`.
            citations: Sources in order; a plain string is a URL.
            usage: Counts, where known.
            cost_micro_usd: The charge in micro-dollars; floats are refused.
            maybe_charged_micro_usd: Charges that cannot be confirmed.
            served_model: The model that answered.
            location_applied: The location the provider was given.
            web_search_triggered: Whether it searched, as far as known.
            search_queries: What it searched for.
            finish_reason: Why generation ended.
            error: What went wrong; the kind of an `OverheardError` decides whether the question is asked again.
            raw: The provider's body as received.

        Raises:
            ValueError: Status, text and error contradict one another.
        """

    @property
    def status(self) -> _Status:
        """How it ended."""

    @property
    def text(self) -> str | None:
        """The answer; `None` unless answered, or the refusal's words."""

    @property
    def citations(self) -> list[Citation]:
        """Sources in the provider's order; a new list each time."""

    @property
    def usage(self) -> Usage:
        """Counts."""

    @property
    def cost_micro_usd(self) -> int | None:
        """The charge in micro-dollars; `None`: unpriced (the usage is missing)."""

    @property
    def cost(self) -> Decimal | None:
        """The charge in dollars, six decimals; `None`: unpriced."""

    @property
    def maybe_charged_micro_usd(self) -> int:
        """Charges of lost attempts that cannot be confirmed, in micro-dollars, apart from `cost_micro_usd`."""

    @property
    def served_model(self) -> str | None:
        """The model that answered, as the provider names it."""

    @property
    def location_applied(self) -> str | None:
        """The location the provider was given; `None`: none was asked for or it could not take it."""

    @property
    def web_search_triggered(self) -> bool | None:
        """The provider's hint whether it searched. A hint, never proof."""

    @property
    def search_queries(self) -> list[str]:
        """Queries the model searched for."""

    @property
    def finish_reason(self) -> str | None:
        """Why generation ended; `None` when the provider does not say."""

    @property
    def error(self) -> OverheardError | None:
        """What went wrong; a new exception each time, not raised."""

    @property
    def raw(self) -> bytes:
        """The provider's body for this question as received; empty when there is none."""

    @property
    def attempts(self) -> int:
        """Attempts made."""

    @property
    def started_at_ms(self) -> int:
        """First byte sent, milliseconds since 1970 UTC; 0: nothing was sent."""

    @property
    def finished_at_ms(self) -> int:
        """Last byte received, milliseconds since 1970 UTC; 0: nothing was received."""

    @property
    def started_at(self) -> datetime | None:
        """First byte sent, aware UTC; `None`: nothing was sent."""

    @property
    def finished_at(self) -> datetime | None:
        """Last byte received, aware UTC; `None`: nothing was received."""

@final
class QuestionRun(_Record):
    """The stored outcome of a cell."""

    __match_args__: ClassVar[tuple[Literal["key"], Literal["status"], Literal["text"]]]

    @property
    def key(self) -> str:
        """The cell: `question|model|location|repeat`."""

    @property
    def question_id(self) -> str:
        """Id of the question."""

    @property
    def model(self) -> str:
        """The model the user named."""

    @property
    def location(self) -> str:
        """The location as text: `US`, `US/California`, `anywhere`."""

    @property
    def repeat(self) -> int:
        """1, 2, … the repeats of the batch."""

    @property
    def batch_id(self) -> str:
        """The batch."""

    @property
    def run_id(self) -> str:
        """The model run (`geo_runs.run_id`)."""

    @property
    def org_id(self) -> str:
        """The org."""

    @property
    def question(self) -> str:
        """The text asked."""

    @property
    def outcome(self) -> Outcome:
        """What came back."""

    @property
    def status(self) -> _Status:
        """`outcome.status`."""

    @property
    def text(self) -> str | None:
        """`outcome.text`."""

    @property
    def cost_micro_usd(self) -> int | None:
        """The charge in micro-dollars; `None`: unpriced (the usage is missing)."""

    @property
    def cost(self) -> Decimal | None:
        """The charge in dollars, six decimals; `None`: unpriced."""

    @property
    def started_at(self) -> datetime | None:
        """`outcome.started_at`."""

    @property
    def finished_at(self) -> datetime | None:
        """`outcome.finished_at`."""

@final
class OrgEvaluation(_Record):
    """Is the org in the answer, and how."""

    __match_args__: ClassVar[
        tuple[Literal["mentioned"], Literal["citation"], Literal["sentiment"], Literal["mention_rank"]]
    ]

    @property
    def mentioned(self) -> bool:
        """The org is mentioned."""

    @property
    def citation(self) -> bool:
        """The answer cites a page of the org."""

    @property
    def sentiment(self) -> Literal["positive", "neutral", "negative"] | None:
        """`None` when not mentioned, or not known."""

    @property
    def mention_text(self) -> str | None:
        """The passages that mention the org, joined by ` || `; `None` when not mentioned."""

    @property
    def mention_rank(self) -> int | None:
        """1 + number of distinct brands first seen before the org; `None` when not mentioned."""

    @property
    def share_of_voice(self) -> float | None:
        """Characters of `mention_text` / characters of the answer; 0: not mentioned, `None`: the answer is empty."""

    @property
    def sentiment_quote(self) -> str | None:
        """The passage that the sentiment rests on; stands in the answer. `None` when nothing shows it."""

    @property
    def list_position(self) -> int | None:
        """Number of the item that presents the org, when the answer ranks alternatives in a list; else `None`."""

    @property
    def occurrences(self) -> int:
        """How often the prose names the org."""

    @property
    def prominence(self) -> float | None:
        """1 - offset of the first mention / length of the answer, in characters; `None` when not mentioned."""

    @property
    def shares(self) -> dict[str, float | None]:
        """Share of voice by `occurrences`, `citations`, `words`, `position_adjusted`; `None`: nothing to count."""

@final
class Competitor(_Record):
    """Another brand the answer names."""

    __match_args__: ClassVar[tuple[Literal["name"], Literal["position"]]]

    @property
    def name(self) -> str:
        """As the answer writes it."""

    @property
    def position(self) -> int:
        """1-based order of first appearance among the competitors."""

    @property
    def occurrences(self) -> int:
        """How often the prose names it, in all its forms."""

    @property
    def parent(self) -> str | None:
        """The company that owns the brand; `None`: not known."""

    @property
    def merged(self) -> list[dict[str, str]]:
        """Other forms that were counted as this brand: `name`, and why (`reason`); a new list each time."""

@final
class ExtractedCitation(_Record):
    """A source of the answer, cleaned."""

    __match_args__: ClassVar[tuple[Literal["canonical_url"], Literal["domain"], Literal["ownership"]]]

    @property
    def url(self) -> str:
        """As received."""

    @property
    def canonical_url(self) -> str:
        """Without tracking parameters, text fragment, `www.` and trailing slash; unique within the answer."""

    @property
    def domain(self) -> str:
        """Registrable domain, lower case; the host where there is none."""

    @property
    def ownership(self) -> Literal["primary", "secondary"]:
        """`primary` when the domain is the org's."""

    @property
    def title(self) -> str | None:
        """`None` when the provider gave none."""

    @property
    def cited(self) -> bool | None:
        """See `Citation.cited`."""

    @property
    def position(self) -> int:
        """1-based order in the answer."""

    @property
    def site_class(
        self,
    ) -> Literal["own", "competitor", "news", "social", "reference", "directory", "government", "other"]:
        """What kind of site it is; `class` in `to_dict()`."""

    @property
    def source(self) -> Literal["provider", "text", "both"]:
        """Where it was found."""

    @property
    def cited_text(self) -> str | None:
        """The sentence it is cited for; `None`: not told."""

@final
class Extraction(_Record):
    """Everything taken from one question run. With an `error`, only the cost and the error are stored."""

    __match_args__: ClassVar[tuple[Literal["key"], Literal["evaluation"], Literal["competitors"], Literal["citations"]]]

    @property
    def key(self) -> str:
        """The cell: `question|model|location|repeat`."""

    @property
    def question_id(self) -> str:
        """Id of the question."""

    @property
    def model(self) -> str:
        """The model the user named."""

    @property
    def location(self) -> str:
        """The location as text: `US`, `US/California`, `anywhere`."""

    @property
    def repeat(self) -> int:
        """1, 2, … the repeats of the batch."""

    @property
    def batch_id(self) -> str:
        """The batch."""

    @property
    def run_id(self) -> str:
        """The model run (`geo_runs.run_id`)."""

    @property
    def org_id(self) -> str:
        """The org."""

    @property
    def method(self) -> Literal["local", "llm"]:
        """Rules only, or rules and a model."""

    @property
    def extractor_version(self) -> str:
        """Changes whenever the rules or prompts change what comes out."""

    @property
    def fingerprint(self) -> str:
        """Of what the org's entry told the rules: 16 hexadecimal digits; empty: not kept."""

    @property
    def evidence(self) -> dict[str, Any]:
        """What each field rests on: field to `method`, `spans` (pairs of characters), `note`; beside them `hits`,
        `injection`, `disagreement`. What has no value is left out; a new mapping each time.
        """

    @property
    def injection_suspected(self) -> bool:
        """The answer looks as if it wanted to steer its reader's model; `evidence["injection"]` says why."""

    @property
    def evaluation(self) -> OrgEvaluation:
        """The evaluation."""

    @property
    def competitors(self) -> list[Competitor]:
        """In order of first appearance; a new list each time."""

    @property
    def citations(self) -> list[ExtractedCitation]:
        """In order of first appearance, unique by canonical URL; a new list each time."""

    @property
    def dropped(self) -> dict[str, int]:
        """What the checks threw away, counted by reason."""

    @property
    def usage(self) -> Usage:
        """Counts of the extraction calls."""

    @property
    def cost_micro_usd(self) -> int | None:
        """The charge in micro-dollars; `None`: unpriced (the usage is missing)."""

    @property
    def cost(self) -> Decimal | None:
        """The charge in dollars, six decimals; `None`: unpriced."""

    @property
    def maybe_charged_micro_usd(self) -> int:
        """Charges of lost extraction calls that cannot be confirmed, in micro-dollars."""

    @property
    def error(self) -> OverheardError | None:
        """Why the extraction failed; a new exception each time, not raised."""

    @property
    def extracted_at(self) -> datetime | None:
        """Aware UTC; `None` when not known."""

@final
class Ask(_Record):
    """One question on its way to a user's provider."""

    __match_args__: ClassVar[tuple[Literal["question"], Literal["location"], Literal["web_search"]]]

    def __new__(
        cls,
        question: str,
        *,
        country: str | None = None,
        region: str | None = None,
        city: str | None = None,
        web_search: bool = True,
        key: str = "",
    ) -> Ask: ...
    @property
    def question(self) -> str:
        """The text, to be sent as it is."""

    @property
    def key(self) -> str:
        """The cell key, or the position in a plain batch; for logs."""

    @property
    def web_search(self) -> bool:
        """Let the model search the web."""

    @property
    def location(self) -> dict[str, str] | None:
        """`{"country", "region"?, "city"?}`; `None`: no location is sent."""

    @property
    def country(self) -> str | None:
        """ISO 3166-1 alpha-2, upper case."""

    @property
    def region(self) -> str | None:
        """Region of the location."""

    @property
    def city(self) -> str | None:
        """City of the location."""

@final
class ExistingKey(_Record):
    """What a store already has of a cell: enough to skip it and to keep the batch's totals."""

    __match_args__: ClassVar[tuple[Literal["key"], Literal["status"], Literal["extracted"]]]

    def __new__(
        cls,
        key: str,
        status: _Status,
        *,
        extracted: bool = False,
        cost_micro_usd: int = 0,
        maybe_charged_micro_usd: int = 0,
        extraction_cost_micro_usd: int = 0,
        extraction_maybe_charged_micro_usd: int = 0,
        unpriced: int = 0,
        extraction_unpriced: int = 0,
        citations: int = 0,
        competitors: int = 0,
        error_kind: str | None = None,
    ) -> ExistingKey: ...
    @property
    def key(self) -> str:
        """The cell: `question|model|location|repeat`."""

    @property
    def status(self) -> _Status:
        """How it ended."""

    @property
    def extracted(self) -> bool:
        """True when its extraction is stored."""

    @property
    def cost_micro_usd(self) -> int:
        """Charge of the answer and of its extraction, micro-dollars."""

    @property
    def maybe_charged_micro_usd(self) -> int:
        """Unconfirmed charges of both, micro-dollars."""

    @property
    def extraction_cost_micro_usd(self) -> int:
        """The part of `cost_micro_usd` that its extraction was charged, also when that failed."""

    @property
    def extraction_maybe_charged_micro_usd(self) -> int:
        """The part of `maybe_charged_micro_usd` that belongs to its extraction."""

    @property
    def unpriced(self) -> int:
        """Charges that are not known: of the answer, and of its extraction; 0 to 2."""

    @property
    def extraction_unpriced(self) -> int:
        """The part of `unpriced` that belongs to its extraction, also when that failed; 0 or 1."""

    @property
    def citations(self) -> int:
        """Stored citation rows."""

    @property
    def competitors(self) -> int:
        """Stored competitor rows."""

    @property
    def error_kind(self) -> str | None:
        """Kind of the error of a failed run, a word of `ERROR_KINDS`."""

def provider_facts(model: str, settings_json: str, /) -> str:
    """`{"provider", "title", "surface", "max_batch_size"}` of a model as JSON; `settings_json` holds keys.

    Raises:
        ConfigError: Unknown model or price, a missing key.
    """

@final
class LocalExtractor:
    """The compiled rules of extraction for one org; see `overheard.Extractor`."""

    def __new__(cls, org_json: str, names: Sequence[str] = (), /) -> LocalExtractor:
        """The org as its `to_dict()` has it; `names` are further forms of its name.

        Raises:
            ValueError: `org_json` is no org.
        """

    @property
    def version(self) -> str:
        """The rules' version."""

    @property
    def fingerprint(self) -> str:
        """Of what the org's entry and the names told the rules."""

    @property
    def names(self) -> list[str]:
        """All name forms looked for."""

    @property
    def names_key(self) -> str:
        """What a model's variations of the name depend on: a store keeps them under `names:<model>:<this>`."""

    def runs(self, answers: Iterable[object], first: int, /) -> list[QuestionRun]:
        """Answers as question runs; what is none gets a key of its own, numbered from `first`.

        Raises:
            TypeError: An answer is neither text, `Outcome`, `QuestionRun` nor None.
        """

    def extract(self, runs: list[QuestionRun], /) -> list[Extraction]:
        """One extraction a question run, in order."""

    def replay(self, pairs: list[tuple[QuestionRun, Extraction]], /) -> list[Extraction]:
        """One extraction a pair of question run and earlier extraction, in order.

        The earlier one's money stays, and what only a model can say.
        """

@final
class InsightsTable:
    """Question runs of one or more batches, and what is measured over them; see `overheard.insights`."""

    def __new__(cls, org_json: str, seed: int, /) -> InsightsTable:
        """An empty table; the org as its `to_dict()` has it, the seed of the bootstrap's draws from 0 to 2**64 - 1.

        Raises:
            ValueError: `org_json` is no JSON.
        """

    def add(self, batch_id: str, rows: Iterable[object], /) -> None:
        """Adds rows of `InsightStore.insight_rows`; what of one cannot be read is not known."""

    def measure(self, options_json: str, /) -> str:
        """The report as JSON; `options_json` as `src/insights/report.rs` has it.

        Raises:
            ValueError: The options are not as agreed.
        """

    def explain(
        self, metric: str, model: str | None = None, location: str | None = None, /
    ) -> list[dict[str, Any]] | None:
        """The question runs of a figure; None: there is no such figure, model or location."""

    def compare(self, earlier: InsightsTable, /) -> str:
        """What changed since an earlier table, as JSON."""

    def __len__(self) -> int:
        """How many question runs there are."""

def inspect_journal(folder: str | os.PathLike[str], batch_id: str, /) -> str:
    """What the journal in `folder` holds of a batch, as JSON: `folder_id` and `files`. Locks and changes nothing.

    Raises:
        JournalError: The folder or a file is there and cannot be read.
    """

def question_run_rows(runs: Iterable[QuestionRun], /) -> list[tuple[Any, ...]]:
    """One tuple per run, in the order of `QUESTION_RUN_COLUMNS`.

    `error`, `search_queries` and `citations` are JSON texts, `raw_body` is bytes, `unpriced` is a bool.
    """

def question_runs_from_rows(rows: Iterable[Sequence[Any]], /) -> list[QuestionRun]:
    """The inverse of `question_run_rows`. `raw_body` may be `None` when the store does not want to load it.

    Raises:
        ValueError: A column holds what it cannot; the column is named.
    """

def extraction_rows(
    extractions: Iterable[Extraction], /
) -> tuple[list[tuple[Any, ...]], list[tuple[Any, ...]], list[tuple[Any, ...]], list[tuple[Any, ...]]]:
    """`(org_evals, org_competitors, org_citations, failed)`, each a list of tuples.

    Their columns: `ORG_EVAL_COLUMNS`, `ORG_COMPETITOR_COLUMNS`, `ORG_CITATION_COLUMNS`, `ORG_EVAL_COLUMNS`.
    An extraction with an error is in `failed` only: the store keeps its cost and its error, and no child row.
    """

def extractions_from_rows(
    evals: Iterable[Sequence[Any]], competitors: Iterable[Sequence[Any]], citations: Iterable[Sequence[Any]], /
) -> list[Extraction]:
    """The inverse of `extraction_rows`, in the order of `evals`; the other rows follow their `cell_key`.

    Raises:
        ValueError: A column holds what it cannot; the column is named.
    """

def _restore(name: str, fields: Mapping[str, Any], raw: bytes, /) -> object:
    """Unpickles a record."""

@final
class Port:
    """The events of one event loop."""

    def __new__(cls) -> Port: ...
    def fileno(self) -> int:
        """The descriptor that becomes readable when events wait."""

    def drain(self, max_records: int, /) -> list[tuple[Any, ...]]:
        """Takes events, in order, with about `max_records` records in them; readable again when more wait.

        Each begins with the session's token: `(token, "call", id, name, args)`, `(token, "forget", id)`,
        `(token, "log", level, line)`, `(token, "progress", pairs)`, `(token, "done", result)`,
        `(token, "failed", fields, host_call | None)`, `(token, "gone")`.
        """

    def close(self) -> None:
        """Drops what waits and what still comes."""

@final
class Session:
    """A running batch or list of questions. Dropping it cancels it."""

    def complete(self, call_id: int, value: object, /) -> None:
        """Answers a call; a late or unknown number is ignored.

        Raises:
            TypeError: The callback returned something of the wrong type; the call stays open.
            ValueError: A mapping has a wrong field; the call stays open.
        """

    def fail(self, call_id: int, exception_type: str, message: str, fields: Mapping[str, Any] | None = None, /) -> None:
        """Says that the callback raised; `fields` (`errors.to_fields`) keep the meaning of an `OverheardError`."""

    def stop(self) -> None:
        """Stops gracefully: nothing new starts, paid work in flight gets its grace. From any thread."""

    def cancel(self) -> None:
        """Stops at once. From any thread."""

def start_run(port: Port, token: int, spec_json: str, /) -> Session:
    """Starts (or continues) a batch; `token` comes back with every event.

    Raises:
        ConfigError: The specification cannot be read or a setting is wrong.
        RuntimeError: In a forked child, or while the interpreter shuts down.
    """

def start_ask(port: Port, token: int, spec_json: str, /) -> Session:
    """Asks a list of questions of one model; raises as `start_run`."""

def start_quote(port: Port, token: int, spec_json: str, /) -> Session:
    """What a start that goes on with a stored batch would do and cost; raises as `start_run`."""

def start_structured(port: Port, token: int, spec_json: str, /) -> Session:
    """Makes one structured call with the extraction model; raises as `start_run`.

    The spec has `schema_name`, `schema` (strict: an object, every property required), `system`, `user`,
    `max_cost_micro_usd` (None: no cap) and `settings`. The session ends with a mapping: `json` (the JSON object of the
    reply as text; None when it failed), `provider`, `model`, `usage`, `cost_micro_usd` (None: unpriced),
    `maybe_charged_micro_usd`, `attempts` (requests sent), `error` (None, or why it failed).
    """

def start_extract(port: Port, token: int, spec_json: str, runs: list[QuestionRun], /) -> Session:
    """Extracts from question runs with the extraction model; raises as `start_run`.

    The spec has `org`, `names`, `max_cost_micro_usd` (None: no cap) and `settings`. The session ends with one
    `Extraction` a question run, in order; one that the model was not asked about has an `error`.
    """

def quote_structured(spec_json: str, /) -> str:
    """Who would answer a structured call and what it can cost, as JSON, without making it.

    `provider`, `model`, `worst_case_micro_usd` (one request), `most_micro_usd` (a repair and a
    second sending of each request included).

    Raises:
        ConfigError: The specification cannot be read, or the key of the model is missing.
        UnsupportedError: The extraction model has no structured output.
    """

def quote(spec_json: str, /) -> str:
    """What the run of a new batch would do and cost at most, as JSON, without doing it.

    Raises:
        ConfigError: The specification cannot be read or a setting is wrong.
    """

def _selftest(port: Port, token: int, spec_json: str, /) -> Session:
    """A session that makes host calls and nothing else, for tests and benchmarks of the bridge."""

def _shutdown(seconds: float, /) -> None:
    """The exit hook: refuses what comes next, cancels sessions, ends the threads."""

def _live_sessions() -> int:
    """Sessions whose tasks in the core have not ended yet, for tests."""

@final
class Simulator:
    def __new__(
        cls,
        *,
        seed: int,
        host: str,
        port: int,
        latency_ms: int,
        snapshot_ms: int,
        spread: float,
        answer_chars: int,
        record: bool,
        threads: int,
        requests_per_second: float,
        running_small: int,
        running_large: int,
        rates: list[tuple[str, float]],
    ) -> Self: ...
    @property
    def url(self) -> str: ...
    def ledger(self, charges: bool) -> str: ...
    def truth(self) -> str: ...
    def inject(self, rule: str) -> None: ...
    def clear_faults(self) -> None: ...
    def stop(self) -> None: ...
    @staticmethod
    def rate_names() -> list[str]: ...
