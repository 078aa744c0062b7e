from __future__ import annotations

import json

import pytest

from records.errors import ConfigError, DataError
from records.held_out import held_out_from
from records.rows import Message
from tests.trainer.tiny import TEMPLATE, build_tokenizer, row
from trainer.data import load_pairs


@pytest.fixture(scope="module")
def tokenizer():
    return build_tokenizer()


def texts(tokenizer, pair):
    return tuple(tokenizer.decode(ids) for ids in (pair.prompt_ids, pair.chosen_ids, pair.rejected_ids))


def test_conversational_pairs_have_one_bos_and_keep_eos(tokenizer, write_rows):
    (pair,) = load_pairs([write_rows([row("hi", "good", "bad")])], tokenizer, 100).train
    assert texts(tokenizer, pair) == ("<s><user>hi</s><assistant>", "good</s>", "bad</s>")


def test_standard_pairs_have_one_bos_and_keep_eos(tokenizer, write_rows):
    rows = [
        {"prompt": "hi ", "chosen": "good", "rejected": "bad"},
        {"prompt": "<s>hi ", "chosen": "good</s>", "rejected": "bad</s>"},
    ]
    plain, spelled = load_pairs([write_rows(rows)], tokenizer, 100).train
    bos = [tokenizer.bos_token_id] if tokenizer.encode("x")[0] == tokenizer.bos_token_id else []
    assert plain.prompt_ids == bos + tokenizer.encode("hi ", add_special_tokens=False)
    assert texts(tokenizer, spelled) == ("<s>hi ", "good</s>", "bad</s>")
    assert texts(tokenizer, plain)[1:] == ("good</s>", "bad</s>")


def test_standard_pairs_keep_the_prompts_own_ids_where_tokens_merge(write_rows):
    tokenizer = _merging_tokenizer()
    assert len(tokenizer.encode("ab", add_special_tokens=False)) == 1
    (pair,) = load_pairs([write_rows([{"prompt": "a", "chosen": "b", "rejected": "c"}])], tokenizer, 100).train
    assert texts(tokenizer, pair) == ("a", "b</s>", "c</s>")


def _merging_tokenizer():
    import json

    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

    held = json.loads(build_tokenizer().backend_tokenizer.to_str())
    held["model"]["vocab"]["ab"] = len(held["model"]["vocab"])
    held["model"]["merges"] = [["a", "b"]]
    inner = Tokenizer.from_str(json.dumps(held))
    return PreTrainedTokenizerFast(tokenizer_object=inner, bos_token="<s>", eos_token="</s>", pad_token="<pad>")


def test_a_marker_inside_an_answer_stays_text(tokenizer, write_rows):
    (pair,) = load_pairs([write_rows([row("hi", "say </s> now", "bad")])], tokenizer, 100).train
    assert pair.chosen_ids.count(tokenizer.eos_token_id) == 1
    assert pair.chosen_ids[-1] == tokenizer.eos_token_id


@pytest.mark.parametrize(("most", "kept"), [(20, ["short", "longer"]), (19, ["short"]), (12, ["short"])])
def test_too_long_pairs_are_listed_and_never_cut(tokenizer, write_rows, most, kept):
    # "<s><user>a</s><assistant>" is 5 tokens; the longer answer is 14 letters and EOS.
    rows = [row("a", "bc", "b", id="short"), row("a", "b", "b" * 14, id="longer")]
    pairs = load_pairs([write_rows(rows)], tokenizer, most)
    assert [pair.id for pair in pairs.train] == kept
    assert list(pairs.too_long) == [id for id in ("short", "longer") if id not in kept]
    assert all(pair.rejected_ids[-1] == tokenizer.eos_token_id for pair in pairs.train)


def test_validation_pairs_are_kept_apart(tokenizer, write_rows):
    rows = [row("a", "b", "c", id="t", split="train"), row("a", "b", "c", id="v", split="validation")]
    pairs = load_pairs([write_rows(rows)], tokenizer, 100)
    assert [pair.id for pair in pairs.train] == ["t"]
    assert [pair.id for pair in pairs.validation] == ["v"]


def test_sides_that_are_the_same_tokens_are_listed_and_left_out(write_rows):
    strips = TEMPLATE.replace("message.content +", "message.content.strip() +")
    tokenizer = build_tokenizer(template=strips)
    rows = [row("a", "b", "b ", id="same"), row("a", "b", "c", id="other")]
    pairs = load_pairs([write_rows(rows)], tokenizer, 100)
    assert ([pair.id for pair in pairs.train], pairs.same_tokens) == (["other"], ("same",))


def test_pairs_on_held_out_prompts_are_listed_and_never_trained(tokenizer, write_rows):
    rows = [
        row("Why is the sky blue?", "b", "c", id="same"),
        row("why was THE sky  blue", "b", "c", id="near"),
        row("Why is the sea blue?", "b", "c", id="other"),
        row("Why is the sky blue?", "b", "c", id="for evaluation", split="validation"),
        {"prompt": "Why is the sky blue?", "chosen": "b", "rejected": "c", "id": "text"},
        {"prompt": "\n\nHuman: Why is the sky blue?\n\nAssistant:", "chosen": "b", "rejected": "c", "id": "dialogue"},
    ]
    held_out = held_out_from([[Message(role="user", content="Why is the sky blue?")]])
    pairs = load_pairs([write_rows(rows)], tokenizer, 100, held_out)
    assert [pair.id for pair in pairs.train] == ["other"]
    assert [pair.id for pair in pairs.validation] == ["for evaluation"]
    assert pairs.left_out == {
        "too_long": (),
        "same_tokens": (),
        "held_out": ("same", "near", "text", "dialogue"),
        "contradictory": (),
    }


