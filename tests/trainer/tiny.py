"""A random Llama of 0.1 M parameters with a byte-level tokeniser and a chat template, built and saved on the spot."""

from __future__ import annotations

from pathlib import Path

TEMPLATE = (
    "{{ '<s>' }}{% for message in messages %}{{ '<' + message.role + '>' + message.content + '</s>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<assistant>' }}{% endif %}"
)


def build_tokenizer(*, pad_token: str | None = "<pad>", template: str | None = TEMPLATE):
    """One token a byte; specials for BOS, EOS, padding and the three roles."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    specials = ["<s>", "</s>", "<pad>", "<system>", "<user>", "<assistant>"]
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: index for index, token in enumerate([*specials, *letters])}
    inner = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    inner.add_special_tokens(specials)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=inner, bos_token="<s>", eos_token="</s>", pad_token=pad_token)
    tokenizer.chat_template = template
    return tokenizer


def build_model(folder: Path, *, seed: int = 0, context: int = 256, layers: int = 2, **tokenizer_options) -> Path:
    """Save model and tokeniser to a folder and return it."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    tokenizer = build_tokenizer(**tokenizer_options)
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=layers,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=32,
        max_position_embeddings=context,
        tie_word_embeddings=True,
        initializer_range=0.1,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def row(prompt: str, chosen: str, rejected: str, **more) -> dict:
    """A conversational preference row."""
    return {
        "prompt": [{"role": "user", "content": prompt}],
        "chosen": [{"role": "assistant", "content": chosen}],
        "rejected": [{"role": "assistant", "content": rejected}],
        **more,
    }


def rows_preferring(better: str, worse: str, *, count: int = 24, validation: int = 6) -> list[dict]:
    """Pairs whose only difference is one letter, in answers of several lengths; the last ones are for validation."""
    rows = []
    for index in range(count):
        split = "validation" if index >= count - validation else "train"
        padding = "x" * (index % 4)
        chosen, rejected = f"{padding}{better}", f"{padding}{worse}"
        rows.append(row(f"say {index}", chosen, rejected, id=f"pair-{index}", split=split))
    return rows


def build_adapter(model: Path, folder: Path, *, seed: int, scale: float = 0.05, **settings) -> Path:
    """Save an adapter with random weights on both sides, so its policy differs from the base."""
    import torch

    from trainer.adapter import begin_adapter, save_adapter
    from trainer.config import LoraSettings
    from trainer.model import base_digest, load_model

    loaded = load_model(str(model), device="cpu", dtype="float32")
    base = base_digest(loaded)
    policy = begin_adapter(loaded, LoraSettings(**settings), name=str(model), start=None)
    torch.manual_seed(seed)
    with torch.no_grad():
        for name, weight in policy.named_parameters():
            if "lora_" in name:
                weight.copy_(torch.randn_like(weight) * scale)
    save_adapter(policy, folder, model=str(model), base=base)
    return folder
