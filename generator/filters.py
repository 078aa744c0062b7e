"""Which of a round's verified pairs are left out again: contradictory ones, duplicates, and those for length balance.

Decisions are pure: the same pairs give the same ones, in whatever order they are read. They are made one after the
other, each on what the ones before it left: every pair of a contradiction goes, of duplicates one stays (a validation
pair before a train pair, then the one with the smallest id), and what is balanced is what is trained on.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from generator.config import FilterConfig
from records.digest import digest_json
from records.near import Sketch, may_be_near, near_duplicates, sketch
from records.opinions import Opinion, opinion, opposites
from records.pair_texts import PairTexts
from records.rows import RejectReason

Decisions = dict[str, tuple[RejectReason, str]]
"""Pair id to why it is left out, and that in words."""

FILTER_REASONS: tuple[RejectReason, ...] = ("contradictory", "duplicate", "length_balance")
# Bins in each doubling of the difference in length: pairs in one bin differ by a fifth at most.
_BINS_A_DOUBLING = 4


class _Fact(NamedTuple):
    """What is kept of a pair to decide: some hundred bytes, whatever its length."""

    split: str
    said: Opinion
    asked: Sketch | None
    gap: int

    @property
    def id(self) -> str:
        return self.said.id


def decide(pairs: Iterable[PairTexts], settings: FilterConfig, seed: int) -> Decisions:
    """The pairs that are left out.

    Args:
        pairs: each id once; read up to three times, so no iterator.
        settings: which filters are on.
        seed: of the draw among pairs that are too many of one direction.
    """
    # Validation pairs first: a train pair that says the same as one of them would be seen in training.
    facts = sorted((_fact(pair, settings) for pair in pairs), key=lambda fact: (fact.split != "validation", fact.id))
    decisions: Decisions = {}
    if settings.contradictions == "drop":
        for id, other in opposites(fact.said for fact in facts).items():
            decisions[id] = ("contradictory", f"pair {other} prefers the other one of the same two texts")
    if settings.duplicates != "keep":
        decisions |= _duplicates([fact for fact in facts if fact.id not in decisions], pairs, settings)
    if settings.length_balance:
        decisions |= _unbalanced([fact for fact in facts if fact.id not in decisions], seed)
    return decisions


def _fact(pair: PairTexts, settings: FilterConfig) -> _Fact:
    asked = sketch(pair.compared[:2], settings.similarity) if settings.duplicates == "near" else None
    return _Fact(pair.split, opinion(pair.id, pair.prompt, pair.chosen, pair.rejected), asked, pair.gap)


def _duplicates(facts: Sequence[_Fact], pairs: Iterable[PairTexts], settings: FilterConfig) -> Decisions:
    says = {fact.id: (fact.said.about, fact.said.first_chosen) for fact in facts}
    if settings.duplicates == "near":
        found = _near_duplicates(facts, pairs, settings.similarity)
    else:
        first: dict[tuple[bytes, bool], str] = {}
        found = {id: first[said] for id, said in says.items() if first.setdefault(said, id) != id}
    return {
        id: ("duplicate", f"says {'' if says[id] == says[other] else 'nearly '}the same as pair {other}")
        for id, other in found.items()
    }


def _near_duplicates(facts: Sequence[_Fact], pairs: Iterable[PairTexts], similarity: float) -> dict[str, str]:
    """Answers are looked at only where prompts are alike: mostly they are not, and nothing is read again."""
    alike = may_be_near([(fact.id, fact.asked) for fact in facts if fact.asked is not None])
    if not alike:
        return {}

    def texts_of(wanted: frozenset[str]) -> Iterator[tuple[str, Sequence[str]]]:
        return ((pair.id, pair.compared) for pair in pairs if pair.id in wanted)

    sketches = {id: sketch(texts, similarity) for id, texts in texts_of(alike)}
    in_order = [(fact.id, sketches[fact.id]) for fact in facts if fact.id in alike]
    return near_duplicates(in_order, texts_of, similarity)


def _unbalanced(facts: Sequence[_Fact], seed: int) -> Decisions:
    """In each split and bin of difference, those that one direction has more than the other; drawn by hash."""
    bins: dict[tuple[str, int], tuple[list[str], list[str]]] = defaultdict(lambda: ([], []))
    for fact in facts:
        if fact.gap:
            width = int(_BINS_A_DOUBLING * math.log2(abs(fact.gap)))
            bins[fact.split, width][fact.gap > 0].append(fact.id)
    gaps = {fact.id: fact.gap for fact in facts}
    decisions: Decisions = {}
    for shorter, longer in bins.values():
        fewer, more = sorted((shorter, longer), key=len)
        for id in sorted(more, key=lambda id: digest_json(["length_balance", seed, id]))[len(fewer) :]:
            told = f"chosen minus rejected is {gaps[id]:+d} characters, a direction that more pairs have"
            decisions[id] = ("length_balance", told)
    return decisions
