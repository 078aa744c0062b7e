"""How right `constitute estimate` is: `python benchmarks/estimate.py [--runs N] [--prompts N] [key=value ...]`.

The demo's generate stage at ten times its size is estimated and then run, with another seed each time. The prompts are
drawn from the demo's grammar. The last line is one JSON object: for every figure the run's over the estimate by run,
whether the run lay in the interval, and `median_off`, the median of how far the run was off the estimate, with its bar.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from random import Random
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

BARS = {"calls": 0.10, "prompt_tokens": 0.10, "output_tokens": 0.10, "seconds": 0.25}
FIGURES = (*BARS, "pairs")
# The demo asks about few things, so thousands of its questions are alike, and its held-out shares would take most.
SETTINGS = ("rounds=1", "near_duplicate_prompts=keep", "splits.validation=0.05", "splits.test=0.02")


def write_prompts(path: Path, count: int) -> None:
    """Prompts of the demo's world, as the demo's own are drawn, but any thing may be asked about twice."""
    from demo import words
    from demo.grammar import question
    from demo.prompts import N_BENIGN, N_HARMFUL, ONE_IN, combos, prompt_line

    random = Random(20)
    benign, harmful = combos(harmful=False), combos(harmful=True)
    lines: dict[str, None] = {}
    while len(lines) < count:
        act, thing = random.choice(harmful if random.random() < N_HARMFUL / (N_BENIGN + N_HARMFUL) else benign)
        system = random.choice(sorted(words.SYSTEM_LINES)) if len(lines) % ONE_IN == 0 else ""
        first = random.choice(benign) if len(lines) % ONE_IN == 1 else None
        lines[json.dumps(prompt_line(question(random, act, thing, system=system, first=first)))] = None
    path.write_text("".join(f"{line}\n" for line in lines))


def constitute(*arguments: str) -> str:
    """What the command prints; its progress goes to standard error."""
    command = [sys.executable, "-m", "loop.cli", *arguments]
    return subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout


def measure(seed: int, settings: list[str], folder: Path) -> dict[str, Any]:
    """One estimate, and the stage that it is of."""
    wanted = ["configs/demo.yaml", *settings, f"seed={seed}"]
    told = json.loads(constitute("estimate", *wanted, "--json"))
    constitute("generate", *wanted, "--outputs", str(folder), "--run", f"seed-{seed}")
    marker = json.loads((folder / f"seed-{seed}" / "round_00" / "generate.done.json").read_text())
    found = marker["outputs"] | {"seconds": marker["seconds"]}
    made = told["generation"]
    one: dict[str, Any] = {"chains": found["chains"], "calibration": told["calibration"]}
    for name in FIGURES:
        expected = made[name]
        one[name] = {
            "estimate": round(expected["estimate"], 1),
            "interval": [round(expected["low"], 1), round(expected["high"], 1)],
            "run": found[name],
            "ratio": round(found[name] / expected["estimate"], 3),
            "inside": expected["low"] <= found[name] <= expected["high"],
        }
    return one


def main() -> None:
    """Estimate and run, several times."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--prompts", type=int, default=1800, help="train prompts; ten times the demo's")
    parser.add_argument("settings", nargs="*", metavar="KEY=VALUE")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_prompts(folder / "prompts.jsonl", 3 * arguments.prompts)
        settings = [
            f"sources=[{folder / 'prompts.jsonl'}]",
            f"prompts_per_round={arguments.prompts}",
            *SETTINGS,
            *arguments.settings,
        ]
        runs = []
        for seed in range(1, arguments.runs + 1):
            runs.append(measure(seed, settings, folder / "outputs"))
            print(json.dumps(runs[-1]), flush=True)
    off = {name: [abs(run[name]["ratio"] - 1.0) for run in runs] for name in FIGURES}
    print(
        json.dumps(
            {
                "ratios": {name: [run[name]["ratio"] for run in runs] for name in FIGURES},
                "inside": {name: [run[name]["inside"] for run in runs] for name in FIGURES},
                "median_off": {name: round(statistics.median(values), 3) for name, values in off.items()},
                "bars": BARS,
                "held": {name: statistics.median(off[name]) <= bar for name, bar in BARS.items()},
            }
        )
    )


if __name__ == "__main__":
    main()
