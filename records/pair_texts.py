"""What the filters look at of a pair: who it is and what its texts are, without the trail that led there."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from records.opinions import turns_text
from records.rows import Message
from records.store import read_rows


class PairTexts(NamedTuple):
    """A pair's texts; `before` is the conversation up to the turn that is answered, `asked`."""

    id: str
    split: str
    before: str
    asked: str
    chosen: str
    rejected: str

    @property
    def prompt(self) -> str:
        """The whole conversation."""
        return f"{self.before} \x00 {self.asked}"

    @property
    def compared(self) -> tuple[str, str, str, str]:
        """The texts in which near-duplicates are alike, one by one."""
        return self.before, self.asked, self.chosen, self.rejected

    @property
    def gap(self) -> int:
        """Characters of chosen minus characters of rejected."""
        return len(self.chosen) - len(self.rejected)


def prompt_texts(turns: Sequence[Message]) -> tuple[str, str]:
    """A conversation as two texts: what came before the last turn, each turn with its role, and the last turn."""
    return turns_text(turns[:-1]), turns[-1].content


def texts_of_row(row: Mapping[str, Any]) -> PairTexts:
    """The texts of a stored pair, or of a reject that was a pair until a filter left it out (records/compact.py)."""
    before, asked = prompt_texts([Message.model_validate(turn) for turn in row["prompt"]])
    if "reason" in row:
        chosen, rejected = row["final"], row["draft"]["text"].strip()
    else:
        chosen, rejected = row["chosen"][-1]["content"], row["rejected"][-1]["content"]
    return PairTexts(row["id"], row["split"], before, asked, chosen, rejected)


@dataclass(frozen=True)
class VerifiedPairs:
    """The pairs of a round as the chains gave them: those in `pairs/`, and those that a filter has left out since.

    They can be read any number of times, and are the same whether all, some or none of those have moved to `rejects/`.
    """

    folder: Path
    reasons: Collection[str]
    """The reasons that filters give."""

    def __iter__(self) -> Iterator[PairTexts]:
        """Each pair once, in no order that means anything."""
        moved = set()
        for row in read_rows(self.folder / "rejects"):
            if row["reason"] in self.reasons:
                moved.add(row["id"])
                yield texts_of_row(row)
        for row in read_rows(self.folder / "pairs"):
            if row["id"] not in moved:
                yield texts_of_row(row)
