"""Bad input: one clear sentence with what to mend, the right exit code, nothing half-written, nothing asked."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from e2e_help import FOLDER, cli, environment, pipeline, quillmark, requests, rows, url
from overheard import ConfigError, Location, Org, OverheardError, Pipeline, Provider
from overheard.simulator import Simulator


@pytest.fixture(scope="module")
def simulator() -> Iterator[Simulator]:
    with Simulator(seed=12, snapshot_ms=30, perfect=True) as running:
        yield running


ORG = """\
id: acme
name: Quillmark
websites: [https://www.quillmark.example]
questions:
  - Which wiki suits us?
models: [chatgpt]
locations: [US]
"""

# Name: (arguments after `run acme`, org file, variables, exit code, words that must stand in the sentence)
BAD: dict[str, tuple[list[str], str, dict[str, str], int, list[str]]] = {
    "a missing key": ([], ORG, {"BRIGHTDATA_API_KEY": ""}, 1, ["BRIGHTDATA_API_KEY", "chatgpt"]),
    "a missing OpenAI key": (["--models", "gpt-4.1"], ORG, {"OPENAI_API_KEY": ""}, 1, ["OPENAI_API_KEY"]),
    "a missing Anthropic key": (
        ["--models", "claude-sonnet-4-5"],
        ORG,
        {"ANTHROPIC_API_KEY": ""},
        1,
        ["ANTHROPIC_API_KEY"],
    ),
    "a key with a line break": ([], ORG, {"BRIGHTDATA_API_KEY": "abc\ndef"}, 1, ["BRIGHTDATA_API_KEY"]),
    "a base URL that is none": ([], ORG, {"BRIGHTDATA_BASE_URL": "api.brightdata"}, 1, ["BRIGHTDATA_BASE_URL"]),
    "an extraction model without a key": (
        ["--extraction", "llm"],
        ORG,
        {"OPENAI_API_KEY": ""},
        1,
        ["OPENAI_API_KEY"],
    ),
    "an unknown model": (["--models", "llama-9"], ORG, {}, 2, ["llama-9", "chatgpt"]),
    "a model without a price": (["--models", "gpt-77"], ORG, {}, 1, ["gpt-77", "price"]),
    "an unknown model in the file": ([], ORG.replace("chatgpt", "llama-9"), {}, 2, ["llama-9"]),
    "a bad country code": (["--locations", "XX"], ORG, {}, 2, ["XX"]),
    "a country code in lower case": (["--locations", "us"], ORG, {}, 2, ["US"]),
    "UK is GB": (["--locations", "UK"], ORG, {}, 2, ["UK", "GB"]),
    "a bad country in the file": ([], ORG.replace("[US]", "[XX]"), {}, 1, ["orgs.yaml", "locations[0].country", "7"]),
    "an empty question": ([], ORG.replace("Which wiki suits us?", "'  '"), {}, 1, ["orgs.yaml", "questions[0]", "5"]),
    "no questions": ([], ORG.replace("  - Which wiki suits us?", "  []"), {}, 2, ["acme", "questions"]),
    "an unknown field": ([], ORG + "colour: red\n", {}, 1, ["orgs.yaml", "colour", "8"]),
    "a field of the wrong kind": ([], ORG.replace("[chatgpt]", "chatgpt"), {}, 1, ["orgs.yaml", "models", "6"]),
    "a broken file": ([], ORG + "  : [", {}, 1, ["orgs.yaml"]),
    "an empty file": ([], "", {}, 1, ["orgs.yaml"]),
    "an org that is not there": (["--orgs-file", "orgs.yaml"], ORG.replace("acme", "other"), {}, 2, ["acme"]),
    "money that is none": (["--max-cost", "cheap"], ORG, {}, 2, ["max_cost", "cheap"]),
    "negative money": (["--max-cost", "-1"], ORG, {}, 2, ["max_cost"]),
    "no questions wanted": (["--questions", "0"], ORG, {}, 2, ["--questions"]),
    "an unknown extraction": (["--extraction", "magic"], ORG, {}, 2, ["magic", "local"]),
    "an unknown phase": (["--phase", "dance"], ORG, {}, 2, ["dance"]),
    "an unknown option": (["--colour", "red"], ORG, {}, 2, ["--colour"]),
    "a store of an unknown kind": (["--store", "oracle://x"], ORG, {}, 1, ["oracle"]),
    "a prices file that is not there": ([], ORG, {"OVERHEARD_PRICES": "no.json"}, 1, ["OVERHEARD_PRICES", "no.json"]),
}


@pytest.mark.parametrize("name", list(BAD))
def test_bad_input(tmp_path: Path, simulator: Simulator, name: str) -> None:
    arguments, text, variables, code, words = BAD[name]
    (tmp_path / "orgs.yaml").write_text(text)
    before = requests(simulator)
    store = [] if "--store" in arguments else ["--store", "sqlite:///s.db"]
    done = cli(
        tmp_path, "run", "acme", "--orgs-file", "orgs.yaml", *store, *arguments, simulator=simulator, env=variables
    )
    told = done.stderr.strip()
    assert "Traceback" not in told, told
    for word in words:
        assert word in told, told
    assert done.returncode == code, told
    if "Usage:" not in told:
        assert len([line for line in told.splitlines() if line.startswith("Error: ")]) == 1, told
    assert requests(simulator) == before, "something was asked"
    for path in tmp_path.glob("*.db"):
        for table in ("batches", "geo_runs", "question_runs"):
            assert rows(path, f"SELECT * FROM {table}") == [], f"{table} is half-written"


async def test_an_over_long_question_names_itself_and_the_others_are_answered(
    tmp_path: Path, simulator: Simulator
) -> None:
    """The scrapers take at most so many characters; what a provider would refuse is told before it is sent."""
    fields = {"questions": [{"id": "long", "text": "wiki " * 20_000}, {"id": "short", "text": "Which wiki suits us?"}]}
    org = Org.from_dict(quillmark(1).to_dict() | fields)
    charged = simulator.ledger()["charged_micro_usd"]
    async with pipeline(simulator, url(tmp_path / "s.db")) as opened:
        try:
            summary = await opened.run(org, extraction="local")
        except ConfigError as error:
            assert "long" in str(error)
            assert rows(tmp_path / "s.db", "SELECT * FROM batches") == []
            assert simulator.ledger()["charged_micro_usd"] == charged
            return
    kept = {row["question_id"]: row for row in rows(tmp_path / "s.db", "SELECT * FROM question_runs")}
    assert (kept["short"]["status"], kept["long"]["status"]) == ("answered", "failed")
    assert kept["long"]["cost_micro_usd"] in (0, None)
    assert "characters" in kept["long"]["error"]
    assert simulator.ledger()["charged_micro_usd"] == charged + 1_500
    assert summary.failed == 1


@pytest.mark.parametrize(
    "make",
    [
        lambda: Org(id="", name="x"),
        lambda: Org(id="a", name=" "),
        lambda: Org(id="a", name="A", questions=[""]),
        lambda: Org(id="a", name="A", questions=["same", "same"]),
        lambda: Org(id="a", name="A", locations=["us"]),
        lambda: Org.from_dict({"id": "a", "name": "A", "nickname": "B"}),
        lambda: Location("Germany"),
        lambda: Location.parse("US/"),
        lambda: Pipeline(env={}, colour="red"),
        lambda: Pipeline(env={}, openai_in_flight=1.5),
        lambda: Pipeline(env={}, prices={"gpt-4.1": {"input": 0.1}}),
        lambda: Provider.for_model("", env={}),
        lambda: Provider.for_model("chatgpt", env={}),
    ],
)
def test_constructors_name_the_field(make: Any) -> None:
    try:
        made = make()
    except ConfigError as error:
        assert error.field
        assert "\n" not in str(error)
        assert isinstance(error, ValueError)
        assert isinstance(error, OverheardError)
    else:
        assert made == Location("US"), f"{made!r} was accepted"  # an empty region is none


async def test_unknown_options_and_floats_are_refused(tmp_path: Path, simulator: Simulator) -> None:
    before = requests(simulator)
    async with pipeline(simulator, url(tmp_path / "s.db")) as opened:
        for options in ({"max_cost": 5.0}, {"modells": ["chatgpt"]}, {"repeats": 0}, {"questions": ["nobody"]}):
            with pytest.raises((ConfigError, TypeError)):
                await opened.run(quillmark(1), **options)  # type: ignore[arg-type]
        assert rows(tmp_path / "s.db", "SELECT * FROM batches") == []
    assert requests(simulator) == before


@pytest.mark.parametrize("where", ["no folder", "a folder", "read-only"])
def test_a_store_that_cannot_be_written(tmp_path: Path, simulator: Simulator, where: str) -> None:
    path = {"no folder": "missing/s.db", "a folder": "folder", "read-only": "closed/s.db"}[where]
    (tmp_path / "folder").mkdir()
    (tmp_path / "closed").mkdir(mode=0o555)
    if where == "read-only" and os.access(tmp_path / "closed", os.W_OK):
        path = "/proc/s.db"  # to root every folder is open; this one nobody can write
    before = requests(simulator)
    done = cli(tmp_path, "run", "demo", "--questions", "1", "--store", f"sqlite:///{path}", simulator=simulator)
    assert done.returncode == 1, done.stderr
    assert path in done.stderr
    assert "Traceback" not in done.stderr
    assert requests(simulator) == before


def test_a_journal_that_cannot_be_written_stops_what_is_paid(tmp_path: Path, simulator: Simulator) -> None:
    before = simulator.ledger()["charged_micro_usd"]
    done = cli(
        tmp_path,
        *("run", "demo", "--questions", "1", "--store", "sqlite:///s.db", "--models", "chatgpt"),
        simulator=simulator,
        env={"OVERHEARD_JOURNAL": "/proc/journal"},
    )
    assert done.returncode in (1, 3), done.stderr
    assert "/proc/journal" in done.stderr
    assert "Traceback" not in done.stderr
    assert simulator.ledger()["charged_micro_usd"] == before


def test_orgs_import_names_file_line_and_field_of_every_error(tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text(
        "orgs:\n  - id: one\n    name: One\n    questions: ['']\n"
        "  - id: two\n    nme: Two\n    locations: [{country: XX}]\n"
    )
    done = cli(tmp_path, "orgs", "import", "bad.yaml", "--store", "sqlite:///s.db")
    assert done.returncode == 1
    for word in ("bad.yaml", "questions[0]", "nme", "country", "4", "6", "7"):
        assert word in done.stderr, done.stderr
    listed = cli(tmp_path, "orgs", "list", "--store", "sqlite:///s.db")
    assert "one" not in listed.stdout, "imported by half"


def test_no_key_is_ever_told(tmp_path: Path, simulator: Simulator) -> None:
    """Neither on a terminal nor in a store, whatever goes wrong."""
    secret = "sk-canary-3141592653589793"
    with Simulator(perfect=True, snapshot_ms=20) as own:
        own.inject({}, "status:401", None)
        env = dict.fromkeys(("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "BRIGHTDATA_API_KEY"), secret)
        done = cli(
            tmp_path,
            *("run", "demo", "--questions", "1", "--store", "sqlite:///s.db", "--log-level", "DEBUG"),
            simulator=own,
            env=env,
        )
    assert done.returncode == 3, done.stderr
    assert "BrightData API returned status 401" in done.stdout + done.stderr
    assert secret not in done.stdout + done.stderr
    for path in tmp_path.rglob("*"):
        if path.is_file():
            assert secret.encode() not in path.read_bytes(), path


def test_the_script_without_any_key_says_what_to_set(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(FOLDER / "trigger_org_evaluation_workflow.py"), "demo"],
        cwd=tmp_path,
        env=environment(None, tmp_path),
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 1
    assert "_API_KEY" in done.stderr
    assert "Traceback" not in done.stderr
