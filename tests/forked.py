"""Work that is killed at crash points, in forks of one process that has imported everything once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.tracked import ROOT


def crash_runs(script: str, folder: Path, told: Any) -> tuple[dict[str, list[int]], str]:
    """Run a script that calls `forked`; its `sys.argv` hold the folder, and what it is told as JSON.

    Returns:
        The exit codes of the forks by name, in their order, and all that was written to standard error.
    """
    command = [sys.executable, "-c", script, folder, json.dumps(told)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    codes: dict[str, list[int]] = {}
    for line in done.stdout.splitlines():
        name, code = line.split()
        codes.setdefault(name, []).append(int(code))
    return codes, done.stderr


def forked(name: str, point: str, work: Callable[[], Any]) -> None:
    """Do work in a child that kills itself at a crash point, none if empty, and print the name and its exit code."""
    child = os.fork()
    if child == 0:
        os.environ["CONSTITUTE_CRASH_AT"] = point
        try:
            work()
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    sys.stdout.write(f"{name} {os.waitstatus_to_exitcode(status)}\n")
    sys.stdout.flush()