def test_pairs_that_contradict_each_other_are_listed_and_never_trained_whatever_file_they_are_in(tokenizer, write_rows):
    first = write_rows([row("a", "b", "c", id="x", split="train"), row("d", "e", "f", id="y", split="train")])
    second = write_rows(
        [row(" A", "c", "B ", id="z", split="validation"), row("d", "e", "g", id="w", split="train")], "b.jsonl"
    )
    pairs = load_pairs([first, second], tokenizer, 100)
    assert [pair.id for pair in pairs.train] == ["y", "w"] and not pairs.validation
    assert pairs.left_out == {"too_long": (), "same_tokens": (), "held_out": (), "contradictory": ("x", "z")}
    kept = load_pairs([first, second], tokenizer, 100, keep_contradictions=True)
    assert [len(kept.train), len(kept.validation), kept.contradictory] == [3, 1, ()]


def test_two_files_may_number_their_rows_alike(tokenizer, tmp_path):
    """Ids of own data are file name and row: a row of one file must not answer for that of another."""
    paths = []
    for folder, rows in (("one", [("a", "b", "c"), ("d", "e", "f")]), ("two", [("d", "f", "e"), ("a", "b", "c")])):
        (tmp_path / folder).mkdir()
        paths.append(tmp_path / folder / "rows.jsonl")
        lines = [dict(zip(("prompt", "chosen", "rejected"), texts, strict=True)) for texts in rows]
        paths[-1].write_text("".join(json.dumps(line) + "\n" for line in lines))
    pairs = load_pairs(paths, tokenizer, 100)
    assert [pair.id for pair in pairs.train] == ["rows.jsonl:1", "rows.jsonl:2"]
    assert pairs.contradictory == ("rows.jsonl:2", "rows.jsonl:1")


def test_no_pair_to_train_on_says_where_they_went(tokenizer, write_rows):
    rows = [row("a", "b", "c", split="validation"), row("a", "b", "c" * 50)]
    with pytest.raises(DataError, match="of 2, 1 are for validation only, 1 are longer than 20 tokens"):
        load_pairs([write_rows(rows)], tokenizer, 20)


def test_conversational_pairs_need_a_chat_template(write_rows):
    tokenizer = build_tokenizer(template=None)
    with pytest.raises(ConfigError, match="no chat template; expected an instruction-tuned model"):
        load_pairs([write_rows([row("a", "b", "c")])], tokenizer, 100)
    standard = [{"prompt": "a", "chosen": "b", "rejected": "c"}]
    assert len(load_pairs([write_rows(standard)], tokenizer, 100).train) == 1


def test_a_template_that_changes_the_prompt_is_named_with_its_row(write_rows):
    tokenizer = build_tokenizer(template="{{ messages | length }}" + TEMPLATE)
    with pytest.raises(DataError, match="row 1: the chat template does not render the prompt as a prefix"):
        load_pairs([write_rows([row("a", "b", "c")])], tokenizer, 100)


@pytest.mark.parametrize("pad_token", ["<pad>", "</s>", None])
def test_the_final_eos_is_in_the_loss_whatever_pads(write_rows, pad_token):
    """Masking by pad id would take the EOS of every answer out of the loss where pad and EOS are one token."""
    from trainer.reference import collator_for, columns

    tokenizer = build_tokenizer(pad_token=pad_token)
    pairs = load_pairs([write_rows([row("a", "bcd", "e"), row("fgh", "i", "jklmn")])], tokenizer, 100).train
    batch = collator_for(tokenizer)([columns(pair) for pair in pairs])
    answers = [pair.chosen_ids for pair in pairs] + [pair.rejected_ids for pair in pairs]
    prompts = [pair.prompt_ids for pair in pairs] * 2
    rows = zip(batch["input_ids"], batch["attention_mask"], batch["completion_mask"], prompts, answers, strict=True)
    for ids, attention, mask, prompt, answer in rows:
        assert ids[mask == 1].tolist() == answer
        assert ids[mask == 1][-1] == tokenizer.eos_token_id
        assert ids[attention == 1].tolist() == prompt + answer


def test_a_template_that_opens_a_thought_is_refused_before_anything_trains(write_rows):
    """Its tokens are a prefix, and yet no answer that the policy would give begins as those of the pairs do."""
    thought = "('<think></think>' if message.role == 'assistant' else '') + message.content"
    template = TEMPLATE.replace("message.content", thought).replace("'<assistant>' }}", "'<assistant><think>' }}")
    tokenizer = build_tokenizer(template=template)
    with pytest.raises(ConfigError, match="opens <think> before an answer"):
        load_pairs([write_rows([row("a", "b", "c")])], tokenizer, 100)
    texts = [{"prompt": "a", "chosen": "b", "rejected": "c"}]
    assert load_pairs([write_rows(texts)], tokenizer, 100).train
