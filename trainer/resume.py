"""The half of a trainer that writes checkpoints in this project's form and goes on from them, exactly.

Everything an optimizer step depends on is kept: what is trained, the optimizer's moments, the learning-rate schedule,
the random generators and the place in the order of the pairs. So a training that was killed ends, on the same machine,
with the same bytes as one that was not.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy
import torch
from transformers import TrainerCallback

from trainer.checkpoint import FOLDER, Checkpoint, find_checkpoint, place_of, remove_checkpoints, write_checkpoint
from trainer.config import TrainConfig
from trainer.training_log import LOG, lines_up_to

_WEIGHT, _MOMENT, _RANDOM = "weight.", "optimizer.", "random."


@dataclass(frozen=True)
class CheckpointPlan:
    """Where checkpoints go, what training they are of, how often one is written, and the one to go on from.

    `steps` are optimizer steps; without them, `minutes` go by between two checkpoints.
    """

    folder: Path
    made_from: str
    steps: int | None
    minutes: float
    last: Checkpoint | None

    @property
    def begun_at(self) -> int:
        """Optimizer steps that are done already."""
        return self.last.step if self.last else 0


def plan_checkpoints(round_folder: Path, made_from: str, config: TrainConfig) -> CheckpointPlan:
    """The plan of a round's training.

    What cannot be gone on from is taken out, with a line in the process's log: a checkpoint of any other training, and
    one to whose step `training.jsonl` does not reach.

    Args:
        round_folder: the round's.
        made_from: digest of what the training is made from (trainer/checkpoint.py).
        config: how often one is written.
    """
    folder = round_folder / FOLDER
    last = find_checkpoint(folder, made_from)
    if last and not lines_up_to(round_folder / LOG, last.step):
        remove_checkpoints(folder, f"{round_folder / LOG} does not reach to its step")
        last = None
    return CheckpointPlan(folder, made_from, config.checkpoint_every, config.checkpoint_minutes, last)


class CheckpointingTrainer:
    """Mixed into a trainer of transformers, before it: its files instead of pickles."""

    _plan: CheckpointPlan | None = None
    _kept: Checkpoint | None = None
    _before_each: Callable[[], None]

    def train_with_checkpoints(self, plan: CheckpointPlan, before_each: Callable[[], None]) -> None:
        """Train, from the plan's last checkpoint on where there is one.

        Args:
            plan: where checkpoints go, and when.
            before_each: called before one is written, with the log's line of its step written.
        """
        trainer: Any = self
        self._plan, self._kept, self._before_each = plan, plan.last, before_each
        trainer.add_callback(_Due(plan.steps, plan.minutes))
        trainer.train(resume_from_checkpoint=str(place_of(plan.folder, plan.last.step)) if plan.last else None)
        self._kept = None

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        trainer: Any = self
        if self._plan and trainer.args.should_save:
            self._before_each()
            record = asdict(trainer.state) | {"log_history": [], "stateful_callbacks": {}}
            write_checkpoint(self._plan.folder, self._checkpoint(self._plan.made_from), record)

    def _checkpoint(self, made_from: str) -> Checkpoint:
        trainer: Any = self
        moments, groups = _taken_apart(trainer.optimizer.state_dict())
        tensors = {_WEIGHT + name: weight.detach().cpu() for name, weight in self._trained().items()}
        tensors |= {_MOMENT + name: value.detach().cpu() for name, value in moments.items()}
        tensors |= {_RANDOM + name: value for name, value in _generators().items()}
        state = {
            "made_from": made_from,
            "optimizer": groups,
            "schedule": trainer.lr_scheduler.state_dict(),
            "random": _plain_generators(),
        }
        return Checkpoint(trainer.state.global_step, {key: value.contiguous() for key, value in tensors.items()}, state)

    def _trained(self) -> dict[str, Any]:
        trainer: Any = self
        model = trainer.accelerator.unwrap_model(trainer.model)
        return {name: weight for name, weight in model.named_parameters() if weight.requires_grad}

    # Transformers calls these with the folder that it was told to go on from; what lies there is read already.
    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        assert self._kept
        kept, trained = _part(self._kept.tensors, _WEIGHT), self._trained()
        assert kept.keys() == trained.keys(), "a checkpoint of this training holds what it trains"
        with torch.no_grad():
            for name, weight in trained.items():
                weight.copy_(kept[name])

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        if self._kept:
            trainer: Any = self
            moments = _part(self._kept.tensors, _MOMENT)
            trainer.optimizer.load_state_dict(_put_together(moments, self._kept.state["optimizer"]))
            trainer.lr_scheduler.load_state_dict(self._kept.state["schedule"])

    def _load_scaler(self, checkpoint: str | None) -> None:
        """There is none: nothing is trained in float16."""

    def _load_rng_state(self, checkpoint: str | None) -> None:
        if self._kept:
            _set_generators(_part(self._kept.tensors, _RANDOM), self._kept.state["random"])


class _Due(TrainerCallback):
    """Asks for a checkpoint after every so many optimizer steps, or minutes; never after the last step."""

    def __init__(self, steps: int | None, minutes: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._steps, self._seconds, self._clock = steps, 60.0 * minutes, clock
        self._written = clock()

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        late = self._clock() - self._written >= self._seconds
        due = state.global_step % self._steps == 0 if self._steps else late
        if due and state.global_step < state.max_steps:
            control.should_save = True

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self._written = self._clock()


def _part(tensors: dict[str, Any], prefix: str) -> dict[str, Any]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def _taken_apart(optimizer: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """An optimizer's state as tensors by `index.name`, and the rest as JSON."""
    tensors: dict[str, Any] = {}
    rest: dict[str, dict[str, Any]] = {}
    for index, moments in optimizer["state"].items():
        for name, value in moments.items():
            if torch.is_tensor(value):
                tensors[f"{index}.{name}"] = value
            else:
                rest.setdefault(str(index), {})[name] = value
    return tensors, {"state": rest, "groups": optimizer["param_groups"]}


def _put_together(tensors: dict[str, Any], plain: dict[str, Any]) -> dict[str, Any]:
    state: dict[int, dict[str, Any]] = {int(index): dict(values) for index, values in plain["state"].items()}
    for key, value in tensors.items():
        index, _, name = key.partition(".")
        state.setdefault(int(index), {})[name] = value
    return {"state": state, "param_groups": [_group(group) for group in plain["groups"]]}


def _group(group: dict[str, Any]) -> dict[str, Any]:
    """JSON has no tuples, and Adam's betas are one."""
    return {key: tuple(value) if isinstance(value, list) and key != "params" else value for key, value in group.items()}


def _generators() -> dict[str, Any]:
    found = {"cpu": torch.random.get_rng_state()}
    if torch.cuda.is_available():
        found["cuda"] = torch.cuda.random.get_rng_state()
    return found


def _plain_generators() -> dict[str, Any]:
    state: Any = numpy.random.get_state()
    name, keys, *rest = state
    return {"python": random.getstate(), "numpy": [name, keys.tolist(), *rest]}


def _set_generators(tensors: dict[str, Any], plain: dict[str, Any]) -> None:
    version, internal, gauss = plain["python"]
    random.setstate((version, tuple(internal), gauss))
    name, keys, *rest = plain["numpy"]
    numpy.random.set_state((name, numpy.array(keys, dtype=numpy.uint32), *rest))
    torch.random.set_rng_state(tensors["cpu"])
    if "cuda" in tensors and torch.cuda.is_available():
        torch.cuda.random.set_rng_state(tensors["cuda"])
