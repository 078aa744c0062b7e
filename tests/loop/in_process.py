"""The command line in the test's own process."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from loop.cli import main

Command = Callable[..., tuple[int, str]]


@contextmanager
def in_process(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *verb: str) -> Iterator[Command]:
    """Runs `constitute VERB ARGUMENTS`; gives its status and all that it printed."""
    before = signal.getsignal(signal.SIGTERM)

    def run(*arguments: str) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["constitute", *verb, *arguments])
        try:
            main()
            status = 0
        except SystemExit as end:
            status = int(end.code or 0)
        out, err = capsys.readouterr()
        return status, out + err

    yield run
    signal.signal(signal.SIGTERM, before)
