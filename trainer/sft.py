"""Supervised fine-tuning on (prompt, answer) rows through TRL: the loss is on the answer, its closing EOS included.

A model that is trained from nothing may learn from whole conversations (`loss_on`).

Rows are tokenised by the project's one chat encoding and reach TRL as ids with labels, so nothing is rendered twice
and TRL neither cuts nor adds a token. Trains a LoRA adapter, or all weights of a model.
"""

from __future__ import annotations

import math
import os
import shutil
import time
from collections.abc import Iterable, Sequence
from random import Random
from typing import IO, Any, Literal

from records.atomic import crash_point, write_json_atomic
from records.chat import encode_pair
from records.digest import adapter_digest
from records.errors import DataError, StageError
from records.progress import progress
from records.rows import Message
from trainer.adapter import begin_adapter, check_same_base, digest_of, loaded_beside, save_adapter
from trainer.alarms import last_tenth, mean
from trainer.model import base_digest, choose_device, context_of, load_model, load_tokenizer, prepare_environment
from trainer.probe import NOT_IN_LOSS, probe_rows
from trainer.sft_config import SftConfig, SftJob, SftRow

LossOn = Literal["answer", "conversation"]
_SUMMARY = ("loss", "mean_token_accuracy")


def encode_row(tokenizer: Any, row: SftRow, loss_on: LossOn = "answer") -> dict[str, list[int]]:
    """Ids and labels of one row: labels are the ids on what is in the loss, and -100 elsewhere."""
    prompt, answer = encode_pair(tokenizer, row.prompt, [Message(role="assistant", content=row.answer)])
    learned = prompt if loss_on == "conversation" else [NOT_IN_LOSS] * len(prompt)
    return {"input_ids": prompt + answer, "labels": learned + answer}


def encode_rows(
    tokenizer: Any, rows: Iterable[SftRow], max_tokens: int, loss_on: LossOn = "answer"
) -> tuple[list[dict[str, Any]], list[str]]:
    """All rows as ids, labels and length.

    Returns:
        The rows that fit `max_tokens`, and the ids of those that do not. None is cut.
    """
    encoded, too_long = [], []
    for row in rows:
        columns = encode_row(tokenizer, row, loss_on)
        if len(columns["input_ids"]) > max_tokens:
            too_long.append(row.id)
        else:
            encoded.append({**columns, "length": len(columns["input_ids"])})
    return encoded, too_long


def join_rows(encoded: list[dict[str, Any]], block_tokens: int, seed: int) -> list[dict[str, Any]]:
    """The rows in random order, joined and cut into blocks of equal length; the unfilled last block is left out."""
    rows = list(encoded)
    Random(seed).shuffle(rows)
    joined = {name: [token for row in rows for token in row[name]] for name in ("input_ids", "labels")}
    starts = range(0, len(joined["input_ids"]) - block_tokens + 1, block_tokens)
    return [
        {**{name: ids[start : start + block_tokens] for name, ids in joined.items()}, "length": block_tokens}
        for start in starts
    ]


def train_sft(job: SftJob, rows: Iterable[SftRow], stream: IO[str] | None = None) -> dict[str, Any]:
    """Train on the rows, write the result to `job.output`, and say what it came to; progress goes to the stream.

    Returns:
        `method`, `rows`, `too_long`, `tokens` (of prompts and answers), `steps` (of the optimizer), `seconds`, and
        `loss` and `mean_token_accuracy` as means over the last tenth of the optimizer steps.

    Raises:
        ConfigError: the model or a setting cannot be used; nothing was trained.
        DataError: no row fits the model or `max_tokens`.
        StageError: the folder to write holds something already.
    """
    started = time.monotonic()
    if job.output.exists():
        raise StageError(f"{job.output} exists already; expected a new folder. Remove it or name another.")
    prepare_environment(job.model)
    tokenizer, encoded, too_long = _read_inputs(job, rows)
    figures = train_encoded(job, tokenizer, encoded, stream=stream)
    _write_left_out(job, too_long)
    return figures | {"too_long": len(too_long), "seconds": round(time.monotonic() - started, 2)}


