"""The method, on one draft: draft, critique, revise, verify; then a pair or a reject.

After Bai et al. 2022, "Constitutional AI" (arXiv:2212.08073), section 3. Added to it: a label rests on verdicts, those
on the draft and those on the final text, both on every principle of every pass, and the final text is judged in a fresh
conversation by reworded questions.
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
from generator.principles import passes_of
from generator.seat import reply
from generator.story import ChainEnds, Story, told
from records.rows import Message, Pair, Prompt, Reject


async def run_chain(prompt: Prompt, method: Method, index: int = 0) -> Pair | Reject:
    """One draft, one outcome: everything that happened is in the row, whichever kind it is.

    `index` tells the chains of one prompt apart.
    """
    passes = passes_of(prompt, method, index)
    drawn = tuple({principle.id: principle for principles in passes for principle in principles}.values())
    story = Story(prompt, drawn, method.provenance, index=index)
    return await told(story, _revision(story, passes, drawn, method))


async def _revision(
    story: Story, passes: Sequence[Sequence[Principle]], drawn: Sequence[Principle], method: Method
) -> None:
    await write_draft(story, method)
    broken = await judge_draft(story, drawn, method)
    first, *later = passes
    for principles in ([principle for principle in first if principle in broken], *later):
        await revise_in_turn(story, principles, method)
    refuse_unusable(story)
    await verify(story, drawn, method)
    await pass_gate(story, method)


async def judge_draft(story: Story, principles: Sequence[Principle], method: Method) -> tuple[Principle, ...]:
    """The principles that the critic finds the draft breaking, whatever pass they were drawn for.

    Raises:
        ChainEnds: there is none, or the verdicts decide nothing.
    """
    story.draft_verdicts = await verdicts_on(story, principles, story.text, method)
    finding = decide_draft(story.draft_verdicts)
    if finding.reason:
        raise ChainEnds(finding.reason, finding.detail)
    story.violated = finding.violated
    return tuple(principle for principle in principles if principle.id in finding.violated)


async def revise_in_turn(story: Story, principles: Sequence[Principle], method: Method) -> None:
    """Rewrite the running text for each principle that it breaks, looking at it again before each later rewrite."""
    for principle in principles:
        if not await _is_broken(story, principle, method):
            continue
        completion = await reply(method.reviser, _revision_turns(story, principle, method), stage=REVISION)
        story.add_revision(principle.id, completion)
        refuse_cut(completion, "revision")


async def _is_broken(story: Story, principle: Principle, method: Method) -> bool:
    if not story.is_revised:  # what was found about the draft holds
        return principle.id in story.violated
    return (await criticise(story, principle, story.text, method, kind="recheck")).verdict == "violates"


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
