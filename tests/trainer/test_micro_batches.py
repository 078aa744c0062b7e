"""Steps and the micro-batches they are cut into: which pairs, in which order, with which weight."""

from __future__ import annotations

import pytest

from tests.trainer.tiny import build_tokenizer, row, rows_preferring
from tests.trainer.training import read_log, step_figures, train
from trainer.config import TrainConfig
from trainer.micro_batches import Room, StepCollator


@pytest.mark.parametrize(
    ("room", "cut"),
    [
        (Room(2), [[3, 0], [4, 1], [2]]),
        (Room(5), [[3, 0, 4, 1, 2]]),
        (Room(1, tokens=60), [[3], [0, 4], [1, 2]]),
        (Room(1, tokens=10), [[3], [0], [4], [1], [2]]),
        (Room(1, tokens=1000), [[3, 0, 4, 1, 2]]),
    ],
)
def test_items_of_like_size_go_together_and_none_is_left_out(room, cut):
    """Tokens are those of the padded batch, its longest item times its items; one that is too long goes alone."""
    assert room.cut([30, 12, 10, 50, 20]) == cut


def test_the_room_is_what_the_settings_say():
    assert Room.of(TrainConfig()) == Room(4, None)
    room = Room.of(TrainConfig(tokens_per_batch=8192))
    assert (room.tokens, room.without_gradients.tokens) == (8192, 32768)
    assert Room.of(TrainConfig(gradient_checkpointing=True)).without_gradients.pairs == 8
    assert TrainConfig().shared_prompts == "auto"


def collated(rows, room, *, shared=True):
    from trainer.layout import places
    from trainer.reference import collator_for

    return StepCollator(collator_for(build_tokenizer()), room, lambda lengths: places(lengths, shared=shared))(rows)


def ids(prompt, chosen, rejected, **more):
    return {"prompt_ids": [9] * prompt, "chosen_ids": [8] * chosen, "rejected_ids": [7] * rejected, **more}


def test_each_micro_batch_counts_by_its_share_of_the_step():
    rows = [ids(4, 2, 2), ids(40, 6, 5), ids(4, 3, 2), ids(0, 3, 9)]
    step = collated(rows, Room(1, tokens=60))
    assert [batch["input_ids"].size(0) // 2 for batch in step["micro_batches"]] == [1, 3]
    assert step["pair_shares"] == [1 / 4, 3 / 4]
    # Chosen tokens that are scored; without a prompt the first is not.
    assert step["chosen_shares"] == [6 / 13, 7 / 13]


def test_columns_that_go_with_the_pairs_stay_with_them():
    rows = [ids(4, 2, 2 + index, ref_chosen_logps=float(index), ref_rejected_logps=0.0) for index in range(3)]
    step = collated(rows, Room(2))
    assert [batch["ref_chosen_logps"].tolist() for batch in step["micro_batches"]] == [[2.0, 1.0], [0.0]]


def ragged_rows(count):
    return [
        row("q" * (1 + index % 7), "x" * (index % 5) + "a", "x" * (index % 3) + "b", id=str(index), split="train")
        for index in range(count)
    ]


@pytest.mark.model
@pytest.mark.parametrize(
    "change", [{"tokens_per_batch": 64}, {"tokens_per_batch": 4096}, {"shared_prompts": "off", "tokens_per_batch": 90}]
)
def test_a_budget_of_tokens_does_not_change_the_training(tiny, tmp_path, change):
    """Thirteen pairs by six: the last step is a smaller one. Order, steps and figures are those of whole steps."""
    settings = {"pairs_per_step": 6, "pairs_per_micro_batch": 6, "epochs": 2, "sft_weight": 0.5}
    plain = train(tiny, tmp_path / "plain", ragged_rows(13), **settings)
    cut = train(tiny, tmp_path / "cut", ragged_rows(13), **(settings | change))
    assert plain["steps"] == cut["steps"] == 6
    assert step_figures(tmp_path / "cut") == pytest.approx(step_figures(tmp_path / "plain"), abs=1e-3)
    assert (plain["shared_prompts"], cut["shared_prompts"]) == ("on", change.get("shared_prompts", "on"))
    last = [line for line in read_log(tmp_path / "cut") if "loss" in line][-1]
    assert set(last) >= {"rewards/margins", "logps/chosen"} and "entropy" not in last


@pytest.mark.model
def test_another_seed_is_another_order_and_the_same_one_the_same(tiny, tmp_path):
    rows = rows_preferring("a", "b", count=24, validation=0)
    for name, seed in (("one", 1), ("again", 1), ("other", 2)):
        # No warm-up of random weights: the adapter's start depends on the seed too, the first logps do not.
        train(tiny, tmp_path / name, rows, seed=seed, max_steps=1, tokens_per_batch=64)
    firsts = [read_log(tmp_path / name)[0]["logps/chosen"] for name in ("one", "again", "other")]
    assert firsts[0] == pytest.approx(firsts[1], abs=1e-4)
    assert abs(firsts[0] - firsts[2]) > 1e-3


@pytest.mark.model
@pytest.mark.parametrize(("settings", "most"), [({}, 3 * 60), ({"tokens_per_batch": 90}, 90)])
def test_a_step_holds_its_pairs_in_parts_that_fit(tiny, tmp_path, monkeypatch, settings, most):
    """Thirteen pairs by six: steps of 6, 6 and 1 in every epoch, and no part larger than what was asked for."""
    from trainer import answer_head, pair_trainer

    held, ran = [], []
    step, run = pair_trainer.PairTrainer.training_step, answer_head.shared_layout

    def stepping(trainer, model, inputs, *rest):
        held.append(sum(batch["input_ids"].size(0) // 2 for batch in inputs["micro_batches"]))
        ran.clear()
        loss = step(trainer, model, inputs, *rest)
        assert len(ran) == len(inputs["micro_batches"]) and max(ran) <= most
        return loss

    def running(*args, **kwargs):
        layout = run(*args, **kwargs)
        ran.append(layout["input_ids"].numel())
        return layout

    monkeypatch.setattr(pair_trainer.PairTrainer, "training_step", stepping)
    monkeypatch.setattr(answer_head, "shared_layout", running)
    plain = {"pairs_per_step": 6, "pairs_per_micro_batch": 3, "epochs": 2}
    train(tiny, tmp_path / "round_00", ragged_rows(13), **(plain | settings))
    assert held == [6, 6, 1] * 2
