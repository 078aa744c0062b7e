"""Builds the demo model from nothing: corpus, tokeniser, random weights, then this project's own SFT.

`python -m demo.build [FOLDER]` writes a Hugging Face model folder (demo/model by default) and a recipe.json beside
the weights that says what they were made from.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from demo.prompts import PROMPTS_PATH
from demo.recipe import ROLES, Row, corpus, demo_constitution
from records.atomic import write_json_atomic
from records.digest import digest_file, digest_json
from trainer.sft_config import SftConfig, SftJob, SftRow

MODEL_PATH = Path(__file__).parent / "model"
SEED = 7
CONTEXT = 1024
VOCABULARY = 1280
HIDDEN, LAYERS, HEAD = 192, 4, 32
INITIAL_WIDTH = 0.07
BOS, END, PAD = "<|begin|>", "<|end|>", "<|pad|>"
ROLE_TOKENS = ("<|system|>", "<|user|>", "<|assistant|>")

# A turn is its role's token, the content and the end token, with nothing between: contents tokenise the same alone
# and in place, and a prompt with its generation header is a prefix of the conversation that answers it.
CHAT_TEMPLATE = (
    "<|begin|>{% for message in messages %}<|{{ message['role'] }}|>{{ message['content'] | trim }}<|end|>"
    "{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
# From whole conversations: the answers alone are a quarter of the tokens, and finding out how to look words up takes
# several times as long on them. In blocks, so that every step of the optimizer sees every role.
ALL_ROLES = SftConfig(
    learning_rate=3e-3,
    rows_per_step=24,
    rows_per_micro_batch=24,
    block_tokens=256,
    epochs=2,
    loss_on="conversation",
    max_tokens=CONTEXT,
    lora=None,
    device="cpu",
)


@dataclass(frozen=True)
class Course:
    """One supervised training of the model: so many fresh rows under these settings."""

    n_rows: int
    config: SftConfig


# The first course finds out how to look words up; the second and third, on rows the model has not seen, make it sure.
# The last is on answers alone, or else a quoted conversation is what the model says next when preferences push it.
COURSES = (
    Course(27_000, ALL_ROLES),
    Course(36_000, ALL_ROLES.model_copy(update={"learning_rate": 2e-3, "epochs": 1.0})),
    Course(36_000, ALL_ROLES.model_copy(update={"learning_rate": 1.5e-3, "epochs": 1.0})),
    Course(24_000, ALL_ROLES.model_copy(update={"learning_rate": 1e-3, "epochs": 1.0, "loss_on": "answer"})),
)


def draw_corpora(courses: tuple[Course, ...] = COURSES) -> list[list[Row]]:
    """The rows of each course, in the order in which it is given them."""
    return [list(corpus(SEED + index, course.n_rows)) for index, course in enumerate(courses)]


def corpus_digest(corpora: list[list[Row]]) -> str:
    """The digest of every row's role, answer and conversation: what recipe.json says the weights were made from."""
    return digest_json(
        [[row.role, row.answer, *(turn.content for turn in row.prompt)] for rows in corpora for row in rows]
    )


def train_tokenizer(rows: list[Row]) -> Any:
    """A byte-level BPE tokeniser with the demo's chat template, its merges learned from the rows' texts."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    texts = (text for row in rows for text in [*(turn.content for turn in row.prompt), row.answer])
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=[PAD, BOS, END, *ROLE_TOKENS],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=BOS,
        eos_token=END,
        pad_token=PAD,
        additional_special_tokens=list(ROLE_TOKENS),
        model_max_length=CONTEXT,
        clean_up_tokenization_spaces=False,
    )
    fast.chat_template = CHAT_TEMPLATE
    return fast


def random_model(tokenizer: Any) -> Any:
    """A small Llama with random weights: heads of 32, which vLLM's CPU kernels can serve."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(SEED)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=HIDDEN,
        intermediate_size=3 * HIDDEN,
        num_hidden_layers=LAYERS,
        num_attention_heads=HIDDEN // HEAD,
        num_key_value_heads=HIDDEN // HEAD // 2,
        head_dim=HEAD,
        max_position_embeddings=CONTEXT,
        # Wide enough first weights for so few dimensions, and rotations quick enough to tell neighbours apart: both let
        # the model find out sooner how to look things up.
        initializer_range=INITIAL_WIDTH,
        rope_parameters={"rope_type": "default", "rope_theta": 1000.0},
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return LlamaForCausalLM(config)


def build(folder: Path, courses: tuple[Course, ...] = COURSES) -> dict[str, Any]:
    """Train the model and write it to a folder, which is replaced.

    Returns:
        What recipe.json holds: seed, sizes, digests of what the model learned from, and each training's figures.
    """
    from trainer.sft import train_sft

    corpora = draw_corpora(courses)
    with tempfile.TemporaryDirectory() as scratch:
        trained, figures = Path(scratch) / "start", []
        tokenizer = train_tokenizer(corpora[0][:8000])
        tokenizer.save_pretrained(trained)
        random_model(tokenizer).save_pretrained(trained)
        for index, (course, rows) in enumerate(zip(courses, corpora, strict=True)):
            output = Path(scratch) / f"course-{index}"
            job = SftJob(model=str(trained), output=output, config=course.config, seed=SEED)
            figures.append(train_sft(job, [SftRow(prompt=row.prompt, answer=row.answer) for row in rows]))
            trained = output
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(trained, folder)
    recipe = {
        "seed": SEED,
        "roles": {role.name: role.share for role in ROLES},
        "corpus_digest": corpus_digest(corpora),
        "prompts_digest": digest_file(PROMPTS_PATH),
        "constitution_digest": demo_constitution().digest,
        "weights_digest": digest_file(folder / "model.safetensors"),
        "courses": [
            {"sft": course.config.model_dump(mode="json"), **said}
            for course, said in zip(courses, figures, strict=True)
        ],
    }
    write_json_atomic(folder / "recipe.json", recipe)
    return recipe


if __name__ == "__main__":
    # Before torch starts its threads: on a busy machine threads that spin while they wait slow each other down.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("OMP_NUM_THREADS", str(os.cpu_count() or 1))
    for course in build(Path(sys.argv[1]) if len(sys.argv) > 1 else MODEL_PATH)["courses"]:
        print({name: course[name] for name in ("rows", "steps", "seconds", "loss", "mean_token_accuracy")})
