from __future__ import annotations

import pytest
from pydantic import ValidationError

from trainer.config import TrainConfig


def test_defaults_are_previous_against_previous_on_this_rounds_pairs():
    config = TrainConfig()
    assert (config.start_from, config.reference, config.uses_all_rounds) == ("previous", "previous", False)
    assert (config.beta, config.lora.r, config.lora.alpha, config.learning_rate) == (0.1, 16, 32, 5e-6)


@pytest.mark.parametrize(
    ("start_from", "pairs", "all_rounds"),
    [
        ("previous", None, False),
        ("previous", "all_rounds", True),
        ("initial", None, True),
        ("initial", "all_rounds", True),
    ],
)
def test_pairs_follow_from_the_start_unless_said(start_from, pairs, all_rounds):
    assert TrainConfig(start_from=start_from, pairs=pairs).uses_all_rounds is all_rounds


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"start_from": "initial", "pairs": "this_round"}, "expected pairs: all_rounds"),
        ({"pairs_per_step": 10, "pairs_per_micro_batch": 4}, "expected the first to be a multiple"),
        ({"lora": {"r": 12}}, "r is 12; expected one of 1, 8, 16, 32"),
        ({"lora": {"targets": []}}, "targets is empty"),
        ({"beta": 0.0}, "greater than 0"),
        ({"beta": -0.1}, "greater than 0"),
        ({"reference": "last"}, "'base', 'initial' or 'previous'"),
        ({"learning_rte": 1e-4}, "Extra inputs"),
    ],
)
def test_settings_that_cannot_be_meant_are_refused(settings, words):
    with pytest.raises(ValidationError, match=words):
        TrainConfig.model_validate(settings)
