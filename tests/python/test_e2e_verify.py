"""`overheard verify` on stores and journals damaged by hand: each invariant finds it and names its first row."""

from __future__ import annotations

import asyncio
import hashlib
import json
import shutil
import sqlite3
import zlib
from pathlib import Path
from typing import Any

import pytest
from e2e_help import cli, damage, last_json, quillmark, rows, run, url
from overheard import Pipeline
from overheard.simulator import Simulator
from overheard.stores import open_store
from overheard.verify import verify

NAMES = ["I1", "I2", "I4", "I6", "I8", "I10", "I11", "J", "I7"]


pytestmark = pytest.mark.broken_store("each test damages its store, and looks at what verify says")


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("verify") / "sound.db"
    with Simulator(seed=2, snapshot_ms=30, perfect=True) as simulator:
        asyncio.run(run(simulator, url(path), quillmark(4, ("chatgpt", "gpt-4.1"))))
    return path


CELL = "q002|chatgpt|US|1"
HERE = f"cell_key = '{CELL}'"
# Statement, the invariant that must fail, and what the line must name.
DAMAGE = {
    "a cell of a foreign model": (
        "UPDATE question_runs SET run_id = (SELECT run_id FROM geo_runs WHERE model = 'gpt-4.1') WHERE " + HERE,
        "I1",
        CELL,
    ),
    "a missing cell": (f"DELETE FROM question_runs WHERE {HERE}", "I2", "chatgpt"),
    "a failed cell that is counted as answered": (
        f"UPDATE question_runs SET status = 'failed' WHERE {HERE}",
        "I2",
        "chatgpt",
    ),
    "a model run that is complete without answers": (
        "UPDATE geo_runs SET query_count = 5 WHERE model = 'chatgpt'",
        "I2",
        "chatgpt",
    ),
    "one micro-dollar too much": (
        f"UPDATE question_runs SET cost_micro_usd = cost_micro_usd + 1 WHERE {HERE}",
        "I4",
        "micro-dollars",
    ),
    "one micro-dollar of an extraction lost": (
        f"UPDATE extractions SET cost_micro_usd = cost_micro_usd - 1 WHERE {HERE}",
        "I4",
        CELL,
    ),
    "an evaluation lost": (f"DELETE FROM org_evals WHERE {HERE}", "I6", CELL),
    "a citation lost": (f"DELETE FROM org_citations WHERE {HERE} AND position = 1", "I6", CELL),
    "a competitor lost": (f"DELETE FROM org_competitors WHERE {HERE} AND position = 1", "I6", CELL),
    "rows of an extraction that failed": (f"UPDATE extractions SET extracted_at_ms = NULL WHERE {HERE}", "I6", CELL),
    "an extraction without its question run": (f"DELETE FROM question_runs WHERE {HERE}", "I7", CELL),
    "a citation of nobody": (
        "INSERT INTO org_citations (batch_id, cell_key, position, url, canonical_url, domain, type)"
        " VALUES ('nobody', 'q|m|US|1', 1, 'u', 'u', 'd', 'primary')",
        "I7",
        "nobody",
    ),
    "a key that is not its columns'": (
        f"UPDATE question_runs SET cell_key = 'q002|chatgpt|US|2' WHERE {HERE}",
        "I1",
        "q002|chatgpt|US|2",
    ),
    "a question that was not planned": (
        "UPDATE batches SET config = json_remove(config, '$.questions[2]')",
        "I1",
        "q002",
    ),
    "a location that was not planned": (
        "UPDATE question_runs SET location = 'DE', cell_key = 'q002|chatgpt|DE|1', location_applied = NULL"
        f" WHERE {HERE}",
        "I1",
        "q002|chatgpt|DE|1",
    ),
    "a repeat that was not planned": (
        f"UPDATE question_runs SET repeat = 2, cell_key = 'q002|chatgpt|US|2' WHERE {HERE}",
        "I1",
        "q002|chatgpt|US|2",
    ),
    "a second model run of a model": (
        "INSERT INTO geo_runs (run_id, batch_id, batch_size, org_id, model)"
        " SELECT 'again', batch_id, batch_size, org_id, model FROM geo_runs WHERE model = 'chatgpt'",
        "I1",
        "two model runs of chatgpt",
    ),
    "counts that are not the rows'": ("UPDATE geo_runs SET failed = 1 WHERE model = 'chatgpt'", "I2", "chatgpt"),
    "a finished batch with an open cell": (
        "UPDATE geo_runs SET status = 'queued', query_count = 4, finished_at = NULL WHERE model = 'chatgpt'",
        "I8",
        "it was complete and is partial",
    ),
    "a partial batch in which nothing is open": (
        "UPDATE geo_runs SET status = 'failed' WHERE model = 'chatgpt'",
        "I2",
        "chatgpt",
    ),
    "a charge below zero": (f"UPDATE question_runs SET cost_micro_usd = -1 WHERE {HERE}", "I4", CELL),
    "a possible charge below zero": (f"UPDATE extractions SET maybe_charged_micro_usd = -1 WHERE {HERE}", "I4", CELL),
    "a possible charge that the summary does not know": (
        f"UPDATE question_runs SET maybe_charged_micro_usd = 7 WHERE {HERE}",
        "I4",
        "maybe_charged_micro_usd 0 micro-dollars, the rows 7",
    ),
    "overhead that the summary does not know": (
        "UPDATE geo_runs SET overhead_micro_usd = 3 WHERE model = 'chatgpt'",
        "I4",
        "total_cost_micro_usd",
    ),
    "a run without a charge that is not marked": (
        f"UPDATE question_runs SET cost_micro_usd = NULL WHERE {HERE}",
        "I4",
        CELL,
    ),
    "a charge that is marked as unknown": (f"UPDATE question_runs SET unpriced = 1 WHERE {HERE}", "I4", CELL),
    "an evaluation that costs other than its extraction": (
        f"UPDATE org_evals SET cost_micro_usd = cost_micro_usd + 1 WHERE {HERE}",
        "I4",
        CELL,
    ),
    "an extraction of a refusal": (f"UPDATE question_runs SET status = 'refused' WHERE {HERE}", "I6", CELL),
    "an extraction that failed and did not": (f"UPDATE extractions SET error = 'x' WHERE {HERE}", "I6", CELL),
    "an evaluation of no version": (f"UPDATE org_evals SET extractor_version = '' WHERE {HERE}", "I6", CELL),
    "an evaluation by an unknown method": (f"UPDATE org_evals SET method = 'magic' WHERE {HERE}", "I6", CELL),
    "an evaluation of another model run": (f"UPDATE org_evals SET run_id = 'other' WHERE {HERE}", "I6", CELL),
    "a share of voice above one": (f"UPDATE org_evals SET share_of_voice = 1.5 WHERE {HERE}", "I6", CELL),
    "an end that is missing": ("UPDATE geo_runs SET finished_at = NULL WHERE model = 'chatgpt'", "I8", "has no end"),
    "an end before the start": (
        "UPDATE geo_runs SET finished_at = '2020-01-01T00:00:00.000Z' WHERE model = 'chatgpt'",
        "I8",
        "finished before",
    ),
    "a lease without an end": (
        "UPDATE geo_runs SET lease_owner = 'somebody', lease_expires_at_ms = NULL",
        "I8",
        "somebody",
    ),
    "a run at work without a lease": (
        "UPDATE geo_runs SET status = 'running', finished_at = NULL WHERE model = 'chatgpt'",
        "I8",
        "running without a lease",
    ),
    "an answer before its question": (f"UPDATE question_runs SET finished_at_ms = 1 WHERE {HERE}", "I8", CELL),
    "an answer without a word": (f"UPDATE question_runs SET answer_text = '' WHERE {HERE}", "I8", CELL),
    "a batch finished before it was made": (
        "UPDATE batches SET finished_at = '2020-01-01T00:00:00.000Z'",
        "I8",
        "before it was created",
    ),
    "a batch that was complete": (
        "UPDATE geo_runs SET status = 'failed', answered = 0 WHERE model = 'chatgpt'",
        "I8",
        "was complete and is partial",
    ),
    "a summary of no known word": (
        "UPDATE facts SET value = replace(value, '\"complete\"', '\"done\"') WHERE name LIKE 'summary:%'",
        "I8",
        "done",
    ),
    "another question than planned": (f"UPDATE question_runs SET question = 'Other?' WHERE {HERE}", "I10", CELL),
    "another country than planned": (f"UPDATE question_runs SET location_applied = 'FR' WHERE {HERE}", "I10", CELL),
    "a snapshot id in an error": (
        f"UPDATE question_runs SET error = 'snapshot s_m0123456789abcdef is gone' WHERE {HERE}",
        "I7",
        "question_runs.error holds the snapshot id s_m0123456789abcdef",
    ),
    "a moment that is none": ("UPDATE batches SET created_at = 'yesterday'", "I8", "cannot be read: Invalid isoformat"),
    "question runs without their model run": ("DELETE FROM geo_runs WHERE model = 'chatgpt'", "I7", "run_id"),
}


