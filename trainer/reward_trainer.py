"""TRL's trainer of reward models on pairs that are token ids already; the model libraries are imported here."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from datasets import Dataset
from transformers import PrinterCallback, TrainerCallback
from trl import RewardConfig, RewardTrainer
from trl.trainer.reward_trainer import DataCollatorForPreference

from records.errors import StageError
from records.progress import Progress
from trainer.data import EncodedPair
from trainer.reward_config import RewardSettings
from trainer.reward_model import columns

FIGURES = ("loss", "accuracy", "margin", "mean_reward", "grad_norm", "learning_rate")


class ConversationTrainer(RewardTrainer):
    """TRL's trainer, which tokenises and drops nothing, and tells nobody that it runs."""

    def _prepare_dataset(self, dataset: Dataset, processing_class: Any, args: Any, dataset_name: str) -> Dataset:
        assert {"chosen_ids", "rejected_ids"} <= set(dataset.column_names), dataset.column_names
        return dataset

    def _send_telemetry(self) -> None:
        """Nothing is sent to anyone."""


class StepLog(TrainerCallback):
    """Shows and keeps the figures of every optimizer step, and writes each as a line of JSON.

    A line names the training that it is of: `all`, or the fold that was left out. The first log begins the file anew.
    """

    def __init__(self, path: Path, display: Progress) -> None:
        self.steps: list[dict[str, Any]] = []
        self.training = ""
        self._path, self._display = path, display
        path.write_text("", encoding="utf-8")

    def begin(self, training: str) -> None:
        """Another training follows; `steps` are its own from here."""
        self.training, self.steps = training, []

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **_: Any) -> None:
        if not logs or "loss" not in logs:
            return
        figures = {name: float(logs[name]) for name in FIGURES}
        if bad := [name for name, value in figures.items() if not math.isfinite(value)]:
            raise StageError(
                f"reward model, optimizer step {state.global_step}: {', '.join(bad)} is not a finite number; nothing "
                "was saved. Lower reward.learning_rate or set train.dtype to float32, then run the same command again."
            )
        self._display.advance(loss=figures["loss"], accuracy=figures["accuracy"])
        line = {"training": self.training, "step": state.global_step, "epoch": state.epoch or 0.0, **figures}
        self.steps.append(line)
        with open(self._path, "a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")


def build_trainer(
    model: Any, tokenizer: Any, pairs: Sequence[EncodedPair], pad: int, arguments: RewardConfig, log: StepLog
) -> ConversationTrainer:
    """TRL's trainer around a model of which an adapter and a head are trainable.

    Args:
        model: from trainer/reward_model.py.
        tokenizer: TRL wants one; nothing is tokenised.
        pairs: what is trained on.
        pad: an id that no answer ends with, which fills batches up.
        arguments: from `training_arguments`.
        log: takes the figures.
    """
    trainer = ConversationTrainer(
        model=model,
        args=arguments,
        data_collator=DataCollatorForPreference(pad_token_id=pad),
        train_dataset=Dataset.from_list([columns(pair) for pair in pairs]),
        processing_class=tokenizer,
        callbacks=[log],
    )
    trainer.remove_callback(PrinterCallback)
    # By this id the last token of an answer is looked for. TRL has put the tokeniser's padding there, and transformers
    # would do so again as training begins, as long as it has a tokeniser.
    trainer.processing_class = None
    trainer.model.config.get_text_config().pad_token_id = pad
    return trainer


def training_arguments(
    settings: RewardSettings, *, steps: int, folder: Path, seed: int, device: str, dtype: str
) -> RewardConfig:
    """The settings as TRL takes them, each of its surprising defaults overridden; arguments as for DPO."""
    return RewardConfig(
        output_dir=str(folder),
        learning_rate=settings.learning_rate,
        lr_scheduler_type="constant_with_warmup" if settings.schedule == "constant" else settings.schedule,
        warmup_steps=int(settings.warm_up_share * steps),
        num_train_epochs=settings.epochs,
        per_device_train_batch_size=settings.pairs_per_micro_batch,
        gradient_accumulation_steps=settings.pairs_per_step // settings.pairs_per_micro_batch,
        max_grad_norm=settings.max_gradient_norm,
        gradient_checkpointing=settings.gradient_checkpointing,
        # Nothing is dropped; load_pairs has counted what is too long.
        max_length=None,
        disable_dropout=settings.lora.dropout == 0.0,
        bf16=dtype == "bfloat16",
        use_cpu=device == "cpu",
        dataloader_pin_memory=device != "cpu",
        seed=seed,
        data_seed=seed,
        logging_steps=1,
        logging_nan_inf_filter=False,
        save_strategy="no",
        eval_strategy="no",
        report_to="none",
        disable_tqdm=True,
        remove_unused_columns=False,
    )
