"""Rating: each draft is rated from 1 to 5 by a rubric of the drawn principles, and a wide enough margin is a pair.

Cui et al. 2023, "UltraFeedback" (arXiv:2310.01377), section 2: a judge writes its reasons and a number for each answer
alone, and the highest goes over a lower one. Ratings that tie say nothing, and one that cannot be read is no rating.
"""

from __future__ import annotations

from collections.abc import Sequence

from constitution.judgements import parse_rating, rating_schema
from constitution.render import rate_request
from constitution.schema import Principle
from generator.decide import decide_ratings
from generator.drafts import draft_group, in_play, leave_out, require_two
from generator.engine import Completion
from generator.gate import pass_gate
from generator.method import JUDGEMENT, Method
from generator.seat import ask_twice
from generator.story import ChainEnds, Story
from generator.together import together
from records.rows import Message


async def by_rating(story: Story, principles: Sequence[Principle], method: Method) -> None:
    """One prompt, one group of drafts, one outcome.

    Raises:
        ChainEnds: the group gives no pair.
        PromptTooLongError, EngineFailedError: as `Engine.complete`.
    """
    await draft_group(story, method)
    await rate_drafts(story, principles, method)
    choose_by_rating(story, method.margin)
    await pass_gate(story, method)


async def rate_drafts(story: Story, principles: Sequence[Principle], method: Method) -> None:
    """The judge rates every draft in play, each in a conversation of its own; one without a readable rating is out.

    Raises:
        ChainEnds: fewer than two are left.
    """

    def rating_of(completion: Completion) -> int | None:
        reply = parse_rating(completion.text, finish_reason=completion.finish_reason)
        return reply.rating if reply else None

    async def rate(number: int, text: str) -> None:
        request = rate_request(method.constitution, principles, story.prompt.messages, text)
        completions = await ask_twice(
            method.judge,
            (Message(role="user", content=request),),
            lambda reply: rating_of(reply) is not None,
            stage=JUDGEMENT,
            schema=rating_schema(),
        )
        rating = rating_of(completions[-1])
        story.candidates[number] = story.candidates[number].model_copy(update={"rating": rating})
        story.add_replies("rating", completions, None if rating else "unparsed", candidate=number)
        if rating is None:
            leave_out(story, number, "unparsed")

    await together(rate(number, text) for number, text in in_play(story).items())
    require_two(story)


def choose_by_rating(story: Story, margin: int) -> None:
    """The draft that is rated highest over the one that is rated lowest.

    Raises:
        ChainEnds: the ratings lie nearer to each other than `margin`.
    """
    choice = decide_ratings({number: story.candidates[number].rating or 0 for number in in_play(story)}, margin)
    if choice.reason:
        raise ChainEnds(choice.reason, choice.detail)
    story.choose(choice.chosen, choice.rejected)
