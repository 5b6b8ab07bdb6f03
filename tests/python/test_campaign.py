"""The small form of the crash campaign (`make crash` is the long one), and that its checks can fail."""

from __future__ import annotations

import subprocess
import sys

import pytest
from e2e_help import FOLDER
from postgres_help import needed

CAMPAIGN = FOLDER / "tests" / "campaign"
sys.path.insert(0, str(CAMPAIGN))

import books  # noqa: E402

KILLS = 12
SEED = 20261122


@pytest.mark.timeout(600)
@pytest.mark.parametrize("store", ["sqlite", "postgresql"])
def test_twelve_kills_lose_nothing_and_pay_nothing_twice(store: str) -> None:
    if store == "postgresql":
        needed()
    done = subprocess.run(
        [sys.executable, str(CAMPAIGN / "crash.py"), "--kills", str(KILLS), "--seed", str(SEED), "--store", store],
        capture_output=True,
        text=True,
        timeout=580,
        check=False,
    )
    last = done.stdout.strip().splitlines()[-1]
    assert done.returncode == 0, done.stdout + done.stderr
    assert last.startswith(f"crash campaign on {store} passed: {KILLS} kills in ")
    assert ", 0 violations in 0 batches; " in last


def compared(**changed: object) -> list[str]:
    """What the comparison says of one scraped and one direct cell, all in order but for `changed`."""
    run = {"model": "chatgpt", "question": "A?", "cell_key": "a|chatgpt|US|1", "records": 1, "cost_micro_usd": 1_500}
    direct = {
        "model": "gpt-4.1",
        "question": "A?",
        "cell_key": "a|gpt-4.1|US|1",
        "records": 0,
        "cost_micro_usd": 70,
        "maybe_charged_micro_usd": changed.get("maybe", 0),
        "raw_body": b'{"id":"resp_1"}',
    }
    tables = {
        "question_runs": [{"answer_text": f"text {n}", "raw_body": None} | row for n, row in enumerate((run, direct))],
        "extractions": [
            {"cell_key": run["cell_key"], "cost_micro_usd": changed.get("extraction", 9), "maybe_charged_micro_usd": 0}
        ],
        "batches": [{"cost": 3, "maybe": 0}],
    }

    class Told:
        """Results that are said, not stored."""

        def rows(self, query: str) -> list[dict[str, object]]:
            return next(tables[name] for name in tables if f"FROM {name}" in query)

        def holds(self, text: str) -> bool:
            return text == changed.get("held")

    def charge(endpoint: str, number: int, micro_usd: int, text: str, status: str = "answer") -> dict[str, object]:
        model = "chatgpt" if endpoint.startswith("brightdata") else "gpt-4.1"
        name = {"id": f"resp_{number}", "endpoint": endpoint, "model": model, "started_ms": number}
        return name | {"inputs": [text], "micro_usd": micro_usd, "status": status}

    charges = [
        charge("brightdata.trigger", 10, 1_500, "A?", "records"),
        charge("openai.responses", 1, 70, "A?"),
        charge("openai.responses", 2, 9, "list: text 0", "structured"),
        charge("openai.responses", 3, 3, "names of Acme", "structured"),
    ]
    more = changed.get("charges", [])
    assert isinstance(more, list)
    charges += [charge(*entry) for entry in more]
    records = sum(1 for entry in charges if entry["endpoint"] == "brightdata.trigger")
    crashes = changed.get("crashes", [])
    assert isinstance(crashes, list)
    ledger = {"charges": charges, "records": records}
    return books.compare(Told(), ledger, crashes).problems


LOST = ("openai.responses", 0, 70, "A?")
LOST_EXTRACTION = ("openai.responses", 0, 8, "list: text 0", "structured")


def test_the_comparison_is_content_with_books_that_agree() -> None:
    assert compared() == []
    noted = [{"answer a|gpt-4.1|US|1": 60}, {"answer a|gpt-4.1|US|1": 60}]
    assert compared(charges=[LOST], crashes=noted, maybe=60) == []


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"charges": [("brightdata.trigger", 11, 1_500, "A?", "records")]}, "2 records were charged, 1 are stored"),
        ({"charges": [("brightdata.trigger", 11, 1_500, "A?", "records")]}, "was bought 2 times for 1 cells"),
        ({"charges": [("brightdata.progress", 11, 7, "B?", "records")]}, "1507 micro-dollars were charged, 1500"),
        ({"charges": [LOST]}, "1 charges have no stored reply, and there are 0 maybe_charged entries"),
        (
            {
                "charges": [LOST, ("openai.responses", 5, 70, "A?")],
                "crashes": [{"answer a|gpt-4.1|US|1": 60}],
                "maybe": 60,
            },
            "2 charges have no stored reply, and there are 1 maybe_charged entries",
        ),
        ({"crashes": [{"answer a|gpt-4.1|US|1": 60}]}, "0 micro-dollars are booked as maybe charged, 60 were open"),
        ({"maybe": 60}, "60 micro-dollars are booked as maybe charged, 0 were open"),
        ({"charges": [("openai.responses", 5, 70, "B?")]}, "was charged and is no cell"),
        ({"extraction": 8}, "its last extraction calls were charged 9 micro-dollars, 8 are stored"),
        ({"charges": [LOST_EXTRACTION]}, "1 extraction charges have no stored reply, and there are 0"),
        ({"crashes": [{"names": 5}]}, "names: 0 micro-dollars are booked as maybe charged, 5 were open"),
        ({"held": "resp_10"}, "the store holds the snapshot id resp_10"),
    ],
)
def test_the_comparison_names_every_difference(changed: dict[str, object], named: str) -> None:
    problems = compared(**changed)
    assert any(named in problem for problem in problems), problems
