"""Pairs whose label is a probability: each counts p for its label and 1 - p for the opposite one.

Source: conservative DPO (cDPO), Mitchell 2023, "A note on DPO with noisy preferences and relationship to IPO", with
each pair's own probability in the place of one noise level for all; the soft labels are those of Bai et al. 2022,
arXiv:2212.08073, section 4.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

COLUMN = "probability"


def with_probabilities(collate: Callable[[Sequence[dict[str, Any]]], dict[str, Any]]) -> Callable[..., dict[str, Any]]:
    """A collator that also hands on each pair's probability, as a tensor of shape (pairs,)."""
    import torch

    def collated(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
        return {**collate(rows), COLUMN: torch.tensor([float(row[COLUMN]) for row in rows])}

    return collated


class RememberingModel:
    """Calls a model and keeps what it gave last, so that a loss may be added to TRL's without a second pass."""

    def __init__(self, model: Any) -> None:
        self._model = model
        self.found: Any = None

    def __call__(self, **inputs: Any) -> Any:
        self.found = self._model(**inputs)
        return self.found


def opposite_part(margins: Any, probabilities: Any, beta: float) -> Any:
    """What soft labels add to the sigmoid loss of the labels as they stand, a mean over the pairs.

    With m = beta (h_chosen - h_rejected), -log sigmoid(-m) = -log sigmoid(m) + m, so that
    p (-log sigmoid(m)) + (1 - p) (-log sigmoid(-m)) = -log sigmoid(m) + (1 - p) m.

    Args:
        margins: shape (pairs,); the log-ratio of policy to reference of the chosen answer less that of the rejected.
        probabilities: shape (pairs,), in [0, 1]; that the chosen answer is preferred.
        beta: of the loss.
    """
    return ((1.0 - probabilities) * beta * margins).mean()
