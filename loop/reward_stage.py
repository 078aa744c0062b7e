"""The stage that trains a reward model on a round's pairs and has it score them."""

from __future__ import annotations

import time
from typing import IO

from loop.folder import begin_stage, end_stage
from loop.inputs import Run, held_out_prompts
from loop.report_reward import reward_line
from loop.reward_inputs import reward_inputs
from loop.train_stage import pair_paths


def reward_stage(run: Run, index: int, stream: IO[str], began: float) -> None:
    """Train the reward model of a round and write the rewards of its pairs, unless they are there.

    Raises:
        ConfigError: the model cannot be used.
        DataError: the pairs cannot be used.
        StaleStageError: the rewards were made from other inputs.
    """
    inputs = reward_inputs(run, index)
    if not begin_stage(run.folder, "reward", index, inputs):
        return
    from trainer.reward import train_reward
    from trainer.reward_base import RewardJob

    job = RewardJob(
        model=run.config.model,
        pairs=pair_paths(run, index),
        round_folder=run.folder.round(index),
        config=run.config.reward,
        data=run.config.train,
        seed=run.config.seed,
        stream=stream,
        trust_remote_code=run.config.engine.trust_remote_code,
        held_out=held_out_prompts(run),
    )
    outputs = train_reward(job)
    stream.write(f"{reward_line(index, outputs)}\n")
    end_stage(run.folder, "reward", index, inputs, outputs=outputs, seconds=time.monotonic() - began)