def checked(path: Path) -> dict[str, str]:
    """The lines by name, of the whole store."""
    found = asyncio.run(closing(path))
    return {entry.name: entry.line() for entry in found}


async def closing(path: Path) -> list[Any]:
    store = open_store(url(path))
    try:
        return await verify(store)
    finally:
        await store.aclose()


def copied(sound: Path, tmp_path: Path) -> Path:
    path = tmp_path / "damaged.db"
    shutil.copy(sound, path)
    # With the id by which the store knows its journal.
    shutil.copytree(f"{sound}.journal", f"{path}.journal")
    assert rows(path, f"SELECT 1 FROM question_runs WHERE {HERE}")
    return path


def test_a_sound_store_passes_and_is_left_as_it_is(sound: Path) -> None:
    before = hashlib.sha256(sound.read_bytes()).hexdigest()
    done = cli(sound.parent, "verify", "--store", url(sound))
    *told, last = done.stdout.strip().splitlines()
    assert (done.returncode, last) == (0, "verify passed")
    assert [line.split()[1] for line in told] == NAMES
    assert all(line.startswith("PASS") for line in told)
    empty = [line for line in told if line.endswith(": 0 rows")]
    assert [line.split()[1] for line in empty] == ["I11", "J"], "it looked at nothing"
    assert hashlib.sha256(sound.read_bytes()).hexdigest() == before
    as_json = last_json(cli(sound.parent, "verify", "--store", url(sound), "--json").stdout)
    assert as_json["passed"]
    assert [entry["name"] for entry in as_json["checks"]] == NAMES


