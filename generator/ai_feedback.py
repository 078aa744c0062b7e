"""AI feedback: a judge prefers one of two drafts under the drawn principles, asked in both orders.

Bai et al. 2022, "Constitutional AI" (arXiv:2212.08073), section 4.1. The label is what the judge says of the same text
in both orders; where that contradicts itself, or the principles do, there is none. How probable the judge finds its
preference is stored beside it: in the paper the normalised probability of the two options is the (soft) label.
"""

from __future__ import annotations

from collections.abc import Sequence

from constitution.render import comparison_question
from constitution.schema import Principle
from generator.decide import decide_judgements
from generator.drafts import draft_group, leave_out
from generator.gate import pass_gate
from generator.judge import compare, mean_probability
from generator.method import JUDGEMENT, Method
from generator.story import ChainEnds, Story
from generator.together import together
from records.rows import Judgement


async def by_ai_feedback(story: Story, principles: Sequence[Principle], method: Method) -> None:
    """One prompt, one group of drafts, one outcome.

    Raises:
        ChainEnds: the group gives no pair.
        PromptTooLongError, EngineFailedError: as `Engine.complete`.
    """
    first, second, *others = await draft_group(story, method)
    for number in others:
        leave_out(story, number, "not_compared")
    judgements = await ask_the_judge(story, (first, second), principles, method)
    choose_preferred(story, (first, second), judgements)
    await pass_gate(story, method)


async def ask_the_judge(
    story: Story, drafts: tuple[int, int], principles: Sequence[Principle], method: Method
) -> tuple[Judgement, ...]:
    """The judge's answers about the first two distinct drafts, on each principle in both orders."""
    texts = {str(number): story.candidates[number].draft.text.strip() for number in drafts}

    async def ask(principle: Principle) -> tuple[Judgement, ...]:
        question = comparison_question(principle)
        found = await compare(
            method.judge, method.constitution, question, story.prompt.messages, texts, stage=JUDGEMENT
        )
        return story.add_judgements(found, principle.id)

    answers = await together(ask(principle) for principle in principles)
    return tuple(judgement for both in answers for judgement in both)


def choose_preferred(story: Story, drafts: tuple[int, int], judgements: Sequence[Judgement]) -> None:
    """The draft that the judge prefers over the other.

    Raises:
        ChainEnds: it prefers neither, contradicts itself, or cannot be read.
    """
    opinion = decide_judgements(judgements)
    if opinion.reason:
        raise ChainEnds(opinion.reason, opinion.detail)
    chosen = int(opinion.preferred)
    (rejected,) = {*drafts} - {chosen}
    story.choose(chosen, rejected)
    story.preference_probability = mean_probability(judgements, opinion.preferred)
