"""Weighted mixtures of sources: the largest one that holds its shares without taking a prompt twice."""

from __future__ import annotations

from collections.abc import Sequence

from records.digest import digest_json
from records.errors import DataError
from records.rows import Prompt


def mix(sources: Sequence[Sequence[Prompt]], weights: Sequence[float], seed: int) -> list[list[Prompt]]:
    """What is taken of each source: shares by weight, as many prompts as the scarcest source allows.

    Which prompts are taken goes by a hash of (seed, id), so the order and the names of files do not matter, and a
    prompt that is taken stays taken when its source's share grows. The split of a prompt is untouched by it.

    Args:
        sources: the prompts of each source, each prompt in one of them.
        weights: above 0, one for each source; only their proportions count.
        seed: the run's seed.

    Raises:
        DataError: a source's share comes to no prompt at all.
    """
    total = min(len(prompts) / weight for prompts, weight in zip(sources, weights, strict=True))
    # The small term undoes rounding alone: 3 / 0.3 * 0.3 is below 3.
    counts = [int(weight * total + 1e-9) for weight in weights]
    if not all(counts):
        held = ", ".join(str(len(prompts)) for prompts in sources)
        raise DataError(
            f"sources: weights {', '.join(f'{weight:g}' for weight in weights)} over {held} prompts give a source no "
            "prompt at all; expected at least one of each. Add prompts, or change the weights."
        )
    taken = []
    for prompts, count in zip(sources, counts, strict=True):
        ids = {
            id for _, id in sorted((digest_json(["mixture", seed, prompt.id]), prompt.id) for prompt in prompts)[:count]
        }
        taken.append([prompt for prompt in prompts if prompt.id in ids])
    return taken
