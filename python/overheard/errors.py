"""Every exception that overheard raises on its own account; an exception of the user's code passes through unchanged.

This file only names and fills exceptions. It must not log, retry or decide anything.

    OverheardError
    ├─ ConfigError (also ValueError)         a setting, an org or a question is wrong: .field
    ├─ ProviderError                         no answer: .provider .model .attempts .elapsed .maybe_charged
    │  ├─ ConnectError                       nothing was sent
    │  ├─ TimeoutError (also builtin)        sent, but no usable reply; or a deadline of ours passed
    │  ├─ StatusError                        the provider said no: .status_code .request_id .code .body
    │  │  ├─ AuthError                       bad key, missing permission
    │  │  ├─ QuotaError                      out of money at the provider
    │  │  ├─ RateLimitError                  too fast: .retry_after
    │  │  ├─ InvalidRequestError             the provider refuses this request
    │  │  └─ ServerError                     overloaded or broken
    │  ├─ UnavailableError                   the provider is down or told us to stay away; a resume goes on
    │  ├─ RecordError                        one row of a batch failed
    │  ├─ SnapshotError                      a Bright Data snapshot ended without data, or is gone
    │  └─ UnsupportedError                   the provider cannot do what was asked
    ├─ DecodeError                           a reply that cannot be read or used
    ├─ StoreError                            a callback did not answer, or was cancelled from inside
    │  ├─ BatchLocked                        another process works on a model run of the batch
    │  └─ LeaseLost                          another process took a model run over
    ├─ BudgetExceeded                        `max_cost` does not allow the next paid call
    ├─ InterruptedRun                        stopped on request
    ├─ JournalError                          the journal cannot be written or read
    └─ InternalError                         a bug of ours: please report
"""

from __future__ import annotations

import builtins
from collections.abc import Mapping
from typing import Any, ClassVar

__all__ = [
    "AuthError",
    "BatchLocked",
    "BudgetExceeded",
    "ConfigError",
    "ConnectError",
    "DecodeError",
    "InternalError",
    "InterruptedRun",
    "InvalidRequestError",
    "JournalError",
    "LeaseLost",
    "OverheardError",
    "ProviderError",
    "QuotaError",
    "RateLimitError",
    "RecordError",
    "ServerError",
    "SnapshotError",
    "StatusError",
    "StoreError",
    "TimeoutError",
    "UnavailableError",
    "UnsupportedError",
    "from_fields",
    "to_fields",
]

_BODY_EXCERPT = 500


