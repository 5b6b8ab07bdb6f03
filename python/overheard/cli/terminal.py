"""What reaches the terminal: log lines, progress, results. Decides nothing about a run.

Everything is stripped of control characters here, because answers and provider errors can hold any.

Results go to stdout; log lines and progress go to stderr.
"""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

# C0 and C1 controls but tab and newline, and the characters that reorder or hide text.
_CONTROLS = dict.fromkeys(
    [
        *range(0x09),
        *range(0x0B, 0x20),
        *range(0x7F, 0xA0),
        *range(0x200B, 0x2010),
        *range(0x2028, 0x202F),
        *range(0x2060, 0x206A),
        0xFEFF,
    ]
)
_PLAIN_EVERY = 5.0  # seconds between two plain progress lines of an org


def clean(text: str) -> str:
    """The text without control and direction characters."""
    return text.translate(_CONTROLS)


def say(text: str = "") -> None:
    """A line of the result, on stdout."""
    print(clean(text), flush=True)  # noqa: T201 - this is what the command line is for


def complain(text: str) -> None:
    """A line on stderr."""
    print(clean(text), file=sys.stderr, flush=True)  # noqa: T201 - this is what the command line is for


class _CleanFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return clean(super().format(record))


class _ConsoleHandler(logging.Handler):
    """Writes above the progress bars."""

    def __init__(self, console: Console) -> None:
        super().__init__()
        self.console = console

    def emit(self, record: logging.LogRecord) -> None:
        colour = {logging.WARNING: "yellow", logging.ERROR: "red"}.get(record.levelno)
        text = escape(self.format(record))
        self.console.print(f"[{colour}]{text}[/]" if colour else text, highlight=False, soft_wrap=True)


class _NotTwice(logging.Filter):
    """Drops the closing line, which is said on stdout."""

    def filter(self, record: logging.LogRecord) -> bool:
        return not record.getMessage().startswith("Question matrix completed:")


def set_up_logging(level: str, *, closing_line_on_stdout: bool) -> Console:
    """Log lines to stderr; gives the console that progress bars must use too."""
    console = Console(stderr=True)
    handler: logging.Handler = _ConsoleHandler(console) if console.is_terminal else logging.StreamHandler(sys.stderr)
    handler.setFormatter(_CleanFormatter("%(asctime)s %(levelname)-7s %(message)s", "%H:%M:%S"))
    if closing_line_on_stdout:
        handler.addFilter(_NotTwice())
    logger = logging.getLogger("overheard")
    for old in list(logger.handlers):
        logger.removeHandler(old)
    logger.addHandler(handler)
    logger.setLevel(level.upper())
    logger.propagate = False
    return console


class ProgressView:
    """Bars per pair and phase on a terminal; elsewhere a plain line per org, now and then."""

    def __init__(self, console: Console) -> None:
        """Nothing is shown yet."""
        self._bars: Progress | None = None
        if console.is_terminal:
            self._bars = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[failed]}"),
                TimeElapsedColumn(),
                console=console,
            )
        self._tasks: dict[tuple[str, ...], TaskID] = {}
        self._said: dict[str, tuple[float, str]] = {}

    def __enter__(self) -> ProgressView:
        """Begins to show."""
        if self._bars is not None:
            self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Ends with the last state."""
        if self._bars is not None:
            self._bars.stop()

    def show(self, org: str, pairs: Sequence[Mapping[str, Any]]) -> None:
        """The state of all pairs of an org."""
        if self._bars is not None:
            self._show_bars(self._bars, org, pairs)
        else:
            self._show_line(org, pairs)

    def _show_bars(self, bars: Progress, org: str, pairs: Sequence[Mapping[str, Any]]) -> None:
        for pair in pairs:
            for phase, done in (("asking", pair["executed"]), ("extracting", pair["extracted"])):
                name = (org, pair["model"], pair["location"], phase)
                if name not in self._tasks:
                    self._tasks[name] = bars.add_task(escape(clean(" ".join(name))), total=pair["total"], failed="")
                failed = f"{pair['failed']} failed" if pair["failed"] and phase == "asking" else ""
                bars.update(self._tasks[name], completed=done, failed=failed)

    def _show_line(self, org: str, pairs: Sequence[Mapping[str, Any]]) -> None:
        total, executed, failed, extracted = (
            sum(pair[name] for pair in pairs) for name in ("total", "executed", "failed", "extracted")
        )
        line = f"{org}: {executed} of {total} asked, {extracted} extracted" + (f", {failed} failed" if failed else "")
        said_at, last = self._said.get(org, (0.0, ""))
        now = time.monotonic()
        finished = executed >= total
        if line != last and (now - said_at >= _PLAIN_EVERY or (finished and f"{total} of {total}" not in last)):
            self._said[org] = (now, line)
            logging.getLogger("overheard").info("%s", line)
