from __future__ import annotations

import pytest
from pydantic import ValidationError

from trainer.config import USED, TrainConfig


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


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (
            {"method": "sft", "beta": 0.3, "sft_weight": 1.0, "reference": "initial"},
            r"sft, which makes no use of beta \(0.3\), sft_weight \(1.0\), reference \(initial\); leave them out",
        ),
        (
            {"method": "reward", "learning_rate": 1e-3, "lora": {"r": 8}, "reward_gate": {"least_margin": 0}},
            r"method is reward, which makes no use of learning_rate \(0.001\), lora .*, reward_gate .*under reward:",
        ),
        # All that is wrong at once.
        (
            {"method": "sft", "beta": 0.3, "pairs_per_step": 10, "start_from": "initial", "pairs": "this_round"},
            r"no use of beta .*expected pairs: all_rounds.*expected the first to be a multiple",
        ),
    ],
)
def test_settings_that_mean_nothing_under_a_method_are_refused_all_at_once(settings, words):
    with pytest.raises(ValidationError, match=words):
        TrainConfig.model_validate(settings)


def test_what_a_method_uses_is_a_setting_and_what_is_at_its_default_is_as_good_as_unset():
    assert USED.keys() == {"sft", "reward"} and all(used <= TrainConfig.model_fields.keys() for used in USED.values())
    assert TrainConfig.model_validate({"method": "sft", "beta": 0.1, "learning_rate": 1e-3, "lora": {"r": 8}})
    assert TrainConfig.model_validate({"method": "reward", "max_tokens": 99, "pairs_from": ["a.jsonl"]})
    written = TrainConfig(method="sft").model_dump(mode="json")
    assert TrainConfig.model_validate(written) == TrainConfig(method="sft"), "as config.json holds it"
