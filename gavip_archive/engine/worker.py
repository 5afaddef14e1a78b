"""One locked-down DuckDB instance, and the pool of them.

Every worker is an instance of its own, in memory, with the archive attached read-only: a query that exhausts its
memory cannot take another one down. Invariants: no file system, no extensions, no spilling to disk, and a
configuration that queries cannot change; a worker runs one query at a time; what a query leaves in it (uploads,
its result) is dropped before the next.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import numpy as np

from gavip_archive.adql.geometry import MACROS
from gavip_archive.adql.translate import Translation, upload_table
from gavip_archive.errors import (
    DatabaseUnusable,
    QueryCancelled,
    QueryFailed,
    QueryTimedOut,
    QueryTooLarge,
)
from gavip_archive.limits import Limits

from .fields import NUMPY_TYPES, Field, Page, datatype_of
from .uploads import Upload

PAGE_ROWS = 65_536

_RESULT = "query_result"
_INSIST_SECONDS = 0.1


class StopRequest:
    """Whether, and why, a running query must stop. Shared by the event loop and the worker's thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._reason: str | None = None
        self._interrupt: Any = None

    @property
    def reason(self) -> str | None:
        """``timeout``, ``cancelled`` or None."""
        return self._reason

    def bind(self, connection: duckdb.DuckDBPyConnection | None) -> None:
        """Name the connection that a stop interrupts; None when it is not at work for the query."""
        with self._lock:
            self._interrupt = connection.interrupt if connection else None

    def stop(self, reason: str) -> None:
        """Stop the query; the first reason given wins."""
        with self._lock:
            self._reason = self._reason or reason
        self._insist()

    def _insist(self) -> None:
        """Interrupt until the connection lets go: one that comes just before a statement starts is forgotten."""
        with self._lock:
            if self._interrupt is None:
                return
            self._interrupt()
        timer = threading.Timer(_INSIST_SECONDS, self._insist)
        timer.daemon = True
        timer.start()

    def check(self) -> None:
        """Raise when the query must stop.

        Raises
        ------
        QueryTimedOut, QueryCancelled
            According to the reason.
        """
        if self._reason == "timeout":
            raise QueryTimedOut(
                "The query ran longer than it may and was stopped.",
                hint="Ask for less: a smaller region, TOP n. Asynchronous jobs may run longer.",
            )
        if self._reason:
            raise QueryCancelled("The query was stopped.")


class Result:
    """The rows of one query, held by its worker until the next query.

    Attributes
    ----------
    fields : tuple of Field
        The columns.
    row_count : int
        Rows, at most the query's limit.
    overflow : bool
        Whether MAXREC cut rows off.
    """

    def __init__(
        self,
        connection: duckdb.DuckDBPyConnection,
        stop: StopRequest,
        fields: tuple[Field, ...],
        casts: tuple[str | None, ...],
        row_count: int,
        overflow: bool,
    ) -> None:
        self._connection = connection
        self._stop = stop
        self._casts = casts
        self.fields = fields
        self.row_count = row_count
        self.overflow = overflow

    def pages(self) -> Iterator[Page]:
        """Yield the rows in order, some ten thousand at a time, so that memory stays bounded."""
        selected = ", ".join(
            f"CAST(c{i} AS {cast}) AS c{i}" if cast else f"c{i}"
            for i, cast in enumerate(self._casts)
        )
        for start in range(0, self.row_count, PAGE_ROWS):
            self._stop.check()
            end = min(start + PAGE_ROWS, self.row_count)
            with _database_work(self._connection, self._stop):
                arrays = self._connection.execute(
                    f"SELECT {selected} FROM temp.main.{_RESULT}"  # noqa: S608  # our own names
                    f" WHERE rowid >= {start} AND rowid < {end} ORDER BY rowid"
                ).fetchnumpy()
            yield Page(
                tuple(
                    _masked(arrays[f"c{i}"], field.datatype) for i, field in enumerate(self.fields)
                )
            )


def _masked(values: Any, datatype: str) -> np.ma.MaskedArray[Any, Any]:
    mask = np.ma.getmaskarray(values)
    data = np.ma.getdata(values)
    target = NUMPY_TYPES[datatype]
    if target == "O":
        data = data.astype(object)
    else:
        if mask.any():
            data = np.where(mask, np.zeros(1, data.dtype), data)
        data = data.astype(target, copy=False)
    return np.ma.MaskedArray(data, mask=mask)


