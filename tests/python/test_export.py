"""Export: what is parsed back is what the store has, whatever the answers hold; files are whole or not there."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import random
import stat
import subprocess
import sys
import tracemalloc
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from e2e_help import pipeline, quillmark, rows, url
from hypothesis import example, given, settings
from hypothesis import strategies as st
from insights_help import HOSTILE, Measured, insights
from overheard import _csv, export
from overheard._columns import COLUMNS, Column
from overheard.batch import Batch
from overheard.cli.app import app
from overheard.errors import ConfigError
from overheard.export import export_batch, export_stream
from overheard.simulator import Simulator
from overheard.stores import SqlStore, open_store
from overheard.testing.records import make_batch, make_extraction, make_model_run, make_question_run
from postgres_help import Cluster, cluster, needed
from typer.testing import CliRunner

FORMULAS = (
    "=1+1",
    "+1",
    "-1",
    "@SUM(A1)",
    "\t=1",
    "\r=1",
    "\n=1",
    "\uff1d1",
    "\uff0b1",
    "\uff0d1",
    "\uff20a",
    " =1",
    "\ufeff=1",
    "'=1",
)
PLAIN = (
    "",
    "plain",
    "a,b",
    'say "x"',
    "one\ntwo",
    "one\r\ntwo",
    " spaced ",
    "'tis",
    "a\u2028b",
    "\x1b[31m",
    "\u202eevil",
)
TEXTS = st.sampled_from([*FORMULAS, *PLAIN]) | st.text(max_size=30)


@dataclass
class Filled:
    store: SqlStore
    batch: Batch
    texts: Sequence[str]


async def fill(store: SqlStore, texts: Sequence[str], *, length: int = 1) -> Filled:
    """A batch with a question run a text: the text is question, answer, citation, competitor, name and error."""
    batch = make_batch()
    model_run = make_model_run(batch, surface="chatgpt")
    await store.save_batch(batch)
    await store.save_model_runs([model_run])
    runs = []
    for place, text in enumerate(texts):
        outcome: dict[str, Any] = {
            "text": text * length,
            "served_model": text or None,
            "citations": [{"url": f"https://{place}.example/", "title": text, "cited": None}],
            "search_queries": [text, "second"],
        }
        runs.append(make_question_run(model_run, f"q{place:04}", **outcome))
    for start in range(0, len(runs), 200):
        await store.save_question_runs(runs[start : start + 200])
    extracted = [
        make_extraction(
            run,
            competitors=[{"name": text, "position": 1}],
            evaluation={"mentioned": True, "citation": False, "mention_text": text, "share_of_voice": 0.1 + 0.2},
        )
        for run, text in zip(runs, texts, strict=True)
        if text
    ]
    await store.save_extractions(extracted)
    return Filled(store, batch, texts)


async def stored(store: SqlStore) -> list[dict[str, Any]]:
    """What the store has, read without the code under test."""
    async with store.database.reading() as connection:
        found = await connection.exec_driver_sql(
            "SELECT q.*, x.extracted_at_ms, e.mention_text, e.share_of_voice,"
            " (SELECT name FROM org_competitors c WHERE c.batch_id = q.batch_id AND c.cell_key = q.cell_key) AS name"
            " FROM question_runs q LEFT JOIN extractions x ON x.batch_id = q.batch_id AND x.cell_key = q.cell_key"
            " LEFT JOIN org_evals e ON e.batch_id = q.batch_id AND e.cell_key = q.cell_key ORDER BY q.cell_key"
        )
        return [dict(row) for row in found.mappings()]


def csv_rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text, newline="")))


def may_run(cell: str) -> bool:
    """Whether a spreadsheet may run it: the test's own words, not the code's."""
    seen = "".join(character for character in cell if unicodedata.category(character) not in ("Cf", "Cc")).lstrip()
    return cell[:1] in ("\t", "\r", "\n") or seen[:1] in tuple(
        "=+-@\uff1d\uff0b\uff0d\uff20\ufe66\ufe62\ufe63\ufe6b\u207a\u208a\u207c\u208c\u2212"
    )


def shown(text: str | None) -> str:
    """A text as a CSV keeps it: controls and direction characters replaced."""
    bad = [*range(9), 11, 12, *range(14, 32), *range(127, 160), *range(0x202A, 0x202F), *range(0x2066, 0x206A)]
    return "".join("\ufffd" if ord(character) in bad else character for character in text or "")


def in_json(texts: list[str]) -> Any:
    """Texts of a list in a cell: JSON has escapes of its own for the first 32 controls, so these are not lost."""
    return json.loads(shown(json.dumps(texts, ensure_ascii=False)))


async def streamed(filled: Filled, what: str, form: str, **options: Any) -> str:
    file = io.BytesIO()
    await export_stream(filled.store, filled.batch.batch_id, file, format=form, what=what, **options)
    return file.getvalue().decode("utf-8")


@settings(deadline=None, max_examples=40)
@given(texts=st.lists(TEXTS, min_size=1, max_size=6))
@example(texts=[*FORMULAS, *PLAIN])
def test_what_is_parsed_back_is_what_the_store_has(texts: list[str], tmp_path_factory: pytest.TempPathFactory) -> None:
    async def check() -> None:
        store = open_store("sqlite://")
        filled = await fill(store, texts)
        kept = await stored(store)
        assert [row["answer_text"] for row in kept] == list(texts)
        as_csv = csv_rows(await streamed(filled, "joined", "csv"))
        as_json = [json.loads(line) for line in (await streamed(filled, "joined", "json")).splitlines()]
        path = tmp_path_factory.mktemp("x") / "x.parquet"
        await export_batch(store, filled.batch.batch_id, path, format="parquet")
        as_arrow = pq.read_table(path).to_pylist()
        await store.aclose()
        for row, cells, document, entry in zip(kept, as_csv, as_json, as_arrow, strict=True):
            check_csv(row, cells)
            check_typed(row, document, as_text=True)
            check_typed(row, entry, as_text=False)

    asyncio.run(check())


def check_csv(row: Mapping[str, Any], cells: Mapping[str, str]) -> None:
    typed = {column.name for column in COLUMNS["joined"] if column.kind in ("int", "float", "bool", "instant")}
    for name, cell in cells.items():
        assert name in typed or not may_run(cell), f"{name}: a spreadsheet would run {cell!r}"
    for name in ("question", "answer_text", "served_model", "cell_key", "mention_text"):
        assert _csv.plain(cells[name]) == shown(row[name]), name
    assert cells["cost_micro_usd"] == str(row["cost_micro_usd"])
    assert cells["started_at"] == "2023-11-14T22:13:20.000Z"
    assert cells["input_tokens"] == ""
    assert json.loads(cells["search_queries"]) == in_json(json.loads(row["search_queries"]))
    if row["extracted_at_ms"] is None:
        assert (cells["extracted"], cells["org_competitors"], cells["mentioned"]) == ("false", "", "")
    else:
        assert float(cells["share_of_voice"]) == row["share_of_voice"]
        assert json.loads(cells["org_competitors"]) == in_json([row["name"]])


def check_typed(row: Mapping[str, Any], entry: Mapping[str, Any], *, as_text: bool) -> None:
    for name in ("question", "answer_text", "served_model", "cell_key", "mention_text", "cost_micro_usd", "attempts"):
        assert entry[name] == row[name], name
    source = json.loads(row["citations"])[0]
    assert entry["citations"] == [{name: source.get(name) for name in ("url", "title", "cited", "position")}]
    assert entry["search_queries"] == json.loads(row["search_queries"])
    assert entry["surface"] == "chatgpt"
    assert entry["unpriced"] is False
    moment = entry["started_at"] if as_text else entry["started_at"].isoformat()
    assert moment == ("2023-11-14T22:13:20.000Z" if as_text else "2023-11-14T22:13:20+00:00")
    if row["extracted_at_ms"] is None:
        assert (entry["extracted"], entry["org_competitors"], entry["org_citations"]) == (False, None, None)
    else:
        assert entry["org_competitors"] == [row["name"]]
        assert entry["org_citations"][0]["type"] == "primary"


@given(text=st.text())
@example(text="''=1")
@example(text="'\u200b\uff1d1")
def test_a_cell_of_text_is_never_run_and_is_found_again(text: str) -> None:
    column = Column("name", "text")
    line = _csv.line([column, column], {"name": text})
    ((cell, again),) = csv.reader(io.StringIO(line, newline=""))
    assert cell == again
    assert not may_run(cell)
    assert _csv.plain(cell) == shown(text)


def test_numbers_stay_numbers_and_what_is_no_number_is_empty() -> None:
    columns = [Column("n", "int"), Column("f", "float"), Column("b", "bool"), Column("i", "instant")]
    assert _csv.line(columns, {"n": -5, "f": -1.5, "b": False, "i": -1}) == "-5,-1.5,false,1969-12-31T23:59:59.999Z\r\n"
    assert _csv.line(columns, {"f": float("nan")}) == ",,,\r\n"
    assert _csv.line(columns, {"f": float("-inf"), "b": True}) == ",,true,\r\n"


def test_a_text_of_another_type_does_not_pass_as_a_number() -> None:
    assert _csv.line([Column("n", "int")], {"n": "=1"}) == "'=1\r\n"


def test_a_lone_surrogate_ends_no_export(tmp_path: Path) -> None:
    assert _csv.line([Column("t", "text")], {"t": "a\ud800b"}) == "a?b\r\n"
    row = {"answer_text": "a\ud800b", "citations": [{"url": "\udfff", "title": None, "cited": None, "position": None}]}
    assert export.tables.arrow_table([row], "question-runs").to_pylist()[0]["answer_text"] == "a?b"


# --- files ---


def listing(folder: Path) -> list[Path]:
    return list(folder.iterdir())


@pytest.fixture
def parts(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Replaces the pages of an export: the given ones, then what `then` does."""

    def install(then: Any) -> None:
        async def pages(store: SqlStore, batch: Batch, what: Any) -> Any:
            yield [{"cell_key": "k", "answer_text": "half"}]
            await then()

        monkeypatch.setattr(export, "pages", pages)

    return install


