"""Settings of supervised fine-tuning, and the job record that says what to train and where to put it."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from records.rows import Message
from records.strict import Settings
from trainer.config import LoraSettings


class SftRow(Settings):
    """One thing to learn: after the conversation `prompt`, say `answer`."""

    id: str = ""
    prompt: tuple[Message, ...] = Field(min_length=1)
    answer: str = Field(min_length=1)


class SftSettings(Settings):
    """How rows are learned. The defaults suit a LoRA warm-up of a real instruction-tuned model."""

    learning_rate: float = Field(1e-4, gt=0.0)
    """Peak rate. 1e-4 suits an adapter; all weights of a large model want about 1e-5, a tiny new model 3e-3."""
    schedule: Literal["linear", "cosine", "constant"] = "cosine"
    """How the rate falls after the warm-up; linear and cosine end at 0."""
    warm_up_share: float = Field(0.05, ge=0.0, lt=1.0)
    """Share of the optimizer steps in which the rate rises from 0."""
    epochs: float = Field(1.0, gt=0.0)
    """Passes over the rows."""
    rows_per_step: int = Field(32, ge=1)
    """Rows per optimizer step."""
    rows_per_micro_batch: int = Field(8, ge=1)
    """Rows that are in memory at once; divides `rows_per_step`, and the result stays the same."""
    loss_on: Literal["answer", "conversation"] = "answer"
    """What is learned: the answer with its closing EOS, or every token of the conversation, for a model that has the
    language itself still to learn."""
    block_tokens: int | None = Field(None, ge=32)
    """Join the rows, in random order, and cut them into blocks of so many tokens, which then count as the rows of a
    step: no padding, and every step sees rows of every kind. For a model that is trained from nothing."""
    max_gradient_norm: float = Field(1.0, gt=0.0)
    """Gradients longer than this are shortened to it."""
    max_tokens: int = Field(2048, ge=2)
    """Longest prompt plus answer. A longer row is counted as too long and left out; none is ever cut."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """`auto` takes a GPU where there is one."""
    autocast: Literal["auto", "on", "off"] = "auto"
    """Compute in bfloat16 and keep what is trained in float32; `auto` where the hardware has bfloat16 units, since a
    CPU without them takes ten times longer."""

    @model_validator(mode="after")
    def _settings_agree(self) -> Self:
        if self.rows_per_step % self.rows_per_micro_batch:
            raise ValueError(
                f"rows_per_step is {self.rows_per_step} and rows_per_micro_batch {self.rows_per_micro_batch}; "
                "expected the first to be a multiple of the second"
            )
        return self


class SftConfig(SftSettings):
    """One supervised training: how rows are learned, and by which weights."""

    lora: LoraSettings | None = LoraSettings()
    """The adapter that is trained; null trains all weights and writes a whole model."""
    max_steps: int | None = Field(None, ge=1)
    """Stop after this many optimizer steps, whatever `epochs` says."""
    gradient_checkpointing: bool = False
    """Recompute activations instead of keeping them: far less memory, about a third more time."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Precision of the frozen weights under an adapter, which is float32 itself; float32 where all weights train."""


class SftJob(Settings):
    """What one supervised training reads and writes."""

    model: str
    """A model folder or Hugging Face id, with a tokeniser that has a chat template."""
    output: Path
    """The folder to write: an adapter, or a whole model where `config.lora` is null. It must not hold one yet."""
    config: SftConfig = SftConfig()
    start: Path | None = None
    """The adapter that training goes on from; None begins a fresh one."""
    previous: Path | None = None
    """The adapter of the policy before this one, which the probe compares with; None is the base."""
    seed: int = 0
    """Of the order of the rows and of the adapter's first weights."""
    left_out: Path | None = None
    """Where the ids of rows that were too long are listed; nothing is written where there are none."""
    trust_remote_code: bool = False
    """Run Python code that the model's repository brings."""
    log: Path | None = None
    """Where each logged optimizer step becomes a JSON line (`training.jsonl`)."""
    probe: Path | None = None
    """Where the hand-off's probe of the adapter goes (trainer/probe.py); none is written without it."""
    tensorboard: Path | None = None
    """Folder of TensorBoard events; none are written without it."""
