"""The whole train stage on a tiny real model: TRL, PEFT and the files they leave, against plain torch."""

from __future__ import annotations

import io
import json
import math
import os
import resource
from pathlib import Path

import pytest

from records.digest import adapter_digest, digest_folder
from records.errors import ConfigError, DataError, StageError
from tests.trainer.oracle import answer_logps, dpo_loss, load_policy, token_logps
from tests.trainer.tiny import build_adapter, build_model, row, rows_preferring
from tests.trainer.training import FAST, mean_preference, read_log, step_figures, train, write_pairs
from trainer.config import TrainConfig
from trainer.data import load_pairs
from trainer.dpo import TrainJob, optimizer_steps, train_dpo
from trainer.model import load_tokenizer

pytestmark = pytest.mark.model

LN2 = math.log(2)


@pytest.fixture(scope="module")
def run(tiny, tmp_path_factory):
    """Two rounds: the second continues the first."""
    folder = tmp_path_factory.mktemp("run")
    before = digest_folder(tiny)
    rows = rows_preferring("a", "b")
    first = train(tiny, folder / "round_00", rows)
    second = train(tiny, folder / "round_01", rows, previous=folder / "round_00" / "adapter")
    assert digest_folder(tiny) == before
    return folder, first, second


def test_the_first_loss_is_ln_2_when_the_policy_is_the_reference(run):
    _, first, second = run
    for report in (first, second):
        assert report["first_loss"] == pytest.approx(LN2, abs=1e-5)
        assert report["first_eval_loss"] == pytest.approx(LN2, abs=1e-5)
        assert report["loss"] < 0.6


def test_every_optimizer_step_and_evaluation_is_in_the_log(run):
    folder, first, _ = run
    lines = read_log(folder / "round_00")
    steps = [line for line in lines if "loss" in line]
    assert [line["step"] for line in steps] == list(range(1, 10)) == list(range(1, first["steps"] + 1))
    assert set(steps[0]) == {
        *("step", "epoch", "loss", "grad_norm", "learning_rate", "logps/chosen", "logps/rejected"),
        *("rewards/chosen", "rewards/rejected", "rewards/accuracies", "rewards/margins"),
    }
    assert [line["step"] for line in lines if "eval_loss" in line] == [0, 9]
    assert list((folder / "logs" / "tensorboard" / "round_00").glob("events*"))


def test_the_report_holds_means_over_the_last_tenth_and_the_names_of_the_policies(run):
    folder, first, second = run
    last = [line for line in read_log(folder / "round_01") if "loss" in line][-1]
    assert {key: second[key] for key in ("loss", "rewards/margins")} == {
        key: last[key] for key in ("loss", "rewards/margins")
    }
    assert (second["pairs"], second["validation_pairs"], second["too_long"]) == (18, 6, 0)
    drafted = adapter_digest(folder / "round_00" / "adapter")
    assert (first["reference"], first["reference_digest"], first["start_digest"]) == ("previous", "", "")
    assert (second["reference_digest"], second["start_digest"]) == (drafted, drafted)
    assert second["adapter_digest"] == adapter_digest(folder / "round_01" / "adapter")
    assert second["alarms"] == []
    assert json.loads(json.dumps(second)) == second


def test_adapters_never_pile_up(run):
    from safetensors.torch import load_file

    folder, _, _ = run
    shapes = [
        {key: value.shape for key, value in load_file(folder / name / "adapter" / "adapter_model.safetensors").items()}
        for name in ("round_00", "round_01")
    ]
    assert shapes[0] == shapes[1]
    left = sorted(path.name for path in (folder / "round_01").iterdir())
    assert left == ["adapter", "probe.json", "reference.json", "training.jsonl"]
    files = sorted(path.name for path in (folder / "round_01" / "adapter").rglob("*"))
    assert files == ["adapter_config.json", "adapter_model.safetensors", "base.json"]


def test_pairs_raise_what_they_prefer_and_swapped_pairs_lower_it(run, tiny, tmp_path):
    folder, _, _ = run
    rows = rows_preferring("a", "b")
    swapped = [{**held, "chosen": held["rejected"], "rejected": held["chosen"]} for held in rows]
    train(tiny, tmp_path / "swapped", swapped)
    base = mean_preference(tiny, None, rows)
    assert mean_preference(tiny, folder / "round_00" / "adapter", rows) > base + 1
    assert mean_preference(tiny, folder / "round_01" / "adapter", rows) > base + 2
    assert mean_preference(tiny, tmp_path / "swapped" / "adapter", rows) < base - 1


