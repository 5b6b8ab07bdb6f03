"""One batch of the campaign: killed up to three times, started until it is complete, and held against everything."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from books import Books, compare
from processes import Provider, Spares, Start
from results import Results, count
from sight import Sight, phase, seen

MODELS = ("chatgpt", "perplexity", "gemini", "gpt-4.1", "claude-sonnet-4-5")
PLACES = ("US", "DE")
QUESTIONS = 6
CELLS = len(MODELS) * len(PLACES) * QUESTIONS
CRASHES = 3  # of one batch at most
STARTS = 5  # after the last crash, until it is complete
SUBJECTS = ("documentation", "writing", "editor", "wiki", "handbook", "manual")

# No imperfection that charges twice for one reply (a repaired extraction, a paused turn), so that charges can be
# counted; and none that makes a start wait half a minute.
RATES = {"late_ready": 0.0, "pause": 0.0, "structured_broken_json": 0.0}


@dataclass
class Result:
    """What came of a batch.

    Attributes:
        kills: By phase.
        stored: Question runs that were in the store at a kill, summed over the kills.
        books: Against the ledger.
        problems: Every violation, in a sentence.
        folder: Where its files lie.
        seconds: What its last start took, which was not killed.
    """

    folder: Path
    problems: list[str] = field(default_factory=list)
    kills: Counter[str] = field(default_factory=Counter)
    stored: int = 0
    seconds: float = 0.0
    books: Books = field(default_factory=Books)


def campaign_org(number: int) -> dict[str, object]:
    questions = [
        {
            "id": f"q{place:03}",
            "text": f"Which {SUBJECTS[place]} software suits a team of {number * QUESTIONS + place + 2}?",
        }
        for place in range(QUESTIONS)
    ]
    return {
        "id": "quill",
        "name": "Quillmark",
        "websites": ["https://www.quillmark.example"],
        "aliases": ["QuillMark"],
        "competitors": ["Notaro", "Draftly"],
        "questions": questions,
        "models": list(MODELS),
        "locations": list(PLACES),
    }


def run_batch(
    spares: Spares, seed: int, number: int, folder: Path, results: Results, most_kills: int, usual_seconds: float
) -> Result:
    """Runs batch `number` of the campaign with this seed.

    Args:
        spares: Processes to use.
        seed: Of the campaign.
        number: Of the batch, from 0.
        folder: For its files; empty.
        results: Where its results go; empty.
        most_kills: Kills at most.
        usual_seconds: How long a start takes that is not killed.
    """
    chance = random.Random(f"{seed}/{number}")
    result = Result(folder)
    (folder / "org.json").write_text(json.dumps(campaign_org(number)))
    extraction = "local" if number % 3 == 2 else "llm"
    provider = Provider(
        spares,
        seed=chance.randrange(1 << 30),
        latency_ms=chance.choice((20, 120)),
        snapshot_ms=250,
        spread=0.5,
        rates=RATES,
    )
    try:
        crashes: list[dict[str, int]] = []
        for _ in range(min(most_kills, chance.randint(1, CRASHES))):
            before = seen(results, sum(provider.requests().values()))
            start = Start(spares, folder, results, extraction, provider.environment())
            if not start.kill_when(_moment(chance, results, provider, before, usual_seconds)):
                if start.process.returncode not in (0, 3):
                    result.problems.append(f"a start ended with {start.process.returncode}: {start.said()}")
                break
            after = seen(results, sum(provider.requests().values()))
            result.kills[phase(before, after)] += 1
            result.stored += after.stored
            crashes.append(after.asked)
            result.problems += _verified(results, "after a kill")
        problems, result.seconds = _finish(spares, folder, results, extraction, provider)
        result.problems += problems
        if not result.problems:
            time.sleep(0.5)  # the slowest snapshot that nobody waits for is ready and charged by now
            result.books = compare(results, provider.ledger(), crashes)
            result.problems += result.books.problems
    finally:
        provider.end()
    return result


def _moment(
    chance: random.Random, results: Results, provider: Provider, before: Sight, usual_seconds: float
) -> Callable[[float], bool]:
    """A random instant, by the clock or by how far the start has come; at the latest after four times the usual."""
    kind = chance.choices(("at once", "clock", "requests", "rows", "extractions"), (5, 20, 25, 20, 30))[0]
    pause = chance.uniform(0, 0.05)
    instant = chance.uniform(0, 0.1) if kind == "at once" else chance.uniform(0, usual_seconds)
    wanted = {
        "requests": before.requests + chance.randint(1, 60),
        "rows": chance.randint(before.stored, CELLS),
        "extractions": chance.randint(before.extracted, CELLS),
    }
    reached: list[float] = []

    def ready(seconds: float) -> bool:
        if kind in ("at once", "clock"):
            return seconds >= instant
        if not reached:
            now = {
                "requests": lambda: sum(provider.requests().values()),
                "rows": lambda: count(results, "question_runs"),
                "extractions": lambda: count(results, "extractions"),
            }[kind]()
            if now >= wanted[kind] or seconds > 4 * usual_seconds:
                reached.append(seconds)
        return bool(reached) and seconds >= reached[0] + pause

    return ready


def _finish(
    spares: Spares, folder: Path, results: Results, extraction: str, provider: Provider
) -> tuple[list[str], float]:
    """Starts until the batch is complete."""
    for _ in range(STARTS):
        start = Start(spares, folder, results, extraction, provider.environment())
        start.wait_begun()
        code = start.end(120)
        if code == 0:
            break
        if code != 3:
            return [f"a start ended with {code}: {start.said()}"], 0.0
    else:
        return [f"the batch is not complete after {STARTS} starts: {start.said()}"], 0.0
    seconds = time.monotonic() - (start.begun_at or time.monotonic())
    stored = count(results, "question_runs")
    problems = [] if stored == CELLS else [f"{stored} of {CELLS} cells are stored"]
    extracted = count(results, "extractions WHERE extracted_at_ms IS NOT NULL")
    answered = count(results, "question_runs WHERE status = 'answered'")
    if extracted != answered:
        problems.append(f"{answered} answers, {extracted} extractions")
    return problems + _verified(results, "at the end"), seconds


def _verified(results: Results, when: str) -> list[str]:
    """`overheard verify`, in this process."""
    from overheard.stores import open_store
    from overheard.verify import verify

    async def checked() -> list[str]:
        store = open_store(results.url)
        try:
            checks = await verify(store, journal=results.journal)
            return [f"verify {when}: {entry.line()}" for entry in checks if not entry.passed]
        finally:
            await store.aclose()

    # Killed before the store was made: there is nothing to check.
    return asyncio.run(checked()) if results.made() else []
