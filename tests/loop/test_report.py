"""The report says what the run folder holds, whatever became of the run."""

from __future__ import annotations

import io
import json
import shutil
from itertools import pairwise
from pathlib import Path

import pytest
from rich.console import Console

from loop.picture import draw_rounds, spread
from loop.report import build_report, write_report
from loop.report_text import report_text
from loop.rounds_table import headline, percent, rounds_table, with_interval
from records.errors import DataError
from tests.loop.run_folder import CONFIG, GENERATED, evaluation, finished_run, marker, trained, write

WORDS_OF_DESIGN = {
    "prompts", "drafts", "violation_rate", "violation_rate_ci", "checked_violation_rate", "checked_violation_rate_ci",
    "answered_rate", "refused_harmful_rate", "length", "per_principle",
}  # fmt: skip


def names(report) -> list[tuple[int, str]]:
    return [(alarm["round"], alarm["name"]) for alarm in report["alarms"]]


def test_a_finished_run_has_an_entry_more_than_rounds_and_the_last_one_ends_it(tmp_path):
    report = build_report(finished_run(tmp_path))
    assert (report["run"], report["status"], report["seconds"]) == ("toy-run", "complete", 3 * 5 + 2 * 14)
    assert report["alarms"] == []
    assert [entry["round"] for entry in report["rounds"]] == [0, 1, 2]
    assert [entry["evaluation"]["violation_rate"] for entry in report["rounds"]] == [0.8, 0.4, 0.05]
    assert [entry["policy"]["adapter_digest"] for entry in report["rounds"]] == ["", "aaa", "bbb"]
    for entry in report["rounds"][:2]:
        assert entry["generation"] == {**GENERATED, "seconds": 10.0}
        assert entry["training"]["rewards/margins"] == 0.8 and entry["training"]["seconds"] == 4.0
    assert "generation" not in report["rounds"][2] and "training" not in report["rounds"][2]


def test_an_evaluation_has_the_figures_of_the_design_and_no_bulk(tmp_path):
    for entry in build_report(finished_run(tmp_path))["rounds"]:
        assert set(entry["evaluation"]) >= WORDS_OF_DESIGN
        assert "by_prompt" not in entry["evaluation"]
        low, high = entry["evaluation"]["checked_violation_rate_ci"]
        assert low < entry["evaluation"]["checked_violation_rate"] < high


def test_changes_are_paired_with_the_policy_before_and_with_the_first(tmp_path):
    rounds = build_report(finished_run(tmp_path))["rounds"]
    assert "change" not in rounds[0]["evaluation"]
    assert rounds[2]["evaluation"]["change"]["violation_rate_change"] == pytest.approx(-0.35)
    change = rounds[2]["evaluation"]["change_from_first"]
    assert change["violation_rate_change"] == pytest.approx(-0.75)
    assert change["violation_rate_change_ci"][1] < 0


def test_the_time_of_a_warm_up_counts(tmp_path):
    run = finished_run(tmp_path)
    write(run / "warm_up" / "train.done.json", marker({}, 100.0))
    assert build_report(run)["seconds"] == 143.0


def test_too_few_pairs_gives_a_valid_shorter_report(tmp_path):
    run = finished_run(tmp_path)
    shutil.rmtree(run / "round_02")
    (run / "round_01" / "train.done.json").unlink()
    write(run / "round_01" / "generate.done.json", marker(GENERATED | {"pairs": 3}, 10.0))
    report = write_report(run)
    assert report["status"] == "too_few_pairs"
    assert [entry["round"] for entry in report["rounds"]] == [0, 1] and "training" not in report["rounds"][1]
    assert "fewer than 10 pairs" in (run / "report.md").read_text()


def test_a_warm_up_with_too_few_pairs_says_so(tmp_path):
    run = tmp_path / "cold"
    write(run / "config.json", CONFIG)
    write(run / "warm_up" / "generate.done.json", marker(GENERATED | {"pairs": 3}, 10.0))
    assert build_report(run)["status"] == "too_few_pairs"


def test_pairs_of_validation_prompts_do_not_count_as_enough(tmp_path):
    run = finished_run(tmp_path)
    shutil.rmtree(run / "round_02")
    (run / "round_01" / "train.done.json").unlink()
    write(run / "round_01" / "generate.done.json", marker(GENERATED | {"pairs": 12, "train_pairs": 9}, 10.0))
    assert build_report(run)["status"] == "too_few_pairs"
    write(run / "round_01" / "generate.done.json", marker(GENERATED | {"pairs": 12, "train_pairs": 10}, 10.0))
    assert build_report(run)["status"] == "unfinished"


def test_a_run_that_was_killed_is_unfinished_at_every_moment(tmp_path):
    run = finished_run(tmp_path)
    (run / "round_02" / "evaluation.json").unlink()
    assert write_report(run)["status"] == "unfinished"
    for index in (1, 0):
        shutil.rmtree(run / f"round_{index:02d}")
        assert write_report(run)["status"] == "unfinished"
    assert build_report(run)["rounds"] == []
    assert "No policy was evaluated yet" in (run / "report.md").read_text()


