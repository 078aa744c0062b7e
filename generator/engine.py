"""What every engine offers, awaited: token ids in, one completion out; or, elsewhere, a conversation in.

Generator and evaluation know these protocols only. The vLLM engine is in `vllm_engine.py`, a model behind an
OpenAI-compatible endpoint in `endpoint.py`; tests of one step use a scripted one.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from pydantic import Field

from records.rows import Message
from records.strict import Settings

if TYPE_CHECKING:
    from typing_extensions import TypeIs


class Sampling(Settings):
    """How a completion is drawn."""

    temperature: float = Field(1.0, ge=0.0, le=2.0)
    """Softmax temperature; 0 is greedy."""
    top_p: float = Field(1.0, gt=0.0, le=1.0)
    """Nucleus: the smallest set of tokens that holds this share of the probability."""
    max_tokens: int = Field(512, ge=1)
    """Most new tokens of a completion. One that reaches it counts as truncated."""


@dataclass(frozen=True)
class Adapter:
    """A LoRA adapter on disk; `digest` is its identity, the path only where it lies."""

    path: Path
    digest: str


@dataclass(frozen=True)
class Call:
    """One request to an engine.

    `schema` constrains the text to a JSON schema. `stage` orders waiting calls: a higher one goes first, so chains that
    are nearly done finish before new ones start. `logprobs` asks for the cumulative log-probability, `alternatives` for
    so many of the likeliest tokens at each position (at most 20).
    """

    token_ids: tuple[int, ...]
    sampling: Sampling
    adapter: Adapter | None = None
    schema: dict[str, Any] | None = field(default=None, hash=False)
    stage: int = 0
    logprobs: bool = False
    alternatives: int = 0


@dataclass(frozen=True)
class ChatCall:
    """One request to a model elsewhere, which has a chat template and a tokeniser of its own; see `Call`."""

    messages: tuple[Message, ...]
    sampling: Sampling
    schema: dict[str, Any] | None = field(default=None, hash=False)
    stage: int = 0
    alternatives: int = 0


@dataclass(frozen=True)
class Position:
    """One token of a completion: its text, and what else might have stood there, each with its log-probability.

    `alternatives` are (text, nats), the token's own among them. Before temperature; under a schema they may be of the
    tokens that it allows alone, or of all.
    """

    text: str
    alternatives: tuple[tuple[str, float], ...]


@dataclass(frozen=True)
class Completion:
    """What came back. `finish_reason` is "stop" or "length"; "length" means the text was cut.

    A model elsewhere gives no token ids; `counted_tokens` is then what it says it wrote. `positions` are there where
    alternatives were asked for and the engine gave them.
    """

    text: str
    token_ids: tuple[int, ...]
    finish_reason: str
    prompt_tokens: int
    cached_tokens: int = 0
    logprob: float | None = None
    counted_tokens: int = 0
    positions: tuple[Position, ...] = ()

    @property
    def output_tokens(self) -> int:
        """New tokens; 0 where a model elsewhere did not say."""
        return len(self.token_ids) or self.counted_tokens


class PromptTooLongError(Exception):
    """A call whose prompt and largest completion do not fit the engine's context; a row's fault, not the run's."""


class EngineFailedError(Exception):
    """The engine gave up on this call after restarts; the row becomes a reject with reason `engine_error`."""


class Engine(Protocol):
    """A model that completes token ids; many calls may be awaited at once."""

    tokenizer: Any
    """The model's Hugging Face tokeniser, with its chat template."""
    model: str
    context: int
    """Most tokens of prompt and completion together."""

    async def complete(self, call: Call) -> Completion:
        """One completion.

        Raises:
            PromptTooLongError: prompt plus `max_tokens` exceeds `context`.
            EngineFailedError: the engine could not be kept alive.
        """
        ...

    async def score(self, token_ids: tuple[int, ...], adapter: Adapter | None) -> list[float]:
        """Log-probability in nats of each token but the first, given those before it; length `len(token_ids) - 1`."""
        ...

    async def close(self) -> None:
        """Free what the engine holds; calls in flight fail."""
        ...


class ChatEngine(Protocol):
    """A model elsewhere that writes the next turn of a conversation; it can be critic, verifier and reviser."""

    model: str
    endpoint: str
    """Host and port it is reached at, without credentials; what rows name beside the model."""

    async def chat(self, call: ChatCall) -> Completion:
        """The next assistant turn; never the same twice for certain, whatever the sampling.

        Raises:
            PromptTooLongError: the model elsewhere says that the conversation does not fit its context.
            EngineFailedError: no usable reply to this call in several attempts.
        """
        ...

    async def close(self) -> None:
        """Close the connections; calls in flight fail."""
        ...


def is_elsewhere(engine: Engine | ChatEngine) -> TypeIs[ChatEngine]:
    """Whether an engine takes conversations; asking `isinstance` of a protocol takes as long as a verdict's parsing."""
    return hasattr(engine, "chat")