@pytest.mark.parametrize("what", list(DAMAGE))
def test_damage_is_found_and_named(sound: Path, tmp_path: Path, what: str) -> None:
    statement, invariant, named = DAMAGE[what]
    path = copied(sound, tmp_path)
    damage(path, statement)
    by_name = checked(path)
    assert by_name[invariant].startswith("FAIL"), by_name
    assert named in by_name[invariant]


def test_the_command_fails_with_what_is_damaged(sound: Path, tmp_path: Path) -> None:
    path = copied(sound, tmp_path)
    damage(path, DAMAGE["a missing cell"][0])
    done = cli(tmp_path, "verify", "--store", url(path))
    assert (done.returncode, done.stdout.strip().splitlines()[-1]) == (1, "verify FAILED")
    as_json = cli(tmp_path, "verify", "--store", url(path), "--json")
    assert as_json.returncode == 1
    assert not last_json(as_json.stdout)["passed"]


# --- the journal ---


def entry(number: int, **fields: Any) -> dict[str, Any]:
    return {"question_id": f"q{number:03}", "model": "chatgpt", "location": "US", "repeat": 1, **fields}


def submission(*cells: dict[str, Any], **fields: Any) -> dict[str, Any]:
    plain = {"id": "sub-1", "model": "chatgpt", "cells": list(cells), "created_at_ms": 1_000, "snapshot_id": None}
    return {"kind": "intent", "submission": {**plain, **fields}}


def asked(cell: dict[str, Any] | None, call: str = "answer", micro_usd: int = 5) -> dict[str, Any]:
    return {"kind": "asked", "asked": {"key": cell, "call": call, "micro_usd": micro_usd}}