def test_the_proof_of_an_earlier_policy_that_drafts_too_is_told(tmp_path):
    run = finished_run(tmp_path)
    proof = {"outcome": "undecidable", "nearer_new": 300, "tokens": 600, "p_value": 0.5, "adapter_digest": "aaa"}
    write(run / "round_01" / "generate.done.json", marker(GENERATED | {"hand_off_round_0": proof}, 10.0))
    write_report(run)
    line = "the adapter of round 0, which drafts in round 1 too: undecidable (300 of 600 tokens nearer"
    assert line in (run / "report.md").read_text()


def test_alarms_of_training_and_a_wrong_adapter_reach_the_report(tmp_path):
    run = finished_run(tmp_path)
    flat = {"name": "loss_flat", "message": "the loss is flat at ln 2"}
    write(run / "round_00" / "train.done.json", marker(trained("aaa", alarms=[flat]), 4.0))
    write(run / "round_01" / "evaluation.json", evaluation(8, adapter=""))
    report = build_report(run)
    assert names(report) == [(0, "loss_flat"), (0, "hand_off")]
    assert "aaa" in report["alarms"][1]["message"]


@pytest.mark.parametrize("tokens, expected", [((10, 12, 12), []), ((10, 13, 13), [1, 2]), ((10, 12, 14), [2])])
def test_drifting_length_raises_an_alarm_against_the_policy_before_and_the_first(tmp_path, tokens, expected):
    run = finished_run(tmp_path)
    for index, (adapter, length) in enumerate(zip(("", "aaa", "bbb"), tokens, strict=True)):
        write(run / f"round_{index:02d}" / "evaluation.json", evaluation(8, adapter=adapter, tokens=length))
    assert names(build_report(run)) == [(index, "length_drift") for index in expected]


def test_many_truncated_drafts_raise_an_alarm_since_rates_of_violation_leave_them_out(tmp_path):
    run = finished_run(tmp_path)
    figures = json.loads((run / "round_01" / "evaluation.json").read_text())
    write(run / "round_01" / "evaluation.json", figures | {"truncated": 2})
    assert names(build_report(run)) == []
    write(run / "round_01" / "evaluation.json", figures | {"truncated": 3})
    assert names(build_report(run)) == [(1, "truncated")]
    assert "they count as not answered." in write_report(run)["alarms"][0]["message"]
    words = (run / "report.md").read_text()
    assert "After 1 trainings 3 drafts were truncated" in words and "Left out of the rates" not in words


def test_a_run_made_shorter_ends_where_it_says(tmp_path):
    report = build_report(finished_run(tmp_path, rounds=1))
    assert (report["status"], [entry["round"] for entry in report["rounds"]]) == ("complete", [0, 1])
    assert "generation" in report["rounds"][0]
    assert "generation" not in report["rounds"][1] and "training" not in report["rounds"][1]
    assert report["seconds"] == 5.0 + 10.0 + 4.0 + 5.0


def test_more_than_a_hundred_rounds_stay_in_order(tmp_path):
    run = tmp_path / "long"
    write(run / "config.json", CONFIG | {"rounds": 100})
    for index in (2, 99, 100):
        write(run / f"round_{index:02d}" / "evaluation.json", evaluation(8))
    assert [entry["round"] for entry in build_report(run)["rounds"]] == [2, 99, 100]


def test_a_broken_file_is_named(tmp_path):
    run = finished_run(tmp_path)
    (run / "round_01" / "evaluation.json").write_text("{")
    with pytest.raises(DataError, match=r"round_01/evaluation\.json"):
        build_report(run)


def test_what_is_written_can_be_written_again_and_says_the_same(tmp_path):
    run = finished_run(tmp_path)
    report = write_report(run)
    assert json.loads((run / "report.json").read_text()) == report
    before = {path.name: path.read_bytes() for path in run.iterdir() if path.is_file()}
    assert set(before) == {"config.json", "report.json", "report.md", "rounds.png"}
    assert before["rounds.png"].startswith(b"\x89PNG")
    assert write_report(run) == report
    assert {path.name: path.read_bytes() for path in run.iterdir() if path.is_file()} == before


def test_the_page_holds_what_a_reader_asks_for(tmp_path):
    run = finished_run(tmp_path)
    page = report_text(build_report(run), run)
    rows = [line for line in page.splitlines() if line.startswith("| 2 |")]
    assert "5.0 %" in rows[0] and "100 %" in rows[0]
    for words in (
        "fell from 80 % to 5.0 %", "Self-judged", "rejects: complies", "rejects: unparsed", "`polite`", "previous",
        "-75.0 points", "`round_00/pairs/`", "demo-model", "None.", "rounds.png",
        "prompts.jsonl", "proven (450 of 600 tokens",
    ):  # fmt: skip
        assert words in page, words
    assert "inf" not in page and "nan" not in page


