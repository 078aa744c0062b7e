"""`method: sft`: a round that learns to say its chosen answers, with everything a round of DPO leaves behind."""

from __future__ import annotations

import io
import json

import pytest

from records.digest import adapter_digest
from records.errors import ConfigError, StageError
from tests.trainer.oracle import load_policy, token_logps
from tests.trainer.tiny import build_adapter, build_model, row, rows_preferring
from tests.trainer.training import FAST, write_pairs
from trainer.config import TrainConfig
from trainer.data import load_pairs
from trainer.dpo import TrainJob
from trainer.model import load_tokenizer
from trainer.pair_sft import chosen_rows, row_settings, train_pair_sft
from trainer.probe import NOT_IN_LOSS

pytestmark = pytest.mark.model


def train(tiny, folder, rows, *, previous=None, **settings):
    folder.mkdir(parents=True)
    job = TrainJob(
        model=str(tiny),
        pairs=(write_pairs(folder.parent / f"{folder.name}.jsonl", rows),),
        round_folder=folder,
        config=TrainConfig.model_validate(FAST | {"method": "sft"} | settings),
        previous_adapter=previous,
        stream=io.StringIO(),
    )
    return train_pair_sft(job)


def surprise(tiny, adapter, rows, side="chosen_ids"):
    """Mean negative log-likelihood of an answer's token, by plain transformers and PEFT."""
    policy, tokenizer = load_policy(tiny, adapter), load_tokenizer(str(tiny))
    path = write_pairs(tiny.parent / "rows.jsonl", [{**held, "split": "train"} for held in rows])
    pairs = load_pairs([path], tokenizer, 256).train
    logps = [logp for pair in pairs for logp in token_logps(policy, pair.prompt_ids, getattr(pair, side))]
    return -sum(logps) / len(logps)


@pytest.fixture(scope="module")
def run(tiny, tmp_path_factory):
    """Two rounds: the second goes on from the first."""
    folder = tmp_path_factory.mktemp("sft")
    rows = rows_preferring("a", "b")
    first = train(tiny, folder / "round_00", rows)
    second = train(tiny, folder / "round_01", rows, previous=folder / "round_00" / "adapter")
    return folder, rows, first, second


def test_it_learns_to_say_the_chosen_answers_and_goes_on_from_the_round_before(run, tiny):
    folder, rows, first, second = run
    learned = [
        surprise(tiny, adapter, rows) for adapter in (None, *(folder / f"round_0{n}" / "adapter" for n in (0, 1)))
    ]
    assert learned[0] > learned[1] + 1 and learned[1] > learned[2]
    digests = [adapter_digest(folder / f"round_0{number}" / "adapter") for number in (0, 1)]
    assert [first["adapter_digest"], second["adapter_digest"]] == digests
    assert (first["start_digest"], second["start_digest"]) == ("", digests[0])


def test_the_rejected_answers_teach_nothing(run, tiny, tmp_path):
    folder, rows, *_ = run
    train(tiny, tmp_path / "round_00", [{**held, "rejected": row("", "", "zzzz")["rejected"]} for held in rows])
    assert adapter_digest(tmp_path / "round_00" / "adapter") == adapter_digest(folder / "round_00" / "adapter")


