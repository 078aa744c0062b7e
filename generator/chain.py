"""The method, on one draft: draft, critique, revise, verify; then a pair or a reject.

After Bai et al. 2022, "Constitutional AI" (arXiv:2212.08073), section 3. Added to it: a label rests on verdicts, those
on the draft and those on the final text, and the final text is judged in a fresh conversation by reworded questions.
"""

from __future__ import annotations

from collections.abc import Sequence

from constitution.render import revise_request
from constitution.schema import Principle
from generator.critic import criticise, critique_turns, verdicts_on, verify
from generator.decide import decide_draft
from generator.drafts import refuse_cut, write_draft
from generator.gate import pass_gate
from generator.leaks import find_leak
from generator.method import REVISION, Method
from generator.principles import principles_of
from generator.seat import reply
from generator.story import ChainEnds, Story, told
from records.rows import Message, Pair, Prompt, Reject


async def run_chain(prompt: Prompt, method: Method, index: int = 0) -> Pair | Reject:
    """One draft, one outcome: everything that happened is in the row, whichever kind it is.

    `index` tells the chains of one prompt apart.
    """
    principles = principles_of(prompt, method, index)
    story = Story(prompt, principles, method.provenance, index=index)
    return await told(story, _revision(story, principles, method))


async def _revision(story: Story, principles: Sequence[Principle], method: Method) -> None:
    await write_draft(story, method)
    broken = await judge_draft(story, principles, method)
    await revise_in_turn(story, broken, method)
    refuse_unusable(story)
    await verify(story, principles, method)
    await pass_gate(story, method)


async def judge_draft(story: Story, principles: Sequence[Principle], method: Method) -> tuple[Principle, ...]:
    """The principles that the critic finds broken.

    Raises:
        ChainEnds: there is none, or the verdicts decide nothing.
    """
    story.draft_verdicts = await verdicts_on(story, principles, story.text, method)
    finding = decide_draft(story.draft_verdicts)
    if finding.reason:
        raise ChainEnds(finding.reason, finding.detail)
    story.violated = finding.violated
    return tuple(principle for principle in principles if principle.id in finding.violated)


async def revise_in_turn(story: Story, broken: Sequence[Principle], method: Method) -> None:
    """Rewrite the running text for each broken principle, looking at it again before each later rewrite."""
    for turn, principle in enumerate(broken):
        if turn > 0:
            verdict = await criticise(story, principle, story.text, method, kind="recheck")
            if verdict.verdict != "violates":
                continue
        completion = await reply(method.reviser, _revision_turns(story, principle, method), stage=REVISION)
        story.add_revision(principle.id, completion)
        refuse_cut(completion, "revision")


def refuse_unusable(story: Story) -> None:
    """End the chain where the final text is the draft, or gives itself away as a rewrite.

    Raises:
        ChainEnds: it is, or does.
    """
    if story.text.split() == story.draft_text.split():
        raise ChainEnds("unchanged", "the final text is the draft")
    leak = find_leak(story.text, story.prompt.messages, story.draft_text, story.critiques(), story.rechecks())
    if leak:
        raise ChainEnds("leaked", leak)


def _revision_turns(story: Story, principle: Principle, method: Method) -> tuple[Message, ...]:
    """The critique's conversation, its reply, and the request to rewrite: one growing token sequence."""
    request = revise_request(method.constitution, principle, story.prompt.messages, story.text)
    return (
        *critique_turns(story, principle, story.text, method),
        Message(role="assistant", content=story.replies[principle.id]),
        Message(role="user", content=request),
    )