def test_the_evaluation_is_that_of_the_saved_adapter_on_validation_pairs(run, tiny):
    folder, first, _ = run
    rows = [held for held in rows_preferring("a", "b") if held["split"] == "validation"]
    tokenizer = load_tokenizer(str(tiny))
    path = write_pairs(folder / "once_more.jsonl", [{**held, "split": "train"} for held in rows])
    pairs = load_pairs([path], tokenizer, 256).train
    base, trained = load_policy(tiny, None), load_policy(tiny, folder / "round_00" / "adapter")
    losses = [dpo_loss(answer_logps(trained, pair), answer_logps(base, pair), 0.1) for pair in pairs]
    assert len(losses) == 6
    assert first["eval_loss"] == pytest.approx(sum(losses) / 6, abs=1e-4)
    assert first["eval_rewards/accuracies"] == 1.0


def test_the_probe_holds_what_both_policies_give_to_whole_sequences(run, tiny):
    folder, first, second = run
    probe = json.loads((folder / "round_01" / "probe.json").read_text())
    assert probe["new_digest"] == second["adapter_digest"]
    assert probe["previous_digest"] == first["adapter_digest"]
    assert json.loads((folder / "round_00" / "probe.json").read_text())["previous_digest"] == ""
    new, old = (load_policy(tiny, folder / name / "adapter") for name in ("round_01", "round_00"))
    assert len(probe["sequences"]) == 48
    for sequence in probe["sequences"][:6]:
        ids, first_scored = sequence["token_ids"], sequence["first"]
        prompt, answer = ids[:first_scored], ids[first_scored:]
        assert sequence["new"] == pytest.approx(token_logps(new, prompt, answer), abs=1e-4)
        assert sequence["previous"] == pytest.approx(token_logps(old, prompt, answer), abs=1e-4)


def test_validation_pairs_are_never_trained(tiny, tmp_path):
    """What stands in the validation pairs makes no difference to any optimizer step."""
    rows = rows_preferring("a", "b", count=12, validation=3)
    others = rows[:9] + [{**held, "chosen": held["rejected"], "rejected": held["chosen"]} for held in rows[9:]]
    reports = [train(tiny, tmp_path / name, held) for name, held in (("one", rows), ("two", others), ("no", rows[:9]))]
    figures = [step_figures(tmp_path / name) for name in ("one", "two", "no")]
    assert figures[0] == pytest.approx(figures[1], abs=1e-3)
    assert figures[0] == pytest.approx(figures[2], abs=1e-3)
    assert reports[0]["eval_rewards/margins"] > 0 > reports[1]["eval_rewards/margins"]
    assert "eval_loss" not in reports[2]


def test_too_long_and_contradictory_pairs_are_counted_and_not_trained(tiny, tmp_path):
    rows = rows_preferring("a", "b", count=12, validation=0)
    long = row("a", "b" * 300, "c", id="long")
    opposites = [row("what", "yes", "no", id="yes"), row("what", "no", "yes", id="no")]
    train(tiny, tmp_path / "no", rows)
    more = train(tiny, tmp_path / "yes", [*rows, long, *opposites])
    assert (more["pairs"], more["too_long"], more["contradictory"]) == (12, 1, 2)
    left_out = json.loads((tmp_path / "yes" / "left_out.json").read_text())
    assert left_out == {"too_long": ["long"], "same_tokens": [], "held_out": [], "contradictory": ["yes", "no"]}
    assert step_figures(tmp_path / "yes") == pytest.approx(step_figures(tmp_path / "no"), abs=1e-3)


@pytest.mark.parametrize("change", [{"pairs_per_micro_batch": 1}, {"gradient_checkpointing": True}])
def test_what_saves_memory_does_not_change_the_result(tiny, tmp_path, change):
    rows = rows_preferring("a", "b", count=16, validation=0)
    settings = {"pairs_per_step": 8, "pairs_per_micro_batch": 8, "epochs": 2}
    reports = [train(tiny, tmp_path / "plain", rows, **settings)]
    reports.append(train(tiny, tmp_path / "saving", rows, **(settings | change)))
    assert step_figures(tmp_path / "saving") == pytest.approx(step_figures(tmp_path / "plain"), abs=1e-3)
    assert reports[0]["steps"] == reports[1]["steps"] == 4


def test_dropout_acts_on_the_adapter(tiny, policies, tmp_path):
    """TRL switches every dropout off by default, that of the adapter too."""
    rows = rows_preferring("a", "b", count=6, validation=0)
    lora = {"dropout": 0.5}
    report = train(tiny, tmp_path / "round_01", rows, previous=policies["previous"], lora=lora, epochs=1)
    assert abs(report["first_loss"] - LN2) > 1e-4


def test_bfloat16_keeps_the_first_loss_and_learns(tiny, tmp_path):
    report = train(tiny, tmp_path / "round_00", rows_preferring("a", "b"), dtype="bfloat16")
    assert report["first_loss"] == pytest.approx(LN2, abs=0.01)
    assert report["eval_rewards/accuracies"] == 1.0


def test_standard_data_trains_too(tiny, tmp_path):
    rows = [{"prompt": f"say {index} ", "chosen": "a", "rejected": "b"} for index in range(12)]
    report = train(tiny, tmp_path / "round_00", rows)
    assert report["first_loss"] == pytest.approx(LN2, abs=1e-5)
    assert report["rewards/accuracies"] == 1.0


