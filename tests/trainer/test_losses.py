"""Every loss of `train.losses`: its value against the equation of its paper, and that it teaches the preference."""

from __future__ import annotations

from typing import get_args

import pytest

from tests.trainer.loss_oracle import answers_of, batch_loss, surprise
from tests.trainer.oracle import load_policy
from tests.trainer.tiny import row
from tests.trainer.training import read_log, train, write_pairs
from trainer.data import load_pairs
from trainer.loss_config import SORTING, LossName
from trainer.model import load_tokenizer

pytestmark = pytest.mark.model

# Answers of many lengths, the chosen ones not always the longer.
ROWS = [
    row("q" * (index % 3 + 1) + str(index), "a" * (index + 1) + "y", "b" * (7 - index) + "n", id=f"pair-{index}")
    for index in range(6)
]
ONE_BATCH = {"pairs_per_step": 6, "pairs_per_micro_batch": 6, "schedule": "constant", "warm_up_share": 0.0}
SMOOTHING = {"robust": 0.1, "exo_pair": 0.01, "aot": 0.1, "aot_unpaired": 0.1}
NAMES = [name for name in get_args(LossName) if name != "sft"]


@pytest.fixture(scope="module")
def answers(tiny, policies, tmp_path_factory):
    """The answers of all pairs under the policy that training starts from and under the reference."""
    path = write_pairs(tmp_path_factory.mktemp("answers") / "rows.jsonl", ROWS)
    pairs = load_pairs([path], load_tokenizer(str(tiny)), 256).train
    start, reference = (load_policy(tiny, policies[name]) for name in ("previous", "initial"))
    found = [answers_of(start, reference, pair) for pair in pairs]
    # The two policies differ by so much that no two equations agree by chance.
    assert max(abs(chosen.ratio(rejected)) for chosen, rejected in found) > 1.0
    return found


def trained(tiny, policies, folder, **settings) -> dict:
    """A training from one policy against another: its first loss is that of two known policies."""
    earlier = {"previous": policies["previous"], "initial": policies["initial"], "reference": "initial"}
    return train(tiny, folder / "round_01", ROWS, **earlier, **(ONE_BATCH | {"max_steps": 1} | settings))


@pytest.mark.parametrize("name", NAMES)
def test_a_loss_has_its_papers_value_and_teaches_the_preference(tiny, policies, answers, tmp_path, name):
    eps = SMOOTHING.get(name, 0.0)
    settings = {"losses": {name: 1.0}, "beta": 0.3, "label_smoothing": eps, "max_steps": 8, "epochs": 8}
    figures = trained(tiny, policies, tmp_path, **settings)
    assert figures["first_loss"] == pytest.approx(batch_loss(name, answers, 0.3, eps=eps), rel=1e-4, abs=1e-5)
    steps = read_log(tmp_path / "round_01")
    assert len(steps) == 8 and steps[-1]["rewards/margins"] > steps[0]["rewards/margins"] + 0.01
    assert steps[-1]["loss"] < steps[0]["loss"]
    assert figures["losses"] == {name: 1.0}


def test_several_losses_add_up_by_their_weights(tiny, policies, answers, tmp_path):
    settings = {"losses": {"sigmoid": 0.8, "bco_pair": 0.2, "discopop": 0.5}, "sft_weight": 1.5, "discopop_tau": 0.2}
    figures = trained(tiny, policies, tmp_path, **settings)
    terms = [0.8 * batch_loss("sigmoid", answers, 0.1), 0.2 * batch_loss("bco_pair", answers, 0.1)]
    terms += [0.5 * batch_loss("discopop", answers, 0.1, tau=0.2), 1.5 * surprise(answers)]
    assert figures["first_loss"] == pytest.approx(sum(terms), rel=1e-4)
    assert figures["losses"] == {"sigmoid": 0.8, "bco_pair": 0.2, "discopop": 0.5, "sft": 1.5}


def test_sft_by_name_is_the_same_term_as_sft_weight(tiny, policies, tmp_path):
    named = trained(tiny, policies, tmp_path / "named", losses={"sigmoid": 1.0, "sft": 1.5})
    weighted = trained(tiny, policies, tmp_path / "weighted", sft_weight=1.5)
    assert named["first_loss"] == weighted["first_loss"] and named["losses"] == weighted["losses"]


@pytest.mark.parametrize("alpha", [0.0, 0.4, 1.0])
def test_length_desensitised_sums_count_alike_for_policy_and_reference(tiny, policies, answers, tmp_path, alpha):
    figures = trained(tiny, policies, tmp_path, ld_alpha=alpha, beta=0.3)
    expected = batch_loss("sigmoid", answers, 0.3, ld_alpha=alpha)
    assert figures["first_loss"] == pytest.approx(expected, rel=1e-4)
    assert abs(expected - batch_loss("sigmoid", answers, 0.3)) > 1e-3 or alpha == 1.0


@pytest.mark.parametrize("name", [name for name in NAMES if name not in (*SORTING, "hinge")])
def test_pairs_weigh_what_the_policy_makes_of_both_answers(tiny, policies, answers, tmp_path, name):
    eps = SMOOTHING.get(name, 0.0)
    figures = trained(tiny, policies, tmp_path, losses={name: 1.0}, label_smoothing=eps, use_weighting=True)
    expected = batch_loss(name, answers, 0.1, eps=eps, weighted=True)
    assert figures["first_loss"] == pytest.approx(expected, rel=1e-3)
    assert expected != pytest.approx(batch_loss(name, answers, 0.1, eps=eps), rel=0.05)


@pytest.mark.parametrize("name", ["sigmoid", "hinge"])
@pytest.mark.parametrize(
    "divergence", [("forward_kl", 0.5), ("js_divergence", 0.5), ("alpha_divergence", 0.3), ("alpha_divergence", 0.7)]
)
def test_other_divergences_are_those_of_the_paper(tiny, policies, answers, tmp_path, name, divergence):
    settings = {"losses": {name: 1.0}, "f_divergence": divergence[0], "f_alpha": divergence[1], "beta": 0.3}
    figures = trained(tiny, policies, tmp_path, **settings)
    expected = batch_loss(name, answers, 0.3, divergence=divergence)
    assert figures["first_loss"] == pytest.approx(expected, rel=1e-4)
    assert expected != pytest.approx(batch_loss(name, answers, 0.3), rel=1e-3)
