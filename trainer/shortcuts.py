"""Could something else than the principles tell chosen from rejected? Length, words, whose voice it is, refusals.

A policy learns whatever tells the two sides apart. From the second round on, chosen often comes from a frozen critic
and rejected from the policy, so "sound like the base" may be all that is learned. Each possible shortcut is one number:
the chance that it prefers the chosen answer of a pair over the rejected one (the AUC within the pair; ties count half).
0.5 tells nothing, 1 and 0 tell all. Within the pair, since that is what a preference loss sees: where prompts want
answers of all lengths, a chosen answer that is always a tenth longer hardly shows in an AUC over all answers, and is
learned.

What is fitted (the words) is fitted on other prompts than it is measured on. Intervals are 95 %, the prompt is the unit
(records/intervals.py). Pure functions; numpy alone. What is fitted in folds varies more than its pairs do, since two
folds are scored by fits that share most of their pairs: its interval is as wide as of fewer pairs (`_SHARED`).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from records.intervals import Estimate, rate_by_prompt, wilson
from records.refusals import refuses
from records.splits import FUNCTION_WORDS, normalise

Figures = dict[str, Any]
Scores = Mapping[str, Mapping[int, tuple[float, float]]]
"""By name of a score, by the pair's place, what it gives to the chosen and to the rejected answer."""

FOLDS = 5
_SHARED = 1 + FOLDS / (FOLDS - 1)
"""How many times the variance of a figure from folds is that of as many pairs scored by one fit of others.

Source: Nadeau and Bengio 2003, Inference for the generalization error, section 4 (corrected resampled t)."""
MOST_PAIRS = 1000
"""Pairs that are looked at; more would tell the same."""
_MOST_WORDS = 400
_STRENGTH = 1.0
"""Of the L2 penalty; a word's presence counts 1."""
_NAMED_WORDS = 5
_MOST_STEPS, _CLOSE = 30, 1e-3


class Answers(NamedTuple):
    """A pair as it is looked at; `prompt` says which pairs have the same prompt."""

    prompt: str
    chosen: str
    rejected: str
    chosen_tokens: int
    rejected_tokens: int


def find_shortcuts(pairs: Sequence[Answers], scores: Scores, seed: int) -> Figures:
    """How well each possible shortcut tells chosen from rejected.

    Args:
        pairs: all that are looked at; at least one.
        scores: further scores, of some of the pairs.
        seed: of the folds.

    Returns:
        `<name>_auc` and `<name>_auc_ci` for `length`, `words` (where there are two prompts) and each score;
        `chosen_words` and `rejected_words`, those that figure leans on most, without function words;
        `chosen_refused_rate`, `rejected_refused_rate` and their `_ci`.
    """
    figures = _named("length_auc", _auc(pairs, [pair.chosen_tokens - pair.rejected_tokens for pair in pairs]))
    figures |= _words(pairs, seed)
    for name, found in scores.items():
        scored = [pairs[place] for place in found]
        figures |= _named(f"{name}_auc", _auc(scored, [chosen - rejected for chosen, rejected in found.values()]))
    for side in ("chosen", "rejected"):
        refused = [float(refuses(getattr(pair, side))) for pair in pairs]
        figures |= _named(f"{side}_refused_rate", _by_prompt(pairs, refused))
    return figures


def _auc(pairs: Sequence[Answers], differences: Sequence[float]) -> Estimate:
    """The share of pairs whose chosen answer has more of it."""
    return _by_prompt(pairs, [0.5 + 0.5 * float(np.sign(gap)) for gap in differences])


def _by_prompt(pairs: Sequence[Answers], values: Sequence[float]) -> Estimate:
    found: dict[str, list[float]] = {}
    for pair, value in zip(pairs, values, strict=True):
        found.setdefault(pair.prompt, []).append(value)
    return rate_by_prompt(found)


def _widened(estimate: Estimate) -> Estimate:
    """The interval of a figure that was fitted in folds; of n prompts it is that of n / `_SHARED`."""
    assert estimate.rate is not None
    return replace(estimate, interval=wilson(estimate.rate, estimate.prompts / _SHARED))


