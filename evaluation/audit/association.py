"""What goes with what: effects of causes that work together, and the agreement of two that judge.

These figures are no rates. What each prompt adds to one is summed within the prompt before squares are taken, so drafts
of one prompt never pass for independent ones.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from evaluation.audit.estimates import Array, by_prompt


@dataclass(frozen=True)
class Effects:
    """What each column adds to an outcome, with its error and the number of prompts that tell; nan where none do."""

    value: Array
    error: Array
    prompts: Array
    spread: Array = None
    """Variances and covariances, shape (columns, columns); 0 where nothing tells."""


ODD = 0.5
"""By how much an imagined prompt is off, in `effects`: half of an answer's turning into a refusal, or e ** 0.5 times
as long. Without it a handful of rows that all say the same would leave no doubt at all."""


def effects(present: Array, outcome: Array, prompt: Array) -> Effects:
    """What each cause adds to the outcome of a row, all causes of the row together making it (least squares).

    No constant: a row without any cause would have an outcome of 0, as a text that nobody rewrote keeps its length.
    Two imagined prompts for each cause, off by `ODD` either way, join the estimate of the error, and a row that has a
    say of its own in what it is fitted to counts for as much more.

    Args:
        present: shape (rows, causes), whether a cause was at work in a row.
        outcome: shape (rows,).
        prompt: shape (rows,), ascending; errors are of sums by prompt.

    Source: Liang and Zeger 1986, the sandwich with clusters, scaled by prompts / (prompts - 1); residuals as in HC3,
    MacKinnon and White 1985.
    """
    causes = present.shape[1]
    value, error, covariance = np.full(causes, np.nan), np.full(causes, np.nan), np.zeros((causes, causes))
    known = np.flatnonzero(present.any(0))
    x = present[:, known].astype(float)
    _, place = np.unique(prompt, return_inverse=True)
    clusters = int(place.max()) + 1 if len(place) else 0
    told = (by_prompt(present.astype(float), place, clusters) > 0).sum(0)
    if len(known) and clusters > 1:
        bread = np.linalg.pinv(_products(x))
        fitted = bread @ (x.T @ outcome)
        own = np.minimum((np.einsum("ij,jk->ik", x, bread) * x).sum(1), 0.99)
        scores = by_prompt(x * ((outcome - x @ fitted) / (1 - own))[:, None], place, clusters)
        spread = bread @ (_products(scores) + 2 * ODD**2 * np.eye(len(known))) @ bread * clusters / (clusters - 1)
        value[known], error[known] = fitted, np.sqrt(np.maximum(np.diag(spread), 0))
        covariance[np.ix_(known, known)] = spread
    return Effects(value, error, told, covariance)


def _products(x: Array) -> Array:
    """The sums of products of each two columns.

    Not by `@`: on a busy machine the threads that it starts for so narrow an array wait for each other, ten times as
    long as the sums take.
    """
    return np.einsum("ij,ik->jk", x, x)


def beyond_others(found: Effects, rows: Array) -> Effects:
    """Each effect minus the mean of the others, weighted by the rows in which they were at work.

    Args:
        found: as `effects` gives them.
        rows: shape (columns,), the number of those rows.
    """
    known = np.isfinite(found.value)
    n = np.where(known, rows, 0).astype(float)
    rest = n.sum() - n
    weights = np.where(np.eye(len(n), dtype=bool), 0.0, n[None, :] / np.maximum(rest, 1)[:, None])
    contrast = np.eye(len(n)) - weights
    value = np.where(known & (rest > 0), contrast @ np.nan_to_num(found.value), np.nan)
    variance = ((contrast @ found.spread) * contrast).sum(1)
    return Effects(value, np.sqrt(np.maximum(variance, 0)), found.prompts)


def chance_positive(found: Effects, more_than: float = 0.0) -> Array:
    """P of so large an effect or a larger one if the true one were `more_than` (Student's t, by prompts)."""
    from scipy.special import stdtr

    freedom = np.maximum(found.prompts - 1, 1)
    with np.errstate(invalid="ignore", divide="ignore"):
        t = np.where(found.error > 0, (found.value - more_than) / found.error, 0.0)
    return np.where(np.isfinite(t) & (found.prompts > 1), stdtr(freedom, -np.nan_to_num(t)), 1.0)


@dataclass(frozen=True)
class Agreement:
    """Cohen's kappa of one column with others; nan where one of both always, or never, says the event."""

    kappa: Array
    error: Array
    texts: Array
    fewest: Array
    """The smallest of four counts: where either of the two says the event, and where either does not."""


def agreement(event: Array, known: Array, one: int, prompt: Array, prompts: int) -> Agreement:
    """Kappa of column `one` with every column, on the rows that both know.

    Four imagined texts, one of each combination and each of a prompt of its own, join the estimate of the error.

    Args:
        event: shape (texts, columns), bool.
        known: the same shape; whether there is an answer at all.
        one: the column.
        prompt: shape (texts,), ascending.
        prompts: how many there are.

    Source: Cohen 1960; the error by linearisation.
    """
    both = (known & known[:, [one]]).astype(float)
    a, b = event[:, [one]] * both, event * both
    n, n_a, n_b, n_ab = both.sum(0), a.sum(0), b.sum(0), (a * b).sum(0)
    kappa, _, _ = _kappa(n, n_a, n_b, n_ab)
    _, chance, parts = _kappa(n + 4, n_a + 2, n_b + 2, n_ab + 1)
    same, share_a, share_b = parts
    slope = (1 - same) / (1 - chance) ** 2

    def influence(x: Array, y: Array) -> Array:
        alike = x * y + (1 - x) * (1 - y)
        bent = (2 * share_b - 1) * (x - share_a) + (2 * share_a - 1) * (y - share_b)
        return (alike - same) / (1 - chance) - slope * bent

    sums = by_prompt(influence(a, b) * both, prompt, prompts)
    imagined = sum(influence(np.float64(x), np.float64(y)) ** 2 for x in (0, 1) for y in (0, 1))
    error = np.sqrt((sums**2).sum(0) + imagined) / (n + 4)
    return Agreement(kappa, error, n, np.minimum.reduce([n_a, n_b, n - n_a, n - n_b]))


def _kappa(n: Array, n_a: Array, n_b: Array, n_ab: Array) -> tuple[Array, Array, tuple[Array, Array, Array]]:
    with np.errstate(invalid="ignore", divide="ignore"):
        share_a, share_b = n_a / n, n_b / n
        same = (n - n_a - n_b + 2 * n_ab) / n
        chance = share_a * share_b + (1 - share_a) * (1 - share_b)
        return np.where(chance < 1, (same - chance) / (1 - chance), np.nan), chance, (same, share_a, share_b)
