"""A reward model of a tiny real model: TRL trains it, plain transformers and PEFT confirm what it says."""

from __future__ import annotations

import io
import json
import math

import pytest

from records.errors import ConfigError, DataError, StageError
from records.store import read_rows
from tests.trainer.tiny import build_model, row, rows_preferring
from tests.trainer.training import write_pairs
from trainer.config import TrainConfig
from trainer.data import load_pairs
from trainer.model import load_tokenizer
from trainer.reward import train_reward
from trainer.reward_base import RewardJob
from trainer.reward_config import RewardSettings

pytestmark = pytest.mark.model

FAST = {"learning_rate": 5e-3, "pairs_per_step": 6, "pairs_per_micro_batch": 3, "epochs": 3.0, "lora": {"r": 8}}


def train(model, folder, rows, *, data=None, held_out=None, **settings):
    folder.mkdir(parents=True, exist_ok=True)
    job = RewardJob(
        model=str(model),
        pairs=(write_pairs(folder.parent / f"{folder.name}.jsonl", rows),),
        round_folder=folder,
        config=RewardSettings.model_validate(FAST | settings),
        data=TrainConfig.model_validate({"device": "cpu"} | (data or {})),
        stream=io.StringIO(),
        **({"held_out": held_out} if held_out else {}),
    )
    return train_reward(job)


def rewards(folder):
    return {held["id"]: held for held in read_rows(folder / "rewards")}


