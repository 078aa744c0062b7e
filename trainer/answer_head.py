"""The seam of the fast paths: the model's forward answers what TRL asks, and runs less for it.

TRL asks the model for log-probabilities of 2B padded sequences. Here the backbone runs the rows of a layout
(trainer/layout.py), only the hidden rows that predict answer tokens go through TRL's own head, and the results are put
where TRL expects them. Losses, reference, metrics and their gradients are TRL's own and know nothing of it.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import torch
from trl.trainer.utils import add_fused_lm_head

from trainer.layout import PROMPT, Pair, places, plain_layout, shared_layout

NOT_SCORED = -100
NOT_COMPUTED = ("entropy", "logits/chosen", "logits/rejected", "mean_token_accuracy")
"""TRL's metrics that cost passes over the vocabulary and that nothing here reads."""


def visible(pair: torch.Tensor, side: torch.Tensor) -> torch.Tensor:
    """Which tokens see which: those before them in their own pair that are of the prompt or of their own answer.

    Args:
        pair: shape (R, S).
        side: shape (R, S).

    Returns:
        Shape (R, 1, S, S), true where the row's token attends to the column's.
    """
    length = pair.size(1)
    same_pair = pair[:, :, None] == pair[:, None, :]
    open_to_it = (side[:, None, :] == PROMPT) | (side[:, :, None] == side[:, None, :])
    before = torch.ones(length, length, dtype=torch.bool, device=pair.device).tril()
    return (same_pair & open_to_it & before)[:, None]


def attention_mask(implementation: str, layout: dict[str, Any], dtype: torch.dtype) -> Any:
    """The mask of a shared layout as the attention that the model uses takes it.

    Raises:
        ValueError: this attention takes no mask of this kind.
    """
    pair, side = layout["pair"], layout["side"]
    if implementation == "sdpa":
        return visible(pair, side)
    if implementation == "eager":
        hidden = torch.finfo(dtype).min
        return torch.zeros((), dtype=dtype, device=pair.device).masked_fill(~visible(pair, side), hidden)
    if implementation == "flex_attention":
        return _block_mask(pair, side)
    raise ValueError(f"{implementation} takes no mask of single positions")


def _block_mask(pair: torch.Tensor, side: torch.Tensor) -> Any:
    from torch.nn.attention.flex_attention import create_block_mask

    def sees(row: Any, head: Any, query: Any, key: Any) -> Any:
        open_to_it = (side[row, key] == PROMPT) | (side[row, key] == side[row, query])
        return (pair[row, query] == pair[row, key]) & open_to_it & (query >= key)

    rows, length = pair.shape
    return create_block_mask(sees, B=rows, H=None, Q_LEN=length, KV_LEN=length, device=pair.device)


@dataclass
class AnswerHead:
    """How an installed model runs TRL's batches; settled before training by trainer/self_check.py.

    `layout`: "stock" leaves all to TRL, "plain" runs TRL's sequences and scores the answers alone, "shared" runs each
    prompt once. `row_tokens` and `multiple` are those of trainer/layout.py.
    """

    layout: Literal["stock", "plain", "shared"] = "stock"
    row_tokens: int = 0
    multiple: int = 1

    def places(self, lengths: tuple[int, int, int]) -> int:
        """Tokens that are run for a pair of so many tokens (prompt, chosen, rejected)."""
        return places(lengths, shared=self.layout == "shared")

    def of(self, inputs: dict[str, Any]) -> dict[str, Any] | None:
        """The layout of a batch of TRL's; None where it is left to TRL."""
        pairs = None if self.layout == "stock" else pairs_of(inputs)
        if not pairs:
            return None
        ids = inputs["input_ids"]
        if self.layout == "plain":
            found = plain_layout(pairs, width=ids.size(1))
        else:
            room = {"row_tokens": self.row_tokens, "multiple": self.multiple}
            found = shared_layout(pairs, width=ids.size(1), **room)
        return {name: value.to(ids.device) for name, value in found.items()} if len(found["take"]) else None