class OverheardError(Exception):
    """The root of the tree. Attributes that are not known or do not apply are `None`.

    A user's provider raises (or puts into `Outcome(error=…)`) any of these; the kind decides whether the question is
    asked again.

    Attributes:
        message: One sentence: what failed and what to do about it.
        kind: The meaning, a word of `overheard._core.ERROR_KINDS`.
        provider: `openai`, `anthropic`, `brightdata` or a custom provider's name.
        model: The model the user named.
        cell: Key of the cell, `question|model|location|repeat`.
        status_code: HTTP status of the last reply.
        code: The provider's own machine-readable code.
        request_id: The provider's id of the request, for its support.
        retry_after: Seconds the provider asked us to wait.
        attempts: Attempts made, the failed one included; 0 when nothing was sent.
        elapsed: Seconds from the first attempt to the failure.
        maybe_charged: True when the provider may have charged for an attempt whose reply was lost.
        body: Excerpt of the provider's reply, at most 500 characters.
        field: Setting, field or file to mend.
        hint: What to do next, where there is something to say.
    """

    default_kind: ClassVar[str] = "internal"
    default_hint: ClassVar[str | None] = None

    def __init__(
        self,
        message: str = "",
        *,
        kind: str | None = None,
        provider: str | None = None,
        model: str | None = None,
        cell: str | None = None,
        status_code: int | None = None,
        code: str | None = None,
        request_id: str | None = None,
        retry_after: float | None = None,
        attempts: int = 0,
        elapsed: float = 0.0,
        maybe_charged: bool = False,
        body: str | None = None,
        field: str | None = None,
        hint: str | None = None,
    ) -> None:
        """Keeps the facts; see the class."""
        super().__init__(message)
        self.message = message
        self.kind = kind or self.default_kind
        self.provider = provider
        self.model = model
        self.cell = cell
        self.status_code = status_code
        self.code = code
        self.request_id = request_id
        self.retry_after = retry_after
        self.attempts = attempts
        self.elapsed = elapsed
        self.maybe_charged = maybe_charged
        self.body = body[:_BODY_EXCERPT] if body is not None else None
        self.field = field
        self.hint = hint if hint is not None else self.default_hint

    def __str__(self) -> str:
        """The message, then the facts the reader asks next, then the hint."""
        facts = []
        if self.cell:
            facts.append(f"cell {self.cell}")
        if self.attempts:
            facts.append(f"{self.attempts} attempt{'' if self.attempts == 1 else 's'} in {self.elapsed:.1f} s")
        if self.maybe_charged:
            facts.append("may have been charged")
        if self.request_id:
            facts.append(f"request id {self.request_id}")
        text = f"{self.message} ({', '.join(facts)})" if facts else self.message
        return f"{text} - {self.hint}" if self.hint else text

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickles by the attributes, which `Exception` alone would lose."""
        return (_rebuild, (type(self), self.message), dict(self.__dict__))


class ConfigError(OverheardError, ValueError):
    """A setting, an org or a question is wrong; `field` names what to mend."""

    default_kind = "config"


class ProviderError(OverheardError):
    """The provider did not give an answer."""

    default_kind = "record"


class ConnectError(ProviderError):
    """No byte was accepted: name, route, TCP or TLS. Nothing can have been charged."""

    default_kind = "not_sent"


class TimeoutError(ProviderError, builtins.TimeoutError):
    """The request was sent and no usable reply came, or a deadline of ours passed; see `maybe_charged`."""

    default_kind = "outcome_unknown"


class StatusError(ProviderError):
    """The provider answered with an error; see `status_code`, `code`, `request_id`, `body`."""

    default_kind = "invalid_request"


class AuthError(StatusError):
    """Bad key, missing permission, or a refused certificate. Stops the provider."""

    default_kind = "auth"


class QuotaError(StatusError):
    """Out of money at the provider. Stops the provider."""

    default_kind = "quota_exhausted"


class RateLimitError(StatusError):
    """Too many requests; `retry_after` holds the seconds the provider asked for."""

    default_kind = "rate_limited"


class InvalidRequestError(StatusError):
    """The provider refuses this request; asking again would not help."""

    default_kind = "invalid_request"


class ServerError(StatusError):
    """The provider is overloaded or broken (5xx, 529)."""

    default_kind = "overloaded"


class UnavailableError(ProviderError):
    """The provider is down, or told us to stay away for longer than a start waits; a resume goes on when it is back."""

    default_kind = "unavailable"


class RecordError(ProviderError):
    """One row of a batch failed (auth wall, crawler error, missing row); the other rows are settled."""

    default_kind = "record"


class SnapshotError(ProviderError):
    """A Bright Data snapshot ended without data, or the provider does not know it any more."""

    default_kind = "snapshot_failed"


class UnsupportedError(ProviderError):
    """The provider cannot do what was asked: batching, a location, web search."""

    default_kind = "unsupported"


class DecodeError(OverheardError):
    """A reply that breaks the protocol, is too large, cannot be decoded, or is decoded and useless."""

    default_kind = "undecodable"


class StoreError(OverheardError):
    """A callback did not return in time, or was cancelled from inside. What it raises is re-raised itself instead."""

    default_kind = "host"


class BatchLocked(StoreError):
    """Another process works on a model run of the batch; nothing was begun. Says who."""

    default_kind = "locked"


class LeaseLost(StoreError):
    """Another process took a model run over while this one worked on it; nothing more was sent or written.

    A store that keeps leases raises it for what the loser writes. What was paid waits in the journal.
    """

    default_kind = "lease_lost"


class BudgetExceeded(OverheardError):
    """`max_cost` does not allow the next paid call."""

    default_kind = "budget"


class InterruptedRun(OverheardError):
    """The run was stopped on request; a resume goes on where it stopped."""

    default_kind = "cancelled"


class JournalError(OverheardError):
    """The journal cannot be written or read; without it nothing is paid for."""

    default_kind = "journal"


class InternalError(OverheardError):
    """A bug of ours, caught."""

    default_kind = "internal"
    default_hint = "this is a bug in overheard, please report it"


#: Kind of the core → class. A test holds it against `overheard._core.ERROR_KINDS`.
CLASSES: Mapping[str, type[OverheardError]] = {
    "not_sent": ConnectError,
    "outcome_unknown": TimeoutError,
    "rate_limited": RateLimitError,
    "overloaded": ServerError,
    "unavailable": UnavailableError,
    "quota_exhausted": QuotaError,
    "auth": AuthError,
    "invalid_request": InvalidRequestError,
    "protocol": DecodeError,
    "too_large": DecodeError,
    "undecodable": DecodeError,
    "semantic": DecodeError,
    "record": RecordError,
    "snapshot_failed": SnapshotError,
    "snapshot_gone": SnapshotError,
    "host": StoreError,
    "budget": BudgetExceeded,
    "deadline": TimeoutError,
    "cancelled": InterruptedRun,
    "locked": BatchLocked,
    "lease_lost": LeaseLost,
    "config": ConfigError,
    "unsupported": UnsupportedError,
    "journal": JournalError,
    "internal": InternalError,
}


def from_fields(fields: Mapping[str, Any]) -> OverheardError:
    """Builds the exception of an error as the core and the store hold it.

    Args:
        fields: `{"kind": …, "message": …, "context": {…}}`, the form of `question_runs.error`.

    Returns:
        An exception of the class that stands for the kind; `InternalError` for a kind this version does not know.
    """
    kind = str(fields.get("kind", "internal"))
    context: Mapping[str, Any] = fields.get("context") or {}
    retry_after_ms = context.get("retry_after_ms")
    return CLASSES.get(kind, InternalError)(
        str(fields.get("message", "")),
        kind=kind,
        provider=context.get("provider"),
        model=context.get("model"),
        cell=context.get("cell"),
        status_code=context.get("status_code"),
        code=context.get("code"),
        request_id=context.get("request_id"),
        retry_after=None if retry_after_ms is None else retry_after_ms / 1000,
        attempts=context.get("attempts") or 0,
        elapsed=(context.get("elapsed_ms") or 0) / 1000,
        maybe_charged=bool(context.get("maybe_charged")),
        body=context.get("body"),
        field=context.get("field"),
    )


def to_fields(error: BaseException) -> dict[str, Any]:
    """The inverse of `from_fields`, for any exception: what is not ours becomes the failure of one record.

    Args:
        error: An exception, for instance of a user's provider.

    Returns:
        `{"kind": …, "message": …, "context": {…}}`.
    """
    if not isinstance(error, OverheardError):
        kind = "outcome_unknown" if isinstance(error, builtins.TimeoutError) else "record"
        return {"kind": kind, "message": f"{type(error).__name__}: {describe(error)}"}
    retry_after_ms = None if error.retry_after is None else max(0, round(error.retry_after * 1000))
    context = {
        "provider": error.provider,
        "model": error.model,
        "cell": error.cell,
        "status_code": error.status_code,
        "code": error.code,
        "request_id": error.request_id,
        "retry_after_ms": retry_after_ms,
        "attempts": error.attempts,
        "elapsed_ms": max(0, round(error.elapsed * 1000)),
        "maybe_charged": error.maybe_charged,
        "body": error.body,
        "field": error.field,
    }
    return {"kind": error.kind, "message": error.message, "context": context}


def describe(error: BaseException) -> str:
    """An exception's own words, bounded, also when its `__str__` raises."""
    try:
        return str(error)[:_BODY_EXCERPT]
    except Exception:
        return "(its text cannot be read)"


def _rebuild(cls: type[OverheardError], message: str) -> OverheardError:
    return cls(message)
