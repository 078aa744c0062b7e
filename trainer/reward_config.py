"""Settings of a reward model, the section `reward:` of a run file."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from records.strict import Settings
from trainer.config import LoraSettings


class RewardSettings(Settings):
    """A LoRA adapter and a head that give an answer one number, trained on pairs.

    Which pairs, how long they may be, on what device and in which precision is as `train:` says. The defaults suit
    models of 1 to 10 B parameters.
    """

    learning_rate: float = Field(1e-4, gt=0.0)
    """Peak rate; a model of a few million parameters needs about 3e-3."""
    schedule: Literal["linear", "cosine", "constant"] = "linear"
    """How the rate falls after the warm-up; linear and cosine end at 0."""
    warm_up_share: float = Field(0.1, ge=0.0, lt=1.0)
    """Share of the optimizer steps in which the rate rises from 0."""
    epochs: float = Field(1.0, gt=0.0)
    """Passes over the pairs. A reward model remembers pairs quickly: one is usual."""
    pairs_per_step: int = Field(32, ge=1)
    """Pairs per optimizer step."""
    pairs_per_micro_batch: int = Field(4, ge=1)
    """Pairs that are in memory at once; divides `pairs_per_step`, and the result stays."""
    max_gradient_norm: float = Field(1.0, gt=0.0)
    """Gradients longer than this are shortened to it."""
    gradient_checkpointing: bool = False
    """Recompute activations instead of keeping them: far less memory, about a third more time."""
    lora: LoraSettings = LoraSettings()
    folds: int = Field(2, ge=1, le=20)
    """So that no pair's reward comes of a model that was trained on it, the prompts are parted in so many folds, and
    each is scored by a model trained on the others; folds - 1 trainings more. 1 scores all pairs by the one model."""

    @model_validator(mode="after")
    def _settings_agree(self) -> Self:
        if self.pairs_per_step % self.pairs_per_micro_batch:
            raise ValueError(
                f"pairs_per_step is {self.pairs_per_step} and pairs_per_micro_batch {self.pairs_per_micro_batch}; "
                "expected the first to be a multiple of the second"
            )
        return self
