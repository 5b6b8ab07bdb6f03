"""Holds a complete batch against the provider's books: what was charged, what is stored, what is said to be uncertain.

Knows the ledger and the tables; of the engine only that a direct call in flight is noted in the journal.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from results import Results

ENGINES = ("chatgpt", "perplexity", "gemini")
RECORD_MICRO_USD = 1_500

_Charge = Mapping[str, Any]


@dataclass
class Books:
    """What came of a batch.

    Attributes:
        problems: Every difference, in a sentence.
        records: Records that the provider charged.
        lost: Charges of direct calls of which no reply is stored.
        entries: Possible charges that were booked for such calls.
    """

    problems: list[str] = field(default_factory=list)
    records: int = 0
    lost: int = 0
    entries: int = 0


class Noted:
    """The direct calls that were open in the journal at each crash."""

    def __init__(self, crashes: Sequence[Mapping[str, int]]) -> None:
        self.entries: Counter[str] = Counter()
        self.amount: dict[str, int] = defaultdict(int)
        # Of one call: what the next start books of it leaves the journal, and another crash can meet it asked anew.
        self.names = max((asked["names"] for asked in crashes if "names" in asked), default=0)
        self.names_at_most = sum("names" in asked for asked in crashes)
        for asked in crashes:
            for name, micro_usd in asked.items():
                # The same amount as at the last crash: it was not asked again in between.
                self.entries[name] += micro_usd > self.amount[name]
                self.amount[name] = max(self.amount[name], micro_usd)


def compare(results: Results, ledger: Mapping[str, Any], crashes: Sequence[Mapping[str, int]]) -> Books:
    """All differences between store and ledger.

    Args:
        results: Of one complete batch.
        ledger: The provider's, of this batch alone.
        crashes: At each crash, the direct calls open in the journal and their possible charge in micro-dollars.
    """
    books, noted = Books(), Noted(crashes)
    runs = results.rows("SELECT * FROM question_runs")
    charges = ledger["charges"]
    scraped = [charge for charge in charges if charge["endpoint"].startswith("brightdata")]
    direct = [charge for charge in charges if not charge["endpoint"].startswith("brightdata")]
    answers = [charge for charge in direct if charge["status"] != "structured"]
    structured = [charge for charge in direct if charge["status"] == "structured"]
    books.problems += _records(books, runs, scraped, ledger["records"])
    books.problems += _answers(books, runs, answers, noted)
    books.problems += _extractions(books, results, runs, structured, noted)
    found = [charge["id"] for charge in scraped if results.holds(charge["id"])]
    books.problems += [f"the store holds the snapshot id {entry}" for entry in found]
    return books


def _records(books: Books, runs: Sequence[_Charge], charges: Sequence[_Charge], records: int) -> Iterator[str]:
    mine = [run for run in runs if run["model"] in ENGINES]
    books.records = records
    stored = sum(run["records"] for run in mine)
    if stored != records:
        yield f"{records} records were charged, {stored} are stored"
    paid, cost = sum(charge["micro_usd"] for charge in charges), sum(run["cost_micro_usd"] for run in mine)
    if paid != cost or paid != records * RECORD_MICRO_USD:
        yield f"records: {paid} micro-dollars were charged, {cost} are stored"
    asked = Counter((run["model"], run["question"]) for run in mine)
    bought = Counter((charge["model"], prompt) for charge in charges for prompt in charge["inputs"])
    yield from (
        f"{what} was bought {times} times for {asked[what]} cells"
        for what, times in bought.items()
        if times > asked[what]
    )
    yield from (f"{run['cell_key']} has {run['records']} records" for run in mine if run["records"] > 1)


def _answers(books: Books, runs: Sequence[_Charge], charges: Sequence[_Charge], noted: Noted) -> Iterator[str]:
    """Each direct answer's charge is in its row, or is lost and has an entry."""
    by_id = {charge["id"]: charge for charge in charges}
    stored: set[str] = set()
    groups: dict[tuple[str, str], list[_Charge]] = defaultdict(list)
    for run in runs:
        if run["model"] in ENGINES:
            continue
        groups[run["model"], run["question"]].append(run)
        body = run["raw_body"] or b""
        mine = {entry for entry in by_id if f'"{entry}"'.encode() in body}
        stored |= mine
        paid = sum(by_id[entry]["micro_usd"] for entry in mine)
        if paid != run["cost_micro_usd"]:
            cost = run["cost_micro_usd"]
            yield f"{run['cell_key']}: {paid} micro-dollars were charged for what is stored, its row says {cost}"
        booked, open_then = run["maybe_charged_micro_usd"], noted.amount[f"answer {run['cell_key']}"]
        if booked != open_then:
            key = run["cell_key"]
            yield f"{key}: {booked} micro-dollars are booked as maybe charged, {open_then} were open at its crash"
    lost = Counter(
        (charge["model"], prompt)
        for entry, charge in by_id.items()
        if entry not in stored
        for prompt in charge["inputs"]
    )
    for group, cells in groups.items():
        entries = sum(noted.entries[f"answer {run['cell_key']}"] for run in cells)
        books.lost += lost[group]
        books.entries += entries
        if lost[group] > entries:
            yield f"{group}: {lost[group]} charges have no stored reply, and there are {entries} maybe_charged entries"
    if strangers := set(lost) - set(groups):
        yield f"{next(iter(strangers))} was charged and is no cell"