def pairs_of(inputs: dict[str, Any]) -> list[Pair] | None:
    """The pairs of a batch of TRL's: 2B sequences padded on the right, all chosen, then all rejected.

    None where they are not that: other tokens are scored than those at the end, or the two prompts of a pair differ.
    """
    scored = inputs["labels"] != NOT_SCORED
    numbers = torch.stack([scored.sum(dim=1), inputs["attention_mask"].sum(dim=1), scored.int().argmax(dim=1)])
    sequences = []
    for ids, count, end, start in zip(inputs["input_ids"].tolist(), *numbers.tolist(), strict=True):
        if not count or start + count != end:
            return None
        sequences.append((ids[:start], ids[start:end]))
    half = len(sequences) // 2
    sides = list(zip(sequences[:half], sequences[half:], strict=False))
    if 2 * half != len(sequences) or any(chosen[0] != rejected[0] for chosen, rejected in sides):
        return None
    return [(prompt, chosen, rejected) for (prompt, chosen), (_, rejected) in sides]


def install(model: Any, *, weighting: bool = False) -> AnswerHead:
    """Have a model that TRL gave its fused head answer TRL's question in the layout that the returned record names.

    Args:
        model: the causal language model itself, without PEFT's wrapper.
        weighting: whether the loss reads `log_sum_sq_probs` (WPO).
    """
    head, stock = AnswerHead(), model.forward
    # TRL's head once more, without the outputs that only its metrics read.
    add_fused_lm_head(model, outputs=("log_probs", "log_sum_sq_probs") if weighting else ("log_probs",))
    lean = model.forward
    taking = _take_rows(model.base_model)

    @functools.wraps(stock)
    def forward(*args: Any, **kwargs: Any) -> Any:
        layout = head.of(kwargs) if kwargs.get("fused_lm_head") else None
        if layout is None:
            return stock(*args, **kwargs)
        labels = kwargs.pop("labels")
        if "input_ids" in layout:
            text = model.config.get_text_config()
            kwargs |= {name: layout[name] for name in ("input_ids", "position_ids")}
            kwargs["attention_mask"] = attention_mask(text._attn_implementation, layout, model.dtype)
        with taking(layout["take"]):
            found = lean(*args, **kwargs, shift_labels=layout["labels"][None])
        return _as_trl_expects(found, layout["place"], labels)

    model.forward = forward
    return head


def _take_rows(backbone: Any) -> Callable[[torch.Tensor], Any]:
    """A block in which the backbone gives only these rows of its hidden states, as one sequence."""
    asked: list[torch.Tensor] = []

    def choose(module: Any, inputs: Any, output: Any) -> Any:
        if asked:
            hidden = output.last_hidden_state
            output.last_hidden_state = hidden.flatten(0, 1).index_select(0, asked[-1])[None]
        return output

    backbone.register_forward_hook(choose)

    @contextmanager
    def taking(rows: torch.Tensor) -> Iterator[None]:
        asked.append(rows)
        try:
            yield
        finally:
            asked.pop()

    return taking


def _as_trl_expects(found: Any, place: torch.Tensor, labels: torch.Tensor) -> Any:
    """The figures of N scored tokens as those of 2B sequences; nan where a figure was not computed."""
    shape = (labels.size(0), labels.size(1) - 1)

    def spread(values: torch.Tensor | None) -> torch.Tensor:
        if values is None:
            return found.log_probs.new_full(shape, float("nan"))
        return values.new_zeros(shape[0] * shape[1]).index_copy(0, place, values[0]).view(shape)

    return type(found)(
        loss=found.loss,
        log_probs=spread(found.log_probs),
        entropy=spread(found.entropy),
        log_sum_sq_probs=spread(found.log_sum_sq_probs),
        mean_logits=spread(found.mean_logits),
        is_top1=labels.new_zeros(shape, dtype=torch.bool),
        label_mask=labels[:, 1:] != NOT_SCORED,
        aux_loss=found.aux_loss,
    )