class Worker:
    """A DuckDB instance for one query at a time.

    Attributes
    ----------
    broken : bool
        Whether the instance failed beyond repair.

    Parameters
    ----------
    database : Path
        The archive's file.
    limits : Limits
        Memory and threads of one query.

    Raises
    ------
    DatabaseUnusable
        When the file cannot be opened.
    """

    def __init__(self, database: Path, limits: Limits) -> None:
        self.broken = False
        try:
            self._connection = duckdb.connect(
                ":memory:",
                config={
                    "memory_limit": f"{limits.query_memory}B",
                    "threads": str(limits.threads),
                    "temp_directory": "",
                    "autoinstall_known_extensions": "false",
                    "autoload_known_extensions": "false",
                    "allow_community_extensions": "false",
                },
            )
            self._connection.execute(
                f"ATTACH '{str(database).replace(chr(39), chr(39) * 2)}' AS archive (READ_ONLY)"
            )
            for macro in MACROS:
                self._connection.execute(macro)
            self._connection.execute("SET enable_external_access = false")
            self._connection.execute("SET lock_configuration = true")
        except duckdb.Error as error:
            raise DatabaseUnusable(
                "the archive's database cannot be opened",
                hint="Build it again: python -m gavip_archive build",
            ) from error

    def run(
        self,
        translation: Translation,
        uploads: Mapping[str, Upload],
        max_rows: int,
        stop: StopRequest,
    ) -> Result:
        """Execute one query. Blocks; call it in a thread.

        Parameters
        ----------
        translation : Translation
            The query, limited to ``max_rows + 1`` rows so that an overflow shows.
        uploads : mapping of str to Upload
            Its uploaded tables by lower-case name.
        max_rows : int
            Rows to keep.
        stop : StopRequest
            Asked between steps, and interrupts the database.

        Returns
        -------
        Result
            Valid until the next call.

        Raises
        ------
        QueryFailed, QueryTooLarge, QueryTimedOut, QueryCancelled
            As the names say; the worker stays usable.
        """
        self.clear()
        stop.check()
        with _database_work(self._connection, stop):
            for name, upload in uploads.items():
                self._load(name, upload)
                stop.check()
            names = ", ".join(f"c{i}" for i in range(len(translation.columns)))
            created = self._connection.execute(
                f"CREATE TEMP TABLE {_RESULT} AS SELECT * FROM ({translation.sql}) AS result({names})"  # noqa: S608  # see adql
            ).fetchall()
            described = self._connection.execute(f"DESCRIBE temp.main.{_RESULT}").fetchall()
            fields, casts = self._fields(translation, [str(row[1]) for row in described])
        count = int(created[0][0])
        return Result(self._connection, stop, fields, casts, min(count, max_rows), count > max_rows)

    def _load(self, name: str, upload: Upload) -> None:
        view = f"{upload_table(name)}_source"
        arrays: dict[str, Any] = {}
        selected = []
        for index, (column, values) in enumerate(
            zip(upload.table.columns, upload.columns, strict=True)
        ):
            arrays[f"v{index}"] = np.ma.getdata(values)
            arrays[f"m{index}"] = np.ma.getmaskarray(values)
            quoted = column.name.lower().replace('"', '""')
            selected.append(
                f'CAST(CASE WHEN m{index} THEN NULL ELSE v{index} END AS {column.storage_type}) AS "{quoted}"'
            )
        self._connection.register(view, arrays)
        try:
            self._connection.execute(
                f"CREATE TEMP TABLE {upload_table(name)} AS SELECT {', '.join(selected)} FROM {view}"  # noqa: S608  # quoted
            ).fetchall()
        finally:
            self._connection.unregister(view)

    def _fields(
        self, translation: Translation, types: list[str]
    ) -> tuple[tuple[Field, ...], tuple[str | None, ...]]:
        fields: list[Field] = []
        casts: list[str | None] = []
        for output, database_type in zip(translation.columns, types, strict=True):
            datatype, cast = datatype_of(database_type)
            source = output.source
            fields.append(
                Field(output.name, datatype)
                if source is None
                else Field(
                    output.name, datatype, source.unit, source.ucd, source.description, source.xtype
                )
            )
            casts.append(cast)
        texts = [index for index, field in enumerate(fields) if field.is_text]
        if texts:
            measures = ", ".join(
                f"coalesce(max(strlen(CAST(c{i} AS VARCHAR))), 0),"
                f" coalesce(bool_or(strlen(CAST(c{i} AS VARCHAR)) <> length(CAST(c{i} AS VARCHAR))), false)"
                for i in texts
            )
            (row,) = self._connection.execute(
                f"SELECT {measures} FROM temp.main.{_RESULT}"  # noqa: S608  # our own names
            ).fetchall()
            for place, index in enumerate(texts):
                # VOTable's char is ASCII (VOTable 1.4, section 2.1); anything else needs unicodeChar
                datatype = "unicodeChar" if row[2 * place + 1] else "char"
                fields[index] = replace(fields[index], datatype=datatype, width=int(row[2 * place]))
        return tuple(fields), tuple(casts)

    def clear(self) -> None:
        """Drop what the last query left.

        Raises
        ------
        QueryFailed
            When the instance cannot even do that: it is :attr:`broken` then, and the pool replaces it.
        """
        try:
            self._drop_tables()
        except duckdb.Error as error:
            self.broken = True
            raise QueryFailed(
                "The database had to be restarted.", hint="Send the query again."
            ) from error

    def _drop_tables(self) -> None:
        tables = self._connection.execute(
            "SELECT table_name FROM duckdb_tables() WHERE database_name = 'temp'"
        ).fetchall()
        for (name,) in tables:
            self._connection.execute(f'DROP TABLE temp.main."{name}"')

    def close(self) -> None:
        """Free the instance; it cannot be used again."""
        self._connection.close()


@contextmanager
def _database_work(connection: duckdb.DuckDBPyConnection, stop: StopRequest) -> Iterator[None]:
    """Let a stop interrupt the body, and turn the database's errors into ours, without its paths and settings."""
    stop.bind(connection)
    try:
        stop.check()
        yield
    except (duckdb.OutOfMemoryException, MemoryError) as error:
        stop.check()
        raise QueryTooLarge(
            "The query needs more memory than one query may use and was stopped.",
            hint="Select fewer columns, add conditions, or avoid joining whole tables with one another.",
        ) from error
    except duckdb.InterruptException as error:
        stop.check()
        raise QueryCancelled("The query was stopped.") from error
    except duckdb.Error as error:
        stop.check()
        raise QueryFailed(f"The query failed: {_reason(error)}") from error
    finally:
        stop.bind(None)


def _reason(error: duckdb.Error) -> str:
    """Return what the database says of a query, without its advice about functions and settings of its own."""
    if "Division by zero" in str(error):
        return "it divides by zero. Leave out the rows where the divisor is 0: WHERE x <> 0"
    return str(error).split("\n", 1)[0]
