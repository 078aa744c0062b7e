"""A seat is a role filled: which engine speaks, with which adapter, drawn how. All model calls go through here.

Messages become token ids by the one chat encoding of the project (records/chat.py), but for a model elsewhere, which
has an encoding of its own and is sent the messages. A critic's reply becomes a verdict by the one strict reading
(constitution/verdicts.py), whoever gave it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from constitution.schema import Principle
from constitution.verdicts import parse_verdict, reply_schema
from generator.engine import (
    Adapter,
    Call,
    ChatCall,
    ChatEngine,
    Completion,
    Engine,
    PromptTooLongError,
    Sampling,
    is_elsewhere,
)
from records.chat import encode_chat
from records.rows import Author, Message, Verdict


@dataclass(frozen=True)
class Seat:
    """Who fills a role (policy, critic, reviser, verifier, judge): an engine, an adapter or none, a way of drawing."""

    engine: Engine | ChatEngine
    sampling: Sampling
    adapter: Adapter | None = None

    @property
    def author(self) -> Author:
        """What rows carry for this seat."""
        return Author(
            model=self.engine.model,
            endpoint=self.engine.endpoint if is_elsewhere(self.engine) else "",
            adapter_digest=self.adapter.digest if self.adapter else "",
            **self.sampling.model_dump(),
        )

    @property
    def tokenizer(self) -> Any:
        """The tokeniser of the seat's model; a policy has one, since the model that is trained runs on this machine."""
        assert not is_elsewhere(self.engine), f"{self.engine.model} is elsewhere, and so is its tokeniser"
        return self.engine.tokenizer


async def reply(
    seat: Seat,
    messages: Sequence[Message],
    *,
    stage: int,
    schema: dict[str, Any] | None = None,
    logprobs: bool = False,
    alternatives: int = 0,
) -> Completion:
    """The assistant turn that a seat's model writes after these messages.

    Args:
        seat: who is asked.
        messages: a conversation that ends with a user turn.
        stage: place in the chain; calls of a higher stage are served first.
        schema: JSON schema the reply is held to, where given.
        logprobs: also return the cumulative log-probability; a model elsewhere gives none.
        alternatives: also return so many of the likeliest tokens at each position, where the engine gives them.

    Raises:
        PromptTooLongError: the conversation and the longest reply do not fit the context; nothing is cut to fit.
        EngineFailedError: the engine could not be kept alive, or gave no usable reply.
    """
    if is_elsewhere(seat.engine):
        asked = ChatCall(tuple(messages), seat.sampling, schema=schema, stage=stage, alternatives=alternatives)
        return await seat.engine.chat(asked)
    if sum(len(message.content) for message in messages) > _LONG:
        _refuse_too_long(_count_tokens(seat.engine.tokenizer, tuple(messages)), seat)
    token_ids = tuple(encode_chat(seat.engine.tokenizer, messages, add_generation_prompt=True))
    _refuse_too_long(len(token_ids), seat)
    call = Call(
        token_ids,
        seat.sampling,
        adapter=seat.adapter,
        schema=schema,
        stage=stage,
        logprobs=logprobs,
        alternatives=alternatives,
    )
    return await seat.engine.complete(call)


# Characters from which a conversation is counted once for all that is asked about it: seconds for each million.
_LONG = 100_000


@lru_cache(maxsize=16)
def _count_tokens(tokenizer: Any, messages: tuple[Message, ...]) -> int:
    return len(encode_chat(tokenizer, messages, add_generation_prompt=True))


def _refuse_too_long(count: int, seat: Seat) -> None:
    assert not is_elsewhere(seat.engine)
    if count + seat.sampling.max_tokens > seat.engine.context:
        raise PromptTooLongError(
            f"{count} prompt tokens + max_tokens {seat.sampling.max_tokens} > context {seat.engine.context}"
        )


# Drawn again greedily, an unreadable reply would only be said again.
RETRY_TEMPERATURE = 0.7


async def ask_twice(
    seat: Seat,
    messages: Sequence[Message],
    is_read: Callable[[Completion], bool],
    *,
    stage: int,
    schema: dict[str, Any],
    alternatives: int = 0,
) -> tuple[Completion, ...]:
    """A reply in JSON; one that cannot be read is drawn once more, at `RETRY_TEMPERATURE` at least.

    Returns:
        Every completion: the last is the one to read, which may be unreadable too; one before it was.
    """
    first = await reply(seat, messages, stage=stage, schema=schema, alternatives=alternatives)
    if is_read(first):
        return (first,)
    warmer = {"temperature": max(seat.sampling.temperature, RETRY_TEMPERATURE)}
    again = replace(seat, sampling=seat.sampling.model_copy(update=warmer))
    return first, await reply(again, messages, stage=stage, schema=schema, alternatives=alternatives)


async def ask_verdict(
    seat: Seat, principle: Principle, messages: Sequence[Message], *, stage: int
) -> tuple[Verdict, tuple[Completion, ...]]:
    """A critic's verdict on one principle; a reply that is unreadable twice is `unparsed`, see `ask_twice`.

    Args:
        seat: the critic or verifier.
        principle: what is asked about; decides the schema of the reply.
        messages: the whole conversation to send; its last turn is the request.
        stage: see `reply`.

    Returns:
        The verdict, and every completion: the last is the one it was read from, one before it could not be read.
    """
    verdicts: list[Verdict] = []

    def read(completion: Completion) -> bool:
        verdicts.append(parse_verdict(principle, completion.text, finish_reason=completion.finish_reason))
        return verdicts[-1].verdict != "unparsed"

    completions = await ask_twice(seat, messages, read, stage=stage, schema=reply_schema(principle))
    if len(verdicts) < len(completions):
        read(completions[-1])
    return verdicts[-1], completions
