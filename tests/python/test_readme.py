"""The README's first program runs as it stands and prints what the README says."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from overheard import load_orgs

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")


def test_the_first_program_prints_what_stands_below_it(tmp_path: Path) -> None:
    program, output = re.search(r"```python\n(.*?)```\n\n```text\n(.*?)```", README, re.DOTALL).groups()  # type: ignore[union-attr]
    lines = [line for line in program.splitlines() if line.strip()]
    assert len(lines) <= 12
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout == output


def test_both_commands_stand_in_it() -> None:
    assert "make demo" in README
    assert "make test" in README


def test_the_org_file_can_be_imported(tmp_path: Path) -> None:
    (tmp_path / "orgs.yaml").write_text(re.search(r"```yaml\n(.*?)```", README, re.DOTALL)[1])  # type: ignore[index]
    (org,) = load_orgs(tmp_path / "orgs.yaml")
    assert [question.text for question in org.question_list] == ["Which CRM suits a bakery?", "What does Acme cost?"]
