"""What the stage of a reward model is made from: the mapping whose digest its done-marker holds."""

from __future__ import annotations

from typing import Any

from loop.inputs import Run, pair_inputs
from loop.model_folder import model_fingerprint

# Of `train:`, what decides which pairs there are and how a reward is computed.
_OF_TRAIN = ("contradictions", "dtype", "max_tokens")


def reward_inputs(run: Run, index: int) -> dict[str, Any]:
    """What a round's rewards depend on; no policy is among it."""
    train = run.config.train.model_dump(mode="json")
    return {
        "model": model_fingerprint(run.config.model),
        "reward": run.config.reward.model_dump(mode="json"),
        "train": {name: train[name] for name in _OF_TRAIN},
        "seed": run.config.seed,
        **pair_inputs(run, index),
    }
