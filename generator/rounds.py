"""Which prompts a round drafts for: a slice of the train prompts, and validation prompts for the eval figures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from generator.sources import PromptSet
from records.digest import digest_json
from records.errors import ConfigError
from records.rows import Prompt


def choose_mode(prompts: Literal["fresh", "repeat"] | None, *, per_round: int | None, rounds: int, found: int) -> str:
    """`fresh` (disjoint slices) where there are enough train prompts for all rounds, else `repeat`.

    Raises:
        ConfigError: fresh prompts are asked for and there are too few.
    """
    enough = per_round is not None and per_round * rounds <= found
    if prompts == "fresh" and not enough:
        wanted = f"{rounds} rounds of {per_round}" if per_round else "prompts_per_round, to cut slices of"
        raise ConfigError(
            f"prompts: fresh needs {wanted}; found {found} train prompts. "
            "Lower prompts_per_round or rounds, add prompts, or set prompts: repeat."
        )
    return prompts or ("fresh" if enough else "repeat")


def round_prompts(
    found: PromptSet, round: int, *, mode: str, per_round: int | None, most_validation: int | None, seed: int
) -> list[Prompt]:
    """The prompts of one round: its train prompts, then the validation prompts (the same ones every round).

    The order is by a hash of (seed, id), so a re-ordered prompt file gives the same slices.

    Args:
        found: all prompts.
        round: index of the round.
        mode: `fresh` or `repeat`.
        per_round: train prompts a round; None takes all of them.
        most_validation: validation prompts a round; None takes all of them.
        seed: the run's seed.
    """
    train = _shuffled(found.of("train"), seed)
    if per_round is not None:
        start = round * per_round if mode == "fresh" else 0
        train = train[start : start + per_round]
    return train + _shuffled(found.of("validation"), seed)[:most_validation]


def _shuffled(prompts: Sequence[Prompt], seed: int) -> list[Prompt]:
    return sorted(prompts, key=lambda prompt: digest_json([seed, prompt.id]))
