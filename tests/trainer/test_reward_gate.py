"""Which pairs a gate by rewards leaves for training, without any model."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from records.errors import DataError
from records.rewards import RewardRow
from records.store import RowStore
from trainer.config import RewardGate
from trainer.data import EncodedPair, PairSet
from trainer.reward_gate import apply_gate

MARGINS = {"a": 2.0, "b": -1.0, "c": 0.0, "d": 0.5, "e": 0.5}


def pairs(ids: str) -> tuple[EncodedPair, ...]:
    return tuple(EncodedPair(id, [1], [2], [3]) for id in ids)


@pytest.fixture
def rewards(tmp_path):
    """A folder of rewards as the stage writes it."""
    store = RowStore(tmp_path / "rewards")
    for id, margin in MARGINS.items():
        store.append(
            RewardRow(
                id=id, split="train", chosen_reward=margin, rejected_reward=0.0, margin=margin, seen=False,
                reward_model="digest",
            )
        )  # fmt: skip
    store.close()
    return tmp_path / "rewards"


@pytest.mark.parametrize(
    ("gate", "kept"),
    [
        ({"least_margin": 0.0}, "acde"),
        ({"least_margin": 0.5}, "ade"),
        ({"least_margin": -5}, "abcde"),
        ({"keep_share": 1.0}, "abcde"),
        ({"keep_share": 0.8}, "acde"),
        # Of equal margins the smaller id stays; a share of a pair is a whole one.
        ({"keep_share": 0.4}, "ad"),
        ({"keep_share": 0.01}, "a"),
    ],
)
def test_what_stays_keeps_its_order_and_what_goes_is_listed(rewards, gate, kept):
    found = apply_gate(PairSet(pairs("abcde"), pairs("vw")), RewardGate(**gate), rewards)
    assert "".join(pair.id for pair in found.train) == kept
    assert found.low_reward == tuple(id for id in "abcde" if id not in kept)
    assert found.validation == pairs("vw"), "validation pairs stay, rewarded or not"
    assert found.left_out.get("low_reward", ()) == found.low_reward


def test_pairs_without_a_reward_are_refused_and_counted(rewards):
    with pytest.raises(DataError, match=r"no reward for 2 of 3 pairs \(x, y\); expected one for each.*--redo reward@"):
        apply_gate(PairSet(pairs("axy"), ()), RewardGate(least_margin=0.0), rewards)


def test_a_gate_that_leaves_nothing_says_how_low_it_would_have_to_be(rewards):
    with pytest.raises(DataError, match=r"leaves none of 2 pairs: the largest margin is 0\.5\. Lower least_margin"):
        apply_gate(PairSet(pairs("bd"), ()), RewardGate(least_margin=1.0), rewards)


@pytest.mark.parametrize("settings", [{}, {"least_margin": 0.0, "keep_share": 0.5}, {"keep_share": 0.0}])
def test_a_gate_is_one_of_two_settings(settings):
    with pytest.raises(ValidationError):
        RewardGate.model_validate(settings)
