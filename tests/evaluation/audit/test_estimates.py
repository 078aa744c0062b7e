"""The statistics of an audit against those they are carried over from, against brute force, and against books."""

from __future__ import annotations

import numpy as np
import pytest

from evaluation.audit.association import agreement, beyond_others, chance_positive, effects
from evaluation.audit.estimates import (
    by_prompt,
    chance_above,
    chance_below,
    corrected,
    difference,
    discoveries,
    rates,
)
from records.intervals import rate_by_prompt


def drafts(seed: int, prompts: int = 60, rate: float = 0.3) -> tuple[np.ndarray, np.ndarray]:
    source = np.random.default_rng(seed)
    trials = source.integers(0, 5, prompts)
    return source.binomial(trials, np.clip(source.normal(rate, 0.2, prompts), 0, 1)), trials


@pytest.mark.parametrize("rate", [0.0, 0.1, 0.5, 1.0])
def test_rates_are_those_of_evaluation(rate):
    columns = [drafts(seed, rate=rate) for seed in range(4)]
    hits, trials = (np.stack(part, axis=1) for part in zip(*columns, strict=True))
    found = rates(hits, trials)
    for column in range(4):
        outcomes = {
            str(prompt): [True] * int(hits[prompt, column])
            + [False] * int(trials[prompt, column] - hits[prompt, column])
            for prompt in range(len(hits))
        }
        wanted = rate_by_prompt(outcomes)
        told = found.told(column)
        assert told["rate"] == pytest.approx(wanted.rate) and told["ci"] == pytest.approx(wanted.interval)
        assert (told["prompts"], told["n"]) == (wanted.prompts, wanted.drafts)


def test_nothing_tried_is_told_as_nothing_and_proves_nothing():
    none = rates(np.zeros((5, 1)), np.zeros((5, 1)))
    assert none.told(0) is None and chance_below(none, 0.5) == chance_above(none, 0.5) == 1


def test_the_exact_tests_are_those_of_scipy_where_trials_are_independent():
    from scipy.stats import binomtest

    found = rates(np.r_[np.ones(7), np.zeros(93)][:, None], np.ones((100, 1)))
    assert found.effective[0] == 100
    assert chance_below(found, 0.15)[0] == pytest.approx(binomtest(7, 100, 0.15, "less").pvalue)
    assert chance_above(found, 0.02)[0] == pytest.approx(binomtest(7, 100, 0.02, "greater").pvalue)


def test_drafts_of_one_prompt_do_not_pass_for_independent_ones():
    """Ten drafts that say the same tell what one tells."""
    once, ten = rates(np.eye(40)[:, :1] + np.eye(40)[:, 1:2], np.ones((40, 1))), None
    hits = np.zeros((40, 1))
    hits[:2] = 10
    ten = rates(hits, np.full((40, 1), 10))
    assert ten.effective[0] == pytest.approx(once.effective[0], rel=0.02)
    assert chance_below(ten, 0.3)[0] == pytest.approx(chance_below(once, 0.3)[0], rel=0.3)


def test_the_interval_of_a_difference_covers_the_true_one():
    source, covered, runs = np.random.default_rng(3), 0, 400
    for _ in range(runs):
        lean = source.normal(0, 0.15, 80)  # prompts that are harder, for both
        shares = [np.clip(rate + lean, 0, 1) for rate in (0.6, 0.35)]
        true = float(np.mean(shares[0]) - np.mean(shares[1]))
        trials = [source.integers(0, 4, (80, 1)) for _ in shares]
        hits = [source.binomial(trial, share[:, None]) for trial, share in zip(trials, shares, strict=True)]
        found = difference((hits[0], hits[1]), (trials[0], trials[1]))
        covered += found.low[0] <= true <= found.high[0]
    assert covered / runs > 0.93


def test_effects_take_apart_what_works_together():
    source = np.random.default_rng(1)
    present = source.random((3000, 3)) < (0.5, 0.2, 0.1)
    outcome = present @ (0.0, 0.4, -0.1) + source.normal(0, 0.2, 3000)
    prompt = np.sort(source.integers(0, 700, 3000))
    found = effects(present, outcome, prompt)
    assert found.value == pytest.approx([0, 0.4, -0.1], abs=4 * found.error.max())
    chances = chance_positive(found)
    assert chances[1] < 1e-9 and chances[0] > 1e-3 and chances[2] > 0.9
    never = effects(np.c_[present, np.zeros(3000, bool)], outcome, prompt)
    assert np.isnan(never.value[3]) and never.prompts[3] == 0 and chance_positive(never)[3] == 1


def test_an_effect_beyond_others_is_what_is_left_when_all_do_something():
    """Every cause adds 0.1, one adds 0.4; rows with many causes come to more, and only the one stands out."""
    source = np.random.default_rng(6)
    present = source.random((2000, 5)) < source.uniform(0, 0.8, (2000, 1))
    outcome = present @ (0.1, 0.1, 0.4, 0.1, 0.1) + source.normal(0, 0.2, 2000)
    found = effects(present, outcome, np.arange(2000))
    beyond = beyond_others(found, present.sum(0))
    rest = np.average(found.value[[0, 1, 3, 4]], weights=present.sum(0)[[0, 1, 3, 4]])
    assert beyond.value[2] == pytest.approx(found.value[2] - rest)
    assert beyond.value[2] == pytest.approx(0.3, abs=0.05) and chance_positive(beyond)[2] < 1e-9
    assert (chance_positive(beyond)[[0, 1, 3, 4]] > 0.5).all()
    alone = beyond_others(effects(present[:, :1], outcome, np.arange(2000)), present.sum(0)[:1])
    assert np.isnan(alone.value[0])


