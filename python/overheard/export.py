"""A batch's tables into files: CSV, Parquet, JSON lines. Streams pages, so that memory stays flat.

A file is written under another name in its folder, readable by its owner alone, and gets its name when it is whole:
what bears the name was never half-written. Must not measure anything: figures are handed in.
"""

from __future__ import annotations

import asyncio
import json
import os
import stat
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, Literal, Protocol, get_args

from overheard import _csv, tables
from overheard._columns import COLUMNS, Column, What
from overheard._figures import figure_rows
from overheard._pages import Row, pages
from overheard.batch import Batch
from overheard.errors import ConfigError
from overheard.stores import SqlStore

__all__ = ["Format", "export_batch", "export_stream"]

Format = Literal["csv", "parquet", "json"]
"""`json` is one document a line (NDJSON)."""

_GROUP_ROWS = 5_000  # of a row group of Parquet
_GROUP_CHARACTERS = 16_000_000  # of its answers
_METRIC_PAGE = 500


async def export_batch(
    store: SqlStore,
    batch_id: str,
    path: Path,
    *,
    format: Format,
    what: What | None = None,
    metrics: Mapping[str, Any] | None = None,
    force: bool = False,
    excel: bool = False,
) -> dict[Path, int]:
    """Writes a batch's tables.

    Args:
        store: Where from.
        batch_id: The batch.
        path: A file; or a folder that is there, which gets `question_runs`, `extractions` and `metrics` with the
            format's extension.
        format: `csv`, `parquet` (extra `overheard[arrow]`) or `json` (one document a line).
        what: The table; None: all three into a folder, question runs with the columns of their extraction into a file.
        metrics: The figures, as `Insights.to_dict()` gives them; needed where the table `metrics` is written.
        force: Replace files that are there.
        excel: CSV begins with a byte order mark.

    Returns:
        The files with their number of rows.

    Raises:
        ConfigError: No such batch, a file is there and `force` is not given, it cannot be written, figures are missing,
            or pyarrow is not installed.
    """
    if format not in get_args(Format):
        raise ConfigError(f"format: '{format}' is none of {', '.join(get_args(Format))}", field="format")
    targets = _targets(path, format, what)
    for target in targets:
        _refuse(target, force=force)
    batch = await _batch(store, batch_id)
    written = {}
    for target, table in targets.items():
        with _whole(target, force=force) as file:
            written[target] = await _write(file, format, table, _rows(store, batch, table, metrics), excel=excel)
    return written


async def export_stream(
    store: SqlStore,
    batch_id: str,
    file: IO[bytes],
    *,
    format: Format,
    what: What = "joined",
    metrics: Mapping[str, Any] | None = None,
    excel: bool = False,
) -> int:
    """Writes one table of a batch into an open file, which stays open; arguments and errors as `export_batch`.

    Returns:
        The number of rows.

    Raises:
        ConfigError: Also for Parquet, which needs a file of its own.
    """
    if format not in ("csv", "json"):
        raise ConfigError("format: only csv and json can be written to a stream; name a file", field="format")
    batch = await _batch(store, batch_id)
    return await _write(file, format, what, _rows(store, batch, what, metrics), excel=excel)


def _targets(path: Path, format: Format, what: What | None) -> dict[Path, What]:
    if not path.is_dir():
        return {path: what or "joined"}
    names: Sequence[What] = [what] if what else ["question-runs", "extractions", "metrics"]
    return {path / f"{name.replace('-', '_')}.{format}": name for name in names}


def _refuse(path: Path, *, force: bool) -> None:
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    except OSError as error:
        raise _unwritable(path, error) from error
    if not stat.S_ISREG(mode):
        raise ConfigError(f"{path}: it is there and is no plain file; name another", field="output")
    if not force:
        raise ConfigError(f"{path}: it is there already; name another file, or give --force", field="output")


async def _batch(store: SqlStore, batch_id: str) -> Batch:
    batch = await store.load_batch(batch_id)
    if batch is None:
        raise ConfigError(f"there is no batch '{batch_id}' in the store", field="batch_id")
    return batch


async def _rows(
    store: SqlStore, batch: Batch, what: What, metrics: Mapping[str, Any] | None
) -> AsyncIterator[Sequence[Row]]:
    if what != "metrics":
        async for page in pages(store, batch, what):
            yield page
        return
    if metrics is None:
        raise ConfigError("the table metrics needs the batch's insights", field="metrics")
    rows = list(figure_rows(metrics))
    for start in range(0, len(rows), _METRIC_PAGE):
        yield rows[start : start + _METRIC_PAGE]


# --- formats ---


