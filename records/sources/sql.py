"""Rows of a DuckDB or SQLite database file, read-only: the query reaches no other file, network, extension or write."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from records.errors import DataError
from records.sources.cells import Cells
from records.sources.readers import Unreadable

_BATCH = 1024
_SQLITE = b"SQLite format 3\0"
_SURROGATE = re.compile("[\udc80-\udcff]")
_CLOSED_FUNCTIONS = ("load_extension", "fts3_tokenizer", "readfile", "writefile", "edit")
# The query comes with the run file, which may be somebody else's. Locked last, so that it cannot undo the others.
_CLOSED: dict[str, str | bool | int | float | list[str]] = {
    "enable_external_access": "false",
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
    "python_enable_replacements": "false",
    "lock_configuration": "true",
}


def query_rows(connect: str, query: str) -> Iterator[Any]:
    """The rows of one SELECT, as mappings of column to value (or `Unreadable`), in the order of the database.

    Raises:
        DataError: no such database, a query that fails or does more than read, or two columns of one name.
    """
    path = Path(connect)
    if not path.is_file():
        raise DataError(
            f"{connect}: no such database file; expected the path of a DuckDB or SQLite database (sql.connect)"
        )
    with open(path, "rb") as file:
        is_sqlite = file.read(len(_SQLITE)) == _SQLITE
    yield from (_sqlite_rows if is_sqlite else _duckdb_rows)(path, query, f"{connect}, sql.query")


def _duckdb_rows(path: Path, query: str, where: str) -> Iterator[Any]:
    import duckdb

    try:
        statements = duckdb.extract_statements(query)
        if [statement.type for statement in statements] != [duckdb.StatementType.SELECT]:
            found = ", ".join(statement.type.name for statement in statements) or "nothing"
            raise DataError(f"{where}: found {found}; expected one SELECT, since the database is only read")
        with duckdb.connect(str(path), read_only=True, config=_CLOSED) as connection:
            result = connection.execute(statements[0])
            names = _names(result.description, where)
            while rows := result.fetchmany(_BATCH):
                yield from (dict(zip(names, row, strict=True)) for row in rows)
    except duckdb.Error as error:
        raise _refused(where, error) from None


def _sqlite_rows(path: Path, query: str, where: str) -> Iterator[Any]:
    """SQLite has its own way in for those who may only read; what a statement may do is asked of the authorizer."""
    import sqlite3

    allowed = {sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION, sqlite3.SQLITE_RECURSIVE}

    def authorize(action: int, _: str | None, name: str | None, *__: str | None) -> int:
        closed = action not in allowed or name in _CLOSED_FUNCTIONS
        return sqlite3.SQLITE_DENY if closed else sqlite3.SQLITE_OK

    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as connection:
            connection.set_authorizer(authorize)
            # Bytes that are no UTF-8 become lone surrogates, so that they spoil their own row alone.
            connection.text_factory = lambda data: data.decode("utf-8", "surrogateescape")
            result = connection.execute(query)
            if result.description is None:
                raise DataError(f"{where}: found no SELECT; expected one, since the database is only read")
            names = _names(result.description, where)
            while rows := result.fetchmany(_BATCH):
                yield from (_sqlite_row(names, row) for row in rows)
    except (sqlite3.Error, sqlite3.Warning) as error:
        raise _refused(where, error) from None


def _sqlite_row(names: list[str], values: tuple[Any, ...]) -> Any:
    row = Cells(zip(names, values, strict=True))
    spoilt = any(isinstance(value, str) and _SURROGATE.search(value) for value in values)
    return Unreadable("found bytes that are not UTF-8; expected UTF-8 text") if spoilt else row


def _names(description: Iterable[Any], where: str) -> list[str]:
    names = [column[0] for column in description]
    if len(set(names)) != len(names):
        raise DataError(f"{where}: found the columns {', '.join(names)}; expected each name once (use AS)")
    return names


def _refused(where: str, error: Exception) -> DataError:
    reason = " ".join(str(error).split())
    return DataError(f"{where}: the database refuses it ({reason}); expected one SELECT that it can do")
