"""Puts the tuples of a hand-over into a table: one row a step in SQLite, many rows a statement in PostgreSQL.

Many rows a statement cost 120 µs of CPU a question run (4 KB text, 8 KB body; driver and server), one row a step in the
driver's pipeline 190, arrays and `unnest` more (measured; `$1` placeholders: `%s` are searched for in the long text).
Builds and runs one kind of statement on an open transaction. Opens nothing, and knows no column's meaning.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import Any

from sqlalchemy import Table
from sqlalchemy.ext.asyncio import AsyncConnection

from overheard.stores import postgres, rows

_TEXTS = 32
"""Texts that are kept, by their number of rows: full hand-overs have the same."""


class Insert:
    """`INSERT`, or an upsert, of tuples."""

    def __init__(
        self,
        table: Table,
        columns: Sequence[str],
        *,
        keys: Sequence[str] = (),
        sqlite: bool,
        schema: str | None = None,
    ) -> None:
        """Builds the text.

        Args:
            table: Where to.
            columns: What each tuple holds, in order.
            keys: The columns that identify a row, for an upsert; none: a plain insert.
            sqlite: The database.
            schema: PostgreSQL's; None: not named.
        """
        self._table, self._columns, self._keys, self._schema = table, tuple(columns), tuple(keys), schema
        self._sqlite = sqlite
        self._places = [self._columns.index(name) for name in keys]
        self._texts: dict[int, str] = {}
        self._text(1)  # a column that is not there is told now

    async def execute(self, connection: AsyncConnection, tuples: Sequence[tuple[Any, ...]]) -> None:
        """Puts them in; of several with one key the last stays."""
        if self._sqlite:
            await connection.exec_driver_sql(self._text(1), list(tuples))
            return
        if self._keys:
            tuples = list({tuple(row[place] for place in self._places): row for row in tuples}.values())
        most = rows.BIND_LIMIT // len(self._columns)
        async with postgres.numbered(connection):
            for start in range(0, len(tuples), most):
                page = tuples[start : start + most]
                await connection.exec_driver_sql(self._text(len(page)), tuple(chain.from_iterable(page)))

    def _text(self, times: int) -> str:
        if (text := self._texts.get(times)) is None:
            mark = "?" if self._sqlite else "$"
            if self._keys:
                text = rows.upsert(self._table, self._columns, self._keys, mark, schema=self._schema, times=times)
            else:
                text = rows.insert(self._table, self._columns, mark, schema=self._schema, times=times)
            if len(self._texts) < _TEXTS:
                self._texts[times] = text
        return text
