"""Pairs as token ids, ready to train on: encoded once, the canonical way, nothing cut.

Conversational pairs go through the project's one chat encoding (records/chat.py). Plain-text pairs are tokenised as
they stand, with the tokeniser's BOS before the prompt and its EOS after each answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from records.chat import check_template, encode_pair
from records.errors import DataError
from records.held_out import NOTHING_HELD_OUT, HeldOut
from records.opinions import opinion, opposites
from trainer.preferences import Preference, raise_problems, read_preferences


@dataclass(frozen=True)
class EncodedPair:
    """One pair as token ids; both answers end with their closing tokens."""

    id: str
    prompt_ids: list[int]
    chosen_ids: list[int]
    rejected_ids: list[int]
    source: int = 0
    """The place of its path among those that were read."""
    probability: float | None = None
    """That `chosen` is preferred, where labels are soft and its row says so."""

    @property
    def label_probability(self) -> float:
        """Of the label; 1 where nothing says otherwise."""
        return 1.0 if self.probability is None else self.probability

    @property
    def tokens(self) -> int:
        """Prompt plus the longer answer."""
        return len(self.prompt_ids) + max(len(self.chosen_ids), len(self.rejected_ids))


@dataclass(frozen=True)
class PairSet:
    """What is trained on, what is only evaluated on, and what was left out, by id."""

    train: tuple[EncodedPair, ...]
    validation: tuple[EncodedPair, ...]
    too_long: tuple[str, ...] = ()
    same_tokens: tuple[str, ...] = ()
    """Pairs whose sides differ as text but not as tokens (white space that the template strips): nothing to learn."""
    held_out: tuple[str, ...] = ()
    """Pairs to train on whose prompt is held out for validation or test."""
    contradictory: tuple[str, ...] = ()
    """Pairs that prefer what another one, of whatever round or source, says is the worse of the same two texts."""
    low_reward: tuple[str, ...] = ()
    """Pairs that `train.reward_gate` leaves out."""

    @property
    def left_out(self) -> dict[str, tuple[str, ...]]:
        """The ids of what is left out, by reason."""
        reasons = (
            "too_long",
            "same_tokens",
            "held_out",
            "contradictory",
            *(("low_reward",) if self.low_reward else ()),
        )
        return {reason: getattr(self, reason) for reason in reasons}


def load_pairs(
    paths: Sequence[Path],
    tokenizer: Any,
    max_tokens: int,
    held_out: HeldOut = NOTHING_HELD_OUT,
    *,
    keep_contradictions: bool = False,
    soft_labels: bool = False,
) -> PairSet:
    """Read, check and encode preference data.

    Args:
        paths: see trainer/preferences.py for what a path may be.
        tokenizer: the model's; with a chat template where the data is conversational.
        max_tokens: longest prompt plus answer; a longer pair is counted, listed and left out.
        held_out: the prompts that may not be trained on; pairs on these are listed and left out.
        keep_contradictions: else pairs that contradict another one are left out, and that one too.
        soft_labels: keep each row's `preference_probability`, and refuse one that is none.

    Raises:
        DataError: rows that cannot be used, all at once; or no training pair is left.
        ConfigError: conversational data, and the tokeniser has no chat template that pairs can be written in.
    """
    preferences = read_preferences(paths, soft_labels=soft_labels)
    against = frozenset[str]() if keep_contradictions else _contradictory(preferences)
    pairs = _sorted_out(preferences, tokenizer, max_tokens, held_out, against)
    if any(not isinstance(one.prompt, str) for one in preferences):
        check_template(tokenizer)
    if not pairs.train:
        raise DataError(
            f"{', '.join(map(str, paths))}: no pair to train on: of {len(preferences)}, {len(pairs.validation)} are "
            f"for validation only, {len(pairs.too_long)} are longer than {max_tokens} tokens, {len(pairs.same_tokens)} "
            f"have sides that are the same tokens, {len(pairs.held_out)} are on held-out prompts, "
            f"{len(pairs.contradictory)} contradict each other. Raise train.max_tokens, or make more pairs."
        )
    return pairs


def _contradictory(preferences: Sequence[Preference]) -> frozenset[str]:
    """Where the pairs stand that another one contradicts; ids may be those of two files."""
    said = (opinion(one.where, one.prompt, one.chosen, one.rejected) for one in preferences)
    return frozenset(opposites(said))


def _sorted_out(
    preferences: Sequence[Preference],
    tokenizer: Any,
    max_tokens: int,
    held_out: HeldOut,
    contradictory: frozenset[str],
) -> PairSet:
    problems: list[str] = []
    kept: dict[str, list[EncodedPair]] = {"train": [], "validation": []}
    left_out: dict[str, list[str]] = {"too_long": [], "same_tokens": [], "held_out": [], "contradictory": []}
    for preference in preferences:
        if preference.split == "train" and preference.prompt in held_out:
            left_out["held_out"].append(preference.id)
            continue
        if preference.where in contradictory:
            left_out["contradictory"].append(preference.id)
            continue
        try:
            pair = encode_preference(preference, tokenizer)
        except ValueError as error:
            problems.append(f"{preference.where}: {error}")
            continue
        if pair.chosen_ids == pair.rejected_ids:
            left_out["same_tokens"].append(pair.id)
        elif pair.tokens > max_tokens:
            left_out["too_long"].append(pair.id)
        else:
            kept[preference.split].append(pair)
    raise_problems(problems)
    return PairSet(
        train=tuple(kept["train"]),
        validation=tuple(kept["validation"]),
        **{reason: tuple(ids) for reason, ids in left_out.items()},
    )


def encode_preference(preference: Preference, tokenizer: Any) -> EncodedPair:
    """A row's three sides as token ids.

    Raises:
        ValueError: the chat template does not render the prompt as a prefix of prompt and answer.
        ConfigError: the row is conversational and the tokeniser has no chat template.
    """
    return EncodedPair(preference.id, *_encode_sides(preference, tokenizer), preference.source, preference.probability)


def _encode_sides(preference: Preference, tokenizer: Any) -> tuple[list[int], list[int], list[int]]:
    prompt, chosen, rejected = preference.prompt, preference.chosen, preference.rejected
    if isinstance(prompt, str):
        assert isinstance(chosen, str) and isinstance(rejected, str)
        return _encode_texts(tokenizer, prompt, chosen, rejected)
    assert not isinstance(chosen, str) and not isinstance(rejected, str)
    prompt_ids, chosen_ids = encode_pair(tokenizer, prompt, chosen)
    return prompt_ids, chosen_ids, encode_pair(tokenizer, prompt, rejected)[1]


def _encode_texts(tokenizer: Any, prompt: str, chosen: str, rejected: str) -> tuple[list[int], list[int], list[int]]:
    # A text that spells its own BOS gets no second one.
    has_bos = bool(tokenizer.bos_token) and prompt.startswith(tokenizer.bos_token)
    prompt_ids = _without_eos(tokenizer, tokenizer.encode(prompt, add_special_tokens=not has_bos))
    wholes = [tokenizer.encode(prompt + answer, add_special_tokens=not has_bos) for answer in (chosen, rejected)]
    if all(whole[: len(prompt_ids)] == prompt_ids for whole in wholes):
        answers = [whole[len(prompt_ids) :] for whole in wholes]
    else:
        # Tokens merge across the boundary. The model will be asked with the prompt's own ids, so those stay, and both
        # answers are tokenised on their own.
        answers = [tokenizer.encode(answer, add_special_tokens=False) for answer in (chosen, rejected)]
    chosen_ids, rejected_ids = (_without_eos(tokenizer, ids) + _eos(tokenizer) for ids in answers)
    return prompt_ids, chosen_ids, rejected_ids


def _eos(tokenizer: Any) -> list[int]:
    return [] if tokenizer.eos_token_id is None else [tokenizer.eos_token_id]


def _without_eos(tokenizer: Any, ids: list[int]) -> list[int]:
    """The ids without a last EOS: some tokenisers close every text with one, some texts bring their own."""
    return ids[:-1] if ids and ids[-1] == tokenizer.eos_token_id else ids