def test_the_table_fits_a_terminal_of_eighty_columns(tmp_path):
    stream = io.StringIO()
    Console(file=stream, width=80).print(rounds_table(build_report(finished_run(tmp_path))))
    text = stream.getvalue()
    assert "80 %" in text and "5.0 %" in text and text.count("100 %") == 6
    assert max(map(len, text.splitlines())) <= 80
    assert "…" not in text


def test_the_headline_claims_a_change_only_where_the_interval_does(tmp_path):
    run = finished_run(tmp_path)
    assert headline(build_report(run)) == "Violations (exact check) fell from 80 % to 5.0 % over 2 rounds"
    write(run / "round_02" / "evaluation.json", evaluation(15, adapter="bbb"))
    assert "did not clearly change" in headline(build_report(run))
    write(run / "round_00" / "evaluation.json", evaluation(3))
    assert "rose from 15 % to 75 %" in headline(build_report(run))


def test_percent_keeps_what_matters_near_the_ends():
    shown = [percent(rate) for rate in (None, 0.0, 0.004, 0.25, 0.996, 1.0)]
    assert shown == ["–", "0 %", "0.4 %", "25 %", "99.6 %", "100 %"]


def test_a_bound_just_below_one_is_no_wider_than_one():
    figures = {"answered_rate": 0.99, "answered_rate_ci": [0.924, 0.9999]}
    assert with_interval(figures, "answered_rate") == "99.0 % (92.4–100)"


@pytest.mark.parametrize("policies, principles", [(1, 1), (4, 4), (11, 30)])
def test_the_picture_is_drawn_for_few_and_many(tmp_path: Path, policies: int, principles: int):
    entries = []
    for index in range(policies):
        figures = evaluation(8)
        rate = {"violation_rate": 0.5, "violation_rate_ci": [0.4, 0.6]}
        figures["per_principle"] = {f"principle-with-a-long-name-{i}": rate for i in range(principles)}
        entries.append({"round": index, "policy": {}, "evaluation": figures})
    path = tmp_path / "rounds.png"
    draw_rounds({"run": "r", "status": "complete", "rounds": entries}, path)
    assert path.stat().st_size > 20_000 and list(tmp_path.iterdir()) == [path]


def test_the_picture_needs_no_critic_and_no_check(tmp_path):
    bare = evaluation(8)
    for name in ("violation_rate", "checked_violation_rate", "answered_rate", "refused_harmful_rate"):
        bare |= {name: None, f"{name}_ci": None}
    bare["per_principle"] = {"kind": {"violation_rate": None, "violation_rate_ci": None}}
    draw_rounds({"run": "r", "status": "unfinished", "rounds": [{"round": 0, "evaluation": bare}]}, tmp_path / "r.png")
    assert (tmp_path / "r.png").stat().st_size > 5_000


def test_labels_are_spread_without_touching_or_changing_order():
    heights = spread([0.0, 0.0, 0.01, 0.5, 0.99, 1.0], 0.06)
    assert all(b - a >= 0.06 - 1e-9 for a, b in pairwise(heights))
    assert heights[0] >= 0.0 and heights[-1] <= 1.0 and heights[3] == 0.5


@pytest.mark.parametrize(
    ("gap", "told"),
    [
        (
            {"before": -41.26, "after": -0.5},
            "Round 1: chosen minus rejected, mean characters: -41.3 before filters, -0.5",
        ),
        ({"before": -3.0, "after": -3.0}, "Round 1: chosen minus rejected, mean characters: -3.0."),
        ({"before": 12.0, "after": None}, "+12.0 before filters, no pair is left."),
    ],
)
def test_the_length_gap_and_what_filters_changed_of_it_are_told(tmp_path, gap, told):
    run = finished_run(tmp_path)
    figures = GENERATED | {"rejects": {"duplicate": 3, "contradictory": 2}, "length_gap": gap}
    write(run / "round_01" / "generate.done.json", marker(figures, 10.0))
    report = build_report(run)
    assert report["rounds"][1]["generation"]["length_gap"] == gap
    text = report_text(report, run)
    assert told in text and "rejects: contradictory" in text and "rejects: duplicate" in text
    assert "Round 0: chosen minus rejected" not in text


def test_pairs_left_out_of_a_training_because_they_contradict_are_told(tmp_path):
    run = finished_run(tmp_path)
    assert "contradict" not in report_text(build_report(run), run)
    write(run / "round_01" / "train.done.json", marker(trained("bbb", contradictory=4), 4.0))
    text = report_text(build_report(run), run)
    assert "Training 1 left out 4 pairs that contradict each other (`round_01/left_out.json`)." in text
    assert "Training 0 left out" not in text
