"""The shortcut probe on the pairs that are about to be trained on: drawn, decoded, scored (trainer/shortcuts.py)."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

from records.digest import digest_json
from trainer.adapter import loaded_beside
from trainer.data import EncodedPair
from trainer.shortcuts import MOST_PAIRS, Answers, Figures, find_shortcuts

if TYPE_CHECKING:
    from trainer.dpo import TrainJob

Means = dict[int, tuple[float, float]]
"""By a pair's place among all, the mean log-probability of a token of its chosen and of its rejected answer."""


def probe_policies(trainer: Any, tokenizer: Any, job: TrainJob, pairs: Sequence[EncodedPair]) -> Figures:
    """The figures of `find_shortcuts`, with what base and policy make of `train.shortcut_pairs` of the pairs.

    Args:
        trainer: TRL's, its reference attached; put in evaluation mode.
        tokenizer: the model's.
        job: names the adapter of the policy that drafted this round, the number of pairs to score, and the seed.
        pairs: those of the trainer's train set, in its order.

    Returns:
        Beside those of `probe_texts`: `base_logp`, and where the policy is another one, `policy_logp` and
        `base_over_policy`, their difference; `scored_pairs`. Empty where no pair is to be scored.
    """
    most, previous = job.config.shortcut_pairs, job.previous_adapter
    if not most:
        return {}
    started = time.monotonic()
    drawn = draw(len(pairs), most, job.seed)
    # With the trainer's kernels: an engine's figures differ by more than some of these answers do.
    scores = {"base_logp": _mean_logps(trainer, job, pairs, drawn, None)}
    if previous is not None:
        scores["policy_logp"] = _mean_logps(trainer, job, pairs, drawn, previous)
        scores["base_over_policy"] = _differences(scores["base_logp"], scores["policy_logp"])
    figures = probe_texts(pairs, tokenizer, job.seed, scores)
    return figures | {"scored_pairs": len(drawn), "seconds": round(time.monotonic() - started, 2)}


def probe_texts(
    pairs: Sequence[EncodedPair], tokenizer: Any, seed: int, scores: Mapping[str, Means] | None = None
) -> Figures:
    """The figures of `find_shortcuts`, `pairs` (those looked at) and `seconds`.

    Args:
        pairs: at least one; of many, `MOST_PAIRS` are looked at.
        tokenizer: decodes their answers.
        seed: of the draw and the folds.
        scores: of pairs that were drawn with this seed.
    """
    started = time.monotonic()
    scores = scores or {}
    drawn = draw(len(pairs), max([MOST_PAIRS, *map(len, scores.values())]), seed)
    place_of = {place: index for index, place in enumerate(drawn)}
    moved = {name: {place_of[place]: means for place, means in found.items()} for name, found in scores.items()}
    figures = find_shortcuts([_answers(pairs[place], tokenizer) for place in drawn], moved, seed)
    return {"pairs": len(drawn), **figures, "seconds": round(time.monotonic() - started, 2)}


def draw(count: int, most: int, seed: int) -> list[int]:
    """At most so many of the places 0 to count - 1, in order; what is drawn of few is among what is drawn of more."""
    places = list(range(count))
    Random(seed).shuffle(places)
    return sorted(places[:most])


def _answers(pair: EncodedPair, tokenizer: Any) -> Answers:
    sides = (pair.chosen_ids, pair.rejected_ids)
    chosen, rejected = (tokenizer.decode(ids, skip_special_tokens=True) for ids in sides)
    return Answers(digest_json(pair.prompt_ids), chosen, rejected, *map(len, sides))


def _mean_logps(
    trainer: Any, job: TrainJob, pairs: Sequence[EncodedPair], drawn: Sequence[int], adapter: Path | None
) -> Means:
    """Under one policy; that of the reference was computed for all pairs already."""
    if adapter == job.adapter_of(job.config.reference) and "ref_chosen_logps" in trainer.train_dataset.column_names:
        rows = trainer.train_dataset.select(drawn)
        assert list(rows["id"]) == [pairs[place].id for place in drawn], "the trainer dropped or moved pairs"
        sums = list(zip(rows["ref_chosen_logps"], rows["ref_rejected_logps"], strict=True))
    else:
        from trainer.reference import reference_logps

        with loaded_beside(trainer.model, adapter, job.model) as policy:
            sums = reference_logps(trainer, [pairs[place] for place in drawn], policy)
    return {
        place: (chosen / len(pairs[place].chosen_ids), rejected / len(pairs[place].rejected_ids))
        for place, (chosen, rejected) in zip(drawn, sums, strict=True)
    }


def _differences(base: Means, policy: Means) -> Means:
    return {
        place: (chosen - policy[place][0], rejected - policy[place][1]) for place, (chosen, rejected) in base.items()
    }
