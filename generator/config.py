"""The settings of generation: the engine, how each role draws, and what a pair must pass."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from generator.engine import Sampling
from records.rows import Strategy
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


class RatingConfig(Settings):
    """When ratings of drafts make a pair."""

    margin: int = Field(1, ge=1, le=4)
    """Least difference, of ratings from 1 to 5, between what is chosen and what is rejected."""


class JudgeConfig(Settings):
    """A second gate: a judge compares chosen and rejected in both orders before they become a pair."""

    question: str = Field("Which answer helps the person more with what was asked?", min_length=1)
    """What the judge is asked about the two; put so that a mere refusal does not win."""
    at_least: Literal["tie", "win"] = "tie"
    """`tie`: the pair falls only where the judge prefers the rejected text in both orders; orders that contradict each
    other are a tie. `win`: the judge must prefer the chosen text in both orders."""


class DraftsFrom(Settings):
    """Which policies write a round's drafts, each its share of them. The shares add up to 1."""

    base: float = Field(0.0, ge=0.0, le=1.0)
    """Of `model:` itself, without any adapter."""
    round_0: float = Field(0.0, ge=0.0, le=1.0)
    """Of the policy that drafts round 0: the warm-up's, or the base where there is none."""
    previous: float = Field(0.0, ge=0.0, le=1.0)
    """Of the policy that the round before trained."""

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        if abs(sum(self.shares.values()) - 1) > 1e-6:
            raise ValueError(f"the shares add up to {sum(self.shares.values()):g}; expected 1")
        return self

    @property
    def shares(self) -> dict[str, float]:
        """Those above 0, by name."""
        return {name: share for name, share in self.model_dump().items() if share > 0}


class GenerateConfig(Settings):
    """From prompts to pairs."""

    strategy: Strategy = "revision"
    """How a pair is made: `revision` rewrites what a draft breaks; the others choose among drafts of one prompt:
    `best_of_n` by the critic's verdicts, `ai_feedback` by a judge's comparison, `rating` by ratings from 1 to 5."""
    drafts_per_prompt: int = Field(1, ge=1, le=64)
    """Drafts of each prompt in a round. For `revision` each is a chain of its own, with a draw of principles of its
    own; for the other strategies they are one group and one chain, at least two."""
    drafts_from: DraftsFrom | None = None
    """Who drafts, drawn for each draft; empty: the policy that the round before trained, alone."""
    draft: Sampling = Sampling(temperature=1.0, top_p=1.0, max_tokens=512)
    """How the policy draws its drafts."""
    critic: Sampling = Sampling(temperature=0.0, max_tokens=320)
    """How the critic and the verifier draw their replies."""
    revision: Sampling = Sampling(temperature=0.7, max_tokens=640)
    """How the reviser draws a rewrite."""
    principles: PrincipleDraw = PrincipleDraw()
    passes: int = Field(1, ge=1, le=16)
    """Passes of critique and revision over a text, each on principles of its own draw, none twice before all had their
    turn. Draft and final text are judged on those of all passes. For `revision` alone."""
    verify: VerifyConfig = VerifyConfig()
    reviser: Literal["critic", "policy"] = "critic"
    """Who rewrites: the critic's model, or the policy of the round."""
    rating: RatingConfig = RatingConfig()
    judge: JudgeConfig | None = None
    """A second gate that every pair must pass, whatever the strategy; empty: none."""
    few_shots: int = Field(0, ge=0, le=32)
    """Worked examples of the constitution shown to the critic before its question."""
    in_flight: int | None = Field(None, ge=1)
    """Chains in flight at once. Empty: 1.25 times the engine's sequences."""

    @model_validator(mode="after")
    def _settings_agree(self) -> Self:
        if self.strategy != "revision" and self.drafts_per_prompt < 2:
            raise ValueError(
                f"strategy {self.strategy} chooses among drafts of one prompt, and drafts_per_prompt is "
                f"{self.drafts_per_prompt}; expected at least 2"
            )
        if self.strategy != "revision" and self.draft.temperature == 0 and self.drafts_from is None:
            raise ValueError(
                f"strategy {self.strategy} chooses among drafts of one prompt, and draft.temperature is 0, at which a "
                "policy drafts the same each time; expected a temperature above 0"
            )
        if self.strategy != "revision" and self.passes > 1:
            raise ValueError(
                f"strategy {self.strategy} rewrites nothing, and passes is {self.passes}; expected 1, or none given"
            )
        return self
