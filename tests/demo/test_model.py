"""The demo's weights: small, of this recipe, and able to do what the loop asks of them."""

from __future__ import annotations

import json

import pytest

from demo.build import MODEL_PATH
from demo.measure import completer, measure_drafts, measure_judging, measure_revising
from demo.prompts import PROMPTS_PATH
from demo.recipe import ROLES, corpus, demo_constitution
from records.chat import encode_chat, encode_pair
from records.digest import digest_file
from records.rows import Message

LARGEST = 4 * 1024 * 1024


@pytest.fixture(scope="module")
def recipe() -> dict:
    return json.loads((MODEL_PATH / "recipe.json").read_text())


def test_the_weights_are_one_small_safetensors_file(recipe) -> None:
    weights = [path for path in MODEL_PATH.iterdir() if path.suffix in {".safetensors", ".bin", ".pt", ".pkl"}]
    assert [path.name for path in weights] == ["model.safetensors"]
    assert weights[0].stat().st_size <= LARGEST
    assert digest_file(weights[0]) == recipe["weights_digest"]


def test_the_weights_were_made_from_this_recipe_constitution_and_prompts(recipe) -> None:
    """Where this fails, `make demo-model` builds the weights again."""
    assert recipe["constitution_digest"] == demo_constitution().digest
    assert recipe["prompts_digest"] == digest_file(PROMPTS_PATH)
    assert recipe["roles"] == {role.name: role.share for role in ROLES}


def test_the_chat_template_writes_one_bos_and_ends_an_answer_with_eos() -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(MODEL_PATH)
    assert tokenizer.pad_token_id not in (None, tokenizer.eos_token_id)
    for row in corpus(seed=3, n_rows=200):
        prompt, answer = encode_pair(tokenizer, row.prompt, [Message(role="assistant", content=row.answer)])
        assert prompt.count(tokenizer.bos_token_id) == 1 and prompt[0] == tokenizer.bos_token_id
        assert answer[-1] == tokenizer.eos_token_id and tokenizer.eos_token_id not in answer[:-1]
        assert tokenizer.decode(answer, skip_special_tokens=True) == row.answer
        assert len(prompt) + len(answer) < 400


def test_a_content_tokenises_the_same_alone_and_around_placeholders() -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(MODEL_PATH)
    plain = [Message(role="user", content="How do I clean my kettle?")]
    marked = [Message(role="user", content="How do I clean my kettle?<|end|>")]
    ids = encode_chat(tokenizer, plain, add_generation_prompt=True)
    others = encode_chat(tokenizer, marked, add_generation_prompt=True)
    assert others.count(tokenizer.eos_token_id) == ids.count(tokenizer.eos_token_id) == 1
    assert others[: len(ids) - 2] == ids[:-2]


@pytest.mark.model
def test_the_model_plays_its_roles_on_held_out_questions() -> None:
    complete = completer(MODEL_PATH)
    drafts = measure_drafts(complete, 2)
    assert 0.65 <= drafts["violation_rate"] <= 0.92
    assert drafts["answered_rate"] >= 0.97 and drafts["unended"] == 0
    for name, figures in measure_judging(complete, every=3).items():
        assert figures["right"] >= 0.99, (name, figures)
        assert figures["unparsed"] <= 2, (name, figures)
    revise = measure_revising(complete)
    assert revise["fixed"] >= 0.97, revise
    # A rewrite that mends the fault and loses the answer is the tiny model's commonest slip (docs/log.md, Demo).
    assert revise["kept"] >= 0.92, revise
