"""Labels that are probabilities: the loss of cDPO with each pair's own, and which way it moves the policy."""

from __future__ import annotations

import math

import pytest

from records.errors import DataError
from tests.trainer.loss_oracle import answers_of, log_loss, surprise
from tests.trainer.oracle import load_policy
from tests.trainer.tiny import build_tokenizer, row, rows_preferring
from tests.trainer.training import mean_preference, read_log, train, write_pairs
from trainer.data import load_pairs
from trainer.model import load_tokenizer

PROBABILITIES = (0.9, 0.6, None, 0.5, 0.25, 1.0)
ROWS = [
    row(f"say {index}", "a" * (index + 1), "b" * (5 - index) + "c", id=str(index), preference_probability=probability)
    for index, probability in enumerate(PROBABILITIES)
]
ONE_BATCH = {"pairs_per_step": 6, "pairs_per_micro_batch": 6, "max_steps": 1, "reference": "initial"}


@pytest.mark.model
@pytest.mark.parametrize("settings", [{}, {"sft_weight": 0.7}, {"losses": {"sigmoid": 2.0}}, {"ld_alpha": 0.3}])
def test_a_pair_counts_p_for_its_label_and_the_rest_for_the_opposite_one(tiny, policies, tmp_path, settings):
    """p L(chosen over rejected) + (1 - p) L(rejected over chosen), from raw logits; without a probability p is 1."""
    earlier = {"previous": policies["previous"], "initial": policies["initial"]}
    validation = [{**held, "id": f"v{held['id']}", "split": "validation"} for held in ROWS]
    figures = train(
        tiny, tmp_path / "round_01", [*ROWS, *validation], **earlier, **(ONE_BATCH | {"soft_labels": True} | settings)
    )
    start, reference = (load_policy(tiny, policies[name]) for name in ("previous", "initial"))
    path = write_pairs(tmp_path / "rows.jsonl", ROWS)
    answers = [answers_of(start, reference, one) for one in load_pairs([path], load_tokenizer(str(tiny)), 256).train]
    alpha = settings.get("ld_alpha", 1.0)
    margins = [0.1 * (chosen.ratio(rejected, alpha) - rejected.ratio(chosen, alpha)) for chosen, rejected in answers]
    labels = [1.0 if one is None else one for one in PROBABILITIES]
    losses = [p * log_loss(m) + (1 - p) * log_loss(-m) for p, m in zip(labels, margins, strict=True)]
    expected = settings.get("losses", {}).get("sigmoid", 1.0) * sum(losses) / 6
    expected += settings.get("sft_weight", 0.0) * surprise(answers)
    assert figures["first_loss"] == pytest.approx(expected, rel=1e-4)
    assert figures["first_eval_loss"] == pytest.approx(expected, rel=1e-4), (
        "the evaluation's loss is of the same labels"
    )
    assert figures["with_probability"] == 5 and figures["pairs"] == 6


@pytest.mark.model
def test_the_gradient_follows_the_probability(tiny, tmp_path):
    """Above one half the policy moves towards the chosen answers, below away from them, at one half it stays."""
    base = mean_preference(tiny, None, rows_preferring("a", "b"))
    moved = {}
    for probability in (0.9, 0.5, 0.1):
        rows = [{**held, "preference_probability": probability} for held in rows_preferring("a", "b", validation=0)]
        train(tiny, tmp_path / str(probability), rows, soft_labels=True)
        moved[probability] = mean_preference(tiny, tmp_path / str(probability) / "adapter", rows) - base
    assert moved[0.9] > 1 and moved[0.1] < -1 and abs(moved[0.5]) < 0.5


@pytest.mark.model
def test_certain_labels_train_as_if_they_were_not_asked_for(tiny, tmp_path):
    rows = rows_preferring("a", "b", count=12, validation=3)
    certain = [{**held, "preference_probability": 1.0} for held in rows]
    logs = []
    for name, held, soft in (("plain", rows, False), ("soft", certain, True), ("none", rows, True)):
        figures = train(tiny, tmp_path / name, held, soft_labels=soft)
        assert figures.get("with_probability") == {"plain": None, "soft": 9, "none": 0}[name]
        logs.append(read_log(tmp_path / name))
    assert logs[0][1]["loss"] == pytest.approx(math.log(2), abs=1e-5)
    for other in logs[1:]:
        assert [line.get("loss") for line in other] == pytest.approx([line.get("loss") for line in logs[0]], abs=1e-5)


def test_what_is_no_probability_is_refused_with_its_row_where_labels_are_soft(write_rows):
    path = write_rows([row("a", "b", "c", preference_probability=value) for value in (0.4, "high", None, 1.2, True)])
    tokenizer = build_tokenizer()
    assert [pair.probability for pair in load_pairs([path], tokenizer, 100).train] == [None] * 5
    with pytest.raises(
        DataError, match="row 2: preference_probability is 'high'; expected a number from 0 to 1"
    ) as told:
        load_pairs([path], tokenizer, 100, soft_labels=True)
    assert "row 4: preference_probability is 1.2" in str(told.value) and "row 5" in str(told.value)
