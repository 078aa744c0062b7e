"""Another distribution's `trainer` or `records` must stop the program at once, by name, not break it later."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from loop.shadowing import PACKAGES, shadowed_packages

ROOT = Path(__file__).resolve().parent.parent


def start(first_on_path: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "import loop"]
    environment = {**os.environ, "PYTHONPATH": str(first_on_path)}
    return subprocess.run(command, cwd=first_on_path, env=environment, capture_output=True, text=True, timeout=60)


def test_nothing_is_shadowed_here() -> None:
    assert shadowed_packages() == {}


def test_every_shipped_package_is_watched() -> None:
    folders = {path.parent.name for path in ROOT.glob("*/__init__.py")} - {"tests", "demo", "benchmarks"}
    assert set(PACKAGES) == folders


@pytest.mark.parametrize(
    ("planted", "name"),
    [("trainer/__init__.py", "trainer"), ("records.py", "records"), ("evaluation/notes.txt", "evaluation")],
    ids=["a package", "a module", "a folder without __init__"],
)
def test_a_shadowed_package_is_refused_by_name(tmp_path: Path, planted: str, name: str) -> None:
    place = tmp_path / planted
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text("")

    started = start(tmp_path)

    assert started.returncode == 2, started.stderr
    assert f"{name}: found {tmp_path / Path(planted).parts[0]}" in started.stderr
    assert "Traceback" not in started.stderr
    others = [other for other in PACKAGES if other != name]
    assert not any(f"{other}: found" in started.stderr for other in others)


def test_the_distribution_that_shadows_is_named(tmp_path: Path) -> None:
    (tmp_path / "trainer").mkdir()
    (tmp_path / "trainer" / "__init__.py").write_text("")
    record = tmp_path / "another_trainer-1.0.dist-info"
    record.mkdir()
    (record / "METADATA").write_text("Metadata-Version: 2.1\nName: another-trainer\nVersion: 1.0\n")
    (record / "top_level.txt").write_text("trainer\n")

    started = start(tmp_path)

    assert started.returncode == 2
    assert "of the distribution another-trainer" in started.stderr
