"""Trainings of tests: how one is begun, and what is read from the files it leaves."""

from __future__ import annotations

import io
import json
from pathlib import Path

from tests.trainer.oracle import answer_logps, load_policy
from trainer.config import TrainConfig
from trainer.data import load_pairs
from trainer.dpo import TrainJob, train_dpo
from trainer.model import load_tokenizer

FAST = {"learning_rate": 2e-3, "pairs_per_step": 6, "pairs_per_micro_batch": 3, "epochs": 3.0, "device": "cpu"}


def write_pairs(path: Path, rows: list[dict]) -> Path:
    path.write_text("".join(json.dumps(held) + "\n" for held in rows))
    return path


def train(model: Path, folder: Path, rows: list[dict], *, previous=None, initial=None, seed=0, **settings) -> dict:
    folder.mkdir(parents=True, exist_ok=True)
    job = TrainJob(
        model=str(model),
        pairs=(write_pairs(folder.parent / f"{folder.name}.jsonl", rows),),
        round_folder=folder,
        config=TrainConfig.model_validate(FAST | settings),
        previous_adapter=previous,
        initial_adapter=initial,
        seed=seed,
        stream=io.StringIO(),
    )
    return train_dpo(job)


def read_log(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "training.jsonl").read_text().splitlines()]


def step_figures(folder: Path) -> list[float]:
    """Losses and margins of all optimizer steps: the same training has the same, but for rounding."""
    steps = [line for line in read_log(folder) if "loss" in line]
    return [line[key] for line in steps for key in ("loss", "rewards/margins", "logps/chosen")]


def mean_preference(model: Path, adapter: Path | None, rows: list[dict]) -> float:
    """Mean over the pairs of log p(chosen) - log p(rejected), by plain transformers and PEFT from the files."""
    policy, tokenizer = load_policy(model, adapter), load_tokenizer(str(model))
    path = write_pairs(Path(str(model) + ".rows.jsonl"), [{**held, "split": "train"} for held in rows])
    found = [answer_logps(policy, pair) for pair in load_pairs([path], tokenizer, 256).train]
    return sum(chosen - rejected for chosen, rejected in found) / len(found)
