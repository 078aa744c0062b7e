"""Preference data of a person's own, of which a training takes only a share."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import Discriminator, Field, Tag

from records.strict import Settings


class PairSource(Settings):
    """A set of pairs that is mixed in: so many of all training pairs are drawn from it."""

    path: str = Field(min_length=1)
    """A file or folder in TRL's preference format."""
    weight: float = Field(gt=0.0, lt=1.0)
    """The share of all training pairs that is drawn from this set, by seed, none twice; the rest is the run's own pairs
    and the sets without a weight. Where there are none of these, the weights are shares among the sets."""
    repeat: bool = False
    """A set that is smaller than its share is passed through as often as it takes; without, it gives what it has."""


def _kind(value: Any) -> str:
    return "path" if isinstance(value, str) else "share"


PairEntry = Annotated[Annotated[str, Tag("path")] | Annotated[PairSource, Tag("share")], Discriminator(_kind)]


def path_of(source: str | PairSource) -> str:
    """Where a source lies, however it was given."""
    return source if isinstance(source, str) else source.path


def source_problems(sources: Sequence[str | PairSource]) -> list[str]:
    """What is wrong with sources together, in words."""
    total = sum(source.weight for source in sources if isinstance(source, PairSource))
    twice = [path for path, count in Counter(map(path_of, sources)).items() if count > 1]
    too_much = [f"pairs_from: the weights add up to {total:g}; expected less than 1, since the rest is the other pairs"]
    return [
        *(f"pairs_from names {path} twice; expected each set once" for path in twice),
        *(too_much if total >= 1.0 else ()),
    ]
