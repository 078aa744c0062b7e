"""What a run was made with stays known when a later command goes on from another state of the code."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from loop import provenance
from loop.config import load_run_config
from loop.folder import RunFolder
from loop.inputs import open_run
from tests.loop.scripted_run import write_world


def test_a_later_commit_is_added_and_the_same_one_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(world := write_world(tmp_path))
    run = open_run(load_run_config(world / "run.yaml"), RunFolder(world / "run"))
    file = world / "run" / "provenance.json"
    file.parent.mkdir()
    for commit in ("first", "first", "second", "third", "third"):
        monkeypatch.setattr(provenance, "_commit", lambda commit=commit: commit)
        before = file.stat().st_mtime_ns if file.exists() else 0
        known = file.exists() and json.loads(file.read_text())["commit"] == commit
        provenance.write_provenance(run)
        assert (file.stat().st_mtime_ns == before) == known
    held = json.loads(file.read_text())
    assert held["commit"] == "third"
    assert [entry["commit"] for entry in held["earlier"]] == ["first", "second"]
    assert all("earlier" not in entry and entry["packages"] for entry in held["earlier"])
