from __future__ import annotations

import copy
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent


def good_report() -> dict[str, Any]:
    rates = [0.8, 0.4, 0.15, 0.02]
    rounds: list[dict[str, Any]] = [
        {
            "round": index,
            "evaluation": {
                "prompts": 60,
                "drafts": 960,
                "judged": 236,
                "checked_violation_rate": rate,
                "answered_rate": 0.97,
                "refused_harmful_rate": 0.9,
            },
            "generation": {
                "chains": 150,
                "pairs": 120,
                "rejects": {"complies": 25, "not_fixed": 5},
                "checked_pairs": 110,
                "checked_pairs_right": 109,
            },
        }
        for index, rate in enumerate(rates)
    ]
    del rounds[-1]["generation"]
    return {"run": "demo", "status": "complete", "seconds": 250.0, "alarms": [], "rounds": rounds}


def check(report: Any, tmp_path: Path) -> subprocess.CompletedProcess[str]:
    path = tmp_path / "report.json"
    path.write_text(json.dumps(report))
    command = [sys.executable, "-I", ROOT / "scripts" / "check_demo.py", path]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def changed(place: str, value: Any) -> dict[str, Any]:
    report = copy.deepcopy(good_report())
    *path, last = [int(key) if key.lstrip("-").isdigit() else key for key in place.split("/")]
    target: Any = report
    for key in path:
        target = target[key]
    target[last] = value
    return report


def test_a_report_on_every_bar_passes(tmp_path: Path) -> None:
    done = check(good_report(), tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "80.0%" in done.stdout and "every bar is held" in done.stdout


@pytest.mark.parametrize(
    ("place", "value", "words"),
    [
        ("rounds/0/evaluation/checked_violation_rate", 0.59, "first policy"),
        ("rounds/-1/evaluation/checked_violation_rate", 0.11, "last policy"),
        ("rounds/2/evaluation/checked_violation_rate", 0.4, "training 2"),
        ("rounds/3/evaluation/answered_rate", 0.94, "harmless prompts"),
        ("rounds/1/evaluation/prompts", 59, "59 test prompts"),
        ("rounds/1/evaluation/drafts", 959, "policy 1: 959 drafts; expected 16 for each prompt, 960"),
        ("rounds/2/evaluation/judged", 215, "policy 2: the critic judged 215 drafts; expected 90% of 240"),
        ("rounds/1/generation/pairs", 119, "150 chains but 149"),
        ("rounds/1/generation/checked_pairs", 70, "290 pairs with a checked principle"),
        ("rounds/1/generation/checked_pairs_right", 90, "308 of 330 checked pairs are right"),
        ("seconds", 601.0, "601 s"),
    ],
)
def test_each_missed_bar_fails_and_is_named(place: str, value: Any, words: str, tmp_path: Path) -> None:
    done = check(changed(place, value), tmp_path)
    assert done.returncode == 1
    assert "MISSED" in done.stdout and words in done.stdout


def test_a_demo_that_stopped_early_fails(tmp_path: Path) -> None:
    report = {**good_report(), "status": "too_few_pairs"}
    report["rounds"] = report["rounds"][:-1]
    done = check(report, tmp_path)
    assert done.returncode == 1
    assert "3 policies evaluated, status 'too_few_pairs'" in done.stdout


def test_two_low_rounds_need_not_fall(tmp_path: Path) -> None:
    report = changed("rounds/2/evaluation/checked_violation_rate", 0.02)
    assert check(report, tmp_path).returncode == 0


def test_a_slow_demo_is_warned_about_before_it_fails(tmp_path: Path) -> None:
    done = check(changed("seconds", 301.0), tmp_path)
    assert done.returncode == 0 and "warning" in done.stdout


@pytest.mark.parametrize("report", [{}, [], {"rounds": []}])
def test_another_file_is_refused(report: Any, tmp_path: Path) -> None:
    done = check(report, tmp_path)
    assert done.returncode == 1 and "not a report" in done.stderr
