"""Rows of pairs and rejects as Arrow tables of the columns that an audit reads, in either form that lies on disk."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from records.chat import encodable
from records.features import arrow_schema
from records.rows import Outcome
from records.shard import DamagedShardError, is_parquet, parquet_batches, shard_rows, shards

ROWS_PER_TABLE = 500
_COLUMNS = (
    "id", "prompt_id", "strategy", "split", "group", "benign", "prompt", "principles", "draft", "draft_verdicts",
    "final_verdicts", "candidates", "trail", "provenance",
)  # fmt: skip


def row_schema() -> Any:
    """The columns of a row that are read; `reason` is empty for a pair."""
    import pyarrow

    known = arrow_schema(Outcome)
    return pyarrow.schema([*(known.field(name) for name in _COLUMNS), pyarrow.field("reason", pyarrow.string())])


def row_tables(folder: Path) -> Iterator[tuple[Path, Any]]:
    """The rows of a folder of pairs or of rejects, at most `ROWS_PER_TABLE` in a table of `row_schema`, by shard.

    Columns that a row is too old to have are null. A torn last line is passed over.

    Raises:
        DamagedShardError: a shard holds something that is no row.
    """
    schema, paths = row_schema(), shards(folder)
    for path in paths:
        if is_parquet(path):
            for batch in parquet_batches(path, list(schema.names), rows=ROWS_PER_TABLE):
                yield path, _whole(path, _fitted(path, batch, schema))
        else:
            rows = shard_rows(path, growing=path == paths[-1])
            while some := list(islice(rows, ROWS_PER_TABLE)):
                yield path, _whole(path, _table(path, some, schema))


def _whole(path: Path, table: Any) -> Any:
    """The table, where all of its rows have what no row is without."""
    for name in ("id", "prompt_id", "provenance"):
        if table.column(name).null_count:
            raise DamagedShardError(path, f"a row has no {name}")
    return table


def _table(path: Path, rows: list[Any], schema: Any) -> Any:
    import pyarrow

    try:
        if not all(isinstance(row, dict) for row in rows):
            raise TypeError("it is no JSON object")
        try:
            return pyarrow.Table.from_pylist(rows, schema)
        except UnicodeEncodeError:  # a lone surrogate, which no model is shown either
            rows = json.loads(encodable(json.dumps(rows, ensure_ascii=False)))
            return pyarrow.Table.from_pylist(rows, schema)
    except (pyarrow.ArrowException, TypeError, ValueError, AttributeError) as error:
        found = str(error).replace("\n", " ")[:200]
        raise DamagedShardError(path, f"a row has not the columns of pairs and rejects ({found})") from None


def _fitted(path: Path, batch: Any, schema: Any) -> Any:
    """The batch under this schema: missing columns as null, columns of an earlier release with the fields they lack."""
    import pyarrow

    columns = []
    try:
        for field in schema:
            if field.name not in batch.schema.names:
                columns.append(pyarrow.nulls(batch.num_rows, field.type))
                continue
            column = batch.column(field.name)
            same = column.type == field.type
            columns.append(column if same else pyarrow.array(column.to_pylist(), field.type))
    except (pyarrow.ArrowException, TypeError, ValueError, AttributeError) as error:
        raise DamagedShardError(path, f"the column {field.name} cannot be read ({error})") from None
    return pyarrow.Table.from_arrays(columns, schema=schema)
