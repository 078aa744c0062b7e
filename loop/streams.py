"""Standard output and error that take any text: where the locale knows ASCII alone, no letter may end a run."""

from __future__ import annotations

import io
import sys


def take_any_text() -> None:
    """From now on, what this process's streams cannot encode is written as its escape."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
