"""The chat templates of real models that TRL ships: both sides of a pair the canonical way, or refused in words."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import pytest

from records.chat import check_template, encode_pair
from records.errors import ConfigError
from records.rows import Message

trl = pytest.importorskip("trl")
TEMPLATES = Path(trl.__file__).parent / "chat_templates"
# Those "_training" are variants of the others, for trainings of other kinds.
SHIPPED = sorted(path.stem for path in TEMPLATES.glob("*.jinja") if not path.stem.endswith("_training"))
THINKS = r"opens <think> before an answer|does not render the prompt as a prefix"
REFUSED = {
    **dict.fromkeys(("deepseek_r1_distill", "deepseekv3"), THINKS),
    **dict.fromkeys((name for name in SHIPPED if name.startswith("nemotron")), THINKS),
    **dict.fromkeys(("qwen3_5_think", "qwen3_6", "qwen3_8"), THINKS),
    # They take an answer as a list of parts, and write nothing of a text, or fail.
    **dict.fromkeys(("idefics3", "smolvlm"), "leaves out a text"),
    "llava_next": "refuses a conversation of user",
    "glm4moe": "ends no answer",  # its next turn does
}
TAKEN = [name for name in SHIPPED if name not in REFUSED]
PROMPTS = [
    [Message(role="user", content="How do I boil an egg?")],
    [
        Message(role="user", content="  Hi.\n\n"),
        Message(role="assistant", content="Hello."),
        Message(role="user", content="\n\nAgain?"),
    ],
]
ANSWERS = ["In water.", "\n\nIn hot\n\nwater.", "  Slowly", "Zq"]
# How the tokenisers of Llama 3 and Qwen cut a text into words: line ends in a row stay together.
LLAMA_3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)


@cache
def tokenizer_of(name: str):
    """A small BPE whose merges cross line ends, under the template, with every mark that the template spells."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    template = (TEMPLATES / f"{name}.jinja").read_text()
    backend = Tokenizer(models.BPE())
    cut = pre_tokenizers.Split(Regex(LLAMA_3), behavior="isolated")
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [cut, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    backend.decoder = decoders.ByteLevel()
    text = ["How do I boil an egg?\n\nIn hot\n\nwater.\n\n\nassistant\n\nuser\nHello. Again? Slowly So. Why?"] * 20
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=400, initial_alphabet=alphabet, show_progress=False)
    backend.train_from_iterator(text, trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend,
        bos_token="<bos>",
        eos_token="<eos>",
        additional_special_tokens=sorted(set(re.findall(r"<[^<>\s]{1,60}>", template)) - {"<bos>", "<eos>"}),
    )
    tokenizer.chat_template = template
    return tokenizer


def test_the_best_known_templates_are_among_those_taken():
    known = {"llama3", "llama3_1", "llama3_2", "qwen2_5", "qwen3", "gemma", "gemma3", "phi3", "cohere", "gptoss"}
    assert known <= {*TAKEN} and len(TAKEN) >= 25 and {*REFUSED} <= {*SHIPPED}


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_a_template_that_pairs_cannot_be_written_in_is_refused_in_words(name):
    with pytest.raises(ConfigError, match=REFUSED[name]) as told:
        check_template(tokenizer_of(name))
    assert "expected" in str(told.value) and "hoose another" in str(told.value)


@pytest.mark.parametrize("name", TAKEN)
def test_both_sides_are_tokenised_the_one_canonical_way(name):
    """As transformers and TRL tokenise a harmless conversation: one prompt, one BOS, a mark that ends the answer.

    Where tokens merge across the beginning of an answer, the prompt keeps the ids that the model is asked with.
    """
    tokenizer = tokenizer_of(name)
    check_template(tokenizer)
    writes_bos = "bos_token" in tokenizer.chat_template
    special = {*tokenizer.all_special_ids}
    for prompt in PROMPTS:
        plain = [turn.model_dump() for turn in prompt]
        asked = tokenizer.apply_chat_template(plain, add_generation_prompt=True, tokenize=True, return_dict=False)
        for answer in ANSWERS:
            prompt_ids, answer_ids = encode_pair(tokenizer, prompt, [Message(role="assistant", content=answer)])
            whole = tokenizer.apply_chat_template(
                [*plain, {"role": "assistant", "content": answer}], tokenize=True, return_dict=False
            )
            assert prompt_ids == asked
            if whole[: len(asked)] == asked:
                assert answer_ids == whole[len(asked) :]
            else:
                assert answer.startswith("\n") and tokenizer.decode(asked + answer_ids) == tokenizer.decode(whole)
            assert prompt_ids.count(tokenizer.bos_token_id) == int(writes_bos)
            assert tokenizer.bos_token_id not in answer_ids
            _, ended = tokenizer.decode(answer_ids).rsplit(answer.strip(), 1)
            assert special & {*tokenizer.encode(ended, add_special_tokens=False)}, "nothing ends the answer"