def journaled(path: Path, *records: dict[str, Any], name: str = "one", cut: int = 0, flip: int = 0) -> Path:
    """Writes a journal file of the store's batch, as a process that died left it."""
    (batch,) = rows(path, "SELECT batch_id FROM batches")
    header = {"kind": "header", "version": 2, "batch_id": batch["batch_id"], "models": ["chatgpt", "gpt-4.1"]}
    lines = [json.dumps(record).encode() for record in (header, *records)]
    content = bytearray(b"".join(b"%08x %s\n" % (zlib.crc32(line), line) for line in lines))
    if flip:
        content[flip] ^= 1
    folder = Path(f"{path}.journal")
    folder.mkdir(exist_ok=True)
    file = folder / f"{batch['batch_id']}.{name}.journal"
    file.write_bytes(content[: len(content) - cut])
    return file


UNFINISHED = "UPDATE batches SET finished_at = NULL"
REOPENED = (
    UNFINISHED,
    "DELETE FROM facts WHERE name LIKE 'summary:%'",
    "UPDATE geo_runs SET status = 'queued', finished_at = NULL, current_query_index = 3 WHERE model = 'chatgpt'",
)
LATE = 9_000_000_000_000
# What is in the journal of a finished batch, the invariant that must fail, and what the line must name.
IN_THE_JOURNAL: dict[str, tuple[list[dict[str, Any]], str, str]] = {
    "an intent": ([submission(entry(2))], "I11", "sub-1"),
    "a snapshot": ([submission(entry(2), snapshot_id="s_m0123456789abcdef")], "I11", "sub-1"),
    "a call": ([asked(entry(2), "competitors")], "I11", "competitors of q002|chatgpt|US|1"),
    "a call of the batch": ([asked(None, "names")], "I11", "names of the batch"),
    "overhead": ([{"kind": "overhead", "micro_usd": 3}], "I11", "3 micro-dollars"),
    "a cell that was not planned": ([submission(entry(9))], "J", "q009|chatgpt|US|1 is not of the plan"),
    "a call that was not planned": ([asked(entry(2, location="DE"))], "J", "q002|chatgpt|DE|1 is not of the plan"),
    "a cell of another model": ([submission(entry(2, model="gpt-4.1"))], "J", "more than one model"),
    "a cell twice in a submission": ([submission(entry(2), entry(2))], "J", "sub-1"),
    "a submission of nothing": ([submission()], "J", "sub-1"),
    "a snapshot id twice": (
        [submission(entry(n), id=f"sub-{n}", snapshot_id="s_m0123456789abcdef") for n in (1, 2)],
        "J",
        "two submissions have the snapshot id",
    ),
    "an answer that is bought again": (
        [submission(entry(2), created_at_ms=LATE)],
        "J",
        "buys q002|chatgpt|US|1, which was answered already",
    ),
    "an answer that is asked again": ([asked(entry(2))], "J", "q002|chatgpt|US|1 is asked again"),
    "a charge below zero": ([asked(entry(2), "competitors", -1)], "J", "less than nothing"),
}


@pytest.mark.parametrize("what", list(IN_THE_JOURNAL))
def test_what_a_finished_batch_left_in_the_journal_is_found_and_named(sound: Path, tmp_path: Path, what: str) -> None:
    records, invariant, named = IN_THE_JOURNAL[what]
    path = copied(sound, tmp_path)
    file = journaled(path, *records)
    before = file.read_bytes()
    by_name = checked(path)
    assert by_name[invariant].startswith("FAIL"), by_name
    assert named in by_name[invariant]
    assert file.name in by_name[invariant]
    assert file.read_bytes() == before
    # What was closed is not open.
    ends = [{"kind": "closed", "id": r["submission"]["id"]} for r in records if r["kind"] == "intent"]
    ends += [
        {"kind": "unasked", "id": f"{r['asked']['call']} {key(r['asked']['key'])}".strip()}
        for r in records
        if r["kind"] == "asked"
    ]
    if len(ends) == len(records):
        journaled(path, *records, *ends)
        assert all(line.startswith("PASS") for line in checked(path).values()), checked(path)


