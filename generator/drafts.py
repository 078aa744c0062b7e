"""The policy answers: one draft, or a group of drafts of one prompt."""

from __future__ import annotations

from generator.engine import Completion
from generator.method import DRAFT, Method
from generator.seat import reply
from generator.story import ChainEnds, Story, draft_of
from generator.together import together
from records.rows import Candidate


async def write_draft(story: Story, method: Method) -> None:
    """The policy answers the prompt.

    Raises:
        ChainEnds: the draft was cut, or is empty.
    """
    drafter = method.drafter(story.prompt.id, story.index)
    completion = await reply(drafter, story.prompt.messages, stage=DRAFT, logprobs=True)
    story.add_draft(completion, drafter)
    refuse_cut(completion, "draft")


async def draft_group(story: Story, method: Method) -> dict[int, str]:
    """The policy answers the prompt several times; returns the texts that are in play, by their number.

    Every draft stays on the row. One that was cut is out, and so is one that says what an earlier one says.

    Raises:
        ChainEnds: fewer than two are in play.
    """

    async def write(number: int) -> Candidate:
        drafter = method.drafter(story.prompt.id, number)
        completion = await reply(drafter, story.prompt.messages, stage=DRAFT, logprobs=True)
        story.add_call("draft", completion, candidate=number)
        return Candidate(draft=draft_of(completion, drafter), left_out="truncated" if is_cut(completion) else "")

    story.candidates = await together(write(number) for number in range(method.drafts))
    seen: set[tuple[str, ...]] = set()
    for number, text in in_play(story).items():
        words = tuple(text.split())
        if words in seen:
            leave_out(story, number, "repeated")
        seen.add(words)
    require_two(story)
    return in_play(story)


def in_play(story: Story) -> dict[int, str]:
    """The texts of the candidates that may still be chosen or rejected, by their number."""
    found = enumerate(story.candidates)
    return {number: candidate.draft.text.strip() for number, candidate in found if not candidate.left_out}


def leave_out(story: Story, number: int, why: str) -> None:
    """Take a candidate out of the group; it stays on the row with the reason."""
    story.candidates[number] = story.candidates[number].model_copy(update={"left_out": why})


def require_two(story: Story) -> None:
    """End the chain where fewer than two candidates are in play.

    Raises:
        ChainEnds: with the reason that the most telling of those left out has.
    """
    if len(in_play(story)) >= 2:
        return
    found = [candidate.left_out for candidate in story.candidates]
    detail = f"of {len(found)} drafts, " + ", ".join(f"{found.count(why)} {why}" for why in dict.fromkeys(found) if why)
    if "unparsed" in found:
        raise ChainEnds("unparsed", detail)
    if "inconsistent" in found:
        raise ChainEnds("inconsistent", detail)
    raise ChainEnds("truncated" if "truncated" in found else "unchanged", detail)


def is_cut(completion: Completion) -> bool:
    """Whether a text reached max_tokens, or is empty."""
    return completion.finish_reason == "length" or not completion.text.strip()


def refuse_cut(completion: Completion, what: str) -> None:
    """End the chain where a text reached max_tokens, or is empty.

    Raises:
        ChainEnds: it did, or is.
    """
    if completion.finish_reason == "length":
        raise ChainEnds("truncated", f"the {what} reached max_tokens")
    if not completion.text.strip():
        raise ChainEnds("truncated", f"the {what} is empty")
