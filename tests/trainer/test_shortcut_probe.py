"""The shortcut probe on a real model: its scores are those of plain torch, and it changes no training."""

from __future__ import annotations

import io
import json

import pytest

from tests.trainer.oracle import load_policy, token_logps
from tests.trainer.tiny import row
from tests.trainer.training import FAST, step_figures, train, write_pairs
from trainer.config import TrainConfig
from trainer.data import load_pairs
from trainer.dpo import TrainJob, train_dpo
from trainer.model import load_tokenizer
from trainer.shortcut_probe import draw, probe_texts

pytestmark = pytest.mark.model

# The longer answer is chosen, nearly always; refusals stand among the rejected.
ROWS = [
    row(f"say {number}", "yes " * (number % 5 + 3), "I cannot help." if number % 4 == 0 else "no", id=str(number))
    for number in range(40)
]


@pytest.fixture(scope="module")
def probed(tiny, policies, tmp_path_factory):
    """A round drafted by another policy than the base, and the words that were shown."""
    folder = tmp_path_factory.mktemp("probed")
    (folder / "round_01").mkdir()
    job = TrainJob(
        model=str(tiny),
        pairs=(write_pairs(folder / "pairs.jsonl", ROWS),),
        round_folder=folder / "round_01",
        config=TrainConfig.model_validate(FAST | {"epochs": 1, "shortcut_pairs": 12}),
        previous_adapter=policies["previous"],
        stream=io.StringIO(),
    )
    return folder, train_dpo(job), job.stream.getvalue()


def test_what_is_planted_is_in_the_figures_before_the_training_begins(probed):
    _, report, told = probed
    found = report["shortcuts"]
    assert (found["pairs"], found["scored_pairs"]) == (40, 12) and found["seconds"] > 0
    assert (found["length_auc"], found["rejected_refused_rate"], found["chosen_refused_rate"]) == (0.95, 0.25, 0.0)
    assert found["words_auc"] == 1.0 and "yes" in found["chosen_words"]
    assert "shortcut_length" in [alarm["name"] for alarm in report["alarms"]]
    assert told.index("alarm: the longer answer is the chosen one in 95%") < told.index("train round_01:")
    assert json.loads(json.dumps(found)) == found


def test_the_scores_are_means_of_plain_torch_under_base_and_policy(probed, tiny, policies):
    folder, report, _ = probed
    pairs = load_pairs([folder / "pairs.jsonl"], load_tokenizer(str(tiny)), 256).train
    drawn = [pairs[place] for place in draw(40, 12, seed=0)]
    means = {}
    for name in ("base", "previous"):
        policy = load_policy(tiny, policies[name])
        means[name] = [
            [sum(logps) / len(logps) for ids in (pair.chosen_ids, pair.rejected_ids)
             if (logps := token_logps(policy, pair.prompt_ids, ids))]
            for pair in drawn
        ]  # fmt: skip

    def auc(values: list[list[float]]) -> float:
        return round(sum(chosen > rejected for chosen, rejected in values) / len(values), 4)

    found = report["shortcuts"]
    assert found["base_logp_auc"] == auc(means["base"])
    assert found["policy_logp_auc"] == auc(means["previous"])
    gaps = [[base[side] - policy[side] for side in (0, 1)] for base, policy in zip(*means.values(), strict=True)]
    assert found["base_over_policy_auc"] == auc(gaps)


def test_the_probe_changes_no_training_and_can_be_switched_off(tiny, policies, tmp_path):
    rows, settings = ROWS[:12], {"epochs": 1, "previous": policies["previous"], "reference": "base"}
    reports = [train(tiny, tmp_path / str(most), rows, shortcut_pairs=most, **settings) for most in (0, 256)]
    assert "shortcuts" not in reports[0] and reports[0]["alarms"] == []
    assert reports[1]["shortcuts"]["scored_pairs"] == 12
    assert step_figures(tmp_path / "0") == pytest.approx(step_figures(tmp_path / "256"), abs=1e-6)


def test_a_policy_that_is_the_base_is_scored_once(tiny, tmp_path):
    report = train(tiny, tmp_path / "round_00", ROWS[:6], epochs=1)
    assert {name for name in report["shortcuts"] if name.endswith("_auc")} == {
        "length_auc",
        "words_auc",
        "base_logp_auc",
    }


def test_a_draw_of_few_is_among_a_draw_of_more_and_of_many_pairs_some_are_looked_at(tiny, tmp_path):
    assert set(draw(5000, 50, seed=1)) < set(draw(5000, 400, seed=1)) and draw(3, 9, seed=1) == [0, 1, 2]
    rows = [row(f"say {number}", "yes", "no", id=str(number)) for number in range(1100)]
    tokenizer = load_tokenizer(str(tiny))
    pairs = load_pairs([write_pairs(tmp_path / "many.jsonl", rows)], tokenizer, 256).train
    assert probe_texts(pairs, tokenizer, seed=0)["pairs"] == 1000