def key(cell: dict[str, Any] | None) -> str:
    return "" if cell is None else "|".join(str(value) for value in cell.values())


def test_a_possible_charge_of_no_row_is_held_or_open_in_the_journal_to_the_micro_dollar(
    sound: Path, tmp_path: Path
) -> None:
    path = copied(sound, tmp_path)

    def said(name: str, micro_usd: int) -> str:
        damage(path, f"UPDATE facts SET value = json_set(value, '$.{name}', {micro_usd}) WHERE name LIKE 'summary:%'")
        return checked(path)["I4"]

    assert "maybe_charged_micro_usd 1500 micro-dollars, the rows 0" in said("maybe_charged_micro_usd", 1_500)
    assert "maybe_charged_micro_usd 1500 micro-dollars, the rows 1499" in said("held_micro_usd", 1_499)
    assert said("held_micro_usd", 1_500).startswith("PASS")
    journaled(path, asked(entry(2), "competitors", 20))
    assert "maybe_charged_micro_usd 1500 micro-dollars, the rows 1520" in checked(path)["I4"]
    assert said("maybe_charged_micro_usd", 1_520).startswith("PASS")


def test_a_reply_of_another_answer_than_the_stored_one_is_found(sound: Path, tmp_path: Path) -> None:
    path = copied(sound, tmp_path)
    (stored,) = rows(path, f"SELECT batch_id, run_id, org_id, question, finished_at_ms FROM question_runs WHERE {HERE}")
    finished = stored.pop("finished_at_ms")
    outcome = {"status": "answered", "text": "x", "finished_at_ms": finished}
    damage(path, UNFINISHED)
    file = journaled(path, {"kind": "reply", "run": {**stored, "key": entry(2), "outcome": outcome}})
    assert all(line.startswith("PASS") for line in checked(path).values()), "its note was lost with its process"
    outcome["finished_at_ms"] = finished + 1
    journaled(path, {"kind": "reply", "run": {**stored, "key": entry(2), "outcome": outcome}})
    found = checked(path)["J"]
    assert found.startswith("FAIL")
    assert "another reply than the stored one waits for q002|chatgpt|US|1" in found
    assert file.name in found


def test_a_damaged_journal_is_named_with_its_line_and_a_torn_tail_is_sound(sound: Path, tmp_path: Path) -> None:
    path = copied(sound, tmp_path)
    damage(path, *REOPENED)
    damage(path, f"DELETE FROM question_runs WHERE {HERE}")
    for table in ("extractions", "org_evals", "org_citations", "org_competitors"):
        damage(path, f"DELETE FROM {table} WHERE {HERE}")
    for flip in (15, 250):
        file = journaled(path, submission(entry(2)), submission(entry(2), id="sub-2"), flip=flip)
        found = checked(path)["J"]
        assert found.startswith("FAIL")
        assert f"{file} is damaged at line {1 if flip == 15 else 2}" in found
    journaled(path, submission(entry(2)), submission(entry(2), id="sub-2"), cut=3)
    by_name = checked(path)
    assert by_name["J"] == "PASS J the journal is sound: 1 rows", by_name
    assert by_name["I11"].startswith("PASS")
    assert all(line.startswith("PASS") for line in by_name.values()), "an interrupted batch is sound"


def test_a_batch_whose_process_was_killed_before_its_last_note_is_sound(sound: Path, tmp_path: Path) -> None:
    path = copied(sound, tmp_path)
    damage(path, UNFINISHED)
    journaled(path, submission(entry(2)))
    assert all(line.startswith("PASS") for line in checked(path).values())
    # A possible charge is not a missing note.
    journaled(path, asked(entry(2), "evaluation"))
    assert "a call (evaluation of q002|chatgpt|US|1) that is not in the store" in checked(path)["I11"]
    # Money of no cell is a total: stored it is a missing note, and more than is stored is a loss.
    (run,) = rows(path, "SELECT overhead_micro_usd AS cost FROM geo_runs WHERE model = 'chatgpt'")
    told = {"kind": "overhead", "model": "chatgpt", "maybe_charged_micro_usd": 0}
    journaled(path, told | {"micro_usd": run["cost"]})
    assert checked(path)["I11"].startswith("PASS")
    journaled(path, told | {"micro_usd": run["cost"] + 7})
    assert f"{run['cost'] + 7} micro-dollars of no cell that is not in the store" in checked(path)["I11"]