class _Writer(Protocol):
    def write(self, rows: Sequence[Row]) -> None: ...
    def close(self) -> None: ...
    def abandon(self) -> None: ...


async def _write(
    file: IO[bytes],
    format: Format,
    what: What,
    rows: AsyncIterator[Sequence[Row]],
    *,
    excel: bool,
) -> int:
    """Writes pages as they come, in a thread: compression and disks must not stop the caller's event loop."""
    writers: dict[Format, Callable[[], _Writer]] = {
        "csv": lambda: _Csv(file, COLUMNS[what], excel=excel),
        "json": lambda: _Json(file, COLUMNS[what]),
        "parquet": lambda: _Parquet(file, what),
    }
    writer, count = writers[format](), 0
    try:
        async for page in rows:
            await _in_thread(writer.write, page)
            count += len(page)
    except BaseException:
        with suppress(Exception):  # the first error is the one to tell
            writer.abandon()
        raise
    await _in_thread(writer.close)
    return count


async def _in_thread(work: Callable[..., None], *arguments: Any) -> None:
    """Runs it in a thread; a cancelled caller waits for its end, because the file is closed next."""
    task = asyncio.ensure_future(asyncio.to_thread(work, *arguments))
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait({task})
        raise


class _Csv:
    def __init__(self, file: IO[bytes], columns: Sequence[Column], *, excel: bool) -> None:
        self._file, self._columns = file, columns
        file.write(((_csv.BOM if excel else "") + _csv.header(columns)).encode())

    def write(self, rows: Sequence[Row]) -> None:
        for row in rows:
            self._file.write(_csv.line(self._columns, row).encode())

    def close(self) -> None:
        self._file.flush()

    def abandon(self) -> None:
        """Nothing is held."""


class _Json:
    """Escaped to ASCII: no program that splits lines at U+2028 breaks a document, and no terminal obeys one."""

    def __init__(self, file: IO[bytes], columns: Sequence[Column]) -> None:
        self._file, self._columns = file, columns

    def write(self, rows: Sequence[Row]) -> None:
        for row in rows:
            document = {column.name: self._value(column, row.get(column.name)) for column in self._columns}
            self._file.write(json.dumps(document, allow_nan=False).encode() + b"\n")

    @staticmethod
    def _value(column: Column, value: Any) -> Any:
        if value is None:
            return None
        if column.kind == "instant":
            return _csv.iso(value)
        if column.kind == "float":
            return value if value - value == 0 else None  # JSON knows no infinity
        return value

    def close(self) -> None:
        self._file.flush()

    def abandon(self) -> None:
        """Nothing is held."""


class _Parquet:
    """Row groups of bounded size: so many rows, or so much text."""

    def __init__(self, file: IO[bytes], what: What) -> None:
        self._what = what
        self._schema = tables.arrow_schema(what)
        self._writer = tables.library("pyarrow.parquet").ParquetWriter(file, self._schema, compression="zstd")
        self._waiting: list[Row] = []
        self._characters = 0

    def write(self, rows: Sequence[Row]) -> None:
        for row in rows:
            self._waiting.append(row)
            self._characters += len(row.get("answer_text") or "")
            if len(self._waiting) >= _GROUP_ROWS or self._characters >= _GROUP_CHARACTERS:
                self._group()

    def _group(self) -> None:
        self._writer.write_table(tables.arrow_table(self._waiting, self._what))
        self._waiting, self._characters = [], 0

    def close(self) -> None:
        if self._waiting:
            self._group()
        self._writer.close()

    def abandon(self) -> None:
        """Lets go of the file, which must still be open."""
        self._writer.close()


# --- files ---


@contextmanager
def _whole(path: Path, *, force: bool) -> Iterator[IO[bytes]]:
    """A file that gets its name when the block ended well, and is removed when it did not."""
    try:
        descriptor, name = tempfile.mkstemp(prefix=f".{path.name[:100]}.", suffix=".part", dir=path.parent)  # mode 0600
    except OSError as error:
        raise _unwritable(path, error) from error
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        if force:
            os.replace(name, path)
        else:
            _link(name, path)
    except OSError as error:
        raise _unwritable(path, error) from error
    finally:
        Path(name).unlink(missing_ok=True)


def _link(name: str, path: Path) -> None:
    """Gives the file its name, unless another has got it meanwhile."""
    try:
        os.link(name, path)
    except FileExistsError:
        raise
    except OSError:  # a file system without links
        _refuse(path, force=False)
        os.replace(name, path)


def _unwritable(path: Path, error: OSError) -> ConfigError:
    return ConfigError(f"{path}: {error.strerror or error}; name a file that can be written", field="output")
