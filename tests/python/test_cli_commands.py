"""The command line in processes of its own: exit codes, one-sentence errors, the simulated demo, Ctrl-C."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
KEYS = ("OPENAI", "ANTHROPIC", "BRIGHTDATA", "OVERHEARD")


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    variables = {name: value for name, value in os.environ.items() if not name.startswith(KEYS)}
    return {**variables, "XDG_STATE_HOME": str(tmp_path / "state"), "COLUMNS": "200"}


class Machine:
    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self.folder, self.environment = folder, environment

    def begin(self, *arguments: str, program: tuple[str, ...] = ("-m", "overheard")) -> subprocess.Popen[str]:
        command = [sys.executable, *program, *arguments]
        pipe = subprocess.PIPE
        return subprocess.Popen(
            command, cwd=self.folder, env=self.environment, stdout=pipe, stderr=pipe, text=True, start_new_session=True
        )

    def __call__(self, *arguments: str, **keywords: Any) -> tuple[int, str, str]:
        process = self.begin(*arguments, **keywords)
        out, err = process.communicate(timeout=100)
        return process.returncode, out, err


@pytest.fixture
def overheard(tmp_path: Path, environment: dict[str, str]) -> Machine:
    return Machine(tmp_path, environment)


SMALL = ("--questions", "2", "--models", "chatgpt,gpt-4.1", "--locations", "US")


def test_the_simulated_demo_ends_with_equal_money_and_verifies(overheard: Machine) -> None:
    script = (str(ROOT / "trigger_org_evaluation_workflow.py"),)
    store = ("--store", "sqlite:///demo.db")
    code, out, err = overheard("demo", "--simulate", "--new", *SMALL, *store, program=script)
    assert code == 0, err
    assert "Question matrix completed: 4 processed, " in out
    assert "(SIMULATED answers)" in out
    assert out.rstrip().endswith(": equal")
    assert "[chatgpt US] Making batched BrightData call for 2 queries" in err
    code, out, _ = overheard("verify", *store)
    assert (code, out.splitlines()[-1]) == (0, "verify passed")
    code, out, err = overheard("run", "demo", "--simulate", "--json", *store)
    summary = json.loads(out.splitlines()[-1])
    assert (code, len(out.splitlines()), summary["requests_made"], summary["status"]) == (0, 1, 0, "complete")
    code, out, _ = overheard("status", summary["batch_id"], *store)
    assert (code, out.splitlines()[1]) == (0, "All models complete - insights reflect full cross-model analysis")


@pytest.mark.broken_store("damaged by hand, for verify to find")
def test_verify_names_the_row_that_breaks_an_invariant(overheard: Machine) -> None:
    import sqlite3

    store = ("--store", "sqlite:///demo.db")
    assert overheard("run", "demo", "--simulate", *SMALL, *store)[0] == 0
    connection = sqlite3.connect(overheard.folder / "demo.db")
    connection.execute("UPDATE question_runs SET cost_micro_usd = cost_micro_usd + 1 WHERE model = 'chatgpt'")
    connection.execute("DELETE FROM org_citations WHERE position = 1")
    connection.execute("DELETE FROM question_runs WHERE cell_key = (SELECT min(cell_key) FROM question_runs)")
    connection.commit()
    connection.close()
    code, out, _ = overheard("verify", *store)
    failed = {line.split()[1] for line in out.splitlines() if line.startswith("FAIL")}
    assert (code, failed) == (1, {"I2", "I4", "I6", "I7"})


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["run", "demo"], 1, "BRIGHTDATA_API_KEY is not set"),
        (["run", "nobody"], 2, "there is no org 'nobody' in the store"),
        (["run", "demo", "--locations", "uk"], 2, "write 'GB'"),
        (["run", "demo", "--max-cost", "much"], 2, "max_cost: 'much' is not a dollar amount"),
        (["run", "demo", "--questions", "0"], 2, "--questions"),
        (["run", "demo", "--simulate", "--models", "nonsense"], 2, "no provider is known for model 'nonsense'"),
        (["run", "demo", "--extraction", "magic"], 2, "extraction: 'magic' is none of"),
        (["run", "demo", "--store", "sqlite:////none/x.db"], 1, "OVERHEARD_STORE"),
        (["run", "demo", "--store", "oracle://x"], 1, "OVERHEARD_STORE"),
        (["run", "demo", "--log-level", "loud"], 2, "--log-level"),
        (["run"], 2, "the store has no orgs"),
        (["resume", "nothing"], 2, "there is no batch 'nothing'"),
        (["orgs", "import", "none.yaml"], 1, "none.yaml: No such file"),
        (["fly"], 2, "fly"),
    ],
)
def test_errors_are_one_sentence_with_their_exit_code(
    overheard: Machine, arguments: list[str], code: int, said: str
) -> None:
    got, out, err = overheard(*arguments)
    assert got == code
    assert said in err
    assert "Traceback" not in out + err


def test_a_dry_run_prints_the_plan_and_makes_no_file(overheard: Machine) -> None:
    code, out, err = overheard("run", "demo", "--simulate", "--dry-run", *SMALL)
    assert code == 0, err
    assert "chatgpt US" in out
    assert "name variations" in out
    assert "Unknown: " in out
    assert list(overheard.folder.glob("*.db")) == []


def test_orgs_are_imported_listed_and_shown(overheard: Machine) -> None:
    good = overheard.folder / "orgs.yaml"
    good.write_text("orgs:\n  - {id: a, name: Ash, models: [chatgpt], questions: ['Why?']}\n  - {id: b, name: Bee}\n")
    assert overheard("orgs", "import", "orgs.yaml")[0] == 0
    assert [line.split()[0] for line in overheard("orgs", "list")[1].splitlines()] == ["a", "b"]
    assert json.loads(overheard("orgs", "show", "a", "--json")[1])["questions"][0]["text"] == "Why?"
    bad = overheard.folder / "bad.yaml"
    bad.write_text("- {id: c, name: Cow}\n- {id: d, nmae: Dog}\n")
    code, _, err = overheard("orgs", "import", "bad.yaml")
    assert code == 1
    assert "bad.yaml:2: [1].nmae: unknown field" in err
    assert "c" not in overheard("orgs", "list")[1].split()


def test_several_orgs_at_once_from_a_file(overheard: Machine) -> None:
    text = "".join(
        f"- {{id: {name}, name: Quillmark, models: [chatgpt], locations: [US], questions: ['Best tool {name}?']}}\n"
        for name in ("a", "b", "c")
    )
    (overheard.folder / "orgs.yaml").write_text(text)
    code, out, err = overheard("run", "--orgs-file", "orgs.yaml", "--simulate", "--parallel", "2", "--json")
    assert code == 0, err
    assert sorted(entry["org_id"] for entry in json.loads(out)["summaries"]) == ["a", "b", "c"]


@pytest.mark.parametrize("times", [1, 2])
def test_ctrl_c_stops_and_the_same_command_goes_on(overheard: Machine, times: int) -> None:
    store = ("--store", "sqlite:///demo.db")
    process = overheard.begin("run", "demo", "--simulate", *SMALL, *store, "--snapshot-ms", "3000")
    assert process.stderr is not None
    for line in process.stderr:
        if "Making batched BrightData call" in line:
            break
    process.send_signal(signal.SIGINT)
    if times == 2:
        for line in process.stderr:
            if line.startswith("Stopping"):
                break
        process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode in ((130,) if times == 2 else (0, 130))
    assert "Traceback" not in out + err
    if process.returncode == 130:
        assert "overheard resume " in out + err
    code, out, _ = overheard("run", "demo", *store, "--simulate", "--json")
    assert json.loads(out)["processed"] == 4 or code == 3
    assert overheard("verify", *store)[0] == 0


def test_control_characters_never_reach_the_terminal() -> None:
    from overheard.cli.terminal import clean

    assert clean("a\x1b[31mred\x07\u202eb\tc\n") == "a[31mredb\tc\n"
