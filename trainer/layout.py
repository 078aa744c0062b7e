"""Where the tokens of a batch stand when the model runs them: pure functions from token ids to tensors of numbers.

Stock DPO runs each prompt twice, before the chosen and before the rejected answer. The shared layout runs it once:

    [prompt | chosen without its last token | rejected without its last token]

Positions restart at the end of the prompt for the rejected answer, and the answers do not see each other
(trainer/answer_head.py makes the mask), so every row of the last hidden states is what it is in a sequence of its own.
An answer's last token predicts nothing and is not run. Either layout names the rows that predict answer tokens: no
other row reaches the head, and the prompt's last one is taken twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

Pair = tuple[list[int], list[int], list[int]]
"""Token ids of prompt, chosen and rejected answer."""
PROMPT, CHOSEN, REJECTED = 0, 1, 2
FILLING = -1


def places(lengths: tuple[int, int, int], *, shared: bool) -> int:
    """Tokens that a model runs for a pair of so many tokens (prompt, chosen, rejected), its own padding included."""
    prompt, chosen, rejected = lengths
    return prompt + max(chosen - 1, 0) + max(rejected - 1, 0) if shared else 2 * (prompt + max(chosen, rejected))


def fill_rows(sizes: Sequence[int], room: int) -> list[list[int]]:
    """Which pairs share a row of `room` tokens: the longest first, each into the first row that still takes it."""
    rows: list[list[int]] = []
    left: list[int] = []
    for index in sorted(range(len(sizes)), key=lambda index: -sizes[index]):
        row = next((row for row, free in enumerate(left) if free >= sizes[index]), None)
        if row is None:
            row = len(rows)
            rows.append([])
            left.append(room)
        rows[row].append(index)
        left[row] -= sizes[index]
    return rows


@dataclass
class _Row:
    """One row while it is filled."""

    ids: list[int] = field(default_factory=list)
    positions: list[int] = field(default_factory=list)
    pairs: list[int] = field(default_factory=list)
    sides: list[int] = field(default_factory=list)

    def add(self, ids: list[int], *, first: int, pair: int, side: int) -> int:
        """Where in the row the ids begin."""
        start = len(self.ids)
        self.ids += ids
        self.positions += range(first, first + len(ids))
        self.pairs += [pair] * len(ids)
        self.sides += [side] * len(ids)
        return start

    def fill(self, room: int) -> None:
        """Fill up with tokens that see nothing but each other."""
        count = room - len(self.ids)
        self.ids += [0] * count
        self.positions += [0] * count
        self.pairs += [FILLING] * count
        self.sides += [PROMPT] * count


@dataclass
class _Scored:
    """Of each answer token that is scored: the hidden row that predicts it, its id, and its place in TRL's result."""

    take: list[int] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)
    place: list[int] = field(default_factory=list)

    def add(self, rows: Sequence[int], answer: list[int], place: int) -> None:
        if rows:
            self.take += rows
            self.labels += answer[-len(rows) :]
            self.place += range(place, place + len(rows))

    def tensors(self) -> dict[str, Any]:
        import torch

        return {name: torch.tensor(getattr(self, name)) for name in ("take", "labels", "place")}


def shared_layout(pairs: Sequence[Pair], *, width: int, row_tokens: int = 0, multiple: int = 1) -> dict[str, Any]:
    """Each pair's prompt once, several pairs to a row where they fit.

    Args:
        pairs: B pairs, in the order of the padded batch.
        width: T, the length that TRL's batch of 2B sequences (all chosen, then all rejected) is padded to.
        row_tokens: room of a row; at least the longest pair's.
        multiple: the rows' length S is rounded up to a multiple of this.

    Returns:
        `input_ids`, `position_ids`, `pair` (its number in the batch) and `side` of shape (R, S); and of shape (N),
        for the N answer tokens that are scored, `take` (row of the R * S hidden states), `labels`, and `place` (in the
        2B * (T - 1) log-probabilities that TRL reads). An answer's first token is scored where a prompt precedes it.
    """
    import torch

    sizes = [places((len(prompt), len(chosen), len(rejected)), shared=True) for prompt, chosen, rejected in pairs]
    members = fill_rows(sizes, max(row_tokens, *sizes, 1))
    room = max(1, *(sum(sizes[index] for index in row) for row in members))
    room = -(-room // multiple) * multiple
    rows, scored = [_Row() for _ in members], _Scored()
    for number, row in enumerate(rows):
        for index in members[number]:
            prompt, chosen, rejected = pairs[index]
            begin = row.add(prompt, first=0, pair=index, side=PROMPT)
            last = [number * room + begin + len(prompt) - 1] if prompt else []
            for side, answer in ((CHOSEN, chosen), (REJECTED, rejected)):
                begin = number * room + row.add(answer[:-1], first=len(prompt), pair=index, side=side)
                sequence = index + (side - CHOSEN) * len(pairs)
                predicting = [*last, *range(begin, begin + max(len(answer) - 1, 0))]
                scored.add(predicting, answer, sequence * (width - 1) + max(len(prompt) - 1, 0))
        row.fill(room)
    return {
        "input_ids": torch.tensor([row.ids for row in rows]),
        "position_ids": torch.tensor([row.positions for row in rows]),
        "pair": torch.tensor([row.pairs for row in rows]),
        "side": torch.tensor([row.sides for row in rows]),
        **scored.tensors(),
    }


def plain_layout(pairs: Sequence[Pair], *, width: int) -> dict[str, Any]:
    """TRL's own 2B sequences of T tokens, with `take`, `labels` and `place` as in `shared_layout`."""
    scored = _Scored()
    sequences = [(prompt, chosen) for prompt, chosen, _ in pairs] + [
        (prompt, rejected) for prompt, _, rejected in pairs
    ]
    for number, (prompt, answer) in enumerate(sequences):
        first = max(len(prompt) - 1, 0)
        count = len(answer) if prompt else len(answer) - 1
        start = number * width + first
        scored.add(range(start, start + count), answer, number * (width - 1) + first)
    return scored.tensors()
