"""Which models share prompts, which fall back and why, and that a fall-back trains as TRL does."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from records.errors import ConfigError
from tests.trainer import stock
from trainer.micro_batches import Room
from trainer.self_check import settle_layout, unfit

pytestmark = pytest.mark.model


@pytest.fixture
def trainer_of(tmp_path):
    def build(kind="llama", attention="sdpa", pairs=stock.RAGGED, **settings):
        model = stock.tiny_causal_model(kind, **settings)
        model.set_attn_implementation(attention)
        policy = stock.policy_on(model, torch.float32)
        return stock.our_trainer(policy, pairs, stock.arguments(tmp_path, len(pairs)), Room(2))

    return build


@pytest.mark.parametrize("kind", ["llama", "qwen2", "qwen3"])
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_models_of_full_attention_share(trainer_of, kind, attention):
    trainer = trainer_of(kind, attention)
    assert settle_layout(trainer, stock.RAGGED, "auto") == "on"
    assert trainer.head.layout == "shared"
    assert settle_layout(trainer, stock.RAGGED, "on") == "on"
    assert settle_layout(trainer, stock.RAGGED, "off") == "off"
    assert trainer.head.layout == "stock"


@pytest.mark.parametrize("kind", ["mistral", "gemma2"])
def test_a_window_shorter_than_a_pair_falls_back_to_the_same_gradient(trainer_of, tmp_path, kind):
    trainer = trainer_of(kind, "eager" if kind == "gemma2" else "sdpa", sliding_window=8)
    assert settle_layout(trainer, stock.RAGGED, "auto") == (
        "fell back: attention sees a window of 8 tokens, and the longest pair has 41"
    )
    assert trainer.head.layout == "plain"
    with pytest.raises(ConfigError, match="shared_prompts is on and this model cannot share prompts: attention sees"):
        settle_layout(trainer, stock.RAGGED, "on")
    found, ours = stock.our_step(trainer, stock.RAGGED, "plain")
    model = stock.tiny_causal_model(kind, sliding_window=8)
    model.set_attn_implementation(trainer.model.config._attn_implementation)
    policy = stock.policy_on(model, torch.float32)
    args = stock.arguments(tmp_path, len(stock.RAGGED))
    loss, gradient = stock.stock_step(stock.stock_trainer(policy, stock.RAGGED, args), stock.RAGGED)
    assert found == pytest.approx(loss, abs=1e-4) and stock.distance(ours, gradient) < 1e-4


def test_a_window_that_hides_nothing_shares(trainer_of):
    trainer = trainer_of("mistral", sliding_window=64)
    assert settle_layout(trainer, stock.RAGGED, "auto") == "on"


def test_a_model_that_carries_a_state_along_falls_back(trainer_of):
    """Such layers have no mask that could hide one answer from the other."""
    trainer = trainer_of()
    trainer.model.config.layer_types = ["full_attention", "linear_attention"]
    assert unfit(trainer, stock.RAGGED) == "layers of kind linear_attention"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"args": SimpleNamespace(disable_dropout=False)}, "dropout must fall anew"),
        ({"aux_loss_enabled": True}, "the experts' balance"),
    ],
)
def test_settings_under_which_a_shared_prompt_would_not_be_the_same(trainer_of, change, words):
    trainer = trainer_of()
    for name, value in change.items():
        setattr(trainer, name, value)
    assert words in unfit(trainer, stock.RAGGED)


def causal_alone(pair, side):
    length = pair.size(1)
    return torch.ones(length, length, dtype=torch.bool).tril().expand(pair.size(0), 1, -1, -1)


def test_a_model_that_takes_no_notice_of_masks_is_found_by_trying(trainer_of, monkeypatch):
    trainer = trainer_of()
    monkeypatch.setattr("trainer.answer_head.visible", causal_alone)
    outcome = settle_layout(trainer, stock.RAGGED, "auto")
    assert outcome.startswith("fell back: log-probabilities differ by ") and trainer.head.layout == "plain"


def test_a_model_that_takes_no_notice_of_positions_is_found_by_trying(trainer_of, monkeypatch):
    trainer = trainer_of()
    backbone = trainer.model.get_base_model().base_model
    forward = backbone.forward
    monkeypatch.setattr(backbone, "forward", lambda *args, position_ids=None, **kwargs: forward(*args, **kwargs))
    assert settle_layout(trainer, stock.RAGGED, "auto").startswith("fell back: log-probabilities differ by ")


def test_a_model_that_refuses_such_inputs_falls_back_with_its_words(trainer_of, monkeypatch):
    trainer = trainer_of()
    backbone = trainer.model.get_base_model().base_model
    forward = backbone.forward

    def refusing(*args, attention_mask=None, **kwargs):
        if attention_mask is not None and attention_mask.dim() == 4:
            raise TypeError("masks of two dimensions only")
        return forward(*args, attention_mask=attention_mask, **kwargs)

    monkeypatch.setattr(backbone, "forward", refusing)
    assert settle_layout(trainer, stock.RAGGED, "auto") == "fell back: TypeError: masks of two dimensions only"


def test_a_backbone_of_another_kind_is_left_to_trl(trainer_of, monkeypatch):
    """One whose output has no named hidden states cannot be read in any layout."""
    trainer = trainer_of()
    backbone = trainer.model.get_base_model().base_model
    forward = backbone.forward

    class Output:
        __slots__ = ("states",)
        last_hidden_state = property(lambda self: self.states)

        def __init__(self, states):
            self.states = states

    monkeypatch.setattr(backbone, "forward", lambda *args, **kwargs: Output(forward(*args, **kwargs).last_hidden_state))
    assert settle_layout(trainer, stock.RAGGED, "auto").startswith("fell back: AttributeError")
    assert trainer.head.layout == "stock"


def test_running_out_of_memory_is_no_reason_to_fall_back(trainer_of, monkeypatch):
    trainer = trainer_of()

    def out_of_memory(pair, side):
        raise torch.OutOfMemoryError("no room")

    monkeypatch.setattr("trainer.answer_head.visible", out_of_memory)
    with pytest.raises(torch.OutOfMemoryError):
        settle_layout(trainer, stock.RAGGED, "auto")
