"""Which test shows which fault: reads the sources of all tests and the table in `tests/FAULTS.md`.

Run as a program it writes the table's last column. Runs no test and judges none.
"""

from __future__ import annotations

import ast
import functools
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[3]
TABLE = ROOT / "tests" / "FAULTS.md"
FAULTS = tuple(f"F{number:02}" for number in range(1, 81))

_NUMBERS = re.compile(r"(?:test_)?((?:[a-z]\d{2}_)+)")
# Not `skipif`: where it skips in CI, the run fails (`tests/python/conftest.py`).
_WAITING = {"skip", "xfail", "ignore"}
_RUST = re.compile(
    r"(?P<before>(?:#\[[^\]]*\]\s*)*)#\[(?:tokio::)?test\b[^\]]*\]\s*(?P<after>(?:#\[[^\]]*\]\s*)*)"
    r"(?:async\s+)?fn\s+(?P<name>\w+)"
)


def faults_of(name: str) -> list[str]:
    """The faults at the head of a test's name: `test_f72_f74_…` is F72 and F74."""
    found = _NUMBERS.match(name)
    return [part.upper() for part in re.findall(r"f\d{2}", found[1])] if found else []


def python_tests(source: str) -> Iterator[str]:
    """Names of the tests that run, in classes too."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and node.name.startswith("test_"):
            words = {word for mark in node.decorator_list for word in re.findall(r"\w+", ast.unparse(mark))}
            if not words & _WAITING:
                yield node.name


def rust_tests(source: str) -> Iterator[str]:
    """Names of the tests that run."""
    for found in _RUST.finditer(source):
        if not re.search(r"#\[ignore\b", found["before"] + found["after"]):
            yield found["name"]


@functools.cache
def shown_by() -> dict[str, set[str]]:
    """Fault to the files that show it, relative to `tests/`."""
    files: dict[str, set[str]] = defaultdict(set)
    sources = [
        *((path, python_tests) for path in (ROOT / "tests").rglob("test_*.py")),
        *((path, rust_tests) for path in (ROOT / "tests").rglob("*.rs")),
        *((path, rust_tests) for path in (ROOT / "src").rglob("*.rs")),
    ]
    for path, names in sources:
        below = path.relative_to(ROOT / "tests") if path.is_relative_to(ROOT / "tests") else path.relative_to(ROOT)
        for name in names(path.read_text("utf-8")):
            for fault in faults_of(name):
                files[fault].add(below.as_posix())
    return dict(files)


def table() -> dict[str, list[str]]:
    """Fault to the cells of its row: what happens, what must come of it, tests."""
    return _rows(_parts()[0])


def excused() -> dict[str, list[str]]:
    """Fault to the reason why it cannot be tested here."""
    return _rows(_parts()[1])


def column(files: set[str]) -> str:
    """The last cell of a row."""
    return ", ".join(f"`{name}`" for name in sorted(files))


def write() -> None:
    """Writes the last column anew."""
    found, (first, second) = shown_by(), _parts()
    lines = []
    for line in first.splitlines(keepends=True):
        cells = line.split("|")
        if len(cells) == 6 and cells[1].strip() in FAULTS:
            told = column(found.get(cells[1].strip(), set()))
            line = "|".join([*cells[:4], f" {told} " if told else " ", cells[5]])
        lines.append(line)
    TABLE.write_text("".join(lines) + second, "utf-8")


def _parts() -> tuple[str, str]:
    text = TABLE.read_text("utf-8")
    place = text.index("## Cannot be tested here")
    return text[:place], text[place:]


def _rows(text: str) -> dict[str, list[str]]:
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("| F")]
    names = [cells[0] for cells in lines]
    assert len(names) == len(set(names)), "a fault stands in the table twice"
    return {cells[0]: cells[1:] for cells in lines}


if __name__ == "__main__":
    write()
