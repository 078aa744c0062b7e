"""Column types of stored rows, for `datasets.load_dataset(folder)` and for Parquet.

They stand in a README.md beside the shards. Without it a column that is empty in the first shard (no severity, no
group) would be typed as null, and a later shard with a value in it would be refused.
"""

from __future__ import annotations

import types
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

import yaml
from pydantic import BaseModel

from records.atomic import write_text_atomic

_PRIMITIVES = {str: "string", int: "int64", float: "float64", bool: "bool"}
_ALL_TRAIN = {"train": "part-*.jsonl"}


def write_card(
    folder: Path, row: type[BaseModel], *, files: Mapping[str, str] = _ALL_TRAIN, about: str | None = None
) -> None:
    """Write the dataset card of a folder of such rows; a card that names these columns is left alone.

    One of an earlier release, which knew fewer columns, is written anew: rows of both load under the new one. Which
    files a card names stays as it is there.

    Args:
        folder: where the card goes.
        row: the record whose columns the rows have.
        files: pattern of files by the split that `datasets` gives them.
        about: what the card says below its header; names the record where left out.
    """
    path = folder / "README.md"
    data_files = [{"split": split, "path": pattern} for split, pattern in files.items()]
    known = _header(path)
    configs = known.get("configs") or [{"config_name": "default", "data_files": data_files}]
    header = {"configs": configs, "dataset_info": {"features": features(row)}}
    if known == header:
        return
    described = f"---\n{yaml.safe_dump(header, sort_keys=False)}---\n"
    columns = f"{row.__module__.replace('.', '/')}.py"
    named = f"Rows of kind `{folder.name}`; the columns are those of `{row.__name__}` in constitute's `{columns}`."
    write_text_atomic(path, f"{described}\n{about or named}\n")


def _header(card: Path) -> dict[str, Any]:
    """What is between the first two lines of dashes of a card; empty where there is no such card."""
    if not card.exists():
        return {}
    begins, _, rest = card.read_text(encoding="utf-8", errors="replace").partition("---\n")
    try:
        known = yaml.safe_load(rest.partition("\n---\n")[0]) if not begins else None
    except yaml.YAMLError:
        return {}
    return known if isinstance(known, dict) else {}


def features(model: type[BaseModel]) -> list[dict[str, Any]]:
    """The columns of a record in the notation of dataset cards."""
    return [{"name": name, **_feature(field.annotation)} for name, field in model.model_fields.items()]


def _feature(annotation: Any) -> dict[str, Any]:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin in (Union, types.UnionType):
        return _feature(next(argument for argument in arguments if argument is not type(None)))
    if origin is Literal:
        return {"dtype": "string"}
    if origin is tuple:
        inner = _feature(arguments[0])
        return {"list": inner.get("struct", inner.get("dtype"))}
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return {"struct": features(annotation)}
    return {"dtype": _PRIMITIVES[annotation]}


def arrow_schema(model: type[BaseModel]) -> Any:
    """The columns of a record as an Arrow schema, those of `features` type for type; every one may be null."""
    import pyarrow

    return pyarrow.schema([_arrow_field(column) for column in features(model)])


def _arrow_field(column: dict[str, Any]) -> Any:
    import pyarrow

    if "list" in column:
        of = column["list"]
        inner = _arrow_field({"name": "item", **({"struct": of} if isinstance(of, list) else {"dtype": of})})
        return pyarrow.field(column["name"], pyarrow.list_(inner))
    if "struct" in column:
        return pyarrow.field(column["name"], pyarrow.struct([_arrow_field(field) for field in column["struct"]]))
    return pyarrow.field(column["name"], pyarrow.type_for_alias(column["dtype"]))
