"""Where the finished shards of a round are copied to."""

from __future__ import annotations

from loop.inputs import Run
from records.chat import encodable


def published_at(run: Run, index: int) -> str | None:
    """The address that a round's finished shards are copied to."""
    to, folder = run.config.generate.publish_to, run.folder
    return f"{to.rstrip('/')}/{encodable(folder.path.name)}/{folder.round(index).name}" if to else None
