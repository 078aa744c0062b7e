"""The JSON that an OpenAI-compatible endpoint is sent and sends: requests written, replies read as hostile data.

Nothing of a reply is taken on trust: media type, JSON, its shape and the types in it each have to be right.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from generator.endpoint_faults import NoReply
from generator.engine import ChatCall, Completion, Position
from records.chat import encodable

SchemaForm = Callable[[dict[str, Any]], dict[str, Any] | None]
_Count = Annotated[int, Field(ge=0, lt=1 << 40)] | None


class _Part(BaseModel):
    """A part of a reply; servers add keys of their own."""

    model_config = ConfigDict(frozen=True, strict=True)


class _Message(_Part):
    content: str | None


class _Choice(_Part):
    message: _Message
    finish_reason: str | None = None
    logprobs: Any = None
    """Read apart: servers differ, and a reply without them is as good."""


class _Token(_Part):
    token: str
    logprob: float


class _Place(_Token):
    top_logprobs: tuple[_Token, ...]


class _Logprobs(_Part):
    content: tuple[_Place, ...]


class _Details(_Part):
    cached_tokens: _Count = None


class _Usage(_Part):
    prompt_tokens: _Count = None
    completion_tokens: _Count = None
    prompt_tokens_details: _Details | None = None


class _Reply(_Part):
    choices: tuple[_Choice, ...] = Field(min_length=1)
    usage: _Usage | None = None


def request_body(model: str, call: ChatCall, schema: dict[str, Any] | None) -> dict[str, Any]:
    """The JSON of a call; `schema` is what the reply is held to, in the form that this endpoint takes."""
    body: dict[str, Any] = {
        "model": model,
        "messages": [{"role": turn.role, "content": encodable(turn.content)} for turn in call.messages],
        **call.sampling.model_dump(),
    }
    if schema is not None:
        named = {"name": "reply", "strict": True, "schema": schema}
        body["response_format"] = {"type": "json_schema", "json_schema": named}
    if call.alternatives:
        body |= {"logprobs": True, "top_logprobs": call.alternatives}
    return body


def read_reply(media_type: str, content: bytes, secret: str) -> Completion:
    """The completion in the body of a reply with status 200.

    Args:
        media_type: the header Content-Type.
        content: the body.
        secret: taken out of every text, since a server may repeat the key it was sent.

    Raises:
        NoReply: it is none; says what is wrong and how the body begins.
    """
    media = media_type.partition(";")[0].strip().lower()
    if media != "application/json":
        raise NoReply(f"a reply of type {media[:60] or 'none'}, not JSON: {excerpt(content, secret)}")
    try:
        reply = _Reply.model_validate_json(content)
    except ValidationError as error:
        fault = error.errors(include_url=False, include_input=False, include_context=False)[0]
        where = ".".join(map(str, fault["loc"])) or "body"
        raise NoReply(f"no chat completion ({where}: {fault['msg']}): {excerpt(content, secret)}") from None
    choice, usage = reply.choices[0], reply.usage or _Usage()
    details = usage.prompt_tokens_details or _Details()
    return Completion(
        text=_without(secret, choice.message.content or ""),
        token_ids=(),
        # Whatever is not a stop of the model's own (a filter, a limit) leaves a text that is not whole.
        finish_reason="stop" if choice.finish_reason == "stop" else "length",
        prompt_tokens=usage.prompt_tokens or 0,
        cached_tokens=details.cached_tokens or 0,
        counted_tokens=usage.completion_tokens or 0,
        positions=_positions(choice.logprobs),
    )


def _positions(logprobs: Any) -> tuple[Position, ...]:
    """What the server says of the tokens it chose from; nothing where that is not in the one shape that is known."""
    try:
        found = _Logprobs.model_validate_json(json.dumps(logprobs))
    except (ValidationError, ValueError):
        return ()
    return tuple(
        Position(place.token, tuple((one.token, one.logprob) for one in place.top_logprobs)) for place in found.content
    )


def said(content: bytes, secret: str) -> str:
    """What the body of a refusal says: the message in its JSON, as OpenAI and most others lay it out, or how it begins.

    `secret` is taken out of it.
    """
    try:
        whole = json.loads(content)
    except (ValueError, RecursionError):
        return excerpt(content, secret)
    error = whole.get("error", whole) if isinstance(whole, dict) else whole
    message = error.get("message", error) if isinstance(error, dict) else error
    # Written anew, so that no escape of JSON's own spells the key another way.
    words = message if isinstance(message, str) else json.dumps(message, ensure_ascii=False)
    return excerpt(words.encode("utf-8", "replace"), secret)


def excerpt(content: bytes, secret: str) -> str:
    """How a text begins, on one line of printable characters, without the secret."""
    text = " ".join(content.decode("utf-8", "replace").split())
    # Only what is shown is searched: a character nobody sees would split the key and hide it.
    printable = _without(secret, "".join(character for character in text if character.isprintable()))
    return printable if len(printable) <= 200 else f"{printable[:197]}..."


def _without(secret: str, text: str) -> str:
    """The text without the key, nor the key as JSON may spell it."""
    spellings = (secret, secret.replace("/", "\\/"), json.dumps(secret)[1:-1]) if secret else ()
    for spelling in spellings:
        text = text.replace(spelling, "[key]")
    return text


def _without_lengths(schema: Any) -> Any:
    if isinstance(schema, dict):
        return {key: _without_lengths(value) for key, value in schema.items() if key != "maxLength"}
    return schema


# From the strictest on; which one the endpoint takes is found out by asking.
SCHEMA_FORMS: dict[str, SchemaForm] = {
    "json_schema": lambda schema: schema,
    "json_schema without lengths": _without_lengths,
    "none": lambda schema: None,
}
