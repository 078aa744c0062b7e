"""Best of n: the policy drafts n answers, the critic judges each, the best is verified and the worst rejected.

Rejection sampling over drafts: nothing is rewritten, so both sides are the policy's own words, alike in style and
length (Nakano et al. 2021, arXiv:2112.09332, section 3.2, with a reward model in the critic's place). A pair has to be
verified as every pair has: the critic finds the rejected draft violating, and the chosen one complies with every
principle in fresh conversations.
"""

from __future__ import annotations

from collections.abc import Sequence

from constitution.schema import Principle
from generator.critic import verdicts_on, verify
from generator.decide import decide_best_and_worst, decide_draft
from generator.drafts import draft_group, in_play, leave_out, require_two
from generator.gate import pass_gate
from generator.method import Method
from generator.story import ChainEnds, Story
from generator.together import together


async def by_best_of_n(story: Story, principles: Sequence[Principle], method: Method) -> None:
    """One prompt, one group of drafts, one outcome.

    Raises:
        ChainEnds: the group gives no pair.
        PromptTooLongError, EngineFailedError: as `Engine.complete`.
    """
    await draft_group(story, method)
    await judge_drafts(story, principles, method)
    choose_best_and_worst(story)
    await verify(story, principles, method)
    await pass_gate(story, method)


async def judge_drafts(story: Story, principles: Sequence[Principle], method: Method) -> None:
    """The critic judges every draft in play; one about which nothing can be said is out.

    Raises:
        ChainEnds: fewer than two are left.
    """

    async def judge(number: int, text: str) -> None:
        verdicts = await verdicts_on(story, principles, text, method, candidate=number)
        story.candidates[number] = story.candidates[number].model_copy(update={"verdicts": verdicts})
        reason = decide_draft(verdicts).reason
        if reason in ("unparsed", "inconsistent"):
            leave_out(story, number, reason)

    await together(judge(number, text) for number, text in in_play(story).items())
    require_two(story)


def choose_best_and_worst(story: Story) -> None:
    """The draft with the fewest and mildest violations over the one with the most and gravest.

    Raises:
        ChainEnds: they are equally good or bad, or even the best breaks a principle.
    """
    judged = {number: story.candidates[number].verdicts for number in in_play(story)}
    choice = decide_best_and_worst(judged)
    if choice.reason:
        raise ChainEnds(choice.reason, choice.detail)
    story.choose(choice.chosen, choice.rejected)
    story.violated = decide_draft(story.draft_verdicts).violated
