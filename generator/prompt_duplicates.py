"""Prompts that another prompt of the run makes superfluous, and by which one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple

from records.near import company, near_duplicates, sketch
from records.pair_texts import prompt_texts
from records.rows import Prompt
from records.splits import content_key

Why = Literal["duplicate", "near_duplicate_of_held_out", "near_duplicate"]
# Where prompts of two splits are alike, the one stays that is worth more: the figures rest on the held-out ones.
_PRECEDENCE = ("test", "validation", "train")


class LeftOut(NamedTuple):
    """A prompt that is not in the run, and the id of the other one that says the same.

    That one is in the run, or is itself left out for one that is.
    """

    why: Why
    source: str
    id: str
    other: str
    asked: str
    """Its last turn."""


def held_out_again(prompts: Sequence[Prompt]) -> dict[str, tuple[Why, str]]:
    """Train prompts whose user turns hold the content words of a held-out prompt's, by id with that one.

    Whatever the settings say, these never train.
    """
    held_out: dict[str, str] = {}
    for prompt in prompts:
        if prompt.split != "train":
            held_out.setdefault(content_key(prompt.messages), prompt.id)
    train = [prompt for prompt in prompts if prompt.split == "train"] if held_out else []
    found = ((prompt.id, held_out.get(content_key(prompt.messages))) for prompt in train)
    return {id: ("near_duplicate_of_held_out", other) for id, other in found if other is not None}


def alike_prompts(prompts: Sequence[Prompt], similarity: float) -> dict[str, tuple[Why, str]]:
    """All but one of prompts whose last turns, and what came before those, are so alike; by id, with the one.

    A test prompt stays before a validation prompt, and that before a train prompt; of one split the smallest id, so the
    order of files does not matter. Prompts of one `group` (a template over one document, say) are alike on purpose:
    only those that are equal in their content words count.
    """
    in_order = sorted(prompts, key=lambda prompt: (_PRECEDENCE.index(prompt.split), prompt.id))
    texts = {prompt.id: prompt_texts(prompt.messages) for prompt in in_order}
    # Most prompts keep company with nobody, and need no library to be told apart: `check` is to answer at once.
    of = {id: company(found, similarity) for id, found in texts.items()}
    counts = Counter(of.values())
    sketches = [(id, sketch(found, similarity, alone=counts[of[id]] == 1)) for id, found in texts.items()]

    def texts_of(wanted: frozenset[str]) -> Iterator[tuple[str, tuple[str, str]]]:
        return ((id, texts[id]) for id in texts if id in wanted)

    groups = {prompt.id: prompt.group for prompt in in_order if prompt.group}
    found = near_duplicates(sketches, texts_of, similarity, groups=groups)
    return {id: ("near_duplicate", other) for id, other in found.items()}
