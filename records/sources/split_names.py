"""Which split a name speaks of: of a file, of a folder, of a column's value, of a data set's split."""

from __future__ import annotations

import re
from pathlib import Path

from records.rows import Split

# From the strictest to the freest: `train_test.jsonl` is held out.
_WORDS: tuple[tuple[Split, frozenset[str]], ...] = (
    ("test", frozenset({"test", "testing", "heldout", "holdout"})),
    ("validation", frozenset({"validation", "valid", "val", "dev", "eval", "evaluation"})),
    ("train", frozenset({"train", "training"})),
)
_JOINED = re.compile(r"\b(held|hold)[^a-z0-9]*out\b")


def split_named(name: str) -> Split | None:
    """The split that one of a name's words is, whatever its case; the strictest of several, None where none is."""
    plain = _JOINED.sub(r"\1out", re.sub(r"([a-z])([A-Z])", r"\1 \2", name).replace("_", " ").casefold())
    words = set(re.split(r"[^a-z]+", plain))
    return next((split for split, known in _WORDS if words & known), None)


def split_of_place(path: Path, root: Path) -> Split | None:
    """The split that a file's place speaks of: its name, the folders between it and `root`, and the name of `root`.

    Args:
        path: the file, or `root` itself.
        root: what was named; what lies above it says nothing.
    """
    parts = [root.name, *(path.relative_to(root).parts if path != root else ())]
    return strictest(*map(split_named, parts))


def strictest(*found: Split | None) -> Split | None:
    """Of several statements about one row, the one that keeps it the furthest from training."""
    return next((split for split, _ in _WORDS if split in found), None)


def is_of_split(path: Path, root: Path, split: str) -> bool:
    """Whether a file's place below `root` names exactly this split, as the hub lays files out.

    `train_sft` is the split of `train_sft-00000-of-00003.parquet`, `train_sft.jsonl` and `train_sft/0000.parquet`.
    """
    *folders, name = path.relative_to(root).parts
    begins = re.match(rf"{re.escape(split)}(?:[-.]|\Z)", name, re.IGNORECASE)
    return begins is not None or split.casefold() in (folder.casefold() for folder in folders)
