"""Settings of the train stage: what is optimised, from which weights, against which reference."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from records.strict import Settings
from trainer.loss_config import LossSettings, loss_problems
from trainer.pair_sources import PairEntry, source_problems

# vLLM reserves room for one of these ranks and refuses an adapter of another.
ENGINE_RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)


class LoraSettings(Settings):
    """The adapter that is trained; the model's own weights never change."""

    r: int = 16
    """Rank. 16 is enough for preferences on most models; one of 1, 8, 16, 32, 64, 128, 256, 320, 512."""
    alpha: int = Field(32, ge=1)
    """Scale: the adapter's update counts alpha / r times. Twice the rank is the usual choice."""
    dropout: float = Field(0.0, ge=0.0, lt=1.0)
    """Dropout on the adapter's input. Above 0 the first loss is no longer exactly ln 2."""
    targets: Literal["all-linear"] | tuple[str, ...] = "all-linear"
    """Which layers carry an adapter: every linear layer but the output head, or those whose names end so."""

    @model_validator(mode="after")
    def _engine_can_serve_it(self) -> Self:
        if self.r not in ENGINE_RANKS:
            raise ValueError(
                f"r is {self.r}; expected one of {', '.join(map(str, ENGINE_RANKS))}, the ranks vLLM serves"
            )
        if not self.targets:
            raise ValueError('targets is empty; expected "all-linear" or at least one layer name')
        return self


class RewardGate(Settings):
    """Which pairs a reward model leaves for training; give one of the two."""

    least_margin: float | None = None
    """Pairs whose margin (reward of chosen minus reward of rejected) is below this are left out."""
    keep_share: float | None = Field(None, gt=0.0, le=1.0)
    """The share of the pairs that stays, those of the largest margins."""

    @model_validator(mode="after")
    def _one_of_the_two(self) -> Self:
        if (self.least_margin is None) == (self.keep_share is None):
            raise ValueError("expected one of least_margin and keep_share, such as reward_gate: {least_margin: 0.0}")
        return self


