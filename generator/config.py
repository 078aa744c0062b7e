"""The settings of generation: the engine, how each role draws, and what a pair must pass."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from generator.engine import Sampling
from records.strict import Settings


class EngineConfig(Settings):
    """How vLLM runs a model. Empty fields take vLLM's own figure for offline work on this device."""

    context: int | None = Field(None, ge=16)
    """Most tokens of prompt and completion together; the model's own limit when empty."""
    sequences: int | None = Field(None, ge=1)
    """Most completions decoded at once. Empty: 256 on a CPU, vLLM's offline figure (256-1024) on a GPU."""
    batched_tokens: int | None = Field(None, ge=32)
    """Most tokens computed in one engine step. Empty: 8192 on a CPU, vLLM's offline figure on a GPU."""
    block_size: int | None = Field(None, ge=1)
    """Tokens in a block of the prefix cache. Empty: 32 on a CPU (vLLM's 128 is longer than short prompts)."""
    dtype: Literal["auto", "bfloat16", "float16", "float32"] = "auto"
    """Precision of the weights. Auto takes the model's own, but float32 on a CPU without bfloat16 instructions."""
    eager: bool = False
    """Skip compilation and CUDA graphs: a quicker start, slower decoding."""
    memory_share: float = Field(0.9, gt=0.0, le=1.0)
    """Share of the GPU's memory for weights and cache; unused on a CPU."""
    cache_gib: float | None = Field(None, gt=0.0)
    """Size of the key-value cache in GiB. Empty: 1 on a CPU, what `memory_share` leaves on a GPU."""
    tensor_parallel: int = Field(1, ge=1)
    """GPUs one copy of the model is spread over."""
    quantization: str | None = None
    """A quantisation of vLLM's by name, for weights that are not already quantised."""
    trust_remote_code: bool = False
    """Run Python code that a model repository brings, in drafting and training. Only for repositories you have read."""
    restarts: int = Field(3, ge=0)
    """Times a call is submitted again after the engine died under it; then its chain is a reject. The run ends with an
    error when the engine dies twice as often and once more without completing a single call."""


class PrincipleDraw(Settings):
    """Which principles a prompt is asked about."""

    draw: int | None = Field(None, ge=1)
    """Draw this many by weight, without replacement; empty asks all."""


class VerifyConfig(Settings):
    """How the final text is checked before it may be called chosen."""

    principles: Literal["drawn", "all"] = "drawn"
    """Ask about the principles drawn for the prompt, or about the whole constitution."""
    asks: int = Field(1, ge=1, le=9)
    """Questions about each side on each principle, each freshly worded; all of them must agree."""


class GenerateConfig(Settings):
    """From prompts to verified pairs."""

    draft: Sampling = Sampling(temperature=1.0, top_p=1.0, max_tokens=512)
    """How the policy draws its drafts."""
    critic: Sampling = Sampling(temperature=0.0, max_tokens=320)
    """How the critic and the verifier draw their replies."""
    revision: Sampling = Sampling(temperature=0.7, max_tokens=640)
    """How the reviser draws a rewrite."""
    principles: PrincipleDraw = PrincipleDraw()
    verify: VerifyConfig = VerifyConfig()
    reviser: Literal["critic", "policy"] = "critic"
    """Who rewrites: the critic's model, or the policy that wrote the draft."""
    few_shots: int = Field(0, ge=0, le=32)
    """Worked examples of the constitution shown to the critic before its question."""
    in_flight: int | None = Field(None, ge=1)
    """Chains in flight at once. Empty: 1.25 times the engine's sequences."""
    publish_to: str | None = Field(None, pattern=r"^[a-z][a-z0-9+.-]*://")
    """Where a round's finished shards are copied to, such as s3://bucket/folder; <run>/<round> is put after it."""
