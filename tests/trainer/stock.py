"""TRL's own trainer beside ours, on the same policy and the same pairs as token ids: losses and adapter gradients."""

from __future__ import annotations

import functools
from types import SimpleNamespace
from typing import Any

import torch

from tests.trainer.tiny import build_tokenizer
from trainer.adapter import begin_adapter
from trainer.config import LoraSettings
from trainer.data import EncodedPair

LETTERS = 60
"""Token ids below this are drawn for pairs."""


def tiny_causal_model(kind: str = "llama", **settings: Any) -> Any:
    """A random model of two layers, of an architecture by name."""
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.for_model(
        kind,
        vocab_size=64,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=16,
        max_position_embeddings=256,
        pad_token_id=2,
        bos_token_id=0,
        eos_token_id=1,
        initializer_range=0.2,
        **settings,
    )
    torch.manual_seed(0)
    torch.set_num_threads(1)  # as trainer/model.py does for models this small
    return AutoModelForCausalLM.from_config(config).eval().requires_grad_(False)


def policy_on(model: Any, dtype: torch.dtype) -> Any:
    """A policy whose adapter differs from the base on both sides, so every gradient is there.

    In float64 its norms are too: transformers takes them in float32 whatever the model's precision.
    """
    for module in model.modules():
        if type(module).__name__.endswith("RMSNorm") and dtype == torch.float64:
            module.forward = functools.partial(_norm, module)
    policy = begin_adapter(model, LoraSettings(r=8), name="tiny", start=None).to(dtype)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, weight in policy.named_parameters():
            if "lora_" in name:
                weight.copy_(torch.randn(weight.shape, generator=generator) * 0.2)
    return policy


def _norm(module: Any, hidden: torch.Tensor) -> torch.Tensor:
    return module.weight * hidden * torch.rsqrt(hidden.pow(2).mean(-1, keepdim=True) + module.variance_epsilon)


def pair(index: int, prompt: int, chosen: int, rejected: int, *, same: int = 0) -> EncodedPair:
    """A pair of so many random tokens; the answers begin with `same` tokens that are the same."""
    drawn = torch.randint(3, LETTERS, (prompt + chosen + rejected,), generator=torch.Generator().manual_seed(index))
    ids = drawn.tolist()
    better, worse = ids[prompt : prompt + chosen], ids[prompt + chosen :]
    worse[:same] = better[:same]
    return EncodedPair(f"pair-{index}", ids[:prompt], better, worse)


RAGGED = (
    pair(0, 9, 5, 7),
    pair(1, 21, 1, 12),
    pair(2, 3, 16, 4),
    pair(3, 12, 8, 9, same=4),
    pair(4, 1, 6, 6),
    pair(5, 30, 11, 2),
)
EVEN = tuple(pair(10 + index, 12, 6, 6) for index in range(4))
EMPTY_PROMPT = (pair(20, 0, 5, 7), pair(21, 0, 9, 3), pair(22, 6, 4, 4))
ONE_SMALL = (pair(30, 2, 1, 2),)
SHAPES = {"ragged": RAGGED, "even": EVEN, "empty prompt": EMPTY_PROMPT, "one small pair": ONE_SMALL}


def arguments(folder: Any, pairs: int, **settings: Any) -> Any:
    """TRL's settings for one step on so many pairs."""
    from trl import DPOConfig

    plain = {"gradient_checkpointing": False, "bf16": False, "use_cpu": True, "report_to": "none", "max_length": None}
    return DPOConfig(output_dir=str(folder), per_device_train_batch_size=pairs, **(plain | settings))


def stock_trainer(policy: Any, pairs: Any, args: Any) -> Any:
    """TRL's trainer, on ids instead of texts and with the base as its reference."""
    from datasets import Dataset
    from trl import DPOTrainer

    from trainer.reference import collator_for, columns

    class OnIds(DPOTrainer):
        def _prepare_dataset(self, dataset: Any, *_: Any) -> Any:
            return dataset

        def _send_telemetry(self) -> None:
            pass

    trainer = OnIds(
        model=policy,
        args=args,
        data_collator=collator_for(build_tokenizer()),
        train_dataset=Dataset.from_list([columns(one) for one in pairs]),
        processing_class=build_tokenizer(),
    )
    policy.delete_adapter("ref")
    return trainer


def our_trainer(policy: Any, pairs: Any, args: Any, room: Any = None) -> Any:
    """Ours on the same; its layout is TRL's until a test sets another one."""
    from trainer.micro_batches import Room
    from trainer.pair_trainer import build_trainer

    return build_trainer(policy, build_tokenizer(), pairs, [], args, room or Room(pairs=len(pairs)))


def stock_step(trainer: Any, pairs: Any) -> tuple[float, dict[str, torch.Tensor]]:
    """Loss and adapter gradients of one batch of all pairs, by TRL."""
    from trainer.reference import columns

    trainer.model.train()
    loss = trainer.compute_loss(trainer.model, trainer.data_collator([columns(one) for one in pairs]))
    loss.backward()
    return float(loss.detach()), _gradients(trainer.model)


def our_step(trainer: Any, pairs: Any, layout: str) -> tuple[float, dict[str, torch.Tensor]]:
    """The same of one optimizer step of ours in a layout, whatever micro-batches it is cut into."""
    from trainer.micro_batches import StepCollator
    from trainer.reference import columns

    trainer.head.layout = layout
    trainer.current_gradient_accumulation_steps = 1
    step = StepCollator(trainer.data_collator, trainer.room, trainer.head.places)([columns(one) for one in pairs])
    loss = trainer.training_step(trainer.model, step)
    return float(loss), _gradients(trainer.model)


def _gradients(model: Any) -> dict[str, torch.Tensor]:
    found = {name: weight.grad.clone() for name, weight in model.named_parameters() if weight.grad is not None}
    model.zero_grad()
    assert found and all(gradient.abs().max() > 0 for gradient in found.values())
    return found


def distance(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> float:
    """Norm of the difference of two gradients, relative to the second one's."""
    assert found.keys() == expected.keys()
    apart = sum(float((found[name] - expected[name]).double().pow(2).sum()) for name in expected)
    whole = sum(float(expected[name].double().pow(2).sum()) for name in expected)
    return float((apart / whole) ** 0.5)


def exact_head() -> Any:
    """Stands in for TRL's head, which works in float32 whatever it is given: plain torch, in its input's precision."""

    def apply(hidden: Any, weight: Any, bias: Any, targets: Any, *_: Any) -> tuple[Any, Any, None, Any, Any]:
        assert bias is None
        logits = hidden @ weight.T
        logps = logits.log_softmax(-1)
        entropy = -(logps.exp() * logps).sum(-1)
        scored = logps.gather(-1, targets[:, None])[:, 0]
        return scored, entropy, None, logits.mean(-1), logits.argmax(-1) == targets

    return SimpleNamespace(apply=apply)
