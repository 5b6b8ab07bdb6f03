"""What can be seen of a batch from outside at one moment: rows, open journal entries, requests at the provider."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from overheard import _core
from results import Results, count

PHASES = ("before trigger", "in flight", "downloaded", "extraction", "recovery")
_SCRAPED = "('chatgpt', 'perplexity', 'gemini')"


@dataclass
class Sight:
    """A moment.

    Attributes:
        stored: Question runs in the store.
        scraped: Those of scraped models.
        extracted: Extractions in the store.
        requests: Requests at the provider so far.
        open: Open submissions and calls of the journal.
        asked: Open direct calls, with what they may have been charged (micro-dollars).
    """

    stored: int = 0
    scraped: int = 0
    extracted: int = 0
    requests: int = 0
    open: set[str] = field(default_factory=set)
    asked: dict[str, int] = field(default_factory=dict)


def seen(results: Results, requests: int) -> Sight:
    """The batch as it stands; nobody must be at work on it."""
    results.quiet()
    sight = Sight(
        stored=count(results, "question_runs"),
        scraped=count(results, f"question_runs WHERE model IN {_SCRAPED}"),
        extracted=count(results, "extractions"),
        requests=requests,
    )
    for file in journal(results):
        sight.open.update(entry["id"] for entry in file["submissions"])
        for entry in file["asked"]:
            sight.asked[called(entry)] = entry["micro_usd"]
    sight.open.update(sight.asked)
    return sight


def journal(results: Results) -> Iterator[dict[str, Any]]:
    """The journal files of the store's one batch."""
    for batch in results.rows("SELECT batch_id FROM batches"):
        yield from json.loads(_core.inspect_journal(str(results.journal), batch["batch_id"]))["files"]


def called(entry: dict[str, Any]) -> str:
    """A direct call by its name and cell: `answer q001|gpt-4.1|US|1`."""
    key = entry["key"]
    cell = "" if key is None else f" {key['question_id']}|{key['model']}|{key['location']}|{key['repeat']}"
    return f"{entry['call']}{cell}"


def phase(before: Sight, after: Sight) -> str:
    """Where a start was when it was killed."""
    if before.open & after.open:
        return "recovery"
    if after.requests == before.requests:
        return "before trigger"
    if after.extracted > before.extracted or any(not name.startswith(("answer", "names")) for name in after.asked):
        return "extraction"
    return "downloaded" if after.scraped > before.scraped else "in flight"
