"""The intervals cover, are honest at the ends, and treat the prompt as the unit."""

from __future__ import annotations

import numpy as np
import pytest

from records.intervals import effective_drafts, paired_difference, rate_by_prompt, wilson

SIMULATIONS = 1000


def _beta(rng: np.random.Generator, rate: float, correlation: float, size: tuple[int, ...]) -> np.ndarray:
    total = 1 / correlation - 1
    return rng.beta(rate * total, (1 - rate) * total, size=size)


@pytest.mark.parametrize("prompts", [60, 100])
@pytest.mark.parametrize("drafts", [4, 16])
@pytest.mark.parametrize("rate", [0.03, 0.1, 0.3, 0.6, 0.8])
def test_rates_cover_at_intraclass_correlation_one_half(prompts: int, drafts: int, rate: float):
    rng = np.random.default_rng([prompts, drafts, round(100 * rate)])
    means = rng.binomial(drafts, _beta(rng, rate, 0.5, (SIMULATIONS, prompts))) / drafts
    bounds = [wilson(float(row.mean()), effective_drafts(row, prompts * drafts)) for row in means]
    covered = np.mean([low <= rate <= high for low, high in bounds])
    width = np.mean([high - low for low, high in bounds])
    assert covered >= 0.93
    # Not by being wide: at most as wide as one draft a prompt would give, and a fifth over the width known beforehand.
    assert width <= np.diff(wilson(rate, prompts))[0]
    known = prompts / (0.5 + 0.5 / drafts)
    assert width <= 1.2 * np.diff(wilson(rate, known))[0]


@pytest.mark.parametrize("before, after", [(0.8, 0.4), (0.5, 0.5), (0.1, 0.03)])
def test_paired_differences_cover(before: float, after: float):
    rng = np.random.default_rng([round(100 * before), round(100 * after)])
    hit = 0
    for _ in range(SIMULATIONS):
        first, second = _beta(rng, before, 0.5, (60,)), _beta(rng, after, 0.5, (60,))
        # Hard prompts stay hard: sorting both ties the rounds together, as real rounds are.
        chances = zip(np.sort(first), np.sort(second), strict=True)
        drawn = {str(i): (rng.random(8) < a, rng.random(8) < b) for i, (a, b) in enumerate(chances)}
        estimate = paired_difference({k: v[0] for k, v in drawn.items()}, {k: v[1] for k, v in drawn.items()})
        truth = float(np.mean(second) - np.mean(first))
        hit += estimate.interval[0] <= truth <= estimate.interval[1]
    assert hit / SIMULATIONS >= 0.93


def test_rate_is_the_mean_over_prompts_not_over_drafts():
    estimate = rate_by_prompt({"a": [True], "b": [False] * 9, "c": []})
    assert estimate.rate == 0.5
    assert (estimate.prompts, estimate.drafts) == (2, 10)


def test_at_the_ends_the_prompts_count_and_not_the_drafts():
    none = rate_by_prompt({str(i): [False] * 16 for i in range(60)})
    assert none.rate == 0.0 and none.interval[0] == 0.0
    assert none.interval[1] == pytest.approx(wilson(0.0, 60)[1]) == pytest.approx(0.0602, abs=1e-4)
    every = rate_by_prompt({str(i): [True] * 16 for i in range(60)})
    assert every.rate == 1.0 and every.interval == (pytest.approx(1 - 0.0602, abs=1e-4), 1.0)


def test_one_rare_event_does_not_make_the_rate_look_certain():
    """A plain plug-in takes 960 drafts with one event for 960 independent ones and gives an upper bound of 0.006."""
    drafts = {str(i): [False] * 16 for i in range(60)} | {"0": [True] + [False] * 15}
    assert rate_by_prompt(drafts).interval[1] > 0.05


def test_independent_drafts_are_worth_more_than_prompts_and_identical_ones_are_not():
    rng = np.random.default_rng(0)
    independent = {str(i): rng.random(16) < 0.5 for i in range(100)}
    identical = {str(i): [bool(i % 2)] * 16 for i in range(100)}
    assert np.diff(rate_by_prompt(independent).interval)[0] < 0.5 * np.diff(rate_by_prompt(identical).interval)[0]
    assert rate_by_prompt(identical).interval == pytest.approx(wilson(0.5, 100))


def test_nothing_to_count_is_no_rate():
    assert rate_by_prompt({"a": []}).rate is None
    assert rate_by_prompt({}).interval is None
    assert paired_difference({"a": [True]}, {"b": [True]}).rate is None


def test_difference_pairs_by_prompt_and_has_a_width_where_nothing_changed():
    before = {"a": [True, True], "b": [True, False], "only before": [True]}
    after = {"a": [True, False], "b": [False, False], "only after": [False]}
    change = paired_difference(before, after)
    assert change.rate == -0.5 and change.prompts == 2
    still = paired_difference({"a": [True]}, {"a": [True]})
    assert still.rate == 0.0 and still.interval[0] < 0.0 < still.interval[1]


def test_pairing_narrows_what_two_separate_rates_would_leave_open():
    rng = np.random.default_rng(1)
    hard = rng.random(100) < 0.5
    before = {str(i): [bool(h)] * 8 for i, h in enumerate(hard)}
    after = {k: [v[0]] * 7 + [False] for k, v in before.items()}
    change = paired_difference(before, after)
    assert change.rate == pytest.approx(-hard.mean() / 8)
    assert change.interval[1] < 0.0
    assert rate_by_prompt(after).interval[1] > rate_by_prompt(before).interval[0]
