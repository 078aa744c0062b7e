"""A second gate before a pair: is the chosen text also as helpful, or does the pair reward mere refusal?"""

from __future__ import annotations

from generator.decide import decide_gate
from generator.judge import compare
from generator.method import JUDGEMENT, Method
from generator.story import ChainEnds, Story


async def pass_gate(story: Story, method: Method) -> None:
    """Ask the judge about chosen and rejected in both orders, where `generate.judge` is set; its answers are stored.

    Raises:
        ChainEnds: the judge prefers the rejected text, or does not prefer the chosen one where it must.
    """
    if method.gate is None:
        return
    sides = story.sides()
    found = await compare(
        method.judge, method.constitution, method.gate.question, story.prompt.messages, sides, stage=JUDGEMENT
    )
    judgements = story.add_judgements(found)
    finding = decide_gate(judgements, *sides, at_least=method.gate.at_least)
    if finding.reason:
        raise ChainEnds(finding.reason, finding.detail)
