"""The JSON that a judge must reply with to a comparison or a request to rate, and the strict reading of it."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal, TypeVar

from pydantic import Field, ValidationError

from constitution.verdicts import CRITIQUE_MAX_CHARACTERS
from records.strict import Strict

OPTIONS = ("A", "B", "tie")
RATINGS = (1, 2, 3, 4, 5)
Reply = TypeVar("Reply", bound=Strict)


class ComparisonReply(Strict):
    """Which of two answers is better. The reasoning comes first: constrained decoding writes the keys in this order."""

    critique: Annotated[str, Field(max_length=CRITIQUE_MAX_CHARACTERS)]
    better: Literal["A", "B", "tie"]


class RatingReply(Strict):
    """How good one answer is, 5 the best."""

    critique: Annotated[str, Field(max_length=CRITIQUE_MAX_CHARACTERS)]
    rating: Annotated[int, Field(ge=1, le=5, strict=True)]


def comparison_schema() -> dict[str, Any]:
    """JSON schema of the reply to a comparison."""
    return _schema("better", OPTIONS)


def rating_schema() -> dict[str, Any]:
    """JSON schema of the reply to a request to rate."""
    return _schema("rating", RATINGS)


def parse_comparison(text: str, *, finish_reason: str) -> ComparisonReply | None:
    """The reply, or None where it was cut, breaks the schema, gives a key twice or the answer before the reasoning."""
    return parse_reply(ComparisonReply, text, finish_reason=finish_reason)


def parse_rating(text: str, *, finish_reason: str) -> RatingReply | None:
    """As `parse_comparison`; nothing is mended, and no number outside 1 to 5 is taken for one inside."""
    return parse_reply(RatingReply, text, finish_reason=finish_reason)


def _schema(answer: str, options: tuple[str, ...] | tuple[int, ...]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {
            "critique": {"type": "string", "maxLength": CRITIQUE_MAX_CHARACTERS},
            answer: {"enum": list(options)},
        },
        "required": ["critique", answer],
        "additionalProperties": False,
    }


def parse_reply(kind: type[Reply], text: str, *, finish_reason: str) -> Reply | None:
    """A reply of any such kind, read as strictly as `parse_comparison` says."""
    if finish_reason == "length":
        return None
    try:
        reply = kind.model_validate_json(text)
    except ValidationError:
        return None
    keys = [key for key, _ in json.loads(text, object_pairs_hook=list)]
    return reply if keys == list(kind.model_fields) else None
