"""Progress as people see it: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import io
import os
import pty
import re

from records.progress import progress


def on_a_terminal(work) -> str:
    """What a terminal of 100 columns is sent while `work(stream)` runs."""
    leader, follower = pty.openpty()
    with os.fdopen(follower, "w", encoding="utf-8") as stream:
        work(stream)
    sent = b""
    try:
        while chunk := os.read(leader, 65536):
            sent += chunk
    except OSError:  # a pty says so when the other side has closed
        pass
    os.close(leader)
    return sent.decode("utf-8", "replace")


def some_work(stream) -> None:
    with progress("evaluate round 0", 40, stream) as display:
        for done in range(40):
            display.advance(1, pairs=done + 1, loss=0.25)
        display.note("alarm: [bold]look[/bold] here")


def test_a_terminal_gets_a_bar_that_goes_away_and_a_last_line(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")
    sent = on_a_terminal(some_work)
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", sent)
    assert "\x1b[" in sent, "a bar is drawn over and over"
    assert "evaluate round 0" in plain and "40/40" in plain and "━" in plain
    assert "pairs 40 · loss 0.25" in plain
    assert "alarm: [bold]look[/bold] here" in plain, "what is noted is text and no markup"
    assert plain.rstrip().splitlines()[-1].startswith("evaluate round 0: 40/40 in ")


def test_elsewhere_there_are_plain_lines(monkeypatch):
    monkeypatch.setattr("records.progress._SECONDS_BETWEEN_LINES", 0.0)
    stream = io.StringIO()
    some_work(stream)
    lines = stream.getvalue().splitlines()
    assert len(lines) == 42 and "\x1b" not in stream.getvalue() and "\r" not in stream.getvalue()
    assert re.fullmatch(r"evaluate round 0: 20/40 · [\d.]+/s · \d+ s left · pairs 20 · loss 0\.25", lines[19])
    assert lines[40] == "alarm: [bold]look[/bold] here"


def test_a_total_that_nobody_knows_is_not_shown(monkeypatch):
    monkeypatch.setattr("records.progress._SECONDS_BETWEEN_LINES", 0.0)
    stream = io.StringIO()
    with progress("import pairs.jsonl", None, stream) as display:
        display.advance(1, pairs=1)
    first, last = stream.getvalue().splitlines()
    assert first.startswith("import pairs.jsonl: 1 · ") and "time left unknown" in first and "None" not in first
    assert last.startswith("import pairs.jsonl: 1 in ")
    monkeypatch.setenv("TERM", "xterm")

    def work(stream) -> None:
        with progress("import pairs.jsonl", None, stream) as display:
            display.advance(5)

    assert "import pairs.jsonl" in on_a_terminal(work)
