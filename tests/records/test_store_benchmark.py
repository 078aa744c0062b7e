"""The benchmark of a million rows, with a few."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tests.tracked import ROOT


def test_it_writes_kills_resumes_compacts_and_streams(tmp_path: Path) -> None:
    command = [sys.executable, ROOT / "benchmarks" / "store.py", "--rows", "1500", "--folder", tmp_path]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout.splitlines()[-1])
    assert figures["rows"] == 1500 <= figures["done"] < 2000, "the writer was killed before its end"
    assert figures["streamed"] == 1600
    assert 0 < figures["resume_seconds"] < figures["bars"]["resume_seconds"]
    assert 0 < figures["peak_rss_mib"] < figures["bars"]["peak_rss_mib"]
    assert figures["write_seconds"] > 0 and figures["parquet_gib"] < figures["lines_gib"]
    assert list(tmp_path.iterdir()) == [], "nothing is left behind"


def test_it_refuses_a_disk_that_is_too_small(tmp_path: Path) -> None:
    command = [sys.executable, ROOT / "benchmarks" / "store.py", "--rows", "10000000000", "--folder", tmp_path]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1 and "Name another --folder" in done.stderr
