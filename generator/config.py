"""The settings of generation: the engine, how each role draws, and what a pair must pass."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from generator.engine import Sampling
from records.rows import Strategy
from records.strict import Settings

# Of vLLM's engine arguments those that say how the work is laid out and how fast it goes. All others have a setting of
# their own, carry a promise of this project, or would bring in code, files or network of somebody else's choosing.
OPTIONS = frozenset(
    {
        "async_scheduling",
        "attention_backend",
        "cpu_offload_gb",
        "cudagraph_capture_sizes",
        "decode_context_parallel_size",
        "disable_custom_all_reduce",
        "distributed_timeout_seconds",
        "enable_chunked_prefill",
        "enable_expert_parallel",
        "fully_sharded_loras",
        "kv_cache_dtype",
        "linear_backend",
        "long_prefill_token_threshold",
        "max_cudagraph_capture_size",
        "max_num_scheduled_tokens",
        "max_parallel_loading_workers",
        "moe_backend",
        "num_gpu_blocks_override",
        "numa_bind",
        "optimization_level",
        "performance_mode",
        "pipeline_parallel_size",
        "safetensors_load_strategy",
        "stream_interval",
    }
)


class SpeculativeConfig(Settings):
    """Speculative decoding: tokens guessed ahead and checked by the model; what is sampled stays distributed alike."""

    method: Literal["ngram", "suffix", "draft_model", "eagle", "eagle3", "medusa", "mlp_speculator", "mtp"]
    """Who guesses: the text so far (ngram, suffix), a smaller model, or a head trained for it."""
    tokens: int = Field(4, ge=1)
    """Tokens guessed at a time."""
    model: str | None = None
    """Folder or Hugging Face id of the guessing model or head; none for ngram, suffix and mtp."""
    lookup_min: int | None = Field(None, ge=1)
    """ngram: fewest tokens that must match."""
    lookup_max: int | None = Field(None, ge=1)
    """ngram: most tokens that are matched."""


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
    data_parallel: int = Field(1, ge=1)
    """Copies of the model, each on GPUs of its own, that share the calls."""
    quantization: str | None = None
    """A quantisation of vLLM's by name, for weights that are not already quantised."""
    speculative: SpeculativeConfig | None = None
    """Guess tokens ahead. Empty: one token a step."""
    options: dict[str, bool | int | float | str | list[int]] = Field(default_factory=dict)
    """Further engine arguments of vLLM by name, those of speed and layout: `{kv_cache_dtype: fp8}`."""
    trust_remote_code: bool = False
    """Run Python code that a model repository brings, in drafting and training. Only for repositories you have read."""
    restarts: int = Field(3, ge=0)
    """Times a call is submitted again after the engine died under it; then its chain is a reject. The run ends with an
    error when the engine dies twice as often and once more without completing a single call."""

    @property
    def parts(self) -> int:
        """Processes that compute, each on a GPU of its own where there are GPUs: parts of all copies of the model."""
        return self.tensor_parallel * self.data_parallel * int(self.options.get("pipeline_parallel_size", 1))  # type: ignore[arg-type]

    @field_validator("options")
    @classmethod
    def _of_speed_and_layout(cls, options: dict[str, Any]) -> dict[str, Any]:
        others = sorted(set(options) - OPTIONS)
        if others:
            raise ValueError(f"{', '.join(others)} cannot be passed on; expected some of {', '.join(sorted(OPTIONS))}")
        return options


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
    # Left out of what is written where it is not given, so that stages older than it keep their digest.
    draft_asks: int | None = Field(None, ge=1, le=9, exclude_if=lambda asks: asks is None)
    """Questions about a draft, where it is to be asked about more often than the final text; empty: `asks`. Where
    few drafts are faulty, most wrong pairs come of false alarms about drafts; one more question about what is flagged
    costs fewer right pairs than one more about all of the final text."""

    @model_validator(mode="after")
    def _asks_no_less_about_drafts(self) -> Self:
        if self.draft_asks is not None and self.draft_asks < self.asks:
            raise ValueError(f"draft_asks is {self.draft_asks} and asks {self.asks}; expected no fewer about drafts")
        return self


class FilterConfig(Settings):
    """Which verified pairs are left out again, as rejects with their reason, once all chains of a round are done."""

    contradictions: Literal["drop", "keep"] = "drop"
    """Pairs of one prompt that prefer the same two texts the other way round: `drop` leaves all of them out."""
    duplicates: Literal["near", "exact", "keep"] = "near"
    """Pairs whose prompt, chosen and rejected text all say the same as another pair's: `exact` after case and white
    space, `near` in nearly the same content words too. One of them stays."""
    similarity: float = Field(0.95, ge=0.8, le=1.0)
    """Share of content words that near-duplicates have in common, text by text; for prompts (`near_duplicate_prompts`)
    too. At 0.95 texts that differ in one content word stay apart up to 38 content words; at 1 always."""
    length_balance: bool = False
    """Leave out pairs until, among those of about the same difference in length, as many have a longer chosen text as
    have a longer rejected one."""


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
    filters: FilterConfig = FilterConfig()
    reviser: Literal["critic", "policy"] = "critic"
    """Who rewrites: the critic's model, or the policy of the round."""
    rating: RatingConfig = RatingConfig()
    judge: JudgeConfig | None = None
    """A second gate that every pair must pass, whatever the strategy; empty: none."""
    few_shots: int = Field(0, ge=0, le=32)
    """Worked examples of the constitution shown to the critic before its question."""
    in_flight: int | None = Field(None, ge=1)
    """Chains in flight at once. Empty: 1.25 times the engine's sequences."""
    publish_to: str | None = Field(None, pattern=r"^[a-z][a-z0-9+.-]*://")
    """Where a round's finished shards are copied to, such as s3://bucket/folder; <run>/<round> is put after it."""

    @property
    def chains_per_prompt(self) -> int:
        """Each draft is a chain of its own, but for the strategies that choose among drafts."""
        return self.drafts_per_prompt if self.strategy == "revision" else 1

    @property
    def verifies_nothing(self) -> bool:
        """Whether pairs of the rounds rest on a judge's word about two drafts, and not on verdicts."""
        return self.strategy in ("ai_feedback", "rating")

    @model_validator(mode="after")
    def _settings_agree(self) -> Self:
        if self.strategy != "revision" and self.drafts_per_prompt < 2:
            raise ValueError(
                f"strategy {self.strategy} chooses among drafts of one prompt, and drafts_per_prompt is "
                f"{self.drafts_per_prompt}; expected at least 2"
            )
        if self.strategy != "revision" and self.draft.temperature == 0:
            raise ValueError(
                f"strategy {self.strategy} chooses among drafts of one prompt, and draft.temperature is 0, at which a "
                "policy drafts the same each time; expected a temperature above 0"
            )
        if self.strategy != "revision" and self.passes > 1:
            raise ValueError(
                f"strategy {self.strategy} rewrites nothing, and passes is {self.passes}; expected 1, or none given"
            )
        if self.strategy != "rating" and self.rating != RatingConfig():
            raise ValueError(f"rating is given, and strategy {self.strategy} rates nothing; expected strategy rating")
        return self