def _extractions(
    books: Books, results: Results, runs: Sequence[_Charge], charges: Sequence[_Charge], noted: Noted
) -> Iterator[str]:
    """Of each structured call the last reply is stored; each earlier one is lost and has an entry."""
    cells: dict[str, list[str]] = defaultdict(list)
    for run in runs:
        if run["answer_text"]:
            cells[run["answer_text"]].append(run["cell_key"])
    by_answer: dict[str | None, list[_Charge]] = defaultdict(list)
    for charge in charges:
        prompt = "".join(charge["inputs"])
        # A short answer can stand within a longer one: the longest that is in the prompt is the one it is about.
        by_answer[max((text for text in cells if text in prompt), key=len, default=None)].append(charge)
    names = by_answer.pop(None, [])
    stored = {row["cell_key"]: row for row in results.rows("SELECT * FROM extractions")}
    for text, keys in cells.items():
        charged = by_answer.pop(text, [])
        found = [stored.pop(key) for key in keys if key in stored]
        if charged and not found:
            yield f"{keys}: extraction calls were charged, and there is no extraction"
            continue
        calls = [f"{call} {key}" for key in keys for call in ("competitors", "evaluation")]
        cost, maybe = (sum(row[name] for row in found) for name in ("cost_micro_usd", "maybe_charged_micro_usd"))
        # Two answers alike to the letter cannot be told apart in a prompt: they are held against the books together.
        yield from _replied(books, noted, ", ".join(keys), calls, charged, cost, maybe, alone=len(keys) == 1)
    (money,) = results.rows(
        "SELECT (SELECT sum(overhead_micro_usd) FROM batches) + (SELECT sum(overhead_micro_usd) FROM geo_runs) AS cost,"
        " (SELECT sum(overhead_maybe_charged_micro_usd) FROM geo_runs) AS maybe",
    )
    # A start that died before the names were kept asks again: both replies are on the books.
    entries = money["maybe"] // noted.names if noted.names else 0
    if money["maybe"] != entries * noted.names or not bool(noted.names) <= entries <= noted.names_at_most:
        yield f"names: {money['maybe']} micro-dollars are booked as maybe charged, {noted.names} were open at a crash"
    noted.entries["names"], noted.amount["names"] = entries, money["maybe"]
    yield from _replied(books, noted, "names", ["names"], names, money["cost"], money["maybe"], alone=False)


def _replied(
    books: Books,
    noted: Noted,
    what: str,
    calls: Sequence[str],
    charges: Sequence[_Charge],
    cost: int,
    maybe: int,
    *,
    alone: bool,
) -> Iterator[str]:
    """`alone`: the cost is that of the last call of each kind; else of some of the calls, the others being lost."""
    if alone:
        last: dict[str, int] = {}
        for charge in sorted(charges, key=lambda charge: charge["started_ms"]):
            last["".join(charge["inputs"]).strip()[:60]] = charge["micro_usd"]
        paid, kept = sum(last.values()), len(last)
        if paid != cost:
            yield f"{what}: its last extraction calls were charged {paid} micro-dollars, {cost} are stored"
    else:
        amounts = [charge["micro_usd"] for charge in charges]
        kept = _most_that_add_up(amounts, cost)
        if kept is None:
            yield f"{what}: {cost} micro-dollars are stored, which no choice of the charges {amounts} adds up to"
            return
    lost = len(charges) - kept
    entries = sum(noted.entries[call] for call in calls)
    open_then = sum(noted.amount[call] for call in calls)
    books.lost += lost
    books.entries += entries
    if lost > entries:
        yield f"{what}: {lost} extraction charges have no stored reply, and there are {entries} maybe_charged entries"
    if maybe != open_then:
        yield f"{what}: {maybe} micro-dollars are booked as maybe charged, {open_then} were open at its crash"


def _most_that_add_up(amounts: Sequence[int], total: int) -> int | None:
    """The largest number of these amounts whose sum is the total; None: no choice of them has it."""
    most = {0: 0}
    for amount in amounts:
        for reached, count in list(most.items()):
            most[reached + amount] = max(most.get(reached + amount, 0), count + 1)
    return most.get(total)
