"""One round of DPO: pairs in, an adapter out, every figure on the way in a file.

`train_dpo` reads as the method: load and check, begin the policy, compute the reference, train, evaluate on the
validation pairs, probe, save. What can be wrong with the inputs is found before anything trains.
"""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal

from records.atomic import write_json_atomic
from records.errors import StageError
from records.held_out import NOTHING_HELD_OUT, HeldOut
from records.progress import progress
from trainer.adapter import begin_adapter, check_adapter_files, check_same_base, digest_of, loaded_beside, save_adapter
from trainer.alarms import find_alarms, last_tenth, mean
from trainer.config import TrainConfig
from trainer.data import PairSet, load_pairs
from trainer.micro_batches import Room
from trainer.model import (
    base_digest,
    choose_device,
    choose_dtype,
    context_of,
    load_model,
    load_tokenizer,
    prepare_environment,
)
from trainer.stored_reference import StoredReference
from trainer.training_log import FIGURES, TrainingLog


@dataclass(frozen=True)
class TrainJob:
    """Everything a round's training needs.

    `previous_adapter` is the policy that drafted this round, `initial_adapter` the one that drafted round 0; None is
    the base itself. `round_folder` receives adapter/, training.jsonl, probe.json, reference.json (what the reference
    gives to each pair) and, where pairs were left out, left_out.json with their ids; `logs` receives TensorBoard's
    files (by default `logs/` beside the round). `held_out` are the prompts that may not be trained on.
    """

    model: str
    pairs: tuple[Path, ...]
    round_folder: Path
    config: TrainConfig
    previous_adapter: Path | None = None
    initial_adapter: Path | None = None
    seed: int = 0
    run: str = ""
    logs: Path | None = None
    stream: IO[str] | None = None
    trust_remote_code: bool = False
    held_out: HeldOut = NOTHING_HELD_OUT

    def adapter_of(self, policy: str) -> Path | None:
        """The adapter of a policy by its name: base, initial or previous."""
        return {"base": None, "initial": self.initial_adapter, "previous": self.previous_adapter}[policy]


def train_dpo(job: TrainJob) -> dict[str, Any]:
    """Train one adapter on a round's pairs and save it.

    Returns:
        The figures of report.json: counts, seconds, means over the last tenth of the optimizer steps, evaluation on
        the validation pairs (`eval_...` after training, `first_eval_...` before), digests and alarms.

    Raises:
        ConfigError: the model, an adapter or a setting cannot be used; nothing was trained.
        DataError: the pairs cannot be used, all problems at once; nothing was trained.
        StageError: the loss stopped being a number; nothing was saved.
    """
    started = time.monotonic()
    prepare_environment(job.model)
    tokenizer, pairs = _read_inputs(job)
    policy, base = _begin_policy(job)
    # Only now: these import the training libraries, which take seconds, and the inputs are known to be good.
    from trainer.pair_trainer import attach_reference, build_trainer, training_arguments
    from trainer.self_check import settle_layout

    device, dtype = _placement(job.config)
    steps = optimizer_steps(job.config, len(pairs.train))
    arguments = training_arguments(
        job.config, steps=steps, folder=job.round_folder, seed=job.seed, device=device, dtype=dtype
    )
    trainer = build_trainer(policy, tokenizer, pairs.train, pairs.validation, arguments, Room.of(job.config))
    shared_prompts = settle_layout(trainer, pairs.train, job.config.shared_prompts)
    with _writing(job.round_folder):
        with loaded_beside(policy, job.adapter_of(job.config.reference), job.model) as reference:
            attach_reference(trainer, pairs.train, pairs.validation, reference, _stored_reference(job, base, trainer))
        log = _train(trainer, job, steps, has_validation=bool(pairs.validation))
        probe = _probe(trainer, job, pairs)
        digest = save_adapter(policy, job.round_folder / "adapter", model=job.model, base=base)
        _write_probe(job, probe, digest)
        _write_left_out(job, pairs)
    figures = _summary(job, pairs, log, digest) | {"shared_prompts": shared_prompts}
    return figures | {"seconds": round(time.monotonic() - started, 2)}


def _placement(config: TrainConfig) -> tuple[Literal["cpu", "cuda"], Literal["float32", "bfloat16"]]:
    device = choose_device(config.device)
    return device, choose_dtype(config.dtype, device)


def _adapters(job: TrainJob) -> list[Path]:
    """The earlier adapters that this job names, each once."""
    return list(dict.fromkeys(folder for folder in (job.previous_adapter, job.initial_adapter) if folder))


def _read_inputs(job: TrainJob) -> tuple[Any, PairSet]:
    """Everything that can be wrong with the inputs shows here, within seconds and before the weights are read."""
    for folder in _adapters(job):
        check_adapter_files(folder)
    tokenizer = load_tokenizer(job.model, trust_remote_code=job.trust_remote_code)
    context = context_of(job.model, trust_remote_code=job.trust_remote_code)
    most = min(job.config.max_tokens, context or job.config.max_tokens)
    keep = job.config.contradictions == "keep"
    return tokenizer, load_pairs(job.pairs, tokenizer, most, job.held_out, keep_contradictions=keep)


