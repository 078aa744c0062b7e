"""One training of a reward model from the base, and what all trainings of a round's reward model share."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from records.held_out import NOTHING_HELD_OUT, HeldOut
from trainer.adapter import save_adapter
from trainer.config import TrainConfig
from trainer.data import EncodedPair
from trainer.model import base_digest, choose_device, choose_dtype
from trainer.reward_config import RewardSettings
from trainer.reward_model import Rewards, begin_reward, load_scorer, score_pairs


@dataclass(frozen=True)
class RewardJob:
    """Everything a reward model needs; `data` says which pairs of the paths are used, and where it is computed.

    `round_folder` receives reward_model/, reward_folds/, reward_training.jsonl, rewards/ and, where pairs were left
    out, reward_left_out.json. Of an earlier attempt nothing is kept.
    """

    model: str
    pairs: tuple[Path, ...]
    round_folder: Path
    config: RewardSettings
    data: TrainConfig
    seed: int = 0
    stream: IO[str] | None = None
    trust_remote_code: bool = False
    held_out: HeldOut = NOTHING_HELD_OUT


def load_base(job: RewardJob) -> tuple[Any, str]:
    """The base with its head, and the base's digest."""
    device = choose_device(job.data.device)
    dtype = choose_dtype(job.data.dtype, device)
    model = load_scorer(job.model, device=device, dtype=dtype, trust_remote_code=job.trust_remote_code)
    return model, base_digest(model)


def reward_steps(config: RewardSettings, pairs: int) -> int:
    """Optimizer steps that training on so many pairs takes."""
    return math.ceil(config.epochs * math.ceil(pairs / config.pairs_per_step))


@dataclass(frozen=True)
class RewardBase:
    """What the trainings of one reward model share: the base is loaded once, and each begins with it as it was."""

    job: RewardJob
    tokenizer: Any
    model: Any
    digest: str
    pad: int

    def train(
        self, pairs: Sequence[EncodedPair], folder: Path, log: Any, *, score: Sequence[EncodedPair]
    ) -> tuple[str, Rewards]:
        """One training: writes its adapter to the folder; returns that one's digest and the rewards of `score`."""
        from transformers import set_seed

        from trainer.reward_trainer import build_trainer, training_arguments

        job, config = self.job, self.job.config
        device = choose_device(job.data.device)
        set_seed(job.seed)
        policy = begin_reward(self.model, config.lora, name=job.model)
        arguments = training_arguments(
            config,
            steps=reward_steps(config, len(pairs)),
            folder=job.round_folder,
            seed=job.seed,
            device=device,
            dtype=choose_dtype(job.data.dtype, device),
        )
        trainer = build_trainer(policy, self.tokenizer, pairs, self.pad, arguments, log)
        trainer.train()
        digest = save_adapter(policy, folder, model=job.model, base=self.digest)
        rewards = score_pairs(trainer, score)
        policy.unload()
        return digest, rewards