@pytest.mark.parametrize("form", ["csv", "json", "parquet"])
@pytest.mark.parametrize("old", [None, b"old"])
async def test_nothing_half_written_stays(tmp_path: Path, parts: Any, form: str, old: bytes | None) -> None:
    filled = await fill(open_store("sqlite://"), ["x"])
    target = tmp_path / f"out.{form}"
    if old is not None:
        target.write_bytes(old)

    async def fail() -> None:
        assert len(listing(tmp_path)) == (1 if old is None else 2), "it is being written under another name"
        raise RuntimeError("the store is gone")

    parts(fail)
    with pytest.raises(RuntimeError, match="the store is gone"):
        await export_batch(filled.store, filled.batch.batch_id, target, format=form, force=True)
    assert [path.name for path in listing(tmp_path)] == ([] if old is None else [target.name])
    assert old is None or target.read_bytes() == old
    await filled.store.aclose()


@pytest.mark.parametrize("form", ["csv", "parquet"])
async def test_a_cancelled_export_leaves_nothing(tmp_path: Path, parts: Any, form: str) -> None:
    filled = await fill(open_store("sqlite://"), ["x"])
    waiting = asyncio.Event()

    async def wait() -> None:
        waiting.set()
        await asyncio.Event().wait()

    parts(wait)
    task = asyncio.ensure_future(
        export_batch(filled.store, filled.batch.batch_id, tmp_path / "out", format=form)  # type: ignore[arg-type]
    )
    await waiting.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert listing(tmp_path) == []
    await filled.store.aclose()


