"""Ours against TRL's own trainer: the same loss and the same adapter gradient, whatever is shared and however cut."""

from __future__ import annotations

import pytest
import torch

from tests.trainer import stock
from trainer.micro_batches import Room

pytestmark = pytest.mark.model

LOSSES = (
    {"loss_type": ["sigmoid"]},
    {"loss_type": ["ipo"]},
    {"loss_type": ["hinge"]},
    {"loss_type": ["robust"], "label_smoothing": 0.1},
    {"loss_type": ["exo_pair"], "label_smoothing": 0.01},
    {"loss_type": ["nca_pair"]},
    {"loss_type": ["bco_pair"]},
    {"loss_type": ["sppo_hard"]},
    {"loss_type": ["aot"]},
    {"loss_type": ["aot_unpaired"]},
    {"loss_type": ["apo_zero"]},
    {"loss_type": ["apo_down"]},
    {"loss_type": ["discopop"]},
    {"loss_type": ["sft"]},
    {"loss_type": ["sigmoid_norm"]},
    {"loss_type": ["sigmoid", "sft"], "loss_weights": [1.0, 0.7]},
    {"loss_type": ["sigmoid", "bco_pair", "sft"], "loss_weights": [0.8, 0.2, 1.0]},
    {"loss_type": ["sigmoid"], "ld_alpha": 0.5},
    {"loss_type": ["sigmoid"], "use_weighting": True},
    {"loss_type": ["sigmoid"], "f_divergence_type": "js_divergence"},
)
SORTED = {"aot", "aot_unpaired"}
LAYOUTS = ("stock", "plain", "shared")


def named(loss: dict) -> str:
    return "+".join(loss["loss_type"]) + "".join(f" {key}" for key in loss if key not in ("loss_type", "loss_weights"))


@pytest.fixture
def compare(tmp_path):
    """The largest differences, over layouts and cuts, of loss and gradient from TRL's."""

    def run(pairs, rooms, *, dtype, kind="llama", layouts=LAYOUTS, **settings):
        args = stock.arguments(tmp_path, len(pairs), **settings)
        trainers = []
        for build in (stock.stock_trainer, stock.our_trainer):
            policy = stock.policy_on(stock.tiny_causal_model(kind), dtype)
            trainers.append(build(policy, pairs, args))
            if args.gradient_checkpointing:  # as the trainers do when they begin to train
                policy.get_base_model().gradient_checkpointing_enable()
        loss, gradient = stock.stock_step(trainers[0], pairs)
        trainer, worst = trainers[1], (0.0, 0.0)
        for room in rooms:
            trainer.room = room
            for layout in layouts:
                found, ours = stock.our_step(trainer, pairs, layout)
                worst = max(worst[0], abs(found - loss)), max(worst[1], stock.distance(ours, gradient))
        return worst

    return run


@pytest.fixture
def exact(monkeypatch):
    """TRL's head computes in float32 whatever it is given; this one keeps the precision of its inputs."""
    monkeypatch.setattr("trl.trainer.utils._ChunkedLogProbFunction", stock.exact_head())


@pytest.mark.parametrize("loss", [loss for loss in LOSSES if "use_weighting" not in loss], ids=named)
def test_every_loss_in_float64(compare, exact, loss):
    """Pairs of many lengths, answers that begin with the same tokens, answers of one token; whole and cut by tokens."""
    cuts = [Room(6)] if SORTED & {*loss["loss_type"]} else [Room(6), Room(9, tokens=90)]
    apart, turned = compare(stock.RAGGED, cuts, dtype=torch.float64, layouts=["plain", "shared"], **loss)
    assert apart < 1e-9 and turned < 1e-9


@pytest.mark.parametrize("loss", LOSSES, ids=named)
def test_every_loss_in_float32_with_trls_own_head(compare, loss):
    cuts = [Room(6)] if SORTED & {*loss["loss_type"]} else [Room(2)]
    apart, turned = compare(stock.RAGGED, cuts, dtype=torch.float32, layouts=["shared"], **loss)
    assert apart < 1e-4 and turned < 1e-4


@pytest.mark.parametrize("shape", stock.SHAPES)
def test_every_shape(compare, exact, shape):
    """In every layout, of TRL's own too, and cut in three ways."""
    pairs = stock.SHAPES[shape]
    apart, turned = compare(pairs, [Room(len(pairs)), Room(1), Room(4, tokens=50)], dtype=torch.float64)
    assert apart < 1e-9 and turned < 1e-9


@pytest.mark.parametrize("kind", ["qwen2", "qwen3", "mistral", "gpt_neox"])
def test_other_architectures(compare, exact, kind):
    """Mistral's window is longer than these pairs, so it hides nothing."""
    layouts = ["plain", "shared"]
    apart, turned = compare(stock.RAGGED, [Room(2)], dtype=torch.float64, kind=kind, layouts=layouts)
    assert apart < 1e-9 and turned < 1e-9


def test_eager_attention(compare, monkeypatch):
    made = stock.tiny_causal_model

    def eager(kind):
        model = made(kind)
        model.set_attn_implementation("eager")
        return model

    monkeypatch.setattr(stock, "tiny_causal_model", eager)
    apart, turned = compare(stock.RAGGED, [Room(6), Room(2)], dtype=torch.float32)
    assert apart < 1e-4 and turned < 1e-4


def test_with_checkpointing(compare, exact):
    apart, turned = compare(stock.RAGGED, [Room(3)], dtype=torch.float64, gradient_checkpointing=True)
    assert apart < 1e-9 and turned < 1e-9


def test_a_mask_that_lets_the_answers_see_each_other_would_be_noticed(compare, exact, monkeypatch):
    """What the comparisons above are worth: each of two faults moves the gradient far beyond their bounds."""
    monkeypatch.setattr("trainer.answer_head.visible", lambda pair, side: pair.new_ones(
        pair.size(1), pair.size(1), dtype=torch.bool).tril().expand(pair.size(0), 1, -1, -1))  # fmt: skip
    assert compare(stock.RAGGED, [Room(6)], dtype=torch.float64, layouts=["shared"])[1] > 1e-2


def test_positions_that_do_not_restart_would_be_noticed(compare, exact, monkeypatch):
    from trainer import answer_head

    made = answer_head.shared_layout

    def running_on(*args, **kwargs):
        layout = made(*args, **kwargs)
        count = layout["position_ids"].size(1)
        return {**layout, "position_ids": torch.arange(count).expand_as(layout["position_ids"])}

    monkeypatch.setattr(answer_head, "shared_layout", running_on)
    assert compare(stock.RAGGED, [Room(6)], dtype=torch.float64, layouts=["shared"])[1] > 1e-3
