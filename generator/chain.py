"""The method, on one prompt: draft, critique, revise, verify; then a pair or a reject.

After Bai et al. 2022, "Constitutional AI" (arXiv:2212.08073), section 3. Added to it: a label rests on verdicts, those
on the draft and those on the final text, and the final text is judged in a fresh conversation by reworded questions.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

from constitution.render import critique_request, revise_request, verify_request
from constitution.schema import Constitution, Principle
from generator.decide import decide_draft, decide_final
from generator.engine import Completion, EngineFailedError, PromptTooLongError
from generator.leaks import find_leak
from generator.principles import draw_principles
from generator.seat import Seat, ask_verdict, reply
from generator.story import ChainEnds, Story
from records.rows import Message, Pair, Prompt, Provenance, Reject, Verdict

# Later steps first: a chain that is nearly done frees its place soonest.
DRAFT, CRITIQUE, REVISION, VERIFICATION = range(4)


@dataclass(frozen=True)
class Method:
    """What the chains of one stage share: the norms, who sits where, and the rules."""

    constitution: Constitution
    policy: Seat
    critic: Seat
    reviser: Seat
    verifier: Seat
    provenance: Provenance
    draw: int | None = None
    verify_all: bool = False
    asks: int = 1
    drafts: int = 1
    few_shots: tuple[Message, ...] = field(default=(), repr=False)
    seed: int = 0


async def run_chain(prompt: Prompt, method: Method, index: int = 0) -> Pair | Reject:
    """One draft, one outcome: everything that happened is in the row, whichever kind it is.

    `index` tells the chains of one prompt apart.
    """
    round = method.provenance.round
    principles = draw_principles(
        method.constitution, method.draw, seed=method.seed, round=round, prompt_id=prompt.id, index=index
    )
    story = Story(prompt, tuple(principle.id for principle in principles), method.provenance, index=index)
    try:
        await write_draft(story, method)
        broken = await judge_draft(story, principles, method)
        await revise_in_turn(story, broken, method)
        await verify(story, method.constitution.principles if method.verify_all else principles, method)
    except ChainEnds as end:
        return story.reject(end.reason, end.detail)
    except PromptTooLongError as error:
        return story.reject("too_long", str(error))
    except EngineFailedError as error:
        return story.reject("engine_error", str(error))
    return story.pair()


async def write_draft(story: Story, method: Method) -> None:
    """The policy answers the prompt."""
    completion = await reply(method.policy, story.prompt.messages, stage=DRAFT, logprobs=True)
    story.add_draft(completion, method.policy.tokenizer)
    _refuse_cut(completion, "draft")


async def judge_draft(story: Story, principles: Sequence[Principle], method: Method) -> tuple[Principle, ...]:
    """The principles that the critic finds broken, each asked at once about the draft.

    With `asks` above one, a principle found broken is asked about again in fresh conversations, each worded anew.
    """
    text = story.text
    first = await asyncio.gather(*(_criticise(story, principle, text, method) for principle in principles))
    again = [principle for principle, verdict in zip(principles, first, strict=True) if verdict.verdict == "violates"]
    fresh = await _ask_afresh(story, again, text, range(1, method.asks), method)
    story.draft_verdicts = (*first, *fresh)
    finding = decide_draft(story.draft_verdicts)
    if finding.reason:
        raise ChainEnds(finding.reason, finding.detail)
    story.violated = finding.violated
    return tuple(principle for principle in principles if principle.id in finding.violated)


async def revise_in_turn(story: Story, broken: Sequence[Principle], method: Method) -> None:
    """Rewrite the running text for each broken principle, looking at it again before each later rewrite."""
    for turn, principle in enumerate(broken):
        if turn > 0:
            verdict = await _criticise(story, principle, story.text, method, kind="recheck")
            if verdict.verdict != "violates":
                continue
        completion = await reply(method.reviser, _revision_turns(story, principle, method), stage=REVISION)
        story.add_revision(principle.id, completion)
        _refuse_cut(completion, "revision")
    if story.text.split() == story.draft_text.split():
        raise ChainEnds("unchanged", "the final text is the draft")
    leak = find_leak(story.text, story.prompt.messages, story.draft_text, story.critiques(), story.rechecks())
    if leak:
        raise ChainEnds("leaked", leak)


async def verify(story: Story, principles: Sequence[Principle], method: Method) -> None:
    """Judge the final text on every principle in fresh conversations that do not say it is a rewrite."""
    story.final_verdicts = await _ask_afresh(story, principles, story.text, range(method.asks), method)
    finding = decide_final(story.draft_verdicts, story.final_verdicts)
    if finding.reason:
        raise ChainEnds(finding.reason, finding.detail)


async def _criticise(
    story: Story, principle: Principle, text: str, method: Method, *, kind: str = "critique"
) -> Verdict:
    """The critic's verdict on a text; the reply is kept, since a revision continues this very conversation."""
    messages = _critique_turns(story.prompt, principle, text, method)
    verdict, completions = await ask_verdict(method.critic, principle, messages, stage=CRITIQUE)
    story.add_verdict(kind, verdict, completions)
    return verdict


async def _ask_afresh(
    story: Story, principles: Sequence[Principle], text: str, asks: range, method: Method
) -> tuple[Verdict, ...]:
    async def ask(principle: Principle, number: int) -> Verdict:
        request = verify_request(method.constitution, principle, story.prompt.messages, text, ask=number)
        messages = (Message(role="user", content=request),)
        verdict, completions = await ask_verdict(method.verifier, principle, messages, stage=VERIFICATION)
        story.add_verdict("verification", verdict, completions)
        return verdict

    return tuple(await asyncio.gather(*(ask(principle, number) for principle in principles for number in asks)))


def _critique_turns(prompt: Prompt, principle: Principle, text: str, method: Method) -> tuple[Message, ...]:
    request = critique_request(method.constitution, principle, prompt.messages, text)
    return (*method.few_shots, Message(role="user", content=request))


def _revision_turns(story: Story, principle: Principle, method: Method) -> tuple[Message, ...]:
    """The critique's conversation, its reply, and the request to rewrite: one growing token sequence."""
    request = revise_request(method.constitution, principle, story.prompt.messages, story.text)
    return (
        *_critique_turns(story.prompt, principle, story.text, method),
        Message(role="assistant", content=story.replies[principle.id]),
        Message(role="user", content=request),
    )


def _refuse_cut(completion: Completion, what: str) -> None:
    if completion.finish_reason == "length":
        raise ChainEnds("truncated", f"the {what} reached max_tokens")
    if not completion.text.strip():
        raise ChainEnds("truncated", f"the {what} is empty")
