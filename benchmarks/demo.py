"""Wall time and peak memory of the demo: `python benchmarks/demo.py [key=value ...]` prints one line of JSON.

The run goes to a folder of its own, which is removed. Memory is the sum of the proportional set sizes of the whole
process tree, looked at once a second, so pages that processes share count once.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def process_tree(root: int) -> list[int]:
    """A process and all that came from it."""
    parents = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(stat.parent.name)] = int(stat.read_text().rpartition(")")[2].split()[1])
        except OSError:  # it has ended
            continue
    tree = [root]
    for found in tree:
        tree += [child for child, parent in parents.items() if parent == found]
    return tree


def memory_gib(pid: int) -> float:
    """Proportional set size of a process; 0 when it has ended."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0.0
    return sum(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 2**20


def main(overrides: list[str]) -> int:
    """Run the demo and say what it took; returns the command's status."""
    with tempfile.TemporaryDirectory() as outputs:
        command = [sys.executable, "-m", "loop.cli", "run", "configs/demo.yaml", "--outputs", outputs, *overrides]
        began, peak = time.monotonic(), 0.0
        child = subprocess.Popen(command, cwd=ROOT, stdout=sys.stderr)
        while child.poll() is None:
            peak = max(peak, sum(map(memory_gib, process_tree(child.pid))))
            time.sleep(1)
        seconds = time.monotonic() - began
        report = Path(outputs) / "demo" / "report.json"
        rounds = json.loads(report.read_text())["rounds"] if report.is_file() else []
    figures = [entry["evaluation"] for entry in rounds]
    print(
        json.dumps(
            {
                "seconds": round(seconds, 1),
                "peak_gib": round(peak, 2),
                "checked_violation_rate": [round(held["checked_violation_rate"], 4) for held in figures],
                "answered_rate": [round(held["answered_rate"], 4) for held in figures],
                "status": child.returncode,
            }
        )
    )
    return child.returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
