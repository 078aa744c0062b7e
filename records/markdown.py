"""Markdown from texts that may be hostile: names, principles and reasons that come from files and models."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

# Numeric entities never form Markdown structure, not even in tables, and they are what HTML needs as well.
_MEANT = re.compile(r"""[!#$&*+/:<=>@\[\\\]^_`{|}~]|(?<=www)\.""")


def one_line(text: str) -> str:
    """White space runs and control characters as single spaces, so that a text stays in its line."""
    return " ".join("".join(mark if mark.isprintable() else " " for mark in text).split())


def escaped(text: str) -> str:
    """A text as one line of Markdown that shows it and does nothing else: no markup, no HTML, no link, no cell."""
    return _MEANT.sub(
        lambda mark: f"&#{ord(mark.group())};" if mark.group().isascii() else mark.group(), one_line(text)
    )


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table whose first column is words and whose others are figures; bars in cells are escaped."""
    ruler = ["---", *("---:" for _ in header[1:])]
    cells = [[cell.replace("|", "\\|") for cell in row] for row in (header, ruler, *rows)]
    return "\n".join(f"| {' | '.join(row)} |" for row in cells)


def bullets(lines: Iterable[str]) -> str:
    """A list with one entry a line."""
    return "\n".join(f"- {line}" for line in lines)
