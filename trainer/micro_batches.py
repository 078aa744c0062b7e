"""A step's pairs, and how they are cut into the batches that are in memory at once.

The optimizer's step is the unit: what is read from the data at once is the pairs of a whole step, in the order that the
seed gives, and only then are they cut up, pairs of like length together. So the cut changes neither the order nor what
a step holds, and each part counts by its share of the step's pairs: the gradient is the mean over the pairs of the step
whatever the cut.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from trainer.config import TrainConfig


@dataclass(frozen=True)
class Room:
    """What may be in memory at once: so many pairs or, where given, so many tokens in all rows, padding included.

    `spare` times as much fits where no activations are kept.
    """

    pairs: int
    tokens: int | None = None
    spare: int = 4

    @staticmethod
    def of(config: TrainConfig) -> Room:
        """What the train section asks for."""
        spare = 2 if config.gradient_checkpointing else 4
        return Room(config.pairs_per_micro_batch, config.tokens_per_batch, spare)

    @property
    def without_gradients(self) -> Room:
        """The room of a pass that keeps no activations."""
        return Room(self.spare * self.pairs, self.spare * self.tokens if self.tokens else None, 1)

    def cut(self, sizes: Sequence[int]) -> list[list[int]]:
        """Which items go together, by their sizes in tokens: the largest first, each batch as full as it may be.

        An item that is larger than the room is a batch of its own.
        """
        batches: list[list[int]] = []
        for index in sorted(range(len(sizes)), key=lambda index: -sizes[index]):
            if batches and self._takes_another(batches[-1], sizes):
                batches[-1].append(index)
            else:
                batches.append([index])
        return batches

    def _takes_another(self, batch: list[int], sizes: Sequence[int]) -> bool:
        if self.tokens is None:
            return len(batch) < self.pairs
        # The first of a batch is its longest, which all others are padded to.
        return (len(batch) + 1) * sizes[batch[0]] <= self.tokens


def lengths_of(row: dict[str, Any]) -> tuple[int, int, int]:
    """Tokens of prompt, chosen and rejected answer of a row that TRL's collator takes."""
    return len(row["prompt_ids"]), len(row["chosen_ids"]), len(row["rejected_ids"])


@dataclass(frozen=True)
class StepCollator:
    """Makes the pairs of one optimizer step into batches that fit the room, each with what it counts.

    `collate` makes a batch of rows; `places` says how many tokens the model runs for a pair of these lengths.
    """

    collate: Callable[[Sequence[dict[str, Any]]], dict[str, Any]]
    room: Room
    places: Callable[[tuple[int, int, int]], int]

    def __call__(self, rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """`micro_batches`, and of each its share of the step's pairs and of its scored chosen tokens."""
        cut = self.room.cut([self.places(lengths_of(row)) for row in rows])
        chosen = [sum(_scored(rows[index]) for index in batch) for batch in cut]
        return {
            "micro_batches": [self.collate([rows[index] for index in batch]) for batch in cut],
            "pair_shares": [len(batch) / len(rows) for batch in cut],
            "chosen_shares": [tokens / max(1, sum(chosen)) for tokens in chosen],
        }


def _scored(row: dict[str, Any]) -> int:
    return len(row["chosen_ids"]) if row["prompt_ids"] else max(len(row["chosen_ids"]) - 1, 0)