def test_a_snapshot_id_that_the_journal_knows_is_found_in_any_text(sound: Path, tmp_path: Path) -> None:
    path = copied(sound, tmp_path)
    damage(path, UNFINISHED, f"UPDATE question_runs SET answer_text = 'see opaque-77 there' WHERE {HERE}")
    journaled(path, submission(entry(2), snapshot_id="opaque-77"))
    assert "question_runs.answer_text holds the snapshot id opaque-77" in checked(path)["I7"]


def test_a_journal_that_lies_elsewhere_is_said(sound: Path, tmp_path: Path) -> None:
    path = copied(sound, tmp_path)
    damage(path, "UPDATE geo_runs SET journal_id = 'another', journal_host = 'far' WHERE model = 'chatgpt'")
    by_name = checked(path)
    assert "not seen: the journal another of chatgpt, on host far" in by_name["I11"]
    assert by_name["I11"].startswith("PASS")


def test_a_light_store_tells_what_it_can(tmp_path: Path, simulator: Simulator) -> None:
    path = tmp_path / "light.db"
    taken: list[Any] = []

    async def one() -> list[Any]:
        pipeline = Pipeline(url(path), on_question_runs=taken.extend, env=simulator.environment(), first_poll_ms=20)
        await pipeline.run(quillmark(3))
        try:
            return [entry.line() for entry in await verify(pipeline.store)]
        finally:
            await pipeline.store.aclose()

    lines = asyncio.run(one())
    assert len(taken) == 3
    assert all(line.startswith("PASS") for line in lines), lines
    damage(path, "DELETE FROM question_runs WHERE question_id = 'q001'")
    by_name = checked(path)  # opened as any file: what it keeps says that it is light
    assert "a light store: counts, no rows" in by_name["I6"]
    assert by_name["I2"].startswith("FAIL")


def test_a_cell_twice_cannot_be_stored_and_is_found_where_the_constraint_is_gone(sound: Path, tmp_path: Path) -> None:
    path = tmp_path / "twice.db"
    shutil.copy(sound, path)
    names = ", ".join(row["name"] for row in rows(path, "SELECT name FROM pragma_table_info('question_runs')"))
    other_key = names.replace("cell_key", "cell_key || ' '")
    again = f"INSERT INTO question_runs ({names}) SELECT {other_key} FROM question_runs WHERE {HERE}"
    with pytest.raises(sqlite3.IntegrityError, match="UNIQUE"):
        damage(path, again)
    damage(
        path,
        "CREATE TABLE copied AS SELECT * FROM question_runs",
        "DROP TABLE question_runs",
        "ALTER TABLE copied RENAME TO question_runs",
        again,
    )
    by_name = checked(path)
    assert by_name["I1"].startswith("FAIL")
    assert "q002" in by_name["I1"]


def test_one_batch_alone(sound: Path) -> None:
    (batch,) = rows(sound, "SELECT batch_id FROM batches")
    done = cli(sound.parent, "verify", batch["batch_id"], "--store", url(sound))
    assert done.returncode == 0, done.stdout
    assert done.stdout.count("PASS") == len(NAMES)
    unknown = cli(sound.parent, "verify", "no-such-batch", "--store", url(sound))
    assert unknown.returncode != 0
    assert "no-such-batch" in unknown.stdout + unknown.stderr


def test_a_file_that_is_no_store(tmp_path: Path) -> None:
    (tmp_path / "text.db").write_text("this is no database, but it is long enough to look like one" * 20)
    done = cli(tmp_path, "verify", "--store", url(tmp_path / "text.db"))
    assert done.returncode == 1
    assert "text.db" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_file_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    done = cli(tmp_path, "verify", "--store", url(tmp_path / "none.db"))
    assert done.returncode == 1
    assert "none.db: there is no such file" in done.stderr
    assert not (tmp_path / "none.db").exists()
