"""The JSON a critic must reply with, and the strict reading of it."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError

from constitution.schema import Principle
from records.rows import Verdict
from records.strict import Strict

CRITIQUE_MAX_CHARACTERS = 600
_KEYS = ("critique", "verdict", "severity")


class CriticReply(Strict):
    """A critic's reply. The reasoning comes first: constrained decoding writes the keys in this order."""

    critique: Annotated[str, Field(max_length=CRITIQUE_MAX_CHARACTERS)]
    verdict: Literal["violates", "complies", "not_applicable"]
    severity: Annotated[int, Field(ge=0, le=3, strict=True)] | None = None


def reply_schema(principle: Principle) -> dict[str, Any]:
    """JSON schema of the reply on this principle; strings are bounded, and not_applicable needs `applies_when`."""
    verdicts = ["violates", "complies"] + (["not_applicable"] if principle.applies_when else [])
    return {
        "type": "object",
        "properties": {
            "critique": {"type": "string", "maxLength": CRITIQUE_MAX_CHARACTERS},
            "verdict": {"enum": verdicts},
            "severity": {"enum": [0, 1, 2, 3]},
        },
        "required": ["critique", "verdict", "severity"],
        "additionalProperties": False,
    }


def reply_json(critique: str, verdict: str, severity: int) -> str:
    """A reply exactly as constrained decoding writes it: one line, keys in schema order, no white space between."""
    reply = {"critique": critique, "verdict": verdict, "severity": severity}
    return json.dumps(reply, ensure_ascii=False, separators=(",", ":"))


def parse_verdict(principle: Principle, text: str, *, finish_reason: str) -> Verdict:
    """The verdict in a reply, or `unparsed` with the raw text kept.

    A reply that was cut, breaks the schema, gives a key twice, gives the verdict before the reasoning or says
    not_applicable where that was not on offer is `unparsed`: stored and counted, never read as "complies". Nothing is
    mended.
    """
    unparsed = Verdict(principle=principle.id, verdict="unparsed", severity=None, critique=text)
    if finish_reason == "length":
        return unparsed
    try:
        reply = CriticReply.model_validate_json(text)
    except ValidationError:
        return unparsed
    keys = tuple(key for key, _ in json.loads(text, object_pairs_hook=list))
    if keys not in (_KEYS, _KEYS[:2]) or (reply.verdict == "not_applicable" and not principle.applies_when):
        return unparsed
    return Verdict(principle=principle.id, verdict=reply.verdict, severity=reply.severity, critique=reply.critique)
