"""A start of a complete batch under the same key: no request, and the database is the same file to the byte."""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path

import pytest
from e2e_help import FOLDER, environment, last_json, quillmark, requests, rows, started
from overheard.simulator import Simulator

MODELS = ("chatgpt", "gpt-4.1", "claude-sonnet-4-5")

# The script as it is, but that it does not wait ten seconds before it first looks at a snapshot.
QUICK = """
import runpy, sys
from overheard.cli import starts
from overheard.pipeline import Pipeline
class Quick(Pipeline):
    def __init__(self, *args, **settings):
        super().__init__(*args, **{**dict(first_poll_ms=20, min_poll_ms=10), **settings})
starts.Pipeline = Quick
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def files(folder: Path) -> dict[str, str]:
    """What lies in the folder after everything is closed, by content."""
    paths = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(paths)}


def trigger(folder: Path, simulator: Simulator, *more: str) -> tuple[int, str]:
    script = FOLDER / "trigger_org_evaluation_workflow.py"
    arguments = [sys.executable, "-c", QUICK, str(script), "quill", "--orgs-file", "orgs.json", *more]
    with started(arguments, folder, environment(simulator, folder, OVERHEARD_STORE="sqlite:///s.db")) as process:
        return process.end(60), process.output


@pytest.mark.parametrize("extraction", ["llm", "local"])
def test_the_script_twice_sends_nothing_and_leaves_the_database_as_it_was(tmp_path: Path, extraction: str) -> None:
    (tmp_path / "orgs.json").write_text(json.dumps([quillmark(5, MODELS, ("US", "DE")).to_dict()]))
    options = ("--extraction", extraction, "--batch-key", "today", "--json")
    with Simulator(seed=31, snapshot_ms=50, rates={"late_ready": 0.0}) as simulator:
        code, first = trigger(tmp_path, simulator, *options)
        assert code == 0, first
        sent, before = requests(simulator), files(tmp_path)
        assert sent["brightdata.trigger"] == 2
        assert "s.db" in before
        code, second = trigger(tmp_path, simulator, *options)
        assert code == 0, second
        assert requests(simulator) == sent
        assert files(tmp_path) == before
    told = [{**last_json(output), "requests_made": None} for output in (first, second)]
    assert told[0] == told[1], "the totals of the batch, whatever a start did"
    assert last_json(second)["requests_made"] == 0
    assert len(rows(tmp_path / "s.db", "SELECT * FROM batches")) == 1
