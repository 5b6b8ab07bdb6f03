"""`overheard insights`: terminal tables at 80 and 120 columns, JSON, exit codes, and what untrusted text may not do."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Mapping
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from e2e_help import pipeline, quillmark, url
from hypothesis import given, settings
from hypothesis import strategies as st
from insights_help import BATCH, HOLISTIC, HOSTILE, Measured, insights, summary
from overheard.cli.app import app
from overheard.cli.figures import sections
from overheard.errors import ConfigError
from overheard.pipeline import Pipeline
from overheard.simulator import Simulator
from rich.console import Console
from test_tables import _PATHS, _SPOILT, spoil
from typer.testing import CliRunner

SNAPSHOTS = Path(__file__).parents[1] / "fixtures" / "snapshots"


def printed(plain: Mapping[str, Any], width: int, *, holistic: bool = False, colour: bool = False) -> str:
    """What stands on a terminal of that width, without the spaces that fill its lines."""
    file = StringIO()
    console = Console(
        file=file, width=width, highlight=False, markup=False, emoji=False, force_terminal=colour, legacy_windows=False
    )
    for part in sections(plain, wide=width >= 100, holistic=holistic):
        console.print(part)
    return "\n".join(line.rstrip() for line in file.getvalue().splitlines()) + "\n"


@pytest.mark.parametrize("width", [80, 120])
def test_the_tables_look_as_they_did(width: int) -> None:
    """To take a new look: OVERHEARD_SNAPSHOTS=1 pytest tests/python/test_cli_insights.py, then read the difference."""
    text = printed(insights(holistic=dict(HOLISTIC)), width, holistic=True)
    path = SNAPSHOTS / f"insights-{width}.txt"
    if os.environ.get("OVERHEARD_SNAPSHOTS"):
        path.write_text(text, "utf-8")
    assert text == path.read_text("utf-8")
    assert max(map(len, text.splitlines())) <= width


@pytest.mark.parametrize("width", [80, 120])
def test_numbers_are_never_cut(width: int) -> None:
    long = "x" * 300
    models = [{"model": long, "surface": long, "servedModels": [long], "summary": summary(50.0)}]
    pair = {**insights()["agreement"][0], "models": [long, long]}
    text = printed(insights(models=models, agreement=[pair]), width)
    assert max(map(len, text.splitlines())) <= width
    row = next(line for line in text.splitlines() if line.startswith("xxx") and "50.0 %" in line)
    assert all(part in row for part in ("31.5 to 59.2", "45.2 %", "2.25", "20.0 %", "67.5"))
    row = next(line for line in text.splitlines() if line.startswith("xxx") and "72.5 %" in line)
    assert all(part in row for part in ("20", "50.0 to 90.0", "0.41", "0.20"))


def test_text_of_others_cannot_write_to_the_terminal() -> None:
    evil = "[bold red]x[/] [link=https://evil.example]y[/link] \x1b]8;;https://evil.example\x07z\x9b31m\u202e\nnew :x:"
    plain = insights(holistic={**HOLISTIC, "agreements": [{"statement": evil, "confidence": evil, "metrics": []}]})
    plain["competitors"][0]["name"] = evil
    plain["batchStatus"]["message"] = evil
    plain["summary"]["topCompetitor"] = evil
    plain["change"]["reason"] = evil
    text = printed(plain, 200, holistic=True)
    assert not [character for character in text if not (character.isprintable() or character == "\n")]
    assert "[bold red]x[/] [link=https://evil.example]y[/link] ]8;;https://evil.examplez31m new :x:" in text
    coloured = printed(plain, 200, holistic=True, colour=True)
    assert "\x1b]8" not in coloured
    assert "evil.example\x07" not in coloured


def test_without_holistic_insights_it_says_so() -> None:
    assert "No holistic insights" in printed(insights(), 80, holistic=True)
    assert "olistic" not in printed(insights(), 80)
    rules = {**HOLISTIC, "source": "rules", "model": None, "why": "no key", "agreements": [], "dropped": {}}
    text = printed(insights(holistic=rules), 80, holistic=True)
    assert "written from rules (no key)" in text
    assert "nothing that the figures bear out" in text


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(st.sampled_from(_PATHS), _SPOILT), min_size=1, max_size=5), st.sampled_from([80, 120]))
def test_whatever_is_missing_or_wrong_is_shown(spoilt: list[tuple[tuple[Any, ...], Any]], width: int) -> None:
    plain = insights(holistic=dict(HOLISTIC))
    for path, value in spoilt:
        spoil(plain, path, value)
    assert "All models" in printed(plain, width, holistic=True)


def test_nothing_at_all_is_shown_as_no_data() -> None:
    text = printed({}, 80, holistic=True)
    assert "no data" in text


# --- the command ---


class Told:
    """Stands in for `Pipeline.insights`, and keeps what it was asked."""

    def __init__(self, plain: Mapping[str, Any]) -> None:
        self.plain = plain
        self.asked: list[tuple[str, dict[str, Any]]] = []

    async def __call__(self, _pipeline: Pipeline, target: str, **options: Any) -> Measured:
        self.asked.append((target, options))
        if target == "nothing":
            raise ConfigError("there is no batch or org 'nothing' in the store", field="batch_or_org")
        if options.get("since") == "soon":
            raise ConfigError("since: 'soon' is no date", field="since")
        return Measured(self.plain)


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Told:
    found = Told(insights())
    monkeypatch.setattr(
        Pipeline, "insights", lambda self, target, **options: found(self, target, **options), raising=False
    )
    monkeypatch.setenv("OVERHEARD_STORE", "sqlite://")
    monkeypatch.setenv("COLUMNS", "80")
    return found


def command(*arguments: str) -> tuple[int, str]:
    done = CliRunner().invoke(app, ["insights", *arguments])
    assert "Traceback" not in done.output
    return done.exit_code, done.output


def test_json_is_the_last_line_and_is_what_was_measured(told: Told) -> None:
    code, out = command(BATCH, "--json")
    assert code == 0
    assert json.loads(out.splitlines()[-1]) == insights()
    assert len(out.splitlines()) == 1


def test_options_reach_the_measuring(told: Told) -> None:
    code, out = command("acme", "--since", "2026-01-31", "--against", "12ab")
    assert (code, told.asked) == (0, [("acme", {"since": "2026-01-31", "against": "12ab"})])
    assert out.startswith(f"Batch {BATCH}: complete\n")
    assert "Inkwell" in out


@pytest.mark.parametrize(("status", "code"), [("complete", 0), ("partial", 3), ("running", 3)])
def test_the_exit_code_tells_whether_the_picture_is_whole(told: Told, status: str, code: int) -> None:
    told.plain = insights(batchStatus={"status": status, "complete": status == "complete", "message": "m"})
    for arguments in ((BATCH,), (BATCH, "--json")):
        got, out = command(*arguments)
        assert (got, status in out) == (code, True)


def test_what_cannot_be_measured_is_one_sentence(told: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    assert command("nothing") == (1, "Error: there is no batch or org 'nothing' in the store\n")
    assert command("acme", "--since", "soon") == (2, "Error: since: 'soon' is no date\n")
    monkeypatch.setenv("OVERHEARD_STORE", "sqlite:///nowhere.db")
    code, out = command(BATCH)
    assert (code, "nowhere.db: there is no such file" in out) == (1, True)
    assert not Path("nowhere.db").exists()


def test_holistic_is_written_by_the_look_at_the_end_and_then_shown(told: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[str] = []

    async def watch(_pipeline: Pipeline, batch_id: str) -> Any:
        looked.append(batch_id)
        told.plain = insights(holistic=dict(HOLISTIC))
        yield "finished"
        pytest.fail("one look is enough: a batch at work would be waited for")

    monkeypatch.setattr(Pipeline, "watch", watch, raising=False)
    code, out = command(BATCH, "--holistic")
    assert (code, looked) == (0, [BATCH])
    assert "Both models name Inkwell more often than you." in out
    assert HOSTILE not in out
    code, out = command(BATCH, "--holistic", "--json")
    assert json.loads(out.splitlines()[-1])["holistic"] == dict(HOLISTIC)
    told.plain = insights(batchIds=[BATCH, "another"])
    assert command("acme", "--holistic", "--since", "2026-01-31") == (
        2,
        "Error: --holistic compares the models of one batch: name the batch\n",
    )
    assert looked == [BATCH, BATCH]


def test_help_teaches() -> None:
    code, out = command("--help")
    assert code == 0
    for word in ("overheard insights acme --since 2026-01-01", "insufficient", "Exit codes", "--holistic", "--against"):
        assert word in out


def test_a_run_is_measured_and_shown(tmp_path: Path, perfect: Simulator) -> None:
    """The whole way, as soon as `Pipeline.insights` is there; before that the command must not pretend."""
    path = tmp_path / "x.db"

    async def run() -> str:
        async with pipeline(perfect, url(path)) as running:
            return (await running.run(quillmark(6, ["chatgpt", "gpt-4.1"]))).batch_id

    batch_id = asyncio.run(run())
    done = CliRunner().invoke(app, ["insights", batch_id, "--store", url(path), "--json"])
    if not hasattr(Pipeline, "insights"):
        assert done.exit_code != 0
        return
    assert done.exit_code == 0, done.output
    assert json.loads(done.output.splitlines()[-1])["summary"]["outcomes"]["answered"] == 12
