"""`train.method: sft`: a round's training is to say its chosen answers. The rejected ones teach nothing here.

The pairs are those that DPO would train on, with the same ones left out, so that methods can be compared; adapter,
probe and figures are as of DPO.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterable
from typing import Any

from trainer.adapter import digest_of
from trainer.config import TrainConfig
from trainer.data import EncodedPair
from trainer.dpo import TrainJob, optimizer_steps, read_inputs, write_left_out
from trainer.mixing import mixing_alarms
from trainer.model import choose_device, choose_dtype, prepare_environment
from trainer.probe import NOT_IN_LOSS
from trainer.sft import train_encoded
from trainer.sft_config import SftConfig, SftJob


def train_pair_sft(job: TrainJob) -> dict[str, Any]:
    """Train one adapter on the chosen answers of a round's pairs and save it.

    Returns:
        The figures of `train_dpo` that are not about preferences, and `loss` and `mean_token_accuracy`.

    Raises:
        ConfigError, DataError, StageError: as `train_dpo`.
    """
    started = time.monotonic()
    prepare_environment(job.model)
    tokenizer, pairs, sources = read_inputs(job)
    rows = chosen_rows(pairs.train)
    # What an attempt left that was killed before it could say so.
    shutil.rmtree(job.round_folder / "adapter", ignore_errors=True)
    start = job.adapter_of(job.config.start_from)
    board = (job.logs or job.round_folder.parent / "logs") / "tensorboard" / job.round_folder.name
    shutil.rmtree(board, ignore_errors=True)
    settings = SftJob(
        model=job.model,
        output=job.round_folder / "adapter",
        config=row_settings(job.config, len(rows)),
        start=start,
        previous=job.previous_adapter,
        seed=job.seed,
        trust_remote_code=job.trust_remote_code,
        log=job.round_folder / "training.jsonl",
        probe=job.round_folder / "probe.json",
        tensorboard=board,
    )
    figures = train_encoded(settings, tokenizer, rows, chosen_rows(pairs.validation), stream=job.stream)
    write_left_out(job, pairs)
    del figures["rows"]
    return {
        **figures,
        "pairs": len(pairs.train),
        "validation_pairs": len(pairs.validation),
        **{reason: len(ids) for reason, ids in pairs.left_out.items()},
        "start_from": job.config.start_from,
        "start_digest": digest_of(start),
        "adapter_digest": digest_of(job.round_folder / "adapter"),
        "sources": sources,
        "alarms": mixing_alarms(sources),
        "seconds": round(time.monotonic() - started, 2),
    }


def chosen_rows(pairs: Iterable[EncodedPair]) -> list[dict[str, Any]]:
    """Prompt and chosen answer of each pair as ids, with labels on the answer alone, its closing EOS included."""
    return [
        {
            "input_ids": pair.prompt_ids + pair.chosen_ids,
            "labels": [NOT_IN_LOSS] * len(pair.prompt_ids) + pair.chosen_ids,
            "length": len(pair.prompt_ids) + len(pair.chosen_ids),
        }
        for pair in pairs
    ]


def row_settings(config: TrainConfig, rows: int) -> SftConfig:
    """The train section as supervised training takes it."""
    device = choose_device(config.device)
    dtype = choose_dtype(config.dtype, device)
    steps = optimizer_steps(config, rows)
    return SftConfig(
        learning_rate=config.learning_rate,
        schedule=config.schedule,
        # Whole steps, rounded down: the library rounds up, and one step would be all warm-up, at rate 0.
        warm_up_share=int(config.warm_up_share * steps) / steps,
        epochs=config.epochs,
        max_steps=config.max_steps,
        rows_per_step=config.pairs_per_step,
        rows_per_micro_batch=config.pairs_per_micro_batch,
        max_gradient_norm=config.max_gradient_norm,
        gradient_checkpointing=config.gradient_checkpointing,
        max_tokens=config.max_tokens,
        device=config.device,
        dtype=dtype,
        autocast="on" if dtype == "bfloat16" else "off",
        lora=config.lora,
    )
