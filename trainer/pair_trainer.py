"""TRL's DPO trainer, held to this project's promises: our token ids, our reference, every optimizer step logged.

The loss, its gradients and its metrics are TRL's. What is overridden keeps TRL from tokenising, dropping or cutting
anything, from sending telemetry, and from running what need not be run (docs/performance.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from accelerate import DistributedType
from datasets import Dataset
from transformers import PrinterCallback, TrainerCallback
from trl import DPOConfig, DPOTrainer

from trainer.answer_head import NOT_COMPUTED, AnswerHead, install
from trainer.answer_sums import answer_sums
from trainer.config import TrainConfig
from trainer.data import EncodedPair
from trainer.loss_config import loss_weights
from trainer.micro_batches import Room, StepCollator
from trainer.reference import collator_for, columns, reference_logps
from trainer.resume import CheckpointingTrainer
from trainer.soft_labels import COLUMN, RememberingModel, opposite_part, with_probabilities
from trainer.stored_reference import Logps, StoredReference
from trainer.training_log import TrainingLog

_ROOM = Room(pairs=4)


class PairTrainer(CheckpointingTrainer, DPOTrainer):
    """TRL's trainer on pairs that are token ids already, a whole step at a time (trainer/micro_batches.py)."""

    room: Room
    head: AnswerHead
    data_collator: Any
    loss_weights: Any
    _pair_share = 1.0

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

    def get_train_dataloader(self) -> Any:
        """Batches that are the pairs of one optimizer step, cut to fit the memory."""
        collate = self.data_collator
        self.data_collator = StepCollator(collate, self.room, self.head.places)
        try:
            return super().get_train_dataloader()
        finally:
            self.data_collator = collate

    def training_step(self, model: Any, inputs: dict[str, Any], num_items_in_batch: Any = None) -> Any:
        """One optimizer step's gradient: that of the mean over its pairs, one micro-batch after the other."""
        micro_batches, shares = inputs["micro_batches"], inputs["pair_shares"]
        weights, total = self.loss_weights, 0.0
        metrics = self._metrics["train"]
        before = {name: len(values) for name, values in metrics.items()}
        try:
            for number, (batch, share) in enumerate(zip(micro_batches, shares, strict=True)):
                self._pair_share = share
                self.loss_weights = self._weights_for(weights, inputs["chosen_shares"][number] / share)
                # Several processes exchange their gradients once, with the last part.
                apart = number + 1 < len(shares) and self.accelerator.distributed_type != DistributedType.DEEPSPEED
                with self.accelerator.no_sync(model) if apart else nullcontext():
                    total = total + super().training_step(model, batch, num_items_in_batch)
        finally:
            self._pair_share, self.loss_weights = 1.0, weights
        _one_figure_a_step(metrics, before, shares)
        return total

    def _weights_for(self, weights: Sequence[float], chosen_share: float) -> list[float]:
        """The likelihood's loss is a mean over chosen tokens, so it counts by a part's share of these."""
        named = zip(self.loss_types, weights, strict=True)
        return [weight * (chosen_share if name == "sft" else 1.0) for name, weight in named]

    def compute_loss(self, model: Any, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        """TRL's loss of a micro-batch; in training it counts by its share of the step's pairs."""
        loss = super().compute_loss(model, inputs, *args, **kwargs)
        return loss * self._pair_share if self.model.training else loss

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """TRL's figures without those that are not computed."""
        for name in NOT_COMPUTED:
            self._metrics["train" if self.model.training else "eval"].pop(name, None)
        super().log(logs, start_time)


def _one_figure_a_step(metrics: dict[str, list[float]], before: dict[str, int], shares: Sequence[float]) -> None:
    """TRL notes each figure once a micro-batch and takes their plain mean: make it the mean over the step's pairs."""
    for name, values in metrics.items():
        new = values[before.get(name, 0) :]
        if len(new) == len(shares):
            values[before.get(name, 0) :] = [sum(share * value for share, value in zip(shares, new, strict=True))]


class _Watch(TrainerCallback):
    """Passes what TRL logs on to the training log."""

    def __init__(self, log: TrainingLog) -> None:
        self._log = log

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **_: Any) -> None:
        self._log.write(logs or {}, step=state.global_step, epoch=state.epoch or 0.0)


def watch(trainer: PairTrainer, log: TrainingLog) -> None:
    """Have every optimizer step and every evaluation written to the log as it happens."""
    trainer.add_callback(_Watch(log))


def build_trainer(  # noqa: PLR0913 - one more than usual: what is trained, on what, and how much at once
    policy: Any,
    tokenizer: Any,
    train: Sequence[EncodedPair],
    validation: Sequence[EncodedPair],
    arguments: DPOConfig,
    room: Room = _ROOM,
    *,
    soft_labels: bool = False,
) -> PairTrainer:
    """TRL's trainer around a policy with one trainable adapter.

    The reference is still to be attached, and the layout to be settled: until then all is left to TRL.
    """
    collator = collator_for(tokenizer)
    trainer = PairTrainer(
        model=policy,
        args=arguments,
        data_collator=with_probabilities(collator) if soft_labels else collator,
        train_dataset=Dataset.from_list([columns(pair) for pair in train]),
        eval_dataset=Dataset.from_list([columns(pair) for pair in validation]) if validation else None,
        processing_class=tokenizer,
    )
    trainer.room = room
    trainer.head = install(causal_model(policy), weighting=trainer.use_weighting)
    trainer.remove_callback(PrinterCallback)
    # TRL makes a copy of the adapter its reference; ours is named by the run and computed from files.
    policy.delete_adapter("ref")
    return trainer


def causal_model(policy: Any) -> Any:
    """The causal language model itself, without PEFT's wrapper where there is one."""
    return policy.get_base_model() if hasattr(policy, "get_base_model") else policy


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
        # A batch is what one optimizer step holds; the trainer cuts it up.
        per_device_train_batch_size=config.pairs_per_step,
        per_device_eval_batch_size=2 * config.pairs_per_micro_batch,
        gradient_accumulation_steps=1,
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
    trainer: PairTrainer,
    train: Sequence[EncodedPair],
    validation: Sequence[EncodedPair],
    policy: str | None,
    stored: StoredReference | None = None,
) -> None:
    """Compute the reference's figures for every pair, once, and hand them to TRL as columns.

    Args:
        trainer: whose datasets hold exactly these pairs, in this order.
        train: the pairs of its train set.
        validation: the pairs of its evaluation set.
        policy: name of the loaded adapter that is the reference, None for the base.
        stored: where figures of an earlier attempt may lie, and these are put.
    """
    pairs = [*train, *validation]

    def compute() -> Logps:
        return reference_logps(trainer, pairs, policy)

    logps = stored.get(pairs, compute) if stored else compute()
    trainer.train_dataset = _with_reference(trainer.train_dataset, train, logps[: len(train)])
    if validation:
        trainer.eval_dataset = _with_reference(trainer.eval_dataset, validation, logps[len(train) :])
    trainer.precompute_ref_logps = True


def _with_reference(dataset: Dataset, pairs: Sequence[EncodedPair], logps: Logps) -> Dataset:
    assert list(dataset["id"]) == [pair.id for pair in pairs], "the trainer dropped or moved pairs"
    dataset = dataset.add_column("ref_chosen_logps", [chosen for chosen, _ in logps])
    return dataset.add_column("ref_rejected_logps", [rejected for _, rejected in logps])
