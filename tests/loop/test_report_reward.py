"""What report.md tells of reward models and of shortcuts."""

from __future__ import annotations

from pathlib import Path

from loop.report import build_report, write_report
from tests.loop.run_folder import finished_run, marker, trained, write

SHORTCUTS = {
    "pairs": 40, "scored_pairs": 40, "seconds": 1.5, "length_auc": 0.9, "length_auc_ci": [0.8, 0.95],
    "base_logp_auc": 0.5, "base_logp_auc_ci": [0.4, 0.6], "chosen_refused_rate": 0.25,
    "chosen_refused_rate_ci": [0.1, 0.4],
}  # fmt: skip
REWARDED = {
    "method": "reward", "pairs": 40, "validation_pairs": 8, "validation_accuracy": 0.875,
    "validation_accuracy_ci": [0.5, 0.98], "validation_margin": 1.25, "unseen_accuracy": 0.8,
    "unseen_accuracy_ci": [0.6, 0.9], "unseen_margin": 0.75,
    "alarms": [{"name": "reward_chance", "message": "no better than chance"}],
}  # fmt: skip


def test_a_run_without_either_has_no_such_sections(tmp_path: Path) -> None:
    write_report(run := finished_run(tmp_path))
    told = (run / "report.md").read_text()
    assert "What else tells" not in told and "Reward models" not in told


def test_figures_are_in_tables_and_their_warnings_among_the_alarms(tmp_path: Path) -> None:
    run = finished_run(tmp_path)
    alarm = {"name": "shortcut_length", "message": "the longer answer is the chosen one"}
    figures = trained("aaa", shortcuts=SHORTCUTS, low_reward=4, alarms=[alarm])
    write(run / "round_00" / "train.done.json", marker(figures, 4.0))
    write(run / "round_00" / "reward.done.json", marker(REWARDED, 2.0))
    report = write_report(run)
    assert [(alarm["round"], alarm["name"]) for alarm in report["alarms"]] == [
        (0, "reward_chance"),
        (0, "shortcut_length"),
    ]
    assert report["rounds"][0]["training"]["shortcuts"] == SHORTCUTS
    assert report["rounds"][0]["reward"] == {**REWARDED, "seconds": 2.0}
    assert report["seconds"] == build_report(finished_run(tmp_path / "other"))["seconds"] + 2.0
    told = (run / "report.md").read_text()
    assert "| round | pairs | longer | likelier under base | chosen refuse | seconds |" in told
    assert "| 0 | 40 | 90 % (80–95.0) | 50 % (40–60) | 25 % (10–40) | 1.5 |" in told
    assert (
        "the chosen answer has the higher reward in 88 % (50–98.0) of the 8 validation pairs, mean margin 1.25" in told
    )
    assert "80 % (60–90) of the training pairs, each scored by a model that had not seen its prompt" in told
    assert "Training 0 left out 4 pairs by their rewards (`round_00/left_out.json`)." in told