def test_its_figures_are_those_of_a_round(run, tiny):
    folder, rows, first, second = run
    assert (first["method"], first["pairs"], first["validation_pairs"], first["steps"]) == ("sft", 18, 6, 9)
    assert {"loss", "mean_token_accuracy", "tokens", "too_long", "held_out", "contradictory", "seconds"} <= set(first)
    lines = [json.loads(line) for line in (folder / "round_01" / "training.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == list(range(1, 10))
    assert list((folder / "logs" / "tensorboard" / "round_01").rglob("events*"))
    validation = [held for held in rows if held["split"] == "validation"]
    assert first["first_eval_loss"] == pytest.approx(surprise(tiny, None, validation), abs=0.02)
    assert first["eval_loss"] < first["first_eval_loss"] - 0.5 and second["eval_loss"] < first["eval_loss"]
    assert json.loads(json.dumps(second)) == second


def test_the_probe_compares_with_the_policy_of_the_round_before(run, tiny):
    folder, _, first, second = run
    probe = json.loads((folder / "round_01" / "probe.json").read_text())
    assert (probe["new_digest"], probe["previous_digest"]) == (second["adapter_digest"], first["adapter_digest"])
    new, old = (load_policy(tiny, folder / name / "adapter") for name in ("round_01", "round_00"))
    for sequence in probe["sequences"][:4]:
        ids, at = sequence["token_ids"], sequence["first"]
        assert sequence["new"] == pytest.approx(token_logps(new, ids[:at], ids[at:]), abs=1e-4)
        assert sequence["previous"] == pytest.approx(token_logps(old, ids[:at], ids[at:]), abs=1e-4)


def test_what_dpo_leaves_out_is_left_out_and_an_earlier_attempt_is_done_again(tiny, tmp_path):
    rows = rows_preferring("a", "b", count=6, validation=0)
    more = [*rows, row("a", "b" * 300, "c", id="long"), row("q", "y", "n", id="yes"), row("q", "n", "y", id="no")]
    report = train(tiny, tmp_path / "round_00", more, max_steps=1)
    assert (report["pairs"], report["steps"], report["too_long"], report["contradictory"]) == (6, 1, 1, 2)
    left_out = json.loads((tmp_path / "round_00" / "left_out.json").read_text())
    assert (left_out["too_long"], left_out["contradictory"]) == (["long"], ["yes", "no"])
    lines = [json.loads(line) for line in (tmp_path / "round_00" / "training.jsonl").read_text().splitlines()]
    assert lines[0]["learning_rate"] > 0, "one step is not all warm-up"
    job = TrainJob(
        model=str(tiny), pairs=(tmp_path / "round_00.jsonl",), round_folder=tmp_path / "round_00",
        config=TrainConfig.model_validate(FAST | {"method": "sft", "max_steps": 1}), stream=io.StringIO(),
    )  # fmt: skip
    assert train_pair_sft(job)["adapter_digest"] == report["adapter_digest"]


def test_an_adapter_of_another_base_and_a_loss_that_is_no_number_are_refused(tiny, tmp_path):
    rows = rows_preferring("a", "b", count=6, validation=0)
    foreign = build_adapter(build_model(tmp_path / "other", seed=1), tmp_path / "foreign", seed=1)
    with pytest.raises(ConfigError, match="trained on another base"):
        train(tiny, tmp_path / "round_00", rows, previous=foreign)
    wild = {"learning_rate": 1e30, "warm_up_share": 0.0, "max_gradient_norm": 1e30}
    with pytest.raises(StageError, match=r"optimizer step \d+: the loss is not a finite number; nothing was saved"):
        train(tiny, tmp_path / "round_01", rows, **wild)
    assert not (tmp_path / "round_01" / "adapter").exists()


def test_rows_are_prompt_and_chosen_answer_with_the_loss_on_the_answer(tiny, tmp_path):
    tokenizer = load_tokenizer(str(tiny))
    (pair,) = load_pairs([write_pairs(tmp_path / "one.jsonl", [row("hi", "good", "bad")])], tokenizer, 99).train
    (found,) = chosen_rows([pair])
    assert tokenizer.decode(found["input_ids"]) == "<s><user>hi</s><assistant>good</s>"
    assert tokenizer.decode([id for id in found["labels"] if id != NOT_IN_LOSS]) == "good</s>"
    assert found["length"] == len(found["input_ids"]) == len(found["labels"])


def test_every_setting_that_the_method_uses_reaches_the_training():
    config = TrainConfig.model_validate(
        {
            "method": "sft", "learning_rate": 3e-4, "schedule": "cosine", "warm_up_share": 0.5, "epochs": 2.0,
            "max_steps": 8, "pairs_per_step": 6, "pairs_per_micro_batch": 3, "max_gradient_norm": 2.0,
            "gradient_checkpointing": True, "max_tokens": 99, "device": "cpu", "dtype": "bfloat16", "lora": {"r": 8},
        }
    )  # fmt: skip
    found = row_settings(config, 24).model_dump()
    assert found == {
        "learning_rate": 3e-4, "schedule": "cosine", "warm_up_share": 0.5, "epochs": 2.0, "max_steps": 8,
        "rows_per_step": 6, "rows_per_micro_batch": 3, "max_gradient_norm": 2.0, "gradient_checkpointing": True,
        "max_tokens": 99, "device": "cpu", "dtype": "bfloat16", "autocast": "on", "lora": config.lora.model_dump(),
        "loss_on": "answer", "block_tokens": None,
    }  # fmt: skip
