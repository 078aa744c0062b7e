"""TRL's supervised trainer on rows that are token ids with labels already; the model libraries are imported here."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from transformers import PrinterCallback, TrainerCallback
from trl import SFTConfig as TrlSettings
from trl import SFTTrainer

from records.errors import StageError
from records.progress import Progress
from trainer.sft_config import SftConfig, SftJob

FIGURES = ("loss", "mean_token_accuracy", "grad_norm", "learning_rate")


class RowTrainer(SFTTrainer):
    """TRL's trainer, which tells nobody that it runs."""

    def _send_telemetry(self) -> None:
        """Nothing is sent to anyone."""


class _StepLog(TrainerCallback):
    """Shows and writes the figures of each optimizer step, one JSON line each."""

    def __init__(self, path: Path | None, display: Progress) -> None:
        self._path, self._display = path, display
        if path:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("", encoding="utf-8")

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **_: Any) -> None:
        if not logs or "loss" not in logs:
            return
        if not all(math.isfinite(float(logs[name])) for name in ("loss", "grad_norm")):
            raise StageError(
                f"optimizer step {state.global_step}: the loss is not a finite number; nothing was saved. Lower the "
                "learning rate, then run the same command again."
            )
        self._display.advance(loss=float(logs["loss"]))
        if self._path:
            line = {"step": state.global_step, **{name: float(logs[name]) for name in FIGURES}}
            with open(self._path, "a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")


def build_trainer(
    model: Any, tokenizer: Any, encoded: Sequence[dict[str, Any]], job: SftJob, folder: Path, display: Progress
) -> RowTrainer:
    """TRL's trainer around a model of which something is trainable.

    Args:
        model: all weights or one adapter unfrozen, in float32.
        tokenizer: its padding token fills batches up; padded places are never in the loss.
        encoded: rows or blocks with `input_ids`, `labels` and `length`.
        job: settings, seed and where to log.
        folder: where TRL may write while it trains.
        display: advances by one with each optimizer step.
    """
    trainer = RowTrainer(
        model=model,
        args=_settings(job, folder, on_cpu=next(model.parameters()).device.type == "cpu"),
        train_dataset=Dataset.from_list(list(encoded)),
        processing_class=tokenizer,
        callbacks=[_StepLog(job.log, display)],
    )
    trainer.remove_callback(PrinterCallback)
    return trainer


def evaluate(trainer: RowTrainer, rows: Sequence[dict[str, Any]], prefix: str) -> dict[str, float]:
    """What the model makes of rows that are not trained on: `loss` and `mean_token_accuracy`, under the prefix."""
    trainer.eval_dataset = Dataset.from_list(list(rows))
    trainer.evaluate()
    found = trainer.state.log_history[-1]  # TRL's own figures are logged and not returned
    return {f"{prefix}_{name}": float(found[f"eval_{name}"]) for name in FIGURES[:2]}


def _settings(job: SftJob, folder: Path, *, on_cpu: bool) -> TrlSettings:
    config = job.config
    if job.tensorboard:
        os.environ["TENSORBOARD_LOGGING_DIR"] = str(job.tensorboard)
    return TrlSettings(
        output_dir=str(folder),
        use_cpu=on_cpu,
        bf16=_computes_in_bfloat16(config, on_cpu=on_cpu),
        seed=job.seed,
        learning_rate=config.learning_rate,
        lr_scheduler_type=config.schedule,
        warmup_steps=config.warm_up_share,
        num_train_epochs=config.epochs,
        max_steps=config.max_steps or -1,
        per_device_train_batch_size=config.rows_per_micro_batch,
        per_device_eval_batch_size=config.rows_per_micro_batch,
        gradient_accumulation_steps=config.rows_per_step // config.rows_per_micro_batch,
        max_grad_norm=config.max_gradient_norm,
        # Trainings are short: 0.999 would remember the large first gradients through half of one.
        adam_beta2=0.98,
        # Rows of like length share a batch, so little of it is padding.
        train_sampling_strategy="random" if config.block_tokens else "group_by_length",
        # The rows come with ids and labels; with these two TRL changes neither.
        max_length=None,
        dataset_kwargs={"skip_prepare_dataset": True},
        gradient_checkpointing=config.gradient_checkpointing,
        logging_steps=1,
        save_strategy="no",
        report_to=["tensorboard"] if job.tensorboard else [],
        disable_tqdm=True,
    )


def _computes_in_bfloat16(config: SftConfig, *, on_cpu: bool) -> bool:
    if config.autocast != "auto":
        return config.autocast == "on"
    if on_cpu:
        return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
    return bool(torch.cuda.is_bf16_supported())
