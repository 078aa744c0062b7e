"""Which layout a model can be trained in: settled before training, by what its configuration says and by trying.

A model is trusted with a layout when it gives the same log-probabilities as TRL's own path to the longest and the
shortest pairs. One that looks at a window of tokens, that carries a state along the sequence, or that takes no notice
of masks or positions cannot share prompts; it falls back, and the training's figures say why.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch

from records.errors import ConfigError
from trainer.adapter import TRAINED
from trainer.data import EncodedPair
from trainer.pair_trainer import causal_model
from trainer.reference import columns, token_logps

_MASKED = ("sdpa", "eager")
_PLAIN_LAYERS = {"full_attention", "sliding_attention"}
_SAME_WITHIN = {torch.bfloat16: 0.05, torch.float16: 0.05}
"""Mean difference in nats a token; rounding in float32 stays far below 0.001."""
_LONGEST, _SHORTEST = 1, 2
LONG_ROW = 2048
"""Longer rows would make masks of single positions large; on a GPU they get a mask of blocks."""
_FLEX_ROW, _FLEX_BLOCK, _ALIGNED = 4096, 128, 8


def settle_layout(trainer: Any, pairs: Sequence[EncodedPair], asked: Literal["auto", "on", "off"]) -> str:
    """Set the layout that the trainer's model runs in and say what became of shared prompts.

    Args:
        trainer: the pair trainer, its model in place.
        pairs: what it trains on.
        asked: "auto" shares where it can, "on" must share, "off" leaves all to TRL.

    Returns:
        "on", "off", or "fell back: " and the reason.

    Raises:
        ConfigError: "on", and this model cannot.
    """
    head = trainer.head
    head.layout = "stock"
    if asked == "off":
        return "off"
    rows = _sample(pairs)
    reason = unfit(trainer, pairs) or _try_sharing(trainer, rows, max(pair.tokens for pair in pairs))
    if reason is None:
        head.layout = "shared"
        return "on"
    if asked == "on":
        raise ConfigError(
            f"train.shared_prompts is on and this model cannot share prompts: {reason}. Set it to auto or off."
        )
    head.layout = "plain" if disagreement(trainer, "plain", rows) is None else "stock"
    return f"fell back: {reason}"


def unfit(trainer: Any, pairs: Sequence[EncodedPair]) -> str | None:
    """Why the model cannot share prompts, as far as its configuration and the settings tell; None where it may."""
    config = trainer.model.config.get_text_config()
    if not trainer.args.disable_dropout:
        return "dropout must fall anew on each answer's prompt"
    if trainer.aux_loss_enabled:
        return "the experts' balance counts every prompt twice"
    kinds = set(getattr(config, "layer_types", None) or ())
    if kinds - _PLAIN_LAYERS:
        return f"layers of kind {', '.join(sorted(kinds - _PLAIN_LAYERS))}"
    window = getattr(config, "sliding_window", None)
    longest = max(pair.tokens for pair in pairs)
    if window and (not kinds or "sliding_attention" in kinds) and longest > window:
        return f"attention sees a window of {window} tokens, and the longest pair has {longest}"
    if config._attn_implementation not in (*_MASKED, "flex_attention"):
        return f"attention by {config._attn_implementation} takes no mask of single positions"
    return None


def _try_sharing(trainer: Any, rows: list[dict[str, Any]], longest: int) -> str | None:
    head = trainer.head
    on_gpu = next(trainer.model.parameters()).device.type == "cuda"
    if on_gpu and longest > LONG_ROW:
        # Masks grow with the square of the row; FlexAttention skips what is hidden instead, and has no CPU backward.
        before = trainer.model.config.get_text_config()._attn_implementation
        head.row_tokens, head.multiple = _FLEX_ROW, _FLEX_BLOCK
        if disagreement(trainer, "shared", rows, attention="flex_attention") is None:
            return None
        causal_model(trainer.model).set_attn_implementation(before)
    head.row_tokens, head.multiple = 0, _ALIGNED if on_gpu else 1
    return disagreement(trainer, "shared", rows)


def disagreement(
    trainer: Any, layout: Literal["plain", "shared"], rows: list[dict[str, Any]], *, attention: str | None = None
) -> str | None:
    """How a layout differs from TRL's own path on these rows; None where the two agree.

    Args:
        trainer: see `settle_layout`; its layout is as before afterwards.
        layout: the one to try.
        rows: pairs as TRL takes them.
        attention: an attention implementation to try it with; it stays set. Its backward pass is tried too, since
            that is compiled for the device.
    """
    head, batch = trainer.head, trainer.data_collator(rows)
    trainer.model.eval()
    expected = token_logps(trainer, batch, TRAINED)
    before, head.layout = head.layout, layout
    try:
        if attention:
            causal_model(trainer.model).set_attn_implementation(attention)
            _try_backward(trainer, batch)
        found = token_logps(trainer, batch, TRAINED)
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # whatever a model of any architecture does with inputs it was not made for
        return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
    finally:
        head.layout = before
    scored = expected != 0
    gap = float((found - expected).abs()[scored].mean())
    if not gap <= _SAME_WITHIN.get(trainer.model.dtype, 1e-3):
        return f"log-probabilities differ by {gap:.2g} nats a token from those of prompts that are not shared"
    return None


def _try_backward(trainer: Any, batch: dict[str, Any]) -> None:
    model = trainer.model
    model.train()
    try:
        with trainer.accelerator.autocast():
            loss = trainer.compute_loss(model, trainer._prepare_inputs(batch))
        loss.backward()
    finally:
        model.eval()
        model.zero_grad()
        trainer._metrics["train"].clear()


def _sample(pairs: Sequence[EncodedPair]) -> list[dict[str, Any]]:
    """The longest pair, whose attention reaches furthest, and the two shortest, which may share a row."""
    ordered = sorted(pairs, key=lambda pair: -pair.tokens)
    chosen = {id(pair): pair for pair in [*ordered[:_LONGEST], *ordered[-_SHORTEST:]]}
    return [columns(pair) for pair in chosen.values()]
