"""One round of DPO: pairs in, an adapter out, every figure on the way in a file.

`train_dpo` reads as the method: load and check, begin the policy, compute the reference, train, evaluate on the
validation pairs, probe, save. What can be wrong with the inputs is found before anything trains.
"""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Literal

from records.atomic import write_json_atomic
from records.held_out import NOTHING_HELD_OUT, HeldOut
from records.progress import progress
from trainer.adapter import begin_adapter, check_adapter_files, check_same_base, digest_of, loaded_beside, save_adapter
from trainer.alarms import find_alarms, last_tenth, mean
from trainer.checkpoint import training_digest
from trainer.config import TrainConfig
from trainer.data import PairSet, load_pairs
from trainer.loss_config import loss_weights
from trainer.micro_batches import Room
from trainer.mixing import mixed, mixing_alarms
from trainer.model import (
    base_digest,
    choose_device,
    choose_dtype,
    context_of,
    load_model,
    load_tokenizer,
    prepare_environment,
)
from trainer.pair_sources import PairSource
from trainer.reward_gate import apply_gate
from trainer.shortcut_alarms import shortcut_alarms
from trainer.shortcut_probe import probe_policies
from trainer.stored_reference import StoredReference
from trainer.training_log import FIGURES, LOG, TrainingLog
from trainer.writing import writing

if TYPE_CHECKING:
    from trainer.resume import CheckpointPlan


@dataclass(frozen=True)
class TrainJob:
    """Everything a round's training needs.

    All of `pairs` are trained on, and of each of `mixed` a share. `previous_adapter` is the policy that drafted this
    round, `initial_adapter` the one that drafted round 0; None is the base itself. `round_folder` receives adapter/,
    training.jsonl, probe.json and, where pairs were left out, left_out.json with their ids; while it trains checkpoint/
    and reference.json (what the reference gives to each pair) too, which stay until whoever keeps the run removes them.
    `logs` receives TensorBoard's files (by default `logs/` beside the round). `held_out` are the prompts that may not
    be trained on; `rewards` is where the rewards for `config.reward_gate` lie.
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
    mixed: tuple[PairSource, ...] = ()
    rewards: Path | None = None

    @property
    def sources(self) -> tuple[str | PairSource, ...]:
        """Where the pairs come from, as figures name them: the run's own by their place in the run."""
        run = self.round_folder.parent
        own = (path.relative_to(run) if path.is_relative_to(run) else path for path in self.pairs)
        return (*map(str, own), *self.mixed)

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
    tokenizer, pairs, sources = read_inputs(job)
    policy, base = _begin_policy(job)
    # Only now: these import the training libraries, which take seconds, and the inputs are known to be good.
    from trainer.pair_trainer import attach_reference, build_trainer, training_arguments
    from trainer.self_check import settle_layout

    device, dtype = _placement(job.config)
    steps = optimizer_steps(job.config, len(pairs.train))
    arguments = training_arguments(
        job.config, steps=steps, folder=job.round_folder, seed=job.seed, device=device, dtype=dtype
    )
    soft, room = job.config.soft_labels, Room.of(job.config)
    trainer = build_trainer(policy, tokenizer, pairs.train, pairs.validation, arguments, room, soft_labels=soft)
    shared_prompts = settle_layout(trainer, pairs.train, job.config.shared_prompts)
    with writing(job.round_folder):
        with loaded_beside(policy, job.adapter_of(job.config.reference), job.model) as reference:
            attach_reference(trainer, pairs.train, pairs.validation, reference, _stored_reference(job, base, trainer))
        shortcuts = probe_policies(trainer, tokenizer, job, pairs.train)
        checkpoints = _checkpoints(job, pairs, base)
        alarms = [*mixing_alarms(sources), *shortcut_alarms(shortcuts)]
        log = _train(trainer, job, steps, checkpoints, alarms, has_validation=bool(pairs.validation))
        probe = _probe(trainer, job, pairs)
        digest = save_adapter(policy, job.round_folder / "adapter", model=job.model, base=base)
        _write_probe(job, probe, digest)
        write_left_out(job, pairs)
    told = {"sources": sources, "shared_prompts": shared_prompts} | ({"shortcuts": shortcuts} if shortcuts else {})
    return _summary(job, pairs, log, digest) | told | {"seconds": round(time.monotonic() - started, 2)}


def _placement(config: TrainConfig) -> tuple[Literal["cpu", "cuda"], Literal["float32", "bfloat16"]]:
    device = choose_device(config.device)
    return device, choose_dtype(config.dtype, device)


