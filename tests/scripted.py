"""A scripted engine for tests of one step: it answers by a function of the decoded prompt text.

It is an implementation of `generator.engine.Engine` and behaves as the real one does where a step can notice: token
ids in, completions cut at `max_tokens` with finish reason "length", `PromptTooLongError` beyond the context, and a
yield to the event loop in every call, so coroutines really interleave. The tokeniser is byte-level without merges (one
token a byte), with a chat template of the ChatML shape, built here without any download.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from generator.engine import Adapter, Call, Completion, EngineFailedError, PromptTooLongError, Sampling
from generator.seat import Seat
from records.rows import Author

CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
Answer = Callable[[str, Call], str | Completion | Exception]


@lru_cache(maxsize=1)
def byte_tokenizer() -> Any:
    """A fast tokeniser with one token for each byte, `<|im_start|>`, `<|im_end|>` (EOS) and `<|pad|>`."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    backend = Tokenizer(models.BPE(vocab={symbol: index for index, symbol in enumerate(alphabet)}, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    backend.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend,
        eos_token="<|im_end|>",
        pad_token="<|pad|>",
        additional_special_tokens=["<|im_start|>"],
        clean_up_tokenization_spaces=False,
    )
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


def user_turn(text: str) -> str:
    """The content of the last user turn in a decoded prompt, whatever markers that content spells."""
    head, tail = "<|im_start|>user\n", "<|im_end|>\n<|im_start|>assistant\n"
    assert text.endswith(tail), text[-80:]
    return text[: -len(tail)].rpartition(head)[2]


class ScriptedEngine:
    """Answers each call with `answer(decoded prompt, call)`: a text, a whole completion, or an exception to raise.

    `calls` keeps every call in order of arrival, `texts` its decoded prompt, `most_in_flight` how many were awaited at
    once.
    """

    def __init__(self, answer: Answer, *, model: str = "scripted", context: int = 100_000) -> None:
        self.answer, self.model, self.context = answer, model, context
        self.tokenizer = byte_tokenizer()
        self.calls: list[Call] = []
        self.texts: list[str] = []
        self.in_flight = self.most_in_flight = 0
        self.closed = False

    async def complete(self, call: Call) -> Completion:
        if self.closed:
            raise EngineFailedError("the scripted engine is closed")
        if len(call.token_ids) + call.sampling.max_tokens > self.context:
            raise PromptTooLongError(f"{len(call.token_ids)} + {call.sampling.max_tokens} > {self.context}")
        text = self.tokenizer.decode(call.token_ids, skip_special_tokens=False)
        self.calls.append(call)
        self.texts.append(text)
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            await asyncio.sleep(0)
            answer = self.answer(text, call)
        finally:
            self.in_flight -= 1
        if isinstance(answer, Exception):
            raise answer
        return answer if isinstance(answer, Completion) else self._completion(answer, call)

    def _completion(self, text: str, call: Call) -> Completion:
        ids = self.tokenizer.encode(text, add_special_tokens=False, split_special_tokens=True)
        cut = len(ids) >= call.sampling.max_tokens
        kept = ids[: call.sampling.max_tokens] if cut else [*ids, self.tokenizer.eos_token_id]
        return Completion(
            text=self.tokenizer.decode(ids[: call.sampling.max_tokens]) if cut else text,
            token_ids=tuple(kept),
            finish_reason="length" if cut else "stop",
            prompt_tokens=len(call.token_ids),
            logprob=-float(len(kept)) if call.logprobs else None,
        )

    async def score(self, token_ids: tuple[int, ...], adapter: Adapter | None) -> list[float]:
        await asyncio.sleep(0)
        return [-1.0] * (len(token_ids) - 1)

    async def close(self) -> None:
        self.closed = True


def scripted_seat(answer: Answer, *, max_tokens: int = 2000, adapter: Adapter | None = None, **engine: Any) -> Seat:
    """A seat filled by a scripted engine of its own."""
    return Seat(ScriptedEngine(answer, **engine), Sampling(max_tokens=max_tokens), adapter=adapter)


def author_of(model: str, adapter_digest: str = "") -> Author:
    """What rows carry for a model whose sampling does not matter to the test."""
    return Author(model=model, adapter_digest=adapter_digest, **Sampling().model_dump())