def _named(name: str, estimate: Estimate) -> Figures:
    assert estimate.rate is not None and estimate.interval is not None
    return {name: round(estimate.rate, 4), f"{name}_ci": [round(bound, 4) for bound in estimate.interval]}


def _words(pairs: Sequence[Answers], seed: int) -> Figures:
    vocabulary, differences = word_differences(pairs)
    fold_of = folds([pair.prompt for pair in pairs], seed)
    if not vocabulary or len(set(fold_of)) < 2:
        return {}
    scores = np.zeros(len(pairs))
    for fold in set(fold_of.tolist()):
        held = fold_of == fold
        scores[held] = differences[held] @ fit_preference(differences[~held])
    weights = fit_preference(differences)
    # A heavy word that two pairs differ in explains less than a light one that all do.
    lean = weights * np.abs(differences).mean(axis=0)
    telling = [place for place in np.argsort(-np.abs(lean)) if vocabulary[place] not in FUNCTION_WORDS]
    named = {
        f"{side}_words": [vocabulary[place] for place in telling if sign * lean[place] > 0][:_NAMED_WORDS]
        for side, sign in (("chosen", 1), ("rejected", -1))
    }
    return _named("words_auc", _widened(_auc(pairs, scores.tolist()))) | named


def word_differences(pairs: Sequence[Answers]) -> tuple[list[str], np.ndarray]:
    """Which words stand in one side alone.

    Returns:
        The words on which most pairs differ (chosen without looking at which side has them), and shape (pairs, words):
        1 where the chosen answer alone has the word, -1 where the rejected one alone has it, else 0.
    """
    sides = [(_words_of(pair.chosen), _words_of(pair.rejected)) for pair in pairs]
    counts = Counter(word for chosen, rejected in sides for word in chosen ^ rejected)
    vocabulary = [word for word, _ in sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:_MOST_WORDS]]
    place = {word: index for index, word in enumerate(vocabulary)}
    differences = np.zeros((len(pairs), len(vocabulary)))
    for row, (chosen, rejected) in enumerate(sides):
        for words, sign in ((chosen - rejected, 1.0), (rejected - chosen, -1.0)):
            differences[row, [place[word] for word in words if word in place]] = sign
    return vocabulary, differences


def _words_of(text: str) -> set[str]:
    return {word[:24] for word in re.findall(r"\w+", normalise(text))}


def folds(prompts: Sequence[str], seed: int, count: int = FOLDS) -> np.ndarray:
    """Shape (pairs,): the fold of each pair, 0 to count - 1; pairs of one prompt are in one fold, folds are even."""
    distinct = sorted(set(prompts))
    drawn = np.random.default_rng(seed).permutation(len(distinct)) % count
    fold = dict(zip(distinct, drawn.tolist(), strict=True))
    return np.array([fold[prompt] for prompt in prompts], dtype=int)


def fit_preference(differences: np.ndarray, strength: float = _STRENGTH) -> np.ndarray:
    """Weights under which the chosen answers score highest, by logistic regression on the differences, L2-penalised.

    Without an intercept: swapping the sides of a pair swaps its score. By Newton's method.

    Args:
        differences: shape (pairs, features), chosen minus rejected.
        strength: of the penalty, half of it times the squared weights.

    Returns:
        Shape (features,).

    Source: Bradley and Terry 1952, with features.
    """
    weights = np.zeros(differences.shape[1])
    ridge = strength * np.eye(len(weights))
    for _ in range(_MOST_STEPS):
        wrong = 1.0 / (1.0 + np.exp(np.clip(differences @ weights, -30.0, 30.0)))
        curvature = differences.T @ (differences * (wrong * (1.0 - wrong))[:, None]) + ridge
        step = np.linalg.solve(curvature, differences.T @ wrong - strength * weights)
        weights += step
        if np.abs(step).max() < _CLOSE:
            break
    return weights