def _adapters(job: TrainJob) -> list[Path]:
    """The earlier adapters that this job names, each once."""
    return list(dict.fromkeys(folder for folder in (job.previous_adapter, job.initial_adapter) if folder))


def read_inputs(job: TrainJob) -> tuple[Any, PairSet, list[dict[str, Any]]]:
    """The tokeniser, the pairs, and how many of each source are trained on.

    Everything that can be wrong with the inputs shows here, within seconds and before the weights are read.
    """
    for folder in _adapters(job):
        check_adapter_files(folder)
    tokenizer = load_tokenizer(job.model, trust_remote_code=job.trust_remote_code)
    context = context_of(job.model, trust_remote_code=job.trust_remote_code)
    most = min(job.config.max_tokens, context or job.config.max_tokens)
    keep, soft = job.config.contradictions == "keep", job.config.soft_labels
    paths = (*job.pairs, *(Path(source.path) for source in job.mixed))
    pairs = load_pairs(paths, tokenizer, most, job.held_out, keep_contradictions=keep, soft_labels=soft)
    if job.config.reward_gate:
        assert job.rewards is not None, "a gate needs the rewards of its round"
        pairs = apply_gate(pairs, job.config.reward_gate, job.rewards)
    train, sources = mixed(pairs.train, job.sources, seed=f"{job.seed} {job.round_folder.name}")
    return tokenizer, replace(pairs, train=train), sources


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


def _checkpoints(job: TrainJob, pairs: PairSet, base: str) -> CheckpointPlan:
    """Where this training keeps its state on the way, and the state that a killed attempt at it left."""
    from trainer.resume import plan_checkpoints

    config = job.config
    policies = [base, *(digest_of(job.adapter_of(name)) for name in (config.start_from, config.reference))]
    made_from = training_digest(config, job.seed, policies, pairs)
    return plan_checkpoints(job.round_folder, made_from, config)


def _train(
    trainer: Any,
    job: TrainJob,
    steps: int,
    checkpoints: CheckpointPlan,
    alarms: Sequence[dict[str, str]],
    *,
    has_validation: bool,
) -> TrainingLog:
    """Train in place; `alarms` are those that the pairs gave rise to, beside which the log's are shown."""
    from trainer.pair_trainer import watch

    folder = job.round_folder
    board = (job.logs or folder.parent / "logs") / "tensorboard" / folder.name
    shutil.rmtree(board, ignore_errors=True)
    with progress(f"train {folder.name}", steps, job.stream) as display:
        if checkpoints.begun_at:
            display.note(f"train {folder.name}: goes on after optimizer step {checkpoints.begun_at}")
        log = TrainingLog(folder / LOG, board, display, checkpoints.begun_at)
        watch(trainer, log)
        log.raise_alarms(alarms)
        try:
            if has_validation and not checkpoints.begun_at:
                trainer.evaluate()
            trainer.train_with_checkpoints(checkpoints, log.sync)
            if has_validation:
                trainer.evaluate()
            log.raise_alarms(_alarms_of(log, job.config))
        finally:
            log.close()
    return log


def _alarms_of(log: TrainingLog, config: TrainConfig) -> list[dict[str, str]]:
    losses = loss_weights(config, config.sft_weight)
    return find_alarms(log.steps, config.beta, losses=losses, soft_labels=config.soft_labels)


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


def write_left_out(job: TrainJob, pairs: PairSet) -> None:
    """The ids of what is not trained on, by reason; no file where there are none."""
    path = job.round_folder / "left_out.json"
    if any(pairs.left_out.values()):
        write_json_atomic(path, pairs.left_out)
    else:
        path.unlink(missing_ok=True)


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
        **({"low_reward": len(pairs.low_reward)} if config.reward_gate else {}),
        "steps": len(log.steps),
        "first_loss": log.steps[0]["loss"],
        **{key: mean(last_tenth(log.steps), key) for key in FIGURES},
        "reference": config.reference,
        "reference_digest": digest_of(job.adapter_of(config.reference)),
        "start_from": config.start_from,
        "start_digest": digest_of(job.adapter_of(config.start_from)),
        "adapter_digest": digest,
        "losses": loss_weights(config, config.sft_weight),
        "alarms": log.alarms,
    }
    if config.soft_labels:
        figures["with_probability"] = sum(pair.probability is not None for pair in pairs.train)
    if log.evaluations:
        first, last = log.evaluations[0], log.evaluations[-1]
        figures |= {f"eval_{key}": last[f"eval_{key}"] for key in FIGURES}
        figures |= {f"first_eval_{key}": first[f"eval_{key}"] for key in FIGURES}
    return figures