def train_encoded(
    job: SftJob,
    tokenizer: Any,
    encoded: list[dict[str, Any]],
    validation: Sequence[dict[str, Any]] = (),
    *,
    stream: IO[str] | None = None,
) -> dict[str, Any]:
    """Train on rows that are ids already and write the result, with the probe where the job asks for one.

    Returns:
        The figures of `train_sft` without `too_long` and `seconds`; with validation rows their `eval_loss` and
        `eval_mean_token_accuracy` after training, and `first_eval_...` before.

    Raises:
        ConfigError: the model, the adapter that training goes on from, or a setting cannot be used.
        StageError: the loss stopped being a number; nothing was saved.
    """
    model, base = _load(job)
    units = join_rows(encoded, job.config.block_tokens, job.seed) if job.config.block_tokens else encoded
    steps, evaluated = _train(model, tokenizer, (units, validation), job, stream)
    if job.probe:
        with loaded_beside(model, job.previous, job.model) as previous:
            probe = probe_rows(model, encoded, previous)
    _save(model, job, base)
    if job.probe:
        digests = {"new_digest": adapter_digest(job.output), "previous_digest": digest_of(job.previous)}
        write_json_atomic(job.probe, {**digests, "sequences": probe})
    return {
        "method": "sft",
        "rows": len(encoded),
        "tokens": sum(row["length"] for row in encoded),
        "steps": len(steps),
        **{name: mean(last_tenth(steps), name) for name in _SUMMARY},
        **evaluated,
    }


def _read_inputs(job: SftJob, rows: Iterable[SftRow]) -> tuple[Any, list[dict[str, Any]], list[str]]:
    """The tokeniser, the rows that fit, and the ids of those that do not."""
    tokenizer = load_tokenizer(job.model, trust_remote_code=job.trust_remote_code)
    context = context_of(job.model, trust_remote_code=job.trust_remote_code)
    most = min(job.config.max_tokens, context or job.config.max_tokens)
    encoded, too_long = encode_rows(tokenizer, rows, most, job.config.loss_on)
    if not encoded:
        raise DataError(
            f"{len(too_long)} rows are longer than {most} tokens and none is left to train on. "
            "Raise max_tokens where the model's context allows, or give other rows."
        )
    return tokenizer, encoded, too_long


def _write_left_out(job: SftJob, too_long: list[str]) -> None:
    if job.left_out and too_long:
        write_json_atomic(job.left_out, {"too_long": too_long})
    elif job.left_out:  # what an earlier attempt under other settings wrote
        job.left_out.unlink(missing_ok=True)


def _load(job: SftJob) -> tuple[Any, str]:
    """The model with what is to be trained unfrozen, and the digest of the weights it began with."""
    from transformers import set_seed

    # What is trained is float32 whatever the checkpoint holds: small updates vanish in bfloat16.
    device = choose_device(job.config.device)
    dtype = job.config.dtype if job.config.lora else "float32"
    model = load_model(job.model, device=device, dtype=dtype, trust_remote_code=job.trust_remote_code)
    base = base_digest(model)
    for folder in (job.start, job.previous):
        if folder:
            check_same_base(folder, base, job.model)
    set_seed(job.seed)
    if job.config.lora:
        return begin_adapter(model, job.config.lora, name=job.model, start=job.start), base
    return model.requires_grad_(True), base


def _train(
    model: Any,
    tokenizer: Any,
    rows: tuple[list[dict[str, Any]], Sequence[dict[str, Any]]],
    job: SftJob,
    stream: IO[str] | None,
) -> tuple[list[dict[str, float]], dict[str, float]]:
    """Train in place; returns the figures of every optimizer step, and those of the validation rows."""
    from trainer.row_trainer import build_trainer, evaluate

    encoded, validation = rows
    scratch = job.output.with_name(f".{job.output.name}.sft")
    title, steps = f"sft {job.output.parent.name}/{job.output.name}", row_steps(job.config, len(encoded))
    with progress(title, steps, stream) as display:
        trainer = build_trainer(model, tokenizer, encoded, job, scratch, display)
        evaluated = evaluate(trainer, validation, "first_eval") if validation else {}
        trainer.train()
        evaluated |= evaluate(trainer, validation, "eval") if validation else {}
    shutil.rmtree(scratch, ignore_errors=True)
    return [entry for entry in trainer.state.log_history if "loss" in entry], evaluated


def row_steps(config: SftConfig, rows: int) -> int:
    """Optimizer steps that training on so many rows takes."""
    steps = math.ceil(config.epochs * math.ceil(rows / config.rows_per_step))
    return min(steps, config.max_steps) if config.max_steps else steps


def _save(model: Any, job: SftJob, base: str) -> None:
    """Write the adapter or the model, whole or not at all."""
    if job.config.lora:
        save_adapter(model, job.output, model=job.model, base=base)
        return
    import torch

    folder = job.output.with_name(f".{job.output.name}.tmp")
    shutil.rmtree(folder, ignore_errors=True)
    model.to(torch.bfloat16).save_pretrained(folder)
    # Read again: TRL gives the tokeniser it trains with a padding token where there was none.
    load_tokenizer(job.model, trust_remote_code=job.trust_remote_code).save_pretrained(folder)
    crash_point("adapter-before-rename")
    os.replace(folder, job.output)
    crash_point("adapter-after-rename")
