"""What is planted is found, what is exchangeable is not, and a warning says how to get out of it."""

from __future__ import annotations

import numpy as np
import pytest

from records.refusals import refuses
from trainer.shortcut_alarms import SHORTCUTS, shortcut_alarms
from trainer.shortcuts import Answers, find_shortcuts, fit_preference, folds, word_differences

WORDS = np.array([f"word{number}" for number in range(200)])
SHARES = 1 / np.arange(1, 201)


def text(rng: np.random.Generator, length: int, words: int = 200) -> str:
    """Words at the shares of a language: few are frequent, most are rare."""
    shares = SHARES[:words] / SHARES[:words].sum()
    return " ".join(rng.choice(WORDS[:words], length, p=shares))


def pair(rng: np.random.Generator, prompt: str, begin: str = "", *, chosen: int = 0, rejected: int = 0) -> Answers:
    """Two texts drawn alike, but for what stands at the beginning of the chosen one and for lengths that are given."""
    first, second = (length or int(rng.integers(10, 40)) for length in (chosen, rejected))
    return Answers(prompt, f"{begin} {text(rng, first)}", text(rng, second), first, second)


def alarms(figures: dict) -> list[str]:
    return [alarm["name"] for alarm in shortcut_alarms(figures)]


@pytest.mark.parametrize(("more", "auc", "words"), [(1, 1.0, "the longer answer"), (-1, 0.0, "the shorter answer")])
def test_a_planted_difference_in_length_is_found_within_prompts_of_all_lengths(more: int, auc: float, words: str):
    rng = np.random.default_rng(0)
    pairs = []
    for number in range(60):
        length = int(rng.integers(20, 400))
        pairs.append(pair(rng, str(number), chosen=length + more * max(1, length // 10), rejected=length))
    # Over all answers, chosen and rejected, length would tell next to nothing.
    over_all = np.mean([one.chosen_tokens > other.rejected_tokens for one in pairs for other in pairs])
    assert abs(over_all - 0.5) < 0.1
    figures = find_shortcuts(pairs, {}, seed=0)
    assert figures["length_auc"] == auc
    assert figures["length_auc_ci"][0] > 0.9 or figures["length_auc_ci"][1] < 0.1
    (alarm,) = [alarm for alarm in shortcut_alarms(figures) if alarm["name"] == "shortcut_length"]
    assert alarm["message"].startswith(f"{words} is the chosen one in 100% of the pairs (9")
    assert "generate.filters.length_balance" in alarm["message"]


def test_a_set_phrase_is_found_and_named():
    rng = np.random.default_rng(1)
    pairs = [pair(rng, str(number), "Gladly, dear" if rng.random() < 0.9 else "") for number in range(150)]
    figures = find_shortcuts(pairs, {}, seed=0)
    assert figures["words_auc"] > 0.9 and figures["words_auc_ci"][0] > 0.85
    assert set(figures["chosen_words"][:2]) == {"gladly", "dear"}
    (alarm,) = shortcut_alarms(figures)
    assert alarm["name"] == "shortcut_words"
    for words in ("gladly", "generate.reviser: policy", "generate.strategy: best_of_n"):
        assert words in alarm["message"]


def test_words_are_fitted_on_other_prompts_than_they_are_measured_on():
    """Every prompt has a word of its own in all its chosen answers: by heart all pairs are told, by rule none."""
    rng = np.random.default_rng(2)
    pairs = [pair(rng, str(number), f"secret{number}", chosen=3, rejected=3) for number in range(40) for _ in range(6)]
    _, differences = word_differences(pairs)
    by_heart = differences @ fit_preference(differences)
    assert (by_heart > 0).mean() > 0.95
    assert abs(find_shortcuts(pairs, {}, seed=0)["words_auc"] - 0.5) < 0.1


def test_whose_voice_it_is_is_found_by_scores_of_some_of_the_pairs():
    rng = np.random.default_rng(3)
    pairs = [pair(rng, str(number)) for number in range(80)]
    base = {place: (-1.0 + rng.normal(0, 0.2), -2.0 + rng.normal(0, 0.2)) for place in range(0, 80, 2)}
    policy = {place: (rng.normal(), rng.normal()) for place in base}
    figures = find_shortcuts(pairs, {"base_logp": base, "policy_logp": policy}, seed=0)
    assert figures["base_logp_auc"] > 0.95
    low, high = figures["policy_logp_auc_ci"]
    assert low < 0.5 < high
    assert alarms(figures) == ["shortcut_base_logp"]


SIMULATIONS = 120


def test_on_exchangeable_texts_nothing_is_found():
    covered = dict.fromkeys(("length_auc", "words_auc", "base_logp_auc"), 0)
    warned = 0
    for seed in range(SIMULATIONS):
        rng = np.random.default_rng(seed)
        # Some prompts have two pairs.
        pairs = [
            Answers(str(number % 45), text(rng, first, 40), text(rng, second, 40), first, second)
            for number, (first, second) in enumerate(rng.integers(5, 25, size=(60, 2)).tolist())
        ]
        figures = find_shortcuts(pairs, {"base_logp": {at: tuple(rng.normal(size=2)) for at in range(60)}}, seed)
        for name in covered:
            low, high = figures[f"{name}_ci"]
            covered[name] += low <= 0.5 <= high
        warned += bool(alarms(figures))
    assert {name: count / SIMULATIONS >= 0.93 for name, count in covered.items()} == dict.fromkeys(covered, True), (
        covered
    )
    assert warned == 0


def test_equal_lengths_and_equal_scores_tell_nothing():
    rng = np.random.default_rng(4)
    pairs = [pair(rng, str(number), chosen=20, rejected=20) for number in range(30)]
    figures = find_shortcuts(pairs, {"base_logp": dict.fromkeys(range(30), (-1.0, -1.0))}, seed=0)
    assert figures["length_auc"] == figures["base_logp_auc"] == 0.5


def test_one_prompt_alone_has_no_words_to_fit():
    rng = np.random.default_rng(5)
    figures = find_shortcuts([pair(rng, "one") for _ in range(4)], {}, seed=0)
    assert "words_auc" not in figures and "length_auc" in figures


def test_refusals_are_counted_on_both_sides():
    rng = np.random.default_rng(6)
    refusal = "I'm sorry, but I can't help with that."
    pairs = [
        Answers(str(number), refusal if number < 45 else text(rng, 9), refusal if number < 5 else text(rng, 9), 9, 9)
        for number in range(50)
    ]
    figures = find_shortcuts(pairs, {}, seed=0)
    assert refuses(refusal)
    assert (figures["chosen_refused_rate"], figures["rejected_refused_rate"]) == (0.9, 0.1)
    low, high = figures["chosen_refused_rate_ci"]
    assert 0.75 < low < 0.9 < high < 0.97
    (alarm,) = [alarm for alarm in shortcut_alarms(figures) if alarm["name"] == "shortcut_refusals"]
    assert "90% of the chosen answers refuse, and 10% of the rejected" in alarm["message"]
    assert "generate.judge: {at_least: tie}" in alarm["message"]


QUIET = {"length_auc": 0.5, "length_auc_ci": [0.4, 0.6], "chosen_refused_rate": 0.0, "rejected_refused_rate": 0.0}


@pytest.mark.parametrize(
    ("figures", "names"),
    [
        ({}, []),
        (QUIET, []),
        # The whole interval has to lie beyond the threshold.
        (QUIET | {"length_auc": 0.9, "length_auc_ci": [0.7, 0.98]}, []),
        (QUIET | {"length_auc": 0.9, "length_auc_ci": [0.8, 0.98]}, ["shortcut_length"]),
        (QUIET | {"length_auc": 0.1, "length_auc_ci": [0.02, 0.2]}, ["shortcut_length"]),
        (QUIET | {"policy_logp_auc": 0.02, "policy_logp_auc_ci": [0.0, 0.1]}, ["shortcut_policy_logp"]),
        (QUIET | {"base_over_policy_auc": 0.98, "base_over_policy_auc_ci": [0.9, 1.0]}, ["shortcut_base_over_policy"]),
        # What earlier rounds taught is no shortcut.
        (QUIET | {"base_over_policy_auc": 0.02, "base_over_policy_auc_ci": [0.0, 0.1]}, []),
        # Words that would be wrong about nearly all pairs are not a rule that anything follows.
        (QUIET | {"words_auc": 0.02, "words_auc_ci": [0.0, 0.1]}, []),
        # Refusals on both sides alike teach nothing.
        (
            {"chosen_refused_rate": 0.9, "chosen_refused_rate_ci": [0.8, 0.95],
             "rejected_refused_rate": 0.9, "rejected_refused_rate_ci": [0.8, 0.95]},
            [],
        ),
    ],
)  # fmt: skip
def test_a_warning_needs_its_whole_interval_beyond_a_named_threshold(figures, names):
    assert alarms(figures) == names
    assert all(0.5 < shortcut.threshold < 1 for shortcut in SHORTCUTS.values())


def test_the_fit_is_the_optimum_and_swapped_sides_swap_it():
    from scipy.optimize import minimize

    rng = np.random.default_rng(7)
    differences = rng.integers(-1, 2, size=(50, 8)).astype(float)

    def loss(weights: np.ndarray) -> float:
        return float(np.logaddexp(0, -differences @ weights).sum() + weights @ weights)

    best = minimize(loss, np.zeros(8), options={"gtol": 1e-8}).x
    assert fit_preference(differences, strength=2.0) == pytest.approx(best, abs=1e-4)
    assert fit_preference(-differences) == pytest.approx(-fit_preference(differences))


def test_texts_told_apart_at_once_are_fitted_without_overflow():
    weights = fit_preference(np.ones((500, 1)) * 40.0)
    assert np.isfinite(weights).all() and weights[0] > 0


def test_folds_keep_prompts_together_and_are_even():
    prompts = [str(number % 23) for number in range(100)]
    fold_of = folds(prompts, seed=3)
    for prompt in set(prompts):
        assert len({fold for one, fold in zip(prompts, fold_of, strict=True) if one == prompt}) == 1
    assert sorted(np.bincount([fold_of[prompts.index(prompt)] for prompt in set(prompts)])) == [4, 4, 5, 5, 5]
    assert folds(prompts, seed=3).tolist() == fold_of.tolist() != folds(prompts, seed=4).tolist()