class TrainConfig(LossSettings):
    """One round of preference training. The defaults suit real instruction-tuned models of 1 to 10 B parameters."""

    method: Literal["dpo", "sft", "reward"] = "dpo"
    """What is trained on the pairs: `dpo` prefers chosen over rejected (Rafailov et al. 2023), `sft` learns to say the
    chosen answers, `reward` trains a reward model alone, as `reward:` says, and no policy (docs/training.md)."""
    beta: float = Field(0.1, gt=0.0)
    """How dearly the policy pays for leaving the reference. 0.1 is the paper's; lower moves further."""
    sft_weight: float = Field(0.0, ge=0.0)
    """Adds so many times the mean negative log-likelihood of a chosen token (over a micro-batch, as TRL takes it) to
    the loss. Over several rounds DPO tends to make chosen and rejected both less likely; this holds the chosen ones up
    (Pang et al. 2024, arXiv:2404.19733, section 2)."""
    learning_rate: float = Field(5e-6, gt=0.0)
    """Peak rate. 5e-6 suits models of billions of parameters; a model of a few million needs about 1e-3."""
    schedule: Literal["linear", "cosine", "constant"] = "linear"
    """How the rate falls after the warm-up; linear and cosine end at 0."""
    warm_up_share: float = Field(0.1, ge=0.0, lt=1.0)
    """Share of the optimizer steps in which the rate rises from 0."""
    epochs: float = Field(1.0, gt=0.0)
    """Passes over the pairs. Preference training overfits quickly; more than 3 seldom helps."""
    max_steps: int | None = Field(None, ge=1)
    """Stop after this many optimizer steps, whatever `epochs` says."""
    pairs_per_step: int = Field(32, ge=1)
    """Pairs per optimizer step."""
    pairs_per_micro_batch: int = Field(4, ge=1)
    """Pairs that are in memory at once; lower it when memory runs out. Divides `pairs_per_step`; the result stays."""
    tokens_per_batch: int | None = Field(None, ge=2)
    """Tokens that are in memory at once, both answers and padding included, instead of `pairs_per_micro_batch`: many
    short pairs or few long ones. Twice `max_tokens` always holds the longest pair; the result stays the same."""
    shared_prompts: Literal["auto", "on", "off"] = "auto"
    """Run a pair's prompt once for both answers: `auto` where the model gives the same log-probabilities so, which is
    tried before training; `on` refuses a model that does not; `off` leaves all to TRL. The result stays the same."""
    max_gradient_norm: float = Field(1.0, gt=0.0)
    """Gradients longer than this are shortened to it."""
    max_tokens: int = Field(2048, ge=2)
    """Longest prompt plus answer. A longer pair is counted as too long and left out; none is ever cut. A model with a
    shorter context lowers this to its context."""
    gradient_checkpointing: bool = False
    """Recompute activations instead of keeping them: far less memory, about a third more time."""
    lora: LoraSettings = LoraSettings()
    start_from: Literal["initial", "previous"] = "previous"
    """The weights that training begins with: the policy that drafted round 0, or the one that drafted this round."""
    reference: Literal["base", "initial", "previous"] = "previous"
    """The policy that rewards are measured against: `model:` itself, the policy that drafted round 0, or the one that
    drafted this round."""
    pairs: Literal["this_round", "all_rounds"] | None = None
    """Which rounds' pairs are trained on. Left out: this round's with `start_from: previous`, all with `initial`."""
    pairs_from: tuple[PairEntry, ...] = ()
    """Preference data of your own, trained on in every round beside the pairs that the run makes: files or folders in
    TRL's preference format, each whole by its path, or a share of all training pairs by `{path: ..., weight: 0.3}`.
    `constitute train` takes it alone, before anything is generated. Pairs on prompts that the run holds out are left
    out, listed and counted."""
    contradictions: Literal["drop", "keep"] = "drop"
    """Of pairs that prefer the same two texts on the same prompt in opposite ways, in whatever rounds or files they
    are: `drop` trains on none, lists and counts them; `keep` trains on all."""
    reward_gate: RewardGate | None = None
    """Leave out pairs by the rewards that stage reward gave them, listed and counted; each round then has the stage."""
    shortcut_pairs: int = Field(256, ge=0)
    """Pairs on which base and policy are asked, before training, whether something else than the principles tells
    chosen from rejected (length, words, whose voice it is); 0 asks nothing."""
    warm_up: Literal["none", "sft"] = "none"
    """`sft` first trains the base on the revisions of a first pass (the supervised stage of Constitutional AI)."""
    checkpoint_every: int | None = Field(None, ge=1)
    """Optimizer steps between two checkpoints, from which a training that was killed goes on. Left out: by time."""
    checkpoint_minutes: float = Field(10.0, gt=0.0)
    """Minutes between two checkpoints, where `checkpoint_every` is left out."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """`auto` takes a GPU where there is one."""
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """Precision of the frozen weights: `auto` is bfloat16 on a GPU and float32 on a CPU. The adapter is float32."""

    @property
    def uses_all_rounds(self) -> bool:
        """Whether the pairs of earlier rounds are trained on too."""
        return (self.pairs or ("all_rounds" if self.start_from == "initial" else "this_round")) == "all_rounds"

    @model_validator(mode="after")
    def _losses_and_sources_agree(self) -> Self:
        problems = loss_problems(
            self, sft_weight=self.sft_weight, pairs_per_micro_batch=self.pairs_per_micro_batch
        ) + source_problems(self.pairs_from)
        if problems:
            raise ValueError("; ".join(problems))
        return self

    @model_validator(mode="after")
    def _settings_agree(self) -> Self:
        problems = unused_settings(self)
        if self.start_from == "initial" and self.pairs == "this_round":
            problems.append(
                "start_from is initial with pairs: this_round, which forgets what earlier rounds taught; "
                "expected pairs: all_rounds (or none given), or start_from: previous"
            )
        if self.pairs_per_step % self.pairs_per_micro_batch:
            problems.append(
                f"pairs_per_step is {self.pairs_per_step} and pairs_per_micro_batch {self.pairs_per_micro_batch}; "
                "expected the first to be a multiple of the second"
            )
        if problems:
            raise ValueError("; ".join(problems))
        return self


_DATA = {"method", "pairs", "pairs_from", "contradictions", "max_tokens", "device", "dtype"}
_OPTIMIZER = {"learning_rate", "schedule", "warm_up_share", "epochs", "max_steps", "pairs_per_step",
              "pairs_per_micro_batch", "max_gradient_norm", "gradient_checkpointing"}  # fmt: skip
USED = {"sft": _DATA | _OPTIMIZER | {"lora", "start_from", "reward_gate", "warm_up"}, "reward": _DATA}
"""What a method other than DPO takes of the section."""


def unused_settings(config: TrainConfig) -> list[str]:
    """What is set and would change nothing under the method, in words; at its default a setting is as good as unset."""
    used, defaults = USED.get(config.method), TrainConfig.model_fields
    if used is None:
        return []
    unused = [
        f"{name} ({_short(getattr(config, name))})"
        for name, field in defaults.items()
        if name not in used and getattr(config, name) != field.get_default(call_default_factory=True)
    ]
    way_out = "a reward model has its settings under reward:" if config.method == "reward" else "leave them out"
    return [f"method is {config.method}, which makes no use of {', '.join(unused)}; {way_out}"] if unused else []


def _short(value: object) -> str:
    text = " ".join(str(value).split())
    return text if len(text) <= 40 else f"{text[:37]}..."
