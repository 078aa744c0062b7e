"""`python -m tests.mutants [WORD ...]`: put each seeded bug into a copy of the tree and run the tests that must notice.

With words, only the mutants whose names hold one of them. Exit 1 where a mutant survives, or where the tests are red
without any.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from tests.mutants.seeded import MUTANTS, Mutant
from tests.tracked import ROOT

_LEFT_BEHIND = (".venv", ".git", "outputs", "__pycache__", ".*_cache", ".hypothesis", "*.egg-info", "build", "dist")


def run_tests(tree: Path, tests: Sequence[str]) -> int:
    """Pytest's exit status: 0 green, 1 red, anything else means that the tests could not be run."""
    # Byte code is told from its source by size and second; a mutant may keep both.
    environment = {**os.environ, "PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *tests]
    done = subprocess.run(command, cwd=tree, env=environment, capture_output=True, text=True)
    if done.returncode not in (0, 1):
        sys.stderr.write(done.stdout[-2000:] + done.stderr[-2000:])
    return done.returncode


def judge(tree: Path, mutant: Mutant) -> str:
    """`killed`, `SURVIVED` or `NOT RUN`; the tree is as before afterwards."""
    path = tree / mutant.file
    source = path.read_text(encoding="utf-8")
    if source.count(mutant.old) != 1:
        return "NOT RUN"
    path.write_text(source.replace(mutant.old, mutant.new), encoding="utf-8")
    try:
        return {0: "SURVIVED", 1: "killed"}.get(run_tests(tree, mutant.tests), "NOT RUN")
    finally:
        path.write_text(source, encoding="utf-8")


def main(words: Sequence[str]) -> int:
    chosen = [mutant for mutant in MUTANTS if not words or any(word in mutant.name for word in words)]
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        tree = Path(folder) / ROOT.name
        shutil.copytree(ROOT, tree, ignore=shutil.ignore_patterns(*_LEFT_BEHIND))
        tests = sorted({test for mutant in chosen for test in mutant.tests})
        if run_tests(tree, tests) != 0:
            sys.stderr.write("The tests are not green without any mutant; nothing can be told.\n")
            return 1
        outcomes = []
        for mutant in chosen:
            start = time.monotonic()
            outcomes.append(judge(tree, mutant))
            sys.stdout.write(f"{outcomes[-1]:9} {time.monotonic() - start:5.0f} s  {mutant.name} ({mutant.file})\n")
            sys.stdout.flush()
    sys.stdout.write(f"{outcomes.count('killed')} of {len(outcomes)} mutants killed\n")
    return 0 if set(outcomes) <= {"killed"} else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