def test_the_error_of_an_effect_is_that_of_making_it_again():
    source, made = np.random.default_rng(8), []
    for _ in range(300):
        prompt = np.sort(source.integers(0, 60, 150))
        present = source.random((150, 6)) < 0.25
        outcome = (source.random(150) < 0.05 + 0.3 * present[:, 0]).astype(float)
        found = effects(present, outcome, prompt)
        made.append((found.value[0], found.error[0]))
    values, errors = np.array(made).T
    assert np.std(values) < np.mean(errors) < 1.3 * np.std(values)


def test_a_few_rows_that_all_say_the_same_leave_some_doubt_and_many_leave_none():
    few, many = (effects(np.ones((n, 1), bool), np.ones(n), np.arange(n)) for n in (3, 60))
    assert few.value[0] == many.value[0] == pytest.approx(1)
    assert chance_positive(few)[0] > 0.01 and chance_positive(many)[0] < 1e-12


def test_repeating_every_row_of_a_prompt_adds_no_certainty():
    source = np.random.default_rng(2)
    present, outcome = source.random((200, 2)) < 0.5, source.normal(1, 1, 200)
    once = effects(present, outcome, np.arange(200))
    again = effects(np.repeat(present, 5, axis=0), np.repeat(outcome, 5), np.repeat(np.arange(200), 5))
    assert again.error == pytest.approx(once.error, rel=0.05)
    both, known = source.random((200, 2)) < 0.4, np.ones((200, 2), bool)
    kappa = agreement(both, known, 0, np.arange(200), 200)
    five = agreement(np.repeat(both, 5, axis=0), np.repeat(known, 5, axis=0), 0, np.repeat(np.arange(200), 5), 200)
    assert five.kappa[1] == pytest.approx(kappa.kappa[1])
    assert five.error[1] == pytest.approx(kappa.error[1], rel=0.05)


def test_kappa_is_cohens_and_its_error_that_of_resampling():
    source = np.random.default_rng(4)
    a = source.random(400) < 0.3
    b = np.where(source.random(400) < 0.7, a, source.random(400) < 0.3)
    event, known = np.stack([a, b], 1), np.ones((400, 2), bool)
    found = agreement(event, known, 0, np.arange(400), 400)
    same, chance = np.mean(a == b), np.mean(a) * np.mean(b) + np.mean(~a) * np.mean(~b)
    assert found.kappa[1] == pytest.approx((same - chance) / (1 - chance)) and found.kappa[0] == pytest.approx(1)
    resampled = []
    for _ in range(500):
        drawn = source.integers(0, 400, 400)
        resampled.append(agreement(event[drawn], known, 0, np.arange(400), 400).kappa[1])
    assert found.error[1] == pytest.approx(np.std(resampled), rel=0.12)
    assert found.fewest[1] == min(a.sum(), b.sum())


def test_kappa_counts_only_texts_that_both_know_and_needs_both_answers():
    event = np.array([[1, 1, 1], [0, 0, 1], [1, 0, 1], [0, 0, 1]], bool)
    known = np.array([[1, 1, 1], [1, 1, 1], [1, 0, 1], [1, 1, 0]], bool)
    found = agreement(event, known, 0, np.arange(4), 4)
    assert list(found.texts) == [4, 3, 3]
    assert found.kappa[1] == pytest.approx(1) and found.kappa[2] == 0 and found.fewest[2] == 0


def test_the_corrected_rate_is_rogan_and_gladens_and_its_interval_covers():
    """With sensitivity 0.9 and specificity 0.8, 38 % found means that 25.7 % are there."""
    found = corrected(*(rates(np.r_[np.ones(k), np.zeros(n - k)][:, None], np.ones((n, 1))) for k, n in
                        ((190, 500), (90, 100), (80, 100))), 0)  # fmt: skip
    assert found["rate"] == pytest.approx((0.38 - 0.2) / 0.7)
    source, covered = np.random.default_rng(5), 0
    for _ in range(300):
        samples = []
        for n, rate in ((500, 0.3 * 0.9 + 0.7 * 0.2), (100, 0.9), (100, 0.8)):
            hits = (source.random(n) < rate).astype(float)
            samples.append(rates(hits[:, None], np.ones((n, 1))))
        told = corrected(*samples, 0)
        covered += told["ci"][0] <= 0.3 <= told["ci"][1]
    assert covered / 300 > 0.92


def test_a_critic_no_better_than_chance_corrects_nothing():
    half = rates(np.r_[np.ones(50), np.zeros(50)][:, None], np.ones((100, 1)))
    assert corrected(half, half, half, 0) is None


def test_discoveries_are_those_of_benjamini_and_hochberg():
    from scipy.stats import false_discovery_control

    chances = dict(enumerate([0.001, 0.008, 0.039, 0.041, 0.042, 0.06, 0.074, 0.205, 0.212, 0.216]))
    wanted = false_discovery_control(list(chances.values()))
    found = discoveries(chances, 0.05)
    assert found == pytest.approx({name: wanted[name] for name in (0, 1)})
    assert discoveries({}, 0.05) == {}


def test_sums_by_prompt_leave_prompts_without_rows_at_nothing():
    found = by_prompt(np.array([[1.0], [2], [5]]), np.array([1, 1, 3]), 5)
    assert found[:, 0].tolist() == [0, 3, 0, 5, 0]
