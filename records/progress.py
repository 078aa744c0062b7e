"""Progress of long work: a bar with rate and time left on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

_SECONDS_BETWEEN_LINES = 10.0


class Progress:
    """Counts work done out of a total, where that is known, and shows it, with any further figures the caller names."""

    def __init__(self, title: str, total: int | None, stream: IO[str]) -> None:
        self.title, self.total, self.stream = title, total, stream
        self.done = 0
        self._start = time.monotonic()
        self._last_line = self._start
        self._figures: dict[str, str] = {}
        self._bar = _rich_bar(title, total, stream) if stream.isatty() else None

    def advance(self, count: int = 1, **figures: object) -> None:
        """Say that `count` more are done; `figures` are shown beside the bar, under their names."""
        self.done += count
        self._figures.update({name.replace("_", " "): _short(value) for name, value in figures.items()})
        if self._bar is not None:
            bar, task = self._bar
            bar.update(task, completed=self.done, figures=self._figures_text())
        elif time.monotonic() - self._last_line >= _SECONDS_BETWEEN_LINES:
            self._last_line = time.monotonic()
            self._print_line()

    def note(self, words: str) -> None:
        """A line of its own, above the bar or between the lines."""
        if self._bar is not None:
            self._bar[0].console.print(words, markup=False, highlight=False)
        else:
            self.stream.write(f"{words}\n")
            self.stream.flush()

    def _figures_text(self) -> str:
        return " · ".join(f"{name} {value}" for name, value in self._figures.items())

    def _print_line(self) -> None:
        seconds = time.monotonic() - self._start
        rate = self.done / seconds if seconds > 0 else 0.0
        left = f"{(self.total - self.done) / rate:.0f} s left" if rate > 0 and self.total else "time left unknown"
        parts = [f"{self.title}: {self._count()}", f"{rate:.1f}/s", left, self._figures_text()]
        self.stream.write(" · ".join(part for part in parts if part) + "\n")
        self.stream.flush()

    def _count(self) -> str:
        return str(self.done) if self.total is None else f"{self.done}/{self.total}"

    def close(self) -> None:
        """End the bar, or print the last line."""
        if self._bar is not None:
            self._bar[0].stop()
        seconds = time.monotonic() - self._start
        parts = [f"{self.title}: {self._count()} in {seconds:.1f} s", self._figures_text()]
        self.stream.write(" · ".join(part for part in parts if part) + "\n")
        self.stream.flush()


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _rich_bar(title: str, total: int | None, stream: IO[str]):  # type: ignore[no-untyped-def]
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as RichProgress

    bar = RichProgress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[figures]}"),
        console=Console(file=stream),
        transient=True,
    )
    bar.start()
    return bar, bar.add_task(title, total=total, figures="")


@contextmanager
def progress(title: str, total: int | None, stream: IO[str] | None = None) -> Iterator[Progress]:
    """A progress display that ends with the block; on standard error unless a stream is given.

    `total` is None where nobody knows it before the end, as for rows that come one at a time from elsewhere.
    """
    display = Progress(title, total, stream or sys.stderr)
    try:
        yield display
    finally:
        display.close()