def _begin_policy(job: TrainJob) -> tuple[Any, str]:
    """The policy with its one trainable adapter, and the base's digest."""
    from transformers import set_seed

    device, dtype = _placement(job.config)
    model = load_model(job.model, device=device, dtype=dtype, trust_remote_code=job.trust_remote_code)
    base = base_digest(model)
    for folder in _adapters(job):
        check_same_base(folder, base, job.model)
    # A fresh adapter begins with random weights on its input side.
    set_seed(job.seed)
    start = job.adapter_of(job.config.start_from)
    return begin_adapter(model, job.config.lora, name=job.model, start=start), base


def _stored_reference(job: TrainJob, base: str, trainer: Any) -> StoredReference:
    """Where the reference's figures lie while the training is not done, and what they depend on."""
    device, dtype = _placement(job.config)
    adapter = digest_of(job.adapter_of(job.config.reference))
    summed = {"ld_alpha": str(trainer.ld_alpha)}
    inputs = {"base": base, "adapter": adapter, "device": device, "dtype": dtype, **summed}
    return StoredReference(job.round_folder / "reference.json", inputs)


def _train(trainer: Any, job: TrainJob, steps: int, *, has_validation: bool) -> TrainingLog:
    from trainer.pair_trainer import watch

    folder = job.round_folder
    board = (job.logs or folder.parent / "logs") / "tensorboard" / folder.name
    shutil.rmtree(board, ignore_errors=True)
    with progress(f"train {folder.name}", steps, job.stream) as display:
        log = TrainingLog(folder / "training.jsonl", board, display)
        watch(trainer, log)
        try:
            if has_validation:
                trainer.evaluate()
            trainer.train()
            if has_validation:
                trainer.evaluate()
            log.raise_alarms(find_alarms(log.steps, job.config.beta, job.config.sft_weight))
        finally:
            log.close()
    return log


def optimizer_steps(config: TrainConfig, pairs: int) -> int:
    """Optimizer steps that training on so many pairs takes; the last step of an epoch may hold fewer pairs."""
    steps = math.ceil(config.epochs * math.ceil(pairs / config.pairs_per_step))
    return min(steps, config.max_steps) if config.max_steps else steps


def _probe(trainer: Any, job: TrainJob, pairs: PairSet) -> list[dict[str, Any]]:
    from trainer.probe import probe_sequences

    with loaded_beside(trainer.model, job.previous_adapter, job.model) as previous:
        return probe_sequences(trainer, [*pairs.validation, *pairs.train], previous)


def _write_probe(job: TrainJob, sequences: list[dict[str, Any]], digest: str) -> None:
    value = {"new_digest": digest, "previous_digest": digest_of(job.previous_adapter), "sequences": sequences}
    write_json_atomic(job.round_folder / "probe.json", value)


def _write_left_out(job: TrainJob, pairs: PairSet) -> None:
    path = job.round_folder / "left_out.json"
    if any(pairs.left_out.values()):
        write_json_atomic(path, pairs.left_out)
    else:
        path.unlink(missing_ok=True)


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    """What the file system refuses becomes an error that says how to go on."""
    from safetensors import SafetensorError

    try:
        yield
    except (OSError, SafetensorError) as error:
        raise StageError(
            f"{folder}: the training could not be written ({error}). The pairs are safe. Make room or mend the folder, "
            "then run the same command again: this training begins anew."
        ) from error


def _summary(job: TrainJob, pairs: PairSet, log: TrainingLog, digest: str) -> dict[str, Any]:
    config = job.config
    figures = {
        "method": config.method,
        "pairs": len(pairs.train),
        "validation_pairs": len(pairs.validation),
        "too_long": len(pairs.too_long),
        "same_tokens": len(pairs.same_tokens),
        "held_out": len(pairs.held_out),
        "contradictory": len(pairs.contradictory),
        "steps": len(log.steps),
        "first_loss": log.steps[0]["loss"],
        **{key: mean(last_tenth(log.steps), key) for key in FIGURES},
        "reference": config.reference,
        "reference_digest": digest_of(job.adapter_of(config.reference)),
        "start_from": config.start_from,
        "start_digest": digest_of(job.adapter_of(config.start_from)),
        "adapter_digest": digest,
        "alarms": log.alarms,
    }
    if log.evaluations:
        first, last = log.evaluations[0], log.evaluations[-1]
        figures |= {f"eval_{key}": last[f"eval_{key}"] for key in FIGURES}
        figures |= {f"first_eval_{key}": first[f"eval_{key}"] for key in FIGURES}
    return figures
