"""A toy constitution with exact checks, prompts for it, and rows made by hand."""

from __future__ import annotations

import json
from typing import Any

from constitution.render import default_templates
from constitution.schema import Check, Constitution, Principle
from evaluation.rows import DraftRow, draft_id
from records.rows import Message, Prompt, Verdict
from records.splits import prompt_id
from tests.scripted import author_of

CONSTITUTION = Constitution(
    name="toy",
    templates=default_templates(),
    principles=(
        Principle(id="polite", text="The answer never says fool.", check=Check(forbid=(r"(?i)\bfool\b",))),
        Principle(
            id="modest",
            text="The answer promises nothing.",
            applies_when="Somebody asks for a promise.",
            check=Check(forbid=("surely",), if_prompt=("promise",)),
        ),
        Principle(id="kind", text="The answer is kind."),
    ),
)


def prompt(
    text: str, *, benign: bool | None = True, check: dict[str, Any] | None = None, split: str = "test"
) -> Prompt:
    messages = (Message(role="user", content=text),)
    return Prompt(id=prompt_id(messages), messages=messages, split=split, benign=benign, check=check)


def row(prompt_name: str, number: int = 0, **columns: Any) -> DraftRow:
    """A row made by hand; `verdicts` and `checks` may be mappings from principle to verdict."""
    for column in ("verdicts", "checks"):
        if isinstance(columns.get(column), dict):
            named = columns[column].items()
            columns[column] = tuple(Verdict(principle=principle, verdict=verdict) for principle, verdict in named)
    columns.setdefault("judged", bool(columns.get("verdicts")))
    return DraftRow(
        **{
            "id": draft_id(prompt_name, number),
            "prompt_id": prompt_name,
            "number": number,
            "prompt": (Message(role="user", content=prompt_name),),
            "policy": author_of("m"),
            "critic": author_of("m"),
            "finish": "whole",
            "output_tokens": 10,
            **columns,
        }
    )


def verdict_reply(verdict: str, severity: int = 1) -> str:
    return json.dumps({"critique": "Seen.", "verdict": verdict, "severity": severity})
