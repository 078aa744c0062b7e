"""Data sets that the `datasets` library reads: those of the hub, and those saved with `save_to_disk`."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from records.errors import DataError
from records.sources.origin import Origin


def is_saved(path: Path) -> bool:
    """Whether a folder is a data set saved with `save_to_disk`, with splits or without."""
    return (path / "dataset_dict.json").exists() or (path / "state.json").exists()


def saved_splits(path: Path) -> list[str]:
    """The names of the splits of a saved data set that has several.

    Raises:
        DataError: its list of splits cannot be read.
    """
    try:
        splits = json.loads((path / "dataset_dict.json").read_bytes())["splits"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        splits = error
    if not isinstance(splits, list) or not all(isinstance(name, str) for name in splits):
        raise DataError(f"{path}: dataset_dict.json cannot be read; expected what save_to_disk writes. Save it again.")
    return splits


def saved_rows(path: Path, split: str | None) -> Iterator[Any]:
    """The rows of a saved data set, or of one of its splits.

    Raises:
        DataError: there is no such split, or the data set cannot be read.
    """
    from datasets import load_from_disk
    from pyarrow import ArrowException

    if (path / "dataset_dict.json").exists():
        splits = saved_splits(path)
        if split is None or split not in splits:
            raise DataError(f"{path}: found {split or 'no split'}; expected split: one of {', '.join(splits)}")
        path = path / split
    try:
        yield from load_from_disk(str(path))
    except (ArrowException, OSError, ValueError, KeyError, TypeError, OverflowError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise DataError(
            f"{path}: the saved data set cannot be read ({reason}); expected what save_to_disk writes"
        ) from None


def hub_rows(origin: Origin) -> Iterator[Any]:
    """The rows of a data set of the hub.

    Raises:
        DataError: it cannot be loaded, or something of its name lies on this machine.
    """
    from datasets import load_dataset

    split = origin.split or "train"
    # The client takes a folder of that name before it asks the hub, whoever has put one there.
    if os.path.lexists(origin.hub or ""):
        raise DataError(
            f"{origin.name}: a file or folder {origin.hub} lies in this folder, and the hub's client would read it in "
            "the hub's place; expected none. Work in another folder, or name it by path:"
        )
    try:
        rows = load_dataset(origin.hub, origin.subset, split=split, revision=origin.revision)
    except Exception as error:  # the hub's client has no common error: network, cache, names and formats differ
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise DataError(
            f"{origin.name}: the hub data set cannot be loaded ({reason}); expected a network, or a copy in the cache, "
            f"and a data set with a split {split} that needs no code. Offline, save it where there is a network and "
            "name the folder by path:"
        ) from None
    yield from rows
