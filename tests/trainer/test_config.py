from __future__ import annotations

import pytest
from pydantic import ValidationError

from trainer.config import USED, TrainConfig
from trainer.loss_config import loss_weights


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
        ({"losses": {}}, "at least 1"),
        ({"losses": {"sigmoid": 0.0}}, "greater than 0"),
        ({"losses": {"dpo": 1.0}}, "'sigmoid', 'hinge'"),
        ({"losses": {"sft": 1.0}}, "names sft alone, which prefers nothing"),
        ({"losses": {"sigmoid": 1.0, "sft": 1.0}, "sft_weight": 1.0}, "sft_weight and losses.sft are both given"),
        ({"label_smoothing": 0.1}, "none of the losses sigmoid knows it; expected 0, or one of robust, exo_pair"),
        ({"losses": {"robust": 1.0}, "label_smoothing": 0.5}, "less than 0.5"),
        ({"losses": {"exo_pair": 1.0}}, "exo_pair needs label_smoothing above 0"),
        ({"losses": {"ipo": 1.0}, "soft_labels": True}, "soft_labels is defined for sigmoid; found losses ipo"),
        ({"losses": {"sigmoid": 1.0, "ipo": 1.0}, "soft_labels": True}, "found losses sigmoid, ipo"),
        ({"soft_labels": True, "use_weighting": True}, "each weigh the pairs"),
        ({"soft_labels": True, "f_divergence": "forward_kl"}, "defined for f_divergence: reverse_kl"),
        ({"losses": {"sigmoid_norm": 1.0}, "ld_alpha": 0.5}, "sigmoid_norm is a mean over an answer's tokens"),
        ({"ld_alpha": 1.5}, "less than or equal to 1"),
        ({"losses": {"apo_zero": 1.0}, "f_divergence": "forward_kl"}, "apo_zero is not defined for f_divergence"),
        ({"losses": {"ipo": 1.0}, "f_divergence": "forward_kl"}, "ipo is not defined for f_divergence"),
        ({"f_alpha": 0.3}, "f_alpha is 0.3 with f_divergence: reverse_kl; expected alpha_divergence"),
        ({"use_weighting": True, "sft_weight": 1.0}, "is a mean over tokens of all of them; expected one"),
        ({"losses": {"aot": 1.0}, "use_weighting": True}, "which aot takes apart"),
        ({"losses": {"hinge": 1.0}, "use_weighting": True}, "use_weighting cannot be had with hinge"),
        ({"losses": {"aot_unpaired": 1.0}, "pairs_per_micro_batch": 1}, "sorted rewards of a micro-batch"),
        ({"discopop_tau": 0.1}, "discopop is not among the losses sigmoid"),
        ({"pairs_from": [{"path": "a", "weight": 0.5}, {"path": "b", "weight": 0.5}]}, "the weights add up to 1"),
        ({"pairs_from": ["a", {"path": "a", "weight": 0.5}]}, "pairs_from names a twice"),
        ({"pairs_from": [{"path": "a", "weight": 1.0}]}, "less than 1"),
        ({"checkpoint_every": 0}, "greater than or equal to 1"),
    ],
)
def test_losses_labels_and_sources_that_mean_nothing_are_refused(settings, words):
    with pytest.raises(ValidationError, match=words):
        TrainConfig.model_validate(settings)


def test_all_that_is_wrong_with_losses_and_sources_is_told_at_once():
    wrong = {"losses": {"apo_zero": 1.0}, "label_smoothing": 0.1, "soft_labels": True, "f_divergence": "forward_kl"}
    with pytest.raises(ValidationError) as told:
        TrainConfig.model_validate({**wrong, "discopop_tau": 1.0, "pairs_from": ["a", "a"]})
    for words in (
        "label_smoothing is 0.1",
        "soft_labels is defined",
        "apo_zero is not",
        "discopop_tau",
        "names a twice",
    ):
        assert words in str(told.value)


@pytest.mark.parametrize(
    "settings",
    [
        {"losses": {"robust": 1.0, "sigmoid": 0.5}, "label_smoothing": 0.1},
        {"losses": {"sigmoid": 0.8, "bco_pair": 0.2}, "sft_weight": 1.0, "ld_alpha": 0.5},
        {"soft_labels": True, "sft_weight": 1.0, "ld_alpha": 0.5},
        {"losses": {"hinge": 1.0}, "f_divergence": "alpha_divergence", "f_alpha": 0.3},
        {"losses": {"apo_zero": 1.0}, "use_weighting": True},
        {"pairs_from": ["a", {"path": "b", "weight": 0.5, "repeat": True}]},
    ],
)
def test_combinations_that_mean_something_are_taken(settings):
    assert TrainConfig.model_validate(settings)


def test_plain_dpo_is_the_default():
    assert loss_weights(TrainConfig(), 0.0) == {"sigmoid": 1.0}
    assert loss_weights(TrainConfig(), 0.5) == {"sigmoid": 1.0, "sft": 0.5}


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
