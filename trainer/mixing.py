"""How many pairs of each set are trained on, where some sets have a weight: a draw by seed, and its counts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from random import Random
from typing import Any

from trainer.data import EncodedPair
from trainer.pair_sources import PairSource, path_of

Pairs = Sequence[EncodedPair]


def mixed(
    pairs: Pairs, sources: Sequence[str | PairSource], seed: str
) -> tuple[tuple[EncodedPair, ...], list[dict[str, Any]]]:
    """The pairs that are trained on, and of each source how many that were.

    Sources without a weight are taken whole. Of n pairs in all, a source of weight w gives w n, drawn without
    replacement; where it has fewer it gives all it has, or with `repeat` whole passes and a draw for the rest.

    Args:
        pairs: those of all sources, each with the place of its own.
        sources: a name for one that is taken whole, a `PairSource` for one of which a share is.
        seed: of the draws.

    Returns:
        The pairs in their order, and for each source `path`, `weight` (None: whole), `found` and `pairs`.
    """
    found: dict[int, list[EncodedPair]] = {place: [] for place in range(len(sources))}
    for pair in pairs:
        found[pair.source].append(pair)
    wanted = _wanted(found, {place: one for place, one in enumerate(sources) if isinstance(one, PairSource)})
    taken: list[EncodedPair] = []
    counts = []
    for place, source in enumerate(sources):
        drawn = found[place]
        if isinstance(source, PairSource):
            drawn = _drawn(drawn, wanted[place], Random(f"{seed} {place}"), repeat=source.repeat)
        weight = source.weight if isinstance(source, PairSource) else None
        counts.append({"path": path_of(source), "weight": weight, "found": len(found[place]), "pairs": len(drawn)})
        taken += drawn
    return tuple(taken), counts


def _wanted(found: Mapping[int, Pairs], shares: Mapping[int, PairSource]) -> dict[int, int]:
    """How many pairs each weighted source is to give."""
    weights = {place: share.weight for place, share in shares.items()}
    whole = sum(len(pairs) for place, pairs in found.items() if place not in shares)
    total = whole / (1.0 - sum(weights.values()))
    if not whole:
        weights = {place: weight for place, weight in weights.items() if found[place]}
        weights = {place: weight / sum(weights.values()) for place, weight in weights.items()}
        total = _most(found, shares, weights)
    return {place: round(weights.get(place, 0.0) * total) for place in shares}


def _most(found: Mapping[int, Pairs], shares: Mapping[int, PairSource], weights: Mapping[int, float]) -> float:
    """Pairs in all, where every source has a weight: as many as the scarcest allows, or whole passes through all."""
    totals = {place: len(found[place]) / weight for place, weight in weights.items()}
    bounded = [total for place, total in totals.items() if not shares[place].repeat]
    return min(bounded) if bounded else max(totals.values(), default=0.0)


def _drawn(pairs: Pairs, wanted: int, random: Random, *, repeat: bool) -> list[EncodedPair]:
    if not pairs:
        return []
    passes, rest = divmod(wanted, len(pairs)) if repeat else (0, min(wanted, len(pairs)))
    chosen = sorted(random.sample(range(len(pairs)), rest))
    return [*list(pairs) * passes, *(pairs[place] for place in chosen)]


def mixing_alarms(counts: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
    """One for each source that had too few pairs for its share."""
    total = sum(count["pairs"] for count in counts)
    # What was drawn is a whole number of pairs, so a share may be half a pair off.
    short = [
        one
        for one in counts
        if one["weight"] and one["pairs"] < one["weight"] * total - 1.0 and one["pairs"] == one["found"]
    ]
    return [
        {
            "name": "mix_short",
            "message": f"{one['path']}: its {one['found']} pairs are {one['pairs'] / total:.1%} of the {total} trained "
            f"on, and its weight asks for {one['weight']:.1%}. Add pairs, lower the weight, or set repeat: true.",
        }
        for one in short
    ]
