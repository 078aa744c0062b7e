"""TRL's DPO trainer, held to this project's promises: our token ids, our reference, every optimizer step logged.

The loss, its gradients and its metrics are TRL's. What is overridden keeps TRL from tokenising, dropping or cutting
anything, and from sending telemetry.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from datasets import Dataset
from transformers import PrinterCallback, TrainerCallback
from trl import DPOConfig, DPOTrainer

from trainer.answer_sums import answer_sums
from trainer.config import TrainConfig
from trainer.data import EncodedPair
from trainer.loss_config import loss_weights
from trainer.reference import collator_for, columns, reference_logps
from trainer.resume import CheckpointingTrainer
from trainer.soft_labels import COLUMN, RememberingModel, opposite_part, with_probabilities
from trainer.training_log import TrainingLog


class PairTrainer(CheckpointingTrainer, DPOTrainer):
    """TRL's trainer on pairs that are token ids already."""

    def _compute_loss(self, model: Any, inputs: dict[str, Any], return_outputs: bool) -> Any:
        """TRL's loss, and where labels are soft what the opposite label adds, from the same pass."""
        if COLUMN not in inputs:
            return super()._compute_loss(model, inputs, return_outputs)
        assert not return_outputs
        inputs = dict(inputs)
        probabilities, remembering = inputs.pop(COLUMN), RememberingModel(model)
        loss = super()._compute_loss(remembering, inputs, return_outputs)
        answers = inputs["completion_mask"]
        token_logps = remembering.found.log_probs[:, 1 - answers.size(1) :]
        chosen, rejected = answer_sums(token_logps, answers, self.ld_alpha).chunk(2)
        margins = chosen - inputs["ref_chosen_logps"] - (rejected - inputs["ref_rejected_logps"])
        weight = dict(zip(self.loss_types, self.loss_weights, strict=True))["sigmoid"]
        return loss + weight * opposite_part(margins, probabilities, self.beta)

    def _prepare_dataset(self, dataset: Dataset, processing_class: Any, args: Any, dataset_name: str) -> Dataset:
        assert {"prompt_ids", "chosen_ids", "rejected_ids"} <= set(dataset.column_names), dataset.column_names
        return dataset

    def _send_telemetry(self) -> None:
        """Nothing is sent to anyone."""


class _Watch(TrainerCallback):
    """Passes what TRL logs on to the training log."""

    def __init__(self, log: TrainingLog) -> None:
        self._log = log

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **_: Any) -> None:
        self._log.write(logs or {}, step=state.global_step, epoch=state.epoch or 0.0)


def watch(trainer: PairTrainer, log: TrainingLog) -> None:
    """Have every optimizer step and every evaluation written to the log as it happens."""
    trainer.add_callback(_Watch(log))


def build_trainer(
    policy: Any,
    tokenizer: Any,
    train: Sequence[EncodedPair],
    validation: Sequence[EncodedPair],
    arguments: DPOConfig,
    *,
    soft_labels: bool = False,
) -> PairTrainer:
    """TRL's trainer around a policy with one trainable adapter; the reference is still to be attached."""
    collator = collator_for(tokenizer)
    trainer = PairTrainer(
        model=policy,
        args=arguments,
        data_collator=with_probabilities(collator) if soft_labels else collator,
        train_dataset=Dataset.from_list([columns(pair) for pair in train]),
        eval_dataset=Dataset.from_list([columns(pair) for pair in validation]) if validation else None,
        processing_class=tokenizer,
    )
    trainer.remove_callback(PrinterCallback)
    # TRL makes a copy of the adapter its reference; ours is named by the run and computed from files.
    policy.delete_adapter("ref")
    return trainer


def training_arguments(
    config: TrainConfig, *, steps: int, folder: Path, seed: int, device: str, dtype: str
) -> DPOConfig:
    """The settings as TRL takes them, each of its surprising defaults overridden.

    Args:
        config: the train section.
        steps: optimizer steps there will be.
        folder: the round's folder.
        seed: of the order of the pairs.
        device: "cpu" or "cuda".
        dtype: "float32" or "bfloat16".
    """
    losses = loss_weights(config, config.sft_weight)
    return DPOConfig(
        output_dir=str(folder),
        beta=config.beta,
        loss_type=list(losses),
        loss_weights=list(losses.values()),
        label_smoothing=config.label_smoothing,
        ld_alpha=config.ld_alpha,
        use_weighting=config.use_weighting,
        f_divergence_type=config.f_divergence,
        # TRL computes (u^(c - 1) - 1) / (c - 1), the paper (1 - u^-alpha) / alpha: its c is 1 - alpha.
        f_alpha_divergence_coef=1.0 - config.f_alpha,
        discopop_tau=config.discopop_tau,
        learning_rate=config.learning_rate,
        lr_scheduler_type="constant_with_warmup" if config.schedule == "constant" else config.schedule,
        # Rounded down: the library rounds a share up, and a training of one step would be all warm-up, at rate 0.
        warmup_steps=int(config.warm_up_share * steps),
        num_train_epochs=config.epochs,
        max_steps=config.max_steps or -1,
        per_device_train_batch_size=config.pairs_per_micro_batch,
        per_device_eval_batch_size=2 * config.pairs_per_micro_batch,
        gradient_accumulation_steps=config.pairs_per_step // config.pairs_per_micro_batch,
        max_grad_norm=config.max_gradient_norm,
        gradient_checkpointing=config.gradient_checkpointing,
        # Nothing is cut; load_pairs has counted what is too long.
        max_length=None,
        disable_dropout=config.lora.dropout == 0.0,
        bf16=dtype == "bfloat16",
        use_cpu=device == "cpu",
        dataloader_pin_memory=device != "cpu",
        seed=seed,
        data_seed=seed,
        logging_steps=1,
        # The filter would hide a loss that is not a number behind the last one that was.
        logging_nan_inf_filter=False,
        save_strategy="no",
        eval_strategy="no",
        report_to="none",
        disable_tqdm=True,
        remove_unused_columns=False,
    )


def attach_reference(
    trainer: PairTrainer, train: Sequence[EncodedPair], validation: Sequence[EncodedPair], policy: str | None
) -> None:
    """Compute the reference's figures for every pair and hand them to TRL as columns.

    Args:
        trainer: whose datasets hold exactly these pairs, in this order.
        train: the pairs of its train set.
        validation: the pairs of its evaluation set.
        policy: name of the loaded adapter that is the reference, None for the base.
    """
    trainer.train_dataset = _with_reference(trainer, trainer.train_dataset, train, policy)
    if validation:
        trainer.eval_dataset = _with_reference(trainer, trainer.eval_dataset, validation, policy)
    trainer.precompute_ref_logps = True


def _with_reference(
    trainer: PairTrainer, dataset: Dataset, pairs: Sequence[EncodedPair], policy: str | None
) -> Dataset:
    assert list(dataset["id"]) == [pair.id for pair in pairs], "the trainer dropped or moved pairs"
    logps = reference_logps(trainer, pairs, policy)
    dataset = dataset.add_column("ref_chosen_logps", [chosen for chosen, _ in logps])
    return dataset.add_column("ref_rejected_logps", [rejected for _, rejected in logps])