async def test_a_file_that_appears_meanwhile_is_not_replaced(tmp_path: Path, parts: Any) -> None:
    filled = await fill(open_store("sqlite://"), ["x"])
    target = tmp_path / "out.csv"

    async def another() -> None:
        target.write_text("another's")

    parts(another)
    with pytest.raises(ConfigError, match=r"out\.csv"):
        await export_batch(filled.store, filled.batch.batch_id, target, format="csv")
    assert target.read_text() == "another's"
    assert len(listing(tmp_path)) == 1
    await filled.store.aclose()


async def test_files_are_private_and_replaced_only_when_told(tmp_path: Path) -> None:
    filled = await fill(open_store("sqlite://"), ["x", ""])
    store, batch_id, figures = filled.store, filled.batch.batch_id, insights()
    written = await export_batch(store, batch_id, tmp_path, format="csv", metrics=figures)
    assert {path.name: count for path, count in written.items() if path.name != "metrics.csv"} == {
        "question_runs.csv": 2,
        "extractions.csv": 1,
    }
    assert written[tmp_path / "metrics.csv"] == len(csv_rows((tmp_path / "metrics.csv").read_text()))
    assert {stat.S_IMODE(path.stat().st_mode) for path in listing(tmp_path)} == {0o600}
    with pytest.raises(ConfigError, match="give --force") as caught:
        await export_batch(store, batch_id, tmp_path, format="csv", metrics=figures)
    assert "question_runs.csv" in str(caught.value)
    (tmp_path / "extractions.csv").write_text("old")
    await export_batch(store, batch_id, tmp_path / "extractions.csv", format="csv", what="extractions", force=True)
    assert len(csv_rows((tmp_path / "extractions.csv").read_text())) == 1
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_text("kept")
    (tmp_path / "link.csv").symlink_to(elsewhere)
    with pytest.raises(ConfigError, match="no plain file"):
        await export_batch(store, batch_id, tmp_path / "link.csv", format="csv", force=True)
    assert elsewhere.read_text() == "kept"
    with pytest.raises(ConfigError, match=r"none/x\.csv: No such file"):
        await export_batch(store, batch_id, tmp_path / "none" / "x.csv", format="csv")
    await store.aclose()


