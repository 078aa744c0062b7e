"""A model that gives a conversation one number: the base, a LoRA adapter, and a head on the last token's state.

The head begins at zero and its product is float32 whatever the model's precision: the first loss is ln 2 exactly, and
two answers that are nearly alike do not get the same reward by rounding. The token that is read is the last one of the
answer, its closing EOS. Transformers finds it as the last one that is not padding *by id*; the padding used here is
therefore an id that no answer ends with, so a tokeniser whose padding is EOS does no harm.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count
from typing import Any, Literal

from records.errors import ConfigError
from trainer.adapter import TRAINED
from trainer.config import LoraSettings
from trainer.data import EncodedPair
from trainer.model import check_model, spare_threads

HEAD = "score"
Rewards = list[tuple[float, float]]


def load_scorer(
    model: str, *, device: Literal["cpu", "cuda"], dtype: Literal["float32", "bfloat16"], trust_remote_code: bool
) -> Any:
    """The base without its language head, with a reward head of zeros, all frozen.

    Raises:
        ConfigError: it cannot be loaded, or its architecture has no such head.
    """
    import torch
    from transformers import AutoModelForSequenceClassification

    check_model(model)
    try:
        loaded = AutoModelForSequenceClassification.from_pretrained(
            model,
            num_labels=1,
            dtype=getattr(torch, dtype),
            use_safetensors=True,
            trust_remote_code=trust_remote_code,
        )
    except (OSError, ValueError) as error:
        reason = str(error).strip().splitlines()[0][:200]
        raise ConfigError(f"model {model}: no reward model can be made of it ({reason}). Mend model:.") from error
    if not isinstance(getattr(loaded, HEAD, None), torch.nn.Linear):
        raise ConfigError(
            f"model {model}: no reward model can be made of {type(loaded).__name__}, which has no head named {HEAD}; "
            "expected a decoder such as Llama, Qwen, Gemma or Mistral. Mend model:."
        )
    spare_threads(loaded, device)
    return loaded.to(device).eval().requires_grad_(False)


def begin_reward(model: Any, settings: LoraSettings, *, name: str) -> Any:
    """The model with a fresh adapter and a head of zeros, both trainable, in float32.

    Args:
        model: from `load_scorer`, or what an earlier adapter was unloaded from.
        settings: the adapter's.
        name: the model's name, for error messages.

    Raises:
        ConfigError: the targets do not exist in this model.
    """
    from peft import LoraConfig, get_peft_model

    setattr(model, HEAD, _zero_head(getattr(model, HEAD)))
    config = LoraConfig(
        r=settings.r,
        lora_alpha=settings.alpha,
        lora_dropout=settings.dropout,
        target_modules=settings.targets if isinstance(settings.targets, str) else list(settings.targets),
        modules_to_save=[HEAD],
        bias="none",
        task_type="SEQ_CLS",
    )
    try:
        return get_peft_model(model, config, adapter_name=TRAINED)
    except ValueError as error:
        raise ConfigError(f"reward.lora.targets: {error}. Expected layers of model {name}.") from error


def _zero_head(head: Any) -> Any:
    """A head of the same shape that multiplies in float32."""
    import torch

    class Float32Head(torch.nn.Linear):
        def forward(self, states: Any) -> Any:
            with torch.autocast(states.device.type, enabled=False):
                return super().forward(states.float())

    zero = Float32Head(head.in_features, 1, bias=False, device=head.weight.device, dtype=torch.float32)
    torch.nn.init.zeros_(zero.weight)
    return zero


def padding_id(pairs: Sequence[EncodedPair]) -> int:
    """The smallest id that none of the answers ends with."""
    last = {ids[-1] for pair in pairs for ids in (pair.chosen_ids, pair.rejected_ids)}
    return next(id for id in count() if id not in last)


def columns(pair: EncodedPair) -> dict[str, Any]:
    """A pair as the row that TRL's collator for reward models takes: two whole conversations."""
    return {
        "id": pair.id,
        "chosen_ids": pair.prompt_ids + pair.chosen_ids,
        "rejected_ids": pair.prompt_ids + pair.rejected_ids,
    }


def score_pairs(trainer: Any, pairs: Sequence[EncodedPair]) -> Rewards:
    """The reward of the chosen and of the rejected answer of each pair, in the pairs' order.

    Args:
        trainer: from trainer/reward_trainer.py; its model is put in evaluation mode.
        pairs: what to score; longest first, so memory runs out at once or never.
    """
    import torch

    model = trainer.accelerator.unwrap_model(trainer.model).eval()
    device = next(model.parameters()).device
    size = 2 * trainer.args.per_device_train_batch_size
    order = sorted(range(len(pairs)), key=lambda place: -pairs[place].tokens)
    found: Rewards = [(0.0, 0.0)] * len(pairs)
    for start in range(0, len(order), size):
        chunk = order[start : start + size]
        batch = trainer.data_collator([columns(pairs[place]) for place in chunk])
        with torch.no_grad(), trainer.accelerator.autocast():
            logits = model(**{name: value.to(device) for name, value in batch.items()}, use_cache=False).logits
        chosen, rejected = logits.squeeze(-1).float().cpu().chunk(2)
        for place, rewards in zip(chunk, zip(chosen.tolist(), rejected.tolist(), strict=True), strict=True):
            found[place] = rewards
    return found
