"""The stage process that holds the trainer."""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import IO, Any

from loop.folder import WARM_UP, begin_stage, end_stage
from loop.inputs import Run, held_out_prompts, own_pairs, pair_folders, train_inputs
from records.rows import Pair
from records.store import read_rows, shards
from trainer.pair_sources import PairSource


def train_stage(run: Run, index: int, stream: IO[str], began: float) -> None:
    """Train the adapter that drafts the next round, unless it is there.

    Raises:
        ConfigError: the model or an adapter cannot be used.
        DataError: the pairs cannot be used.
        StaleStageError: the adapter was trained from other inputs.
    """
    inputs = train_inputs(run, index)
    if not begin_stage(run.folder, "train", index, inputs):
        return
    work = _train_warm_up if index == WARM_UP else _train_pairs
    outputs = work(run, index, stream)
    end_stage(run.folder, "train", index, inputs, outputs=outputs, seconds=time.monotonic() - began)


def _train_pairs(run: Run, index: int, stream: IO[str]) -> dict[str, Any]:
    from trainer.dpo import TrainJob, train_dpo
    from trainer.pair_sft import train_pair_sft

    mixed = tuple(source for source in run.config.train.pairs_from if isinstance(source, PairSource))
    job = TrainJob(
        model=run.config.model,
        pairs=tuple(path for path in pair_paths(run, index) if path not in {Path(share.path) for share in mixed}),
        mixed=mixed,
        round_folder=run.folder.round(index),
        config=run.config.train,
        previous_adapter=run.policy_adapter(index),
        initial_adapter=run.initial_adapter(),
        seed=run.config.seed,
        run=run.folder.path.name,
        stream=stream,
        logs=run.folder.path / "logs",
        trust_remote_code=run.config.engine.trust_remote_code,
        held_out=held_out_prompts(run),
        rewards=run.rewards(index),
    )
    return {"dpo": train_dpo, "sft": train_pair_sft}[run.config.train.method](job)


def pair_paths(run: Run, index: int) -> tuple[Path, ...]:
    """Where the pairs lie that a round trains on: the folders that hold any, and the person's own files."""
    return (*(folder for folder in pair_folders(run, index) if shards(folder)), *own_pairs(run, index))


def _train_warm_up(run: Run, index: int, stream: IO[str]) -> dict[str, Any]:
    """The supervised stage of Constitutional AI: the base learns to say its own verified revisions.

    Source: Bai et al. 2022, arXiv:2212.08073, section 3.
    """
    from trainer.sft import train_sft
    from trainer.sft_config import SftJob, SftRow

    folder = run.folder.round(index)
    pairs = [Pair.model_validate(row) for row in read_rows(folder / "pairs") if row["split"] == "train"]
    # Whole, but of a training that was killed before it could say so; it is done again.
    shutil.rmtree(folder / "adapter", ignore_errors=True)
    job = SftJob(
        model=run.config.model,
        output=folder / "adapter",
        config=run.warm_up(),
        seed=run.config.seed,
        trust_remote_code=run.config.engine.trust_remote_code,
        log=folder / "training.jsonl",
        probe=folder / "probe.json",
        left_out=folder / "left_out.json",
        tensorboard=run.folder.path / "logs" / "tensorboard" / folder.name,
    )
    rows = [SftRow(id=pair.id, prompt=pair.prompt, answer=pair.chosen[0].content) for pair in pairs]
    return train_sft(job, rows, stream)