async def test_what_cannot_be_exported_is_told(tmp_path: Path) -> None:
    filled = await fill(open_store("sqlite://"), ["x"])
    store, batch_id = filled.store, filled.batch.batch_id
    with pytest.raises(ConfigError, match="there is no batch 'nothing'"):
        await export_batch(store, "nothing", tmp_path / "x.csv", format="csv")
    with pytest.raises(ConfigError, match="only csv and json"):
        await export_stream(store, batch_id, io.BytesIO(), format="parquet")
    with pytest.raises(ConfigError, match="format: 'xlsx'"):
        await export_batch(store, batch_id, tmp_path / "x", format="xlsx")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="needs the batch's insights"):
        await export_batch(store, batch_id, tmp_path / "x", format="csv", what="metrics")
    assert listing(tmp_path) == []
    await store.aclose()


async def test_excel_gets_its_mark_and_only_then(tmp_path: Path) -> None:
    filled = await fill(open_store("sqlite://"), ["ü"])
    assert (await streamed(filled, "joined", "csv")).startswith("batch_id,")
    marked = await streamed(filled, "joined", "csv", excel=True)
    assert marked.startswith("\ufeffbatch_id,")
    await filled.store.aclose()


# --- size ---


async def test_row_groups_are_bounded_and_nothing_is_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export, "_GROUP_ROWS", 100)
    filled = await fill(open_store("sqlite://"), [f"answer {number}" for number in range(730)])
    path = tmp_path / "x.parquet"
    assert await export_batch(filled.store, filled.batch.batch_id, path, format="parquet") == {path: 730}
    file = pq.ParquetFile(path)
    groups = [file.metadata.row_group(place).num_rows for place in range(file.num_row_groups)]
    assert groups == [100] * 7 + [30]
    keys = pq.read_table(path, columns=["cell_key"])["cell_key"].to_pylist()
    assert keys == sorted(set(keys), key=str.encode)
    assert len(keys) == 730
    await filled.store.aclose()


