"""A seat is a role filled: which engine speaks, with which adapter, drawn how. All model calls go through here.

Messages become token ids by the one chat encoding of the project (records/chat.py), but for a model elsewhere, which
has an encoding of its own and is sent the messages. A critic's reply becomes a verdict by the one strict reading
(constitution/verdicts.py), whoever gave it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
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
    """Who fills a role (policy, critic, reviser, verifier): an engine, an adapter or none, and a way of drawing."""

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
) -> Completion:
    """The assistant turn that a seat's model writes after these messages.

    Args:
        seat: who is asked.
        messages: a conversation that ends with a user turn.
        stage: place in the chain; calls of a higher stage are served first.
        schema: JSON schema the reply is held to, where given.
        logprobs: also return the cumulative log-probability; a model elsewhere gives none.

    Raises:
        PromptTooLongError: the conversation and the longest reply do not fit the context; nothing is cut to fit.
        EngineFailedError: the engine could not be kept alive, or gave no usable reply.
    """
    if is_elsewhere(seat.engine):
        return await seat.engine.chat(ChatCall(tuple(messages), seat.sampling, schema=schema, stage=stage))
    token_ids = tuple(encode_chat(seat.engine.tokenizer, messages, add_generation_prompt=True))
    wanted = len(token_ids) + seat.sampling.max_tokens
    if wanted > seat.engine.context:
        raise PromptTooLongError(
            f"{len(token_ids)} prompt tokens + max_tokens {seat.sampling.max_tokens} > context {seat.engine.context}"
        )
    call = Call(token_ids, seat.sampling, adapter=seat.adapter, schema=schema, stage=stage, logprobs=logprobs)
    return await seat.engine.complete(call)


# Drawn again greedily, an unreadable reply would only be said again.
RETRY_TEMPERATURE = 0.7


async def ask_verdict(
    seat: Seat, principle: Principle, messages: Sequence[Message], *, stage: int
) -> tuple[Verdict, tuple[Completion, ...]]:
    """A critic's verdict on one principle; an unreadable reply is drawn once more, then stays `unparsed`.

    The second draw is at `RETRY_TEMPERATURE` at least, whatever the seat's own temperature.

    Args:
        seat: the critic or verifier.
        principle: what is asked about; decides the schema of the reply.
        messages: the whole conversation to send; its last turn is the request.
        stage: see `reply`.

    Returns:
        The verdict, and every completion: the last is the one it was read from, one before it could not be read.
    """
    schema = reply_schema(principle)
    first = await reply(seat, messages, stage=stage, schema=schema)
    verdict = parse_verdict(principle, first.text, finish_reason=first.finish_reason)
    if verdict.verdict != "unparsed":
        return verdict, (first,)
    warmer = max(seat.sampling.temperature, RETRY_TEMPERATURE)
    again = replace(seat, sampling=seat.sampling.model_copy(update={"temperature": warmer}))
    second = await reply(again, messages, stage=stage, schema=schema)
    return parse_verdict(principle, second.text, finish_reason=second.finish_reason), (first, second)
