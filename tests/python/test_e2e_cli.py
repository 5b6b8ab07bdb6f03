"""The command line and the script as processes: what they print, where, and with which exit code."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from e2e_help import (
    FOLDER,
    asked,
    assert_paid_as_charged,
    cli,
    command,
    environment,
    last_json,
    pipeline,
    quillmark,
    requests,
    rows,
    started,
    url,
    wait_until,
)
from overheard.simulator import Simulator

FIGURES = re.compile(
    r"Question matrix completed: (\d+) processed, (\d+) evaluations, (\d+) citations, (\d+) competitors, "
    r"\$(\d+\.\d{6}) total cost"
)


@pytest.fixture
def simulator() -> Iterator[Simulator]:
    with Simulator(seed=14, snapshot_ms=30, perfect=True) as running:
        yield running


def org_file(folder: Path, *ids: str) -> str:
    orgs = [quillmark(3, ("gpt-4.1", "chatgpt"), ("US", "DE")).to_dict() | {"id": name} for name in ids]
    (folder / "orgs.json").write_text(json.dumps(orgs))
    return "orgs.json"


# --- the log lines people search for ---


async def test_the_lines_in_the_issues_words(
    tmp_path: Path, simulator: Simulator, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO", logger="overheard"):
        async with pipeline(simulator, url(tmp_path / "s.db")) as opened:
            summary = await opened.run(quillmark(50), extraction="local")
    lines = [re.sub(r"^(\[[^\]]*\] )+", "", record.getMessage()) for record in caplog.records]
    assert "Provider supports batching (max size: 20)" in lines
    for first, last in ((1, 20), (21, 40), (41, 50)):
        assert f"Processing batch {first}-{last} of 50 questions" in lines
    assert lines.count("Making batched BrightData call for 20 queries") == 2
    assert lines.count("Making batched BrightData call for 10 queries") == 1
    assert lines.count("Batch completed: 20 questions processed") == 2
    assert lines.count("Batch completed: 10 questions processed") == 1
    assert lines[-1] == summary.line(), "it stands at the end"
    found = FIGURES.fullmatch(lines[-1])
    assert found is not None
    counts = [
        rows(tmp_path / "s.db", f"SELECT count(*) AS n FROM {table}")[0]["n"]
        for table in ("question_runs", "org_evals", "org_citations", "org_competitors")
    ]
    assert [int(number) for number in found.groups()[:4]] == counts
    assert found[5] == "0.075000"


async def test_a_batch_that_returns_too_few_says_how_many(
    tmp_path: Path, simulator: Simulator, caplog: pytest.LogCaptureFixture
) -> None:
    simulator.inject({"endpoint": "brightdata.trigger"}, "drop_rows:2")
    with caplog.at_level("INFO", logger="overheard"):
        async with pipeline(simulator, url(tmp_path / "s.db")) as opened:
            summary = await opened.run(quillmark(5), extraction="local")
    assert "Batch returned 3 responses but expected 5" in caplog.text
    assert (summary.processed, summary.answered + summary.failed) == (5, 5)


async def test_lines_and_summary_say_that_answers_are_simulated(
    tmp_path: Path, simulator: Simulator, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO", logger="overheard"):
        async with pipeline(simulator, url(tmp_path / "s.db"), simulated=True) as opened:
            summary = await opened.run(quillmark(1), extraction="local")
    assert summary.simulated
    assert "simulat" in caplog.text.lower()


# --- commands ---


def test_run_demo_simulate_ends_with_the_summary_and_the_simulators_own_count(tmp_path: Path) -> None:
    arguments = ("run", "demo", "--simulate", "--questions", "2", "--snapshot-ms", "100", "--seed", "2")
    done = cli(tmp_path, *arguments, "--locations", "US", "--store", "sqlite:///d.db")
    assert done.returncode == 0, done.stderr
    found = FIGURES.search(done.stdout)
    assert found is not None, done.stdout
    assert found[1] == "10"
    compared = re.search(
        r"Simulator: (\d+) requests, (\d+) records, \$([\d.]+) charged; store: (\d+) records, \$([\d.]+): equal",
        done.stdout,
    )
    assert compared is not None, done.stdout
    assert (compared[2], compared[3]) == (compared[4], compared[5])
    assert compared[3] == found[5]
    assert "SIMULATED" in done.stdout + done.stderr
    verified = cli(tmp_path, "verify", "--store", "sqlite:///d.db")
    assert (verified.returncode, verified.stdout.splitlines()[-1]) == (0, "verify passed")


def test_json_is_alone_on_the_last_line_of_stdout(tmp_path: Path, simulator: Simulator) -> None:
    file = org_file(tmp_path, "acme")
    done = cli(tmp_path, "run", "acme", "--orgs-file", file, "--store", "sqlite:///s.db", "--json", simulator=simulator)
    assert done.returncode == 0, done.stderr
    (line,) = done.stdout.strip().splitlines()
    summary = json.loads(line)
    assert (summary["processed"], summary["failed"], summary["status"]) == (12, 0, "complete")
    assert re.fullmatch(r"\d+\.\d{6}", summary["total_cost"])
    assert round(float(summary["total_cost"]) * 1e6) == summary["total_cost_micro_usd"]
    assert summary["total_cost_micro_usd"] == simulator.ledger()["charged_micro_usd"]
    names = {"batch_id", "evaluations", "citations", "competitors", "maybe_charged_micro_usd", "processing_errors"}
    assert names < summary.keys()
    sent = sum(requests(simulator).values())
    assert summary["requests_made"] == sent
    assert "Question matrix completed: 12 processed" in done.stderr


def test_the_day_decides_which_batch_a_start_continues(tmp_path: Path, simulator: Simulator) -> None:
    file = org_file(tmp_path, "acme")
    start = ("run", "acme", "--orgs-file", file, "--store", "sqlite:///s.db", "--json", "--extraction", "local")
    first, second, forced = (
        last_json(cli(tmp_path, *start, *more, simulator=simulator).stdout) for more in ((), (), ("--new",))
    )
    assert first["batch_id"] == second["batch_id"] != forced["batch_id"]
    assert second["requests_made"] == 0
    assert second["total_cost"] == first["total_cost"]
    assert set(asked(simulator).values()) == {4}, "two batches and two locations"


def test_execute_then_extract_then_status(tmp_path: Path, simulator: Simulator) -> None:
    file, store = org_file(tmp_path, "acme"), ("--store", "sqlite:///s.db")
    executed = cli(tmp_path, "execute", "acme", "--orgs-file", file, *store, "--json", simulator=simulator)
    assert executed.returncode == 0, executed.stderr
    summary = last_json(executed.stdout)
    assert (summary["processed"], summary["evaluations"]) == (12, 0)
    extracted = cli(tmp_path, "extract", summary["batch_id"], *store, "--json", simulator=simulator)
    assert extracted.returncode == 0, extracted.stderr
    assert last_json(extracted.stdout)["evaluations"] == 12
    status = cli(tmp_path, "status", summary["batch_id"], *store, "--json")
    assert status.returncode == 0
    told = last_json(status.stdout)
    assert (told["complete"], told["status"], told["batchId"]) == (True, "complete", summary["batch_id"])
    assert_paid_as_charged(tmp_path / "s.db", simulator)
    for wrong in (("status", "nobody"), ("resume", "nobody"), ("extract", "nobody")):
        done = cli(tmp_path, *wrong, *store, simulator=simulator)
        assert done.returncode == 2, done.stderr
        assert "nobody" in done.stderr


def test_phase_is_the_same_as_the_command(tmp_path: Path, simulator: Simulator) -> None:
    file, store = org_file(tmp_path, "acme"), ("--store", "sqlite:///s.db")
    executed = cli(
        tmp_path, "run", "acme", "--phase", "execute", "--orgs-file", file, *store, "--json", simulator=simulator
    )
    batch = last_json(executed.stdout)
    assert batch["evaluations"] == 0
    extracted = cli(tmp_path, "run", batch["batch_id"], "--phase", "extract", *store, "--json", simulator=simulator)
    assert last_json(extracted.stdout)["evaluations"] == 12


def test_narrowing_flags(tmp_path: Path, simulator: Simulator) -> None:
    arguments = ("--models", "perplexity,gpt-4.1", "--locations", "DE", "--questions", "3", "--extraction", "local")
    done = cli(tmp_path, "run", "demo", *arguments, "--store", "sqlite:///s.db", "--repeats", "2", simulator=simulator)
    assert done.returncode == 0, done.stderr
    found = {(row["model"], row["location"], row["repeat"], row["question_id"]) for row in cells_of(tmp_path)}
    assert found == {
        (model, "DE", repeat, question)
        for model in ("perplexity", "gpt-4.1")
        for repeat in (1, 2)
        for question in ("d01", "d02", "d03")
    }
    assert set(asked(simulator).values()) == {2}


def cells_of(folder: Path) -> list[dict[str, Any]]:
    return rows(folder / "s.db", "SELECT model, location, repeat, question_id FROM question_runs")


def test_dry_run_sends_and_stores_nothing(tmp_path: Path, simulator: Simulator) -> None:
    done = cli(tmp_path, "run", "demo", "--dry-run", "--store", "sqlite:///s.db", simulator=simulator)
    assert done.returncode == 0, done.stderr
    assert "250 questions" in done.stdout
    for model in ("chatgpt", "perplexity", "gemini", "gpt-4.1", "claude-sonnet-4-5"):
        assert model in done.stdout
    assert "Unknown" in done.stdout
    assert requests(simulator) == {}
    assert list(tmp_path.glob("*.db*")) == []
    quoted = last_json(
        cli(tmp_path, "run", "demo", "--dry-run", "--store", "sqlite:///s.db", "--json", simulator=simulator).stdout
    )
    assert quoted["cells"] == 250
    assert 0 < quoted["expected_micro_usd"] <= quoted["worst_case_micro_usd"]


async def test_a_quote_holds(tmp_path: Path, simulator: Simulator) -> None:
    """The planned calls are made, and the worst case is not exceeded."""
    org = quillmark(25, ("chatgpt", "gpt-4.1", "claude-sonnet-4-5"), ("US", "DE"))
    async with pipeline(simulator, url(tmp_path / "s.db")) as opened:
        quote = await opened.quote(org, extraction="local")
        assert requests(simulator) == {}
        await opened.run(org, extraction="local")
    calls = sum(line["calls"] for line in quote["lines"] if "chatgpt" in line["what"])
    assert requests(simulator)["brightdata.trigger"] == calls == 4
    assert simulator.ledger()["charged_micro_usd"] <= quote["worst_case_micro_usd"]


def test_orgs_import_list_show_and_run_all(tmp_path: Path, simulator: Simulator) -> None:
    file, store = org_file(tmp_path, "acme", "bolt"), ("--store", "sqlite:///s.db")
    imported = cli(tmp_path, "orgs", "import", file, *store)
    assert imported.returncode == 0, imported.stderr
    listed = cli(tmp_path, "orgs", "list", *store)
    assert "acme" in listed.stdout
    assert "bolt" in listed.stdout
    shown = cli(tmp_path, "orgs", "show", "acme", *store)
    assert (shown.returncode, "Quillmark" in shown.stdout) == (0, True)
    done = cli(tmp_path, "run", *store, "--extraction", "local", "--json", simulator=simulator)
    assert done.returncode == 0, done.stderr
    summaries = last_json(done.stdout)["summaries"]
    assert {summary["org_id"] for summary in summaries} == {"acme", "bolt"}
    assert set(asked(simulator).values()) == {4}, "two orgs and two locations"
    assert_paid_as_charged(tmp_path / "s.db", simulator)


def test_several_orgs_end_with_the_worst_exit_code(tmp_path: Path, simulator: Simulator) -> None:
    orgs = [
        quillmark(2, ("gpt-4.1",)).to_dict() | {"id": "good"},
        quillmark(2, ("claude-sonnet-4-5",)).to_dict() | {"id": "partly"},
    ]
    (tmp_path / "orgs.json").write_text(json.dumps(orgs))
    simulator.inject({"endpoint": "anthropic"}, "status:503:0", None)
    start = ("run", "--orgs-file", "orgs.json", "--store", "sqlite:///s.db", "--extraction", "local", "--json")
    done = cli(tmp_path, *start, simulator=simulator)
    assert done.returncode == 3, done.stderr
    states = {summary["org_id"]: summary["status"] for summary in last_json(done.stdout)["summaries"]}
    assert states == {"good": "complete", "partly": "partial"}


@pytest.mark.parametrize("arguments", [["demo", "--simulate"], ["--orgs-file", "orgs.json", "--simulate"]])
def test_the_script(tmp_path: Path, arguments: list[str]) -> None:
    org_file(tmp_path, "acme", "bolt")
    script = str(FOLDER / "trigger_org_evaluation_workflow.py")
    more = ["--questions", "1", "--locations", "US", "--models", "chatgpt", "--snapshot-ms", "50"]
    done = subprocess.run(
        [sys.executable, script, *arguments, *more, "--store", "sqlite:///s.db"],
        cwd=tmp_path,
        env=environment(None, tmp_path),
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert len(FIGURES.findall(done.stdout)) == (1 if "demo" in arguments else 2)
    assert ": equal" in done.stdout


def test_help_of_every_command(tmp_path: Path) -> None:
    names = ("run", "execute", "extract", "status", "resume", "verify", "simulate", "orgs")
    top = cli(tmp_path, "--help")
    assert top.returncode == 0
    for name in names:
        assert name in top.stdout
        told = cli(tmp_path, name, "--help")
        assert told.returncode == 0
        assert "Usage" in told.stdout
    assert cli(tmp_path, "dance").returncode == 2


def test_simulate_prints_its_url_and_answers(tmp_path: Path) -> None:
    arguments = command("simulate", "--port", "0", "--seed", "3")
    with started(arguments, tmp_path, environment(None, tmp_path)) as process:
        found = wait_until(lambda: re.search(r"http://127\.0\.0\.1:\d+", process.output), "the URL is printed")
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(f"{found[0]}/_sim/ledger", timeout=5) as reply:
            assert json.load(reply)["charged_micro_usd"] == 0
        assert cli(tmp_path, "simulate", "--port", found[0].rsplit(":", 1)[1]).returncode == 1
        process.interrupt()
        assert process.end(10) == 0
        assert "Traceback" not in process.output
