"""What AI answer engines say about an organisation, asked in bulk, without losing or paying for anything twice.

    import asyncio
    from overheard import Pipeline

    summary = asyncio.run(Pipeline("sqlite:///overheard.db").run("demo", max_cost="5.00"))
    print(summary.line())

`Pipeline` evaluates an org into a store; `Provider` asks a model without one. The rest is what they take and give.
"""

from __future__ import annotations

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
    __version__,
)
from overheard.batch import Batch, BatchStatus, Lease, ModelRun
from overheard.errors import (
    AuthError,
    BatchLocked,
    BudgetExceeded,
    ConfigError,
    ConnectError,
    DecodeError,
    InternalError,
    InterruptedRun,
    InvalidRequestError,
    JournalError,
    LeaseLost,
    OverheardError,
    ProviderError,
    QuotaError,
    RateLimitError,
    RecordError,
    ServerError,
    SnapshotError,
    StatusError,
    StoreError,
    TimeoutError,
    UnsupportedError,
)
from overheard.extractor import Extractor
from overheard.insights import Insights
from overheard.org import KnownCompetitor, Location, Org, Question
from overheard.orgfile import demo_org, load_orgs
from overheard.pipeline import Pipeline, RunOptions
from overheard.protocols import ProviderProtocol, Store
from overheard.providers import Provider
from overheard.stores import SqlStore, open_store
from overheard.stores.callbacks import CallbackStore
from overheard.summary import Summary

__all__ = [
    "Ask",
    "AuthError",
    "Batch",
    "BatchLocked",
    "BatchStatus",
    "BudgetExceeded",
    "CallbackStore",
    "Citation",
    "Competitor",
    "ConfigError",
    "ConnectError",
    "DecodeError",
    "ExistingKey",
    "ExtractedCitation",
    "Extraction",
    "Extractor",
    "Insights",
    "InternalError",
    "InterruptedRun",
    "InvalidRequestError",
    "JournalError",
    "KnownCompetitor",
    "Lease",
    "LeaseLost",
    "Location",
    "ModelRun",
    "Org",
    "OrgEvaluation",
    "Outcome",
    "OverheardError",
    "Pipeline",
    "Provider",
    "ProviderError",
    "ProviderProtocol",
    "Question",
    "QuestionRun",
    "QuotaError",
    "RateLimitError",
    "RecordError",
    "RunOptions",
    "ServerError",
    "SnapshotError",
    "SqlStore",
    "StatusError",
    "Store",
    "StoreError",
    "Summary",
    "TimeoutError",
    "UnsupportedError",
    "Usage",
    "__version__",
    "demo_org",
    "load_orgs",
    "open_store",
]