@pytest.mark.parametrize("form", ["csv", "json", "parquet"])
async def test_memory_is_flat(tmp_path: Path, form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """70 MB of answers, of which never a quarter is held."""
    monkeypatch.setattr(export, "_GROUP_CHARACTERS", 4_000_000)
    texts, length = [f"{number:07}" for number in range(350)], 30_000
    filled = await fill(open_store(f"sqlite:///{tmp_path / 'big.sqlite'}"), texts, length=length)
    tracemalloc.start()
    written = await export_batch(filled.store, filled.batch.batch_id, tmp_path / "out", format=form)  # type: ignore[arg-type]
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    await filled.store.aclose()
    assert list(written.values()) == [350]
    assert peak < 350 * 7 * length / 2, f"{peak / 1e6:.0f} MB"


# --- whole batches ---


async def export_of_a_run(simulator: Simulator, store_url: str, folder: Path) -> None:
    async with pipeline(simulator, store_url) as running:
        summary = await running.run(quillmark(3, ["chatgpt", "gpt-4.1"], ["US", "DE"]))
        written = await export_batch(running.store, summary.batch_id, folder / "x.json", format="json")
        extractions = folder / "e.json"
        await export_batch(running.store, summary.batch_id, extractions, format="json", what="extractions")
        overhead = (await running.store.load_batch(summary.batch_id)).all_overhead_micro_usd
    assert list(written.values()) == [12]
    documents = [json.loads(line) for line in (folder / "x.json").read_text().splitlines()]
    assert len({document["cell_key"] for document in documents}) == 12
    assert {(entry["model"], entry["surface"], entry["location"]) for entry in documents} == {
        (model, surface, place)
        for model, surface in (("chatgpt", "chatgpt"), ("gpt-4.1", "openai"))
        for place in ("US", "DE")
    }
    assert all(entry["served_model"] and entry["answer_text"] for entry in documents)
    paid = sum(entry["cost_micro_usd"] + entry["extraction_cost_micro_usd"] for entry in documents)
    assert overhead + paid == simulator.ledger()["charged_micro_usd"], "every charge of a cell is in its row"
    assert sum(len(entry["org_citations"]) for entry in documents) == summary.citations
    assert sum(len(entry["org_competitors"]) for entry in documents) == summary.competitors
    alone = [json.loads(line) for line in extractions.read_text().splitlines()]
    assert [entry["org_citations"] for entry in alone] == [entry["org_citations"] for entry in documents]


async def test_a_run_from_sqlite(tmp_path: Path, perfect: Simulator) -> None:
    path = tmp_path / "x.db"
    await export_of_a_run(perfect, url(path), tmp_path)
    documents = [json.loads(line) for line in (tmp_path / "x.json").read_text().splitlines()]
    kept = rows(path, "SELECT cell_key, answer_text FROM question_runs ORDER BY cell_key")
    assert [(entry["cell_key"], entry["answer_text"]) for entry in documents] == [tuple(row.values()) for row in kept]


@pytest.fixture(scope="module")
def server() -> Iterator[Cluster]:
    needed()
    with cluster() as running:
        yield running


async def test_a_run_from_postgresql(tmp_path: Path, perfect: Simulator, server: Cluster) -> None:
    await export_of_a_run(perfect, server.url(), tmp_path)


def test_the_command_line(tmp_path: Path, perfect: Simulator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "x.db"

    async def run() -> str:
        async with pipeline(perfect, url(path)) as running:
            return (await running.run(quillmark(2))).batch_id

    batch_id = asyncio.run(run())
    store = ("--store", url(path))
    program = [sys.executable, "-m", "overheard", "export", batch_id, "--format", "csv", "-o", "-", *store]
    to_stdout = subprocess.run(program, capture_output=True, timeout=60)
    assert (to_stdout.returncode, to_stdout.stderr) == (0, b"")
    kept = rows(path, "SELECT answer_text FROM question_runs ORDER BY cell_key")
    found = csv_rows(to_stdout.stdout.decode())
    assert [_csv.plain(entry["answer_text"]) for entry in found] == [shown(row["answer_text"]) for row in kept]
    runs = ("--what", "question-runs", *store)
    for arguments, code, said in (
        ((batch_id, "--format", "parquet", "-o", "new/", *runs), 0, "new/question_runs.parquet: 2 rows\n"),
        ((batch_id, "--format", "csv", "-o", "new/", *runs), 0, "new/question_runs.csv: 2 rows\n"),
        ((batch_id, "--format", "csv", "-o", "new/", *runs), 1, "new/question_runs.csv: it is there already"),
        ((batch_id, "--format", "csv", "-o", "new/", "--force", *runs), 0, "new/question_runs.csv: 2 rows\n"),
        (("nothing", "--format", "csv", "-o", "y.csv", *store), 2, "there is no batch 'nothing'"),
        (("nothing", "--format", "csv", "-o", "new", *store), 2, "there is no batch 'nothing'"),
        ((batch_id, "--format", "csv", "-o", "y.csv", "--store", "sqlite:///no.db"), 1, "there is no such file"),
        ((batch_id, "--format", "parquet", "-o", "-", *store), 1, "only csv and json"),
        ((batch_id, "--format", "xlsx", "-o", "y", *store), 2, "--format"),
    ):
        told = CliRunner().invoke(app, ["export", *arguments])
        assert (told.exit_code, said in told.output) == (code, True), (arguments, told.output)
    assert pq.read_table(tmp_path / "new" / "question_runs.parquet").num_rows == 2
    assert not (tmp_path / "no.db").exists()
    assert not (tmp_path / "y.csv").exists()


@pytest.fixture
def large(tmp_path: Path) -> tuple[str, str]:
    """URL and batch of a store with 2 MB of answers."""
    store_url = f"sqlite:///{tmp_path / 'large.sqlite'}"
    chance = random.Random(1)  # what does not repeat itself stays large when it is packed

    async def make() -> str:
        async with open_store(store_url) as store:
            return (await fill(store, [chance.randbytes(50_000).hex() for _ in range(20)])).batch.batch_id

    return store_url, asyncio.run(make())


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_a_full_disk_is_told_and_leaves_nothing(tmp_path: Path, large: tuple[str, str], form: str) -> None:
    store_url, batch_id = large
    folder = tmp_path / "out"
    folder.mkdir()
    # A limit on the size of files gives the error that a full disk gives, to this process alone.
    program = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (65_536, 65_536));"
        "from overheard.cli import main; sys.argv[0] = 'overheard'; main()"
    )
    arguments = ["export", batch_id, "--format", form, "-o", str(folder / "x"), "--store", store_url]
    done = subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert "out/x: File too large; name a file that can be written" in done.stderr, done.stderr
    assert "Traceback" not in done.stderr
    assert listing(folder) == []


def test_a_reader_that_has_gone_is_one_sentence(large: tuple[str, str]) -> None:
    store_url, batch_id = large
    program = [sys.executable, "-m", "overheard", "export", batch_id, "--format", "json", "-o", "-"]
    with subprocess.Popen([*program, "--store", store_url], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.read(10) == b'{"batch_id'
        process.stdout.close()
        told = process.stderr.read().decode()
    assert process.returncode == 1
    assert told == "Error: stdout: Broken pipe; not everything was written\n"


def test_hostile_names_are_no_formulas_in_metrics() -> None:
    async def check() -> str:
        filled = await fill(open_store("sqlite://"), ["x"])
        text = await streamed(filled, "metrics", "csv", metrics=Measured().to_dict())
        await filled.store.aclose()
        return text

    found = csv_rows(asyncio.run(check()))
    names = {entry["name"] for entry in found if entry["scope"] == "competitor"}
    assert f"'{shown(HOSTILE)}" in names
    assert not [cell for entry in found for cell in entry.values() if may_run(cell)]
