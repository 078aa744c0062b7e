"""What the filters look at of a pair: who it is and what its texts are, without the trail that led there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from records.opinions import turns_text
from records.rows import Message


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
    """The texts of a stored pair, or of a reject that was a pair until a filter left it out."""
    before, asked = prompt_texts([Message.model_validate(turn) for turn in row["prompt"]])
    return PairTexts(row["id"], row["split"], before, asked, row["chosen"][0]["content"], row["rejected"][0]["content"])
