"""Which policy is the reference of a training and which one it starts from, with and without a warm-up, round by round.

What the trainer used is recomputed from the files of the run by plain transformers and PEFT: a model and an adapter.
"""

from __future__ import annotations

import io
import json
import shutil
import time
from pathlib import Path
from typing import Any

import pytest

from loop.config import load_run_config
from loop.folder import WARM_UP, RunFolder
from loop.inputs import Run, open_run
from loop.train_stage import train_stage
from records.digest import adapter_digest
from tests.loop.scripted_run import write_world
from tests.trainer.oracle import answer_logps, dpo_loss, load_policy
from tests.trainer.tiny import build_adapter, build_model, rows_preferring
from trainer.adapter import check_adapter_files
from trainer.config import ENGINE_RANKS

pytestmark = pytest.mark.model

SETTINGS = ("engine.context=200", "train.pairs_per_step=4", "train.pairs_per_micro_batch=4", "train.device=cpu")


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> Path:
    """A model, and the adapters that a warm-up and a first round would have trained."""
    folder = tmp_path_factory.mktemp("files")
    build_model(folder / "model")
    build_adapter(folder / "model", folder / "warm_up", seed=1)
    build_adapter(folder / "model", folder / "round_00", seed=2)
    return folder


def open_world(folder: Path, files: Path, *overrides: str) -> Run:
    world = write_world(folder)
    rows = rows_preferring("a", "b", count=4, validation=0)
    for number, row in enumerate(rows):  # the world's own prompts may be held out
        row["prompt"][0]["content"] = f"how is {number}"
    (world / "own.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    own = f"train.pairs_from=[{world / 'own.jsonl'}]"
    config = load_run_config(world / "run.yaml", [f"model={files / 'model'}", own, *SETTINGS, *overrides])
    return open_run(config, RunFolder(folder / "run"))


def train(run: Run, index: int) -> dict[str, Any]:
    train_stage(run, index, io.StringIO(), time.monotonic())
    marker = run.folder.done("train", index)
    assert marker
    return marker["outputs"]


@pytest.fixture
def used(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The pairs of each training with the log-probabilities that its trainer holds for the reference."""
    from trainer import pair_trainer

    found: list[Any] = []
    attach = pair_trainer.attach_reference

    def recording(trainer: Any, train: Any, validation: Any, policy: Any, stored: Any) -> None:
        attach(trainer, train, validation, policy, stored)
        held = [trainer.train_dataset[name] for name in ("ref_chosen_logps", "ref_rejected_logps")]
        found.append((train, list(zip(*held, strict=True))))

    monkeypatch.setattr(pair_trainer, "attach_reference", recording)
    return found


@pytest.mark.parametrize("reference", ["base", "initial", "previous"])
@pytest.mark.parametrize("start_from", ["initial", "previous"])
@pytest.mark.parametrize("index", [0, 1])
@pytest.mark.parametrize("warm_up", ["none", "sft"])
def test_start_and_reference_are_the_policies_of_the_design(
    files: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    used: list[Any],
    warm_up: str,
    index: int,
    start_from: str,
    reference: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    overrides = (f"train.warm_up={warm_up}", f"train.start_from={start_from}", f"train.reference={reference}")
    run = open_world(tmp_path, files, *overrides, "train.max_steps=1", "train.learning_rate=1e-30", "train.beta=0.3")
    warmed, first = run.folder.round(WARM_UP) / "adapter", run.folder.round(0) / "adapter"
    initial = warmed if warm_up == "sft" else None
    for name, place, there in (("warm_up", warmed, warm_up == "sft"), ("round_00", first, index == 1)):
        if there:
            shutil.copytree(files / name, place)
    policies = {"base": None, "initial": initial, "previous": first if index == 1 else initial}

    figures = train(run, index)

    ((pairs, held),) = used
    start, against = (load_policy(files / "model", policies[name]) for name in (start_from, reference))
    expected = [answer_logps(against, pair) for pair in pairs]
    assert len(expected) == 4
    for found, wanted in zip(held, expected, strict=True):
        assert found == pytest.approx(wanted, abs=1e-3)
    losses = [dpo_loss(answer_logps(start, pair), known, 0.3) for pair, known in zip(pairs, expected, strict=True)]
    assert figures["first_loss"] == pytest.approx(sum(losses) / 4, abs=1e-4)
    # At no rate to speak of what is trained stays what it began as.
    ended = load_policy(files / "model", run.folder.round(index) / "adapter")
    assert answer_logps(ended, pairs[0]) == pytest.approx(answer_logps(start, pairs[0]), abs=1e-3)
    digests = {name: adapter_digest(path) if path else "" for name, path in policies.items()}
    named = (figures["start_from"], figures["start_digest"], figures["reference"], figures["reference_digest"])
    assert named == (start_from, digests[start_from], reference, digests[reference])


def test_the_policies_of_the_test_above_can_be_told_apart(files: Path) -> None:
    """Else a wrong reference would pass it."""
    from trainer.data import EncodedPair

    pair = EncodedPair("", [0, 4, 90, 5], [100, 101, 1], [120, 1])
    found = [
        answer_logps(load_policy(files / "model", adapter), pair)[0]
        for adapter in (None, files / "warm_up", files / "round_00")
    ]
    assert min(abs(one - other) for place, one in enumerate(found) for other in found[:place]) > 0.02


@pytest.mark.parametrize("start_from", ["previous", "initial"])
def test_over_rounds_there_is_one_adapter_that_an_engine_can_load(
    files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, start_from: str
) -> None:
    """No round wraps the one before: the same files, weights by the same names and shapes, the same size and rank."""
    from safetensors.torch import load_file

    monkeypatch.chdir(tmp_path)
    run = open_world(tmp_path, files, f"train.start_from={start_from}", "train.learning_rate=1e-3", "train.lora.r=8")
    kinds, digests = set(), []
    for index in range(3):
        train(run, index)
        folder = run.folder.round(index) / "adapter"
        weights = load_file(folder / "adapter_model.safetensors")
        config = check_adapter_files(folder)
        shapes = tuple(sorted((name, tuple(value.shape), str(value.dtype)) for name, value in weights.items()))
        size = (folder / "adapter_model.safetensors").stat().st_size
        names = tuple(sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*")))
        kinds.add((names, shapes, size, config["r"], config["lora_alpha"]))
        assert config["r"] in ENGINE_RANKS and not any(name.count("lora_") > 1 for name, *_ in shapes)
        assert len(list(run.folder.round(index).rglob("*.safetensors"))) == 1
        digests.append(adapter_digest(folder))
    assert len(kinds) == 1 and len(set(digests)) == 3
