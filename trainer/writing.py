"""Errors of the file system while a training writes, in words."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from records.errors import StageError


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """What the file system refuses becomes an error that says how to go on."""
    from safetensors import SafetensorError

    try:
        yield
    except (OSError, SafetensorError) as error:
        raise StageError(
            f"{folder}: the training could not be written ({error}). The pairs are safe. Make room or mend the folder, "
            "then run the same command again: this training goes on from its last checkpoint, or begins anew."
        ) from error