@pytest.mark.parametrize("pad_token", ["</s>", None])
def test_a_model_whose_pad_is_eos_trains_on_the_final_eos(tmp_path, pad_token):
    """The logged log-probability of the answers is that of all their tokens, their EOS included."""
    model = build_model(tmp_path / "model", pad_token=pad_token)
    rows = [row(f"say {index}", "a" * (index + 1), "bc", id=str(index)) for index in range(6)]
    train(model, tmp_path / "round_00", rows, epochs=1)
    tokenizer, policy = load_tokenizer(str(model)), load_policy(model, None)
    pairs = load_pairs([tmp_path / "round_00.jsonl"], tokenizer, 256).train
    assert all(pair.chosen_ids[-1] == tokenizer.eos_token_id for pair in pairs)
    expected = sum(answer_logps(policy, pair)[0] for pair in pairs) / len(pairs)
    assert read_log(tmp_path / "round_00")[0]["logps/chosen"] == pytest.approx(expected, abs=1e-3)


def test_an_attempt_that_died_leaves_nothing_behind(tiny, tmp_path):
    rows = rows_preferring("a", "b", count=6, validation=0)
    folder = tmp_path / "round_00"
    (folder / ".adapter.tmp").mkdir(parents=True)
    (folder / "training.jsonl").write_text('{"step": 99}\n')
    job = TrainJob(
        model=str(tiny),
        pairs=(write_pairs(tmp_path / "rows.jsonl", rows),),
        round_folder=folder,
        config=TrainConfig.model_validate(FAST),
        stream=io.StringIO(),
    )
    assert [train_dpo(job)["steps"] for _ in range(2)] == [3, 3]
    assert [line["step"] for line in read_log(folder)] == [1, 2, 3]
    left = sorted(path.name for path in folder.iterdir())
    assert left == ["adapter", "probe.json", "reference.json", "training.jsonl"]


def test_a_loss_that_is_not_a_number_saves_nothing(tiny, tmp_path):
    rows = rows_preferring("a", "b", count=12, validation=0)
    with pytest.raises(StageError, match=r"optimizer step \d+: .* is not a finite number; nothing was saved"):
        train(tiny, tmp_path / "round_00", rows, learning_rate=1e30, warm_up_share=0.0, max_gradient_norm=1e30)
    assert not (tmp_path / "round_00" / "adapter").exists()


def test_a_full_disk_says_how_to_go_on(tiny, tmp_path):
    """A limit on the size of a file stands for the disk: the adapter does not fit, and no half of it is left."""
    rows = rows_preferring("a", "b", count=6, validation=0)
    child = os.fork()
    if child == 0:
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
        try:
            train(tiny, tmp_path / "round_00", rows)
        except StageError as error:
            os._exit(3 if "Make room or mend the folder, then run the same command again" in str(error) else 4)
        os._exit(5)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 3
    assert not (tmp_path / "round_00" / "adapter").exists()


@pytest.mark.parametrize(("pairs", "steps"), [(12, 2), (13, 3), (1, 1)])
def test_the_last_partial_batch_is_trained(tiny, tmp_path, pairs, steps):
    report = train(tiny, tmp_path / "round_00", rows_preferring("a", "b", count=pairs, validation=0), epochs=1)
    assert report["steps"] == steps == optimizer_steps(TrainConfig.model_validate(FAST | {"epochs": 1}), pairs)
    log = read_log(tmp_path / "round_00")
    assert log[-1]["epoch"] == 1.0
    # However few the steps, none is spent at rate 0.
    assert log[0]["learning_rate"] == FAST["learning_rate"]


def test_bad_input_is_refused_before_anything_is_written(tiny, policies, tmp_path):
    good = rows_preferring("a", "b", count=6, validation=0)
    bare = build_model(tmp_path / "bare", template=None)
    foreign = build_adapter(build_model(tmp_path / "other", seed=1), tmp_path / "foreign", seed=1)
    cases = [
        (ConfigError, "there is no such folder", {"model": Path("/nowhere/model")}),
        (ConfigError, "no chat template", {"model": bare}),
        (ConfigError, "trained on another base", {"previous": foreign}),
        (ConfigError, "trained on another base", {"initial": foreign, "reference": "initial"}),
        (ConfigError, "adapter_config.json: not there", {"previous": tmp_path}),
        (DataError, "no column chosen", {"rows": [{"question": "a"}]}),
        (DataError, "split is 'test'", {"rows": [row("a", "b", "c", split="test")]}),
    ]
    for number, (kind, words, change) in enumerate(cases):
        folder = tmp_path / f"case-{number}"
        with pytest.raises(kind, match=words):
            train(**{"model": tiny, "folder": folder, "rows": good} | change)
        assert list(folder.iterdir()) == []
