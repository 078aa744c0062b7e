from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

from tests.tracked import ROOT, tracked_files

PACKAGES = ("constitution", "evaluation", "generator", "loop", "records", "trainer")


def test_the_wheel_holds_the_packages_with_their_data_and_nothing_else(tmp_path: Path) -> None:
    tracked = [path.as_posix() for path in tracked_files()]
    source = tmp_path / "source"
    for name in tracked:
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, source / name)

    # setuptools is among the pins: nothing is fetched.
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    built = subprocess.run([*pip, "-w", tmp_path, source], capture_output=True, text=True)
    assert built.returncode == 0, built.stderr

    (wheel,) = tmp_path.glob("constitute-*.whl")
    held = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert held == {name for name in tracked if name.partition("/")[0] in PACKAGES}
    assert any(name.endswith(".j2") for name in held)
    assert any(name.startswith("constitution/library/") and name.endswith(".yaml") for name in held)
