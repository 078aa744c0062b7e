"""Rows of a DuckDB database file, read-only: the query reaches no other file, no network, no extension and no write."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from records.errors import DataError

_BATCH = 1024
# The query comes with the run file, which may be somebody else's. Locked last, so that it cannot undo the others.
_CLOSED: dict[str, str | bool | int | float | list[str]] = {
    "enable_external_access": "false",
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
    "python_enable_replacements": "false",
    "lock_configuration": "true",
}


def query_rows(connect: str, query: str) -> Iterator[dict[str, Any]]:
    """The rows of one SELECT, as mappings of column to value, in the order that the database gives them.

    Raises:
        DataError: no such database, a query that fails or does more than read, or two columns of one name.
    """
    import duckdb

    if not Path(connect).is_file():
        raise DataError(f"{connect}: no such database file; expected the path of a DuckDB database (sql.connect)")
    where = f"{connect}, sql.query"
    try:
        statements = duckdb.extract_statements(query)
        if [statement.type for statement in statements] != [duckdb.StatementType.SELECT]:
            found = ", ".join(statement.type.name for statement in statements) or "nothing"
            raise DataError(f"{where}: found {found}; expected one SELECT, since the database is only read")
        with duckdb.connect(connect, read_only=True, config=_CLOSED) as connection:
            result = connection.execute(statements[0])
            names = [column[0] for column in result.description]
            if len(set(names)) != len(names):
                raise DataError(f"{where}: found the columns {', '.join(names)}; expected each name once (use AS)")
            while rows := result.fetchmany(_BATCH):
                yield from (dict(zip(names, row, strict=True)) for row in rows)
    except duckdb.Error as error:
        reason = " ".join(str(error).split())
        raise DataError(f"{where}: the database refuses it ({reason}); expected one SELECT that it can do") from None