def plain_rewards(model, adapter, pairs):
    """By transformers and PEFT from the files, one whole conversation at a time, without padding."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForSequenceClassification

    base = AutoModelForSequenceClassification.from_pretrained(model, num_labels=1, dtype=torch.float32)
    loaded = PeftModel.from_pretrained(base, str(adapter)).eval()
    found = []
    for pair in pairs:
        for ids in (pair.chosen_ids, pair.rejected_ids):
            with torch.no_grad():
                states = loaded.base_model.model.model(torch.tensor([pair.prompt_ids + ids])).last_hidden_state
                found.append(loaded.base_model.model.score(states[0, -1]).item())
    return found


@pytest.fixture(scope="module")
def made(tiny, tmp_path_factory):
    folder = tmp_path_factory.mktemp("rewards") / "round_00"
    rows = rows_preferring("a", "b")
    return folder, rows, train(tiny, folder, rows)


def test_it_begins_at_ln_2_and_prefers_the_chosen_answers_of_pairs_it_never_saw(made):
    folder, _, figures = made
    assert figures["first_loss"] == pytest.approx(math.log(2), abs=1e-6)
    assert figures["loss"] < 0.5
    assert (figures["pairs"], figures["validation_pairs"], figures["folds"], figures["method"]) == (18, 6, 2, "reward")
    for name in ("validation", "unseen"):
        assert figures[f"{name}_accuracy"] == 1.0 and 0.6 < figures[f"{name}_accuracy_ci"][0] < 1.0
        assert figures[f"{name}_margin"] > 0
    assert "seen_accuracy" not in figures
    assert json.loads(json.dumps(figures)) == figures
    lines = [json.loads(line) for line in (folder / "reward_training.jsonl").read_text().splitlines()]
    steps = {name: [line["step"] for line in lines if line["training"] == name] for name in ("fold 0", "fold 1", "all")}
    assert list(map(len, steps.values())) == [6, 6, 9] and steps["all"] == list(range(1, 10))


def test_every_pair_has_a_row_scored_by_a_model_that_never_saw_its_prompt(made):
    folder, rows, figures = made
    found = rewards(folder)
    assert found.keys() == {held["id"] for held in rows}
    for held in rows:
        told = found[held["id"]]
        assert (told["split"], told["seen"]) == (held["split"], False)
        assert told["margin"] == pytest.approx(told["chosen_reward"] - told["rejected_reward"])
    by = {
        split: {row["reward_model"] for row in found.values() if row["split"] == split}
        for split in ("train", "validation")
    }
    assert by["validation"] == {figures["reward_model_digest"]} and len(by["train"]) == 2
    assert not by["train"] & by["validation"]


def test_rewards_are_those_of_the_saved_adapters_by_plain_transformers(made, tiny):
    from records.digest import adapter_digest

    folder, rows, _ = made
    tokenizer, found = load_tokenizer(str(tiny)), rewards(folder)
    path = write_pairs(folder.parent / "again.jsonl", [{**held, "split": "train"} for held in rows])
    pairs = load_pairs([path], tokenizer, 256).train
    for adapter in (folder / "reward_model", *(folder / "reward_folds" / name for name in "01")):
        of_it = [pair for pair in pairs if found[pair.id]["reward_model"] == adapter_digest(adapter)]
        assert len(of_it) >= 6
        told = [found[pair.id][f"{side}_reward"] for pair in of_it for side in ("chosen", "rejected")]
        assert told == pytest.approx(plain_rewards(tiny, adapter, of_it), abs=1e-4)


def test_only_safetensors_are_written_and_nothing_of_the_training_is_left(made):
    folder, *_ = made
    assert sorted(path.name for path in folder.iterdir()) == [
        "reward_folds", "reward_model", "reward_training.jsonl", "rewards",
    ]  # fmt: skip
    files = ["adapter_config.json", "adapter_model.safetensors", "base.json"]
    for adapter in (folder / "reward_model", *(folder / "reward_folds").iterdir()):
        assert sorted(path.name for path in adapter.iterdir()) == files
    assert "seen" in (folder / "rewards" / "README.md").read_text()


def test_the_rewards_load_as_a_dataset(made, tmp_path):
    import datasets

    folder, rows, _ = made
    loaded = datasets.load_dataset(str(folder / "rewards"), split="train", cache_dir=str(tmp_path))
    assert len(loaded) == len(rows) and {"id", "margin", "reward_model"} <= set(loaded.column_names)


def test_a_fold_is_scored_as_by_a_model_that_was_trained_on_the_other_alone(made, tiny, tmp_path):
    """Nothing of an earlier training is left in the base that the next one begins with."""
    folder, rows, _ = made
    found = rewards(folder)
    first = {row["reward_model"] for row in found.values() if row["split"] == "train"}
    held = [row["id"] for row in rows if found[row["id"]]["reward_model"] == sorted(first)[0]]
    alone = [row | {"split": "validation" if row["id"] in held else "train"} for row in rows if row["split"] == "train"]
    train(tiny, tmp_path / "round_00", alone, folds=1)
    again = rewards(tmp_path / "round_00")
    for id in held:
        assert again[id]["margin"] == pytest.approx(found[id]["margin"], abs=1e-4)


def test_with_one_fold_the_training_pairs_are_marked_as_seen(tiny, tmp_path):
    figures = train(tiny, tmp_path / "round_00", rows_preferring("a", "b", count=12, validation=2), folds=1)
    assert {row["split"]: row["seen"] for row in rewards(tmp_path / "round_00").values()} == {
        "train": True, "validation": False
    }  # fmt: skip
    assert "seen_accuracy" in figures and "unseen_accuracy" not in figures
    assert not (tmp_path / "round_00" / "reward_folds").exists()


@pytest.mark.parametrize("pad_token", ["</s>", None])
def test_the_reward_is_read_at_the_closing_eos_though_it_is_the_padding(tmp_path, pad_token):
    model = build_model(tmp_path / "model", pad_token=pad_token)
    rows = [row(f"say {number}", "a" * (number + 1), "bc", id=str(number)) for number in range(6)]
    train(model, tmp_path / "round_00", rows, folds=1, epochs=2)
    pairs = load_pairs([tmp_path / "round_00.jsonl"], load_tokenizer(str(model)), 256).train
    found = rewards(tmp_path / "round_00")
    told = [found[pair.id][f"{side}_reward"] for pair in pairs for side in ("chosen", "rejected")]
    assert told == pytest.approx(plain_rewards(model, tmp_path / "round_00" / "reward_model", pairs), abs=1e-4)


def test_what_is_left_out_is_counted_listed_and_never_scored(tiny, tmp_path):
    from records.held_out import held_out_from
    from records.rows import Message

    rows = rows_preferring("a", "b", count=8, validation=0)
    more = [
        row("a", "b" * 300, "c", id="long"),
        row("q", "y", "n", id="yes"),
        row("q", "n", "y", id="no"),
        row("How do I mend the roof?", "y", "n", id="held"),
    ]
    held_out = held_out_from([[Message(role="user", content="How do I mend the roof?")]])
    figures = train(tiny, tmp_path / "round_00", [*rows, *more], held_out=held_out, folds=1, epochs=1)
    assert (figures["pairs"], figures["too_long"], figures["contradictory"], figures["held_out"]) == (8, 1, 2, 1)
    left_out = json.loads((tmp_path / "round_00" / "reward_left_out.json").read_text())
    assert left_out == {"too_long": ["long"], "same_tokens": [], "held_out": ["held"], "contradictory": ["yes", "no"]}
    assert rewards(tmp_path / "round_00").keys() == {held["id"] for held in rows}


def test_pairs_of_one_prompt_are_scored_by_the_same_fold(tiny, tmp_path):
    rows = [row(f"say {number % 5}", f"a{number}", f"b{number}", id=str(number)) for number in range(15)]
    train(tiny, tmp_path / "round_00", rows, epochs=1)
    found = rewards(tmp_path / "round_00")
    for prompt in range(5):
        assert len({found[str(number)]["reward_model"] for number in range(prompt, 15, 5)}) == 1


def test_labels_that_nothing_tells_raise_an_alarm(tiny, tmp_path):
    rows = [row(f"say {number}", *(("a", "b") if number % 2 else ("b", "a")), id=str(number)) for number in range(24)]
    figures = train(tiny, tmp_path / "round_00", rows, epochs=1)
    assert [alarm["name"] for alarm in figures["alarms"]] == ["reward_chance"]
    assert "no better than chance" in figures["alarms"][0]["message"]


def test_bad_input_is_refused_before_anything_is_trained(tiny, tmp_path):
    good = rows_preferring("a", "b", count=6, validation=0)
    encoder = build_model(tmp_path / "encoder")
    settings = json.loads((encoder / "config.json").read_text())
    (encoder / "config.json").write_text(json.dumps(settings | {"model_type": "vits"}))
    cases = [
        (DataError, r"1 ids are those of several pairs \(x\)", {"rows": [row(q, "b", "c", id="x") for q in "ad"]}),
        (DataError, "row 1: chosen equals rejected", {"rows": [row("a", "same", "same")]}),
        (DataError, "reward.folds is 7 and the pairs to train on have 6 prompts", {"folds": 7}),
        (ConfigError, "there is no such folder", {"model": "/nowhere/model"}),
        (ConfigError, "no reward model can be made of it|tokeniser|configuration", {"model": encoder}),
        (ConfigError, "reward.lora.targets", {"lora": {"targets": ["nosuch"]}}),
    ]  # fmt: skip
    for number, (kind, words, change) in enumerate(cases):
        folder = tmp_path / f"case-{number}"
        with pytest.raises(kind, match=words):
            train(**{"model": tiny, "folder": folder, "rows": good} | change)
        assert not (folder / "rewards").exists() and not (folder / "reward_model").exists()


def test_a_loss_that_is_no_number_saves_nothing(tiny, tmp_path):
    with pytest.raises(StageError, match="is not a finite number; nothing was saved"):
        train(
            tiny, tmp_path / "round_00", rows_preferring("a", "b", count=12, validation=0),
            learning_rate=2e38, warm_up_share=0.0, schedule="constant",
        )  # fmt: skip
    assert not (tmp_path / "round_00" / "rewards").exists()


def test_bfloat16_keeps_the_first_loss_and_learns(tiny, tmp_path):
    figures = train(tiny, tmp_path / "round_00", rows_preferring("a", "b"), data={"dtype": "bfloat16"})
    assert figures["first_loss"] == pytest.approx(math.log(2), abs=1e-6)
    assert figures["validation_accuracy"] == 1.0
