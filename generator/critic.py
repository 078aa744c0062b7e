"""What critic and verifier are asked about a text: the critic in the words of a critique, the verifier afresh."""

from __future__ import annotations

from collections.abc import Sequence

from constitution.render import critique_request, verify_request
from constitution.schema import Principle
from generator.decide import decide_final
from generator.method import CRITIQUE, VERIFICATION, Method
from generator.seat import ask_verdict
from generator.story import ChainEnds, Story
from generator.together import together
from records.rows import Message, Verdict


async def verdicts_on(
    story: Story, principles: Sequence[Principle], text: str, method: Method, *, candidate: int | None = None
) -> tuple[Verdict, ...]:
    """The critic's verdicts on a draft, each principle asked about at once.

    With `draft_asks` (where it is left out, `asks`) above one, a principle found broken is asked about again in fresh
    conversations, each worded anew.
    """
    first = await together(criticise(story, one, text, method, candidate=candidate) for one in principles)
    again = [principle for principle, verdict in zip(principles, first, strict=True) if verdict.verdict == "violates"]
    fresh = await ask_afresh(
        story, again, text, range(1, method.draft_asks or method.asks), method, candidate=candidate
    )
    return (*first, *fresh)


async def criticise(
    story: Story,
    principle: Principle,
    text: str,
    method: Method,
    *,
    kind: str = "critique",
    candidate: int | None = None,
) -> Verdict:
    """The critic's verdict on a text; the reply is kept, since a revision continues this very conversation."""
    messages = critique_turns(story, principle, text, method)
    verdict, completions = await ask_verdict(method.critic, principle, messages, stage=CRITIQUE)
    story.add_verdict(kind, verdict, completions, candidate=candidate)
    return verdict


def critique_turns(story: Story, principle: Principle, text: str, method: Method) -> tuple[Message, ...]:
    """The conversation that asks the critic about a text: worked examples, then the request."""
    request = critique_request(method.constitution, principle, story.prompt.messages, text)
    return (*method.few_shots, Message(role="user", content=request))


async def verify(story: Story, principles: Sequence[Principle], method: Method) -> None:
    """Judge what would be chosen in fresh conversations, on these principles or on all, as `verify.principles` says.

    Raises:
        ChainEnds: it does not comply with every one of them.
    """
    asked = method.constitution.principles if method.verify_all else principles
    story.final_verdicts = await ask_afresh(story, asked, story.text, range(method.asks), method)
    finding = decide_final(story.draft_verdicts, story.final_verdicts)
    if finding.reason:
        raise ChainEnds(finding.reason, finding.detail)


async def ask_afresh(
    story: Story,
    principles: Sequence[Principle],
    text: str,
    asks: range,
    method: Method,
    *,
    candidate: int | None = None,
) -> tuple[Verdict, ...]:
    """Verdicts in fresh conversations: prompt and text, no draft, no critique, no hint that the text is a rewrite."""

    async def ask(principle: Principle, number: int) -> Verdict:
        request = verify_request(method.constitution, principle, story.prompt.messages, text, ask=number)
        messages = (Message(role="user", content=request),)
        verdict, completions = await ask_verdict(method.verifier, principle, messages, stage=VERIFICATION)
        story.add_verdict("verification", verdict, completions, candidate=candidate)
        return verdict

    return tuple(await together(ask(principle, number) for principle in principles for number in asks))
