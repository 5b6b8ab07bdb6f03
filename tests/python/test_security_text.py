"""Text from outside stays text (security items 13 and 14): in SQL, in searches, on its way through a whole run."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from e2e_help import pipeline, rows, url
from overheard import Location, Org, Outcome
from overheard.simulator import Simulator

INJECTIONS = (
    "Robert'); DROP TABLE question_runs;--",
    '"; DELETE FROM batches; --',
    "' OR '1'='1",
    "%s %(name)s :name ? ?1 $1 {0} {name}",
    "a\\'; UPDATE question_runs SET cost_micro_usd=0; --",
    "';\nATTACH DATABASE 'pwned.db' AS pwned; --",
    "$(touch pwned) `touch pwned` ; touch pwned",
    "{{7*7}} ${7*7} <%= 7*7 %> #{7*7}",
    "ünï'cödé\u2028\u202e\ufeff'",
)


class Answering:
    """A provider of the user's own that answers with a fixed text."""

    supports_batching = False

    def __init__(self, text: str) -> None:
        self.text = text

    async def ask(self, requests: Sequence[Any]) -> list[Outcome]:
        return [Outcome(text=f"{self.text} {request.question}", cost_micro_usd=1) for request in requests]


@pytest.mark.parametrize("evil", INJECTIONS)
async def test_s14_injections_are_stored_as_they_are(tmp_path: Path, perfect: Simulator, evil: str) -> None:
    path = tmp_path / "safe.db"
    org = Org.from_dict(
        {
            "id": "acme",
            "name": evil,
            "websites": ["https://acme.example"],
            "aliases": [f"alias {evil}"],
            "competitors": [f"rival {evil}"],
            "questions": [{"id": f"q {evil}"[:60].replace("\n", " "), "text": f"What about {evil}"}, "And Acme?"],
        }
    )
    models = ["chatgpt", evil.strip()]
    place = Location("US", city=evil.replace("\n", " ").replace("\u2028", " "))
    async with pipeline(
        perfect, url(path), providers={evil.strip(): Answering(f"Beside rival {evil} there is {evil}.")}
    ) as running:
        summary = await running.run(org, models=models, locations=[place], batch_key=evil, extraction="local")
    assert summary.answered == 4, summary
    kept = rows(path, "SELECT * FROM question_runs ORDER BY cell_key")
    assert len(kept) == 4
    assert {row["model"] for row in kept} == set(models)
    assert f"What about {evil}" in {row["question"] for row in kept}
    texts = {row["answer_text"] for row in kept if row["model"] == models[1]}
    assert f"Beside rival {evil} there is {evil}. What about {evil}" in texts
    assert evil in {row["batch_key"] for row in rows(path, "SELECT batch_key FROM batches")}
    assert rows(path, "SELECT count(*) AS n FROM extractions")[0]["n"] == 4
    assert not planted(tmp_path)
    connection = sqlite3.connect(path)
    assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
    connection.close()


def planted(folder: Path) -> list[Path]:
    return [*folder.glob("pwned*"), *Path().glob("pwned*")]


PATHOLOGICAL = {
    "one letter": "a" * 100_000,
    "the name without its end": "Quillmar" * 12_500,
    "the name": "Quillmark " * 10_000,
    "brackets": "[" * 50_000 + "](" * 25_000,
    "parentheses": "(" * 100_000,
    "links": "[a](http://" * 9_000,
    "images": "![](" * 25_000,
    "addresses": "https://" * 12_500,
    "one long address": "https://a.example/" + "a/" * 50_000,
    "dots": "a." * 50_000,
    "stars": "*" * 100_000,
    "quotes": "> " * 50_000,
    "numbers": "\n".join(f"{number}." for number in range(15_000)),
    "tables": "|" * 100_000,
    "tags": "<" * 50_000 + "a>" * 25_000,
    "entities": "&amp" * 25_000,
    "zero width": "Quill\u200bmark" * 9_000,
    "combining": "Q" + "\u0301" * 99_000,
    "compatibility": "\ufdfa" * 33_000,
    "spaces": " " * 100_000,
    "line ends": "\r\n" * 50_000,
    "backslashes": "\\" * 100_000,
    "backticks": "`" * 100_001,
    "footnotes": "[^1]" * 25_000,
}


async def test_s13_pathological_answers_end(tmp_path: Path, perfect: Simulator) -> None:
    """What grows with the square of its input would take minutes here, and the test's own limit would end it."""
    path = tmp_path / "hard.db"

    class Hard:
        supports_batching = False

        async def ask(self, requests: Sequence[Any]) -> list[Outcome]:
            return [Outcome(text=f"See: {PATHOLOGICAL[request.question]}", cost_micro_usd=1) for request in requests]

    org = Org.from_dict(
        {
            "id": "quill",
            "name": "Quillmark",
            "websites": ["https://www.quillmark.example"],
            "competitors": ["Notaro", "a" * 60, "Quillmar"],
            "questions": list(PATHOLOGICAL),
        }
    )
    async with pipeline(perfect, url(path), providers={"hard": Hard()}) as running:
        summary = await running.run(org, models=["hard"], extraction="local")
    assert summary.answered == len(PATHOLOGICAL)
    kept = {
        row["question"]: row["answer_text"] for row in rows(path, "SELECT question, answer_text FROM question_runs")
    }
    for name, text in PATHOLOGICAL.items():
        assert kept[name].strip() == f"See: {text}".strip(), f"{name}: stored as it came"
    assert rows(path, "SELECT count(*) AS n FROM extractions WHERE error IS NULL")[0]["n"] == len(PATHOLOGICAL)
