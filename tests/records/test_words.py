"""Ids put together from remembered words are the tokeniser's own, and only such tokenisers are cut for as allow it."""

from __future__ import annotations

import json
import re
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from records import words as word_module
from records.chat import encode_chat, encode_text
from records.rows import Message
from records.words import SPLITS, TurnIds, WordIds, reads_by_word
from tests.scripted import CHAT_TEMPLATE, byte_tokenizer

ROOT = Path(__file__).resolve().parents[2]
CORPUS = [
    "it's a test of the words, don't 12 1234 it'll be (so) /path/ a-b -- :\n\nnew lines  two spaces\tand\r\n tabs é ß",
    "The answer says that it stands for some time .  To clean the kettle, rinse it with warm water.\n>>>\n/ok ",
] * 30
# Where a pre-tokeniser may decide by what stands left or right: spaces of all kinds, quotes, digits, marks, markers.
ODD = [
    " ",
    "  ",
    "\n",
    "\n\n",
    " \n ",
    "\t",
    "\r\n",
    "'s",
    " 's",
    "'",
    "/",
    ".\n/",
    "12",
    "1234",
    "é",
    "e\u0301",
    "\u0301",
]
ODD += [
    "\u00a0",
    "\u2003",
    "\u3000",
    "\u200b",
    "\x1c",
    "\x85",
    "漢",
    "字。",
    "🧑‍🚀",
    "<|end|>",
    " <|end|> ",
    "<|user|>",
    "<",
    "|>",
]
TEXTS = st.lists(st.one_of(st.sampled_from(ODD), st.text(max_size=6), st.sampled_from(["a", "Word", "the", "x1"]))).map(
    "".join
)


def trained(pre_tokenizer, normalizer=None, **model):
    """A BPE with merges that would reach over a cut, were it cut in the wrong place."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    backend = Tokenizer(models.BPE(**model))
    backend.pre_tokenizer, backend.decoder = pre_tokenizer, decoders.ByteLevel()
    if normalizer is not None:
        backend.normalizer = normalizer
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    backend.train_from_iterator(
        CORPUS, trainers.BpeTrainer(vocab_size=700, initial_alphabet=alphabet, show_progress=False)
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, eos_token="<|end|>", additional_special_tokens=["<|user|>", "<|im_start|>"]
    )
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


def byte_level(**settings):
    from tokenizers import pre_tokenizers

    return pre_tokenizers.ByteLevel(**{"add_prefix_space": False} | settings)


def split_first(pattern):
    from tokenizers import Regex, pre_tokenizers

    split = pre_tokenizers.Split(Regex(pattern), "isolated")
    return pre_tokenizers.Sequence([split, byte_level(use_regex=False)])


@cache
def cut_for(name):
    from tokenizers import normalizers
    from transformers import AutoTokenizer

    if name == "demo":
        return AutoTokenizer.from_pretrained(ROOT / "demo" / "model")
    if name == "gpt2":
        return trained(byte_level())
    return trained(split_first(sorted(SPLITS)[int(name)]), normalizers.NFC())


NAMES = ["demo", "gpt2", *map(str, range(len(SPLITS)))]


def own_ids(tokenizer, text):
    """What the tokeniser itself makes of a whole text."""
    return tokenizer.backend_tokenizer.encode(text, add_special_tokens=False).ids


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=150)
@given(text=TEXTS)
def test_the_ids_are_those_of_the_whole_text(name, text):
    tokenizer = cut_for(name)
    words = WordIds(lambda piece: own_ids(tokenizer, piece))
    assert words(text) == own_ids(tokenizer, text)
    assert words(text) == own_ids(tokenizer, text), "the second time, from what is remembered"


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=50)
@given(text=TEXTS, more=TEXTS)
def test_conversations_are_encoded_as_by_the_tokeniser_alone(name, text, more):
    tokenizer = cut_for(name)
    if re.search(r"<\||\|>", text + more):
        text, more = text.replace("|", "l"), more.replace("|", "l")  # what spells a marker goes another way
    turns = [Message(role="user", content=text), Message(role="assistant", content=more)]
    rendered = tokenizer.apply_chat_template([turn.model_dump() for turn in turns], tokenize=False)
    assert encode_chat(tokenizer, turns, add_generation_prompt=False) == own_ids(tokenizer, rendered)
    assert encode_text(tokenizer, text) == own_ids(tokenizer, text)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("shortest", [1, 8])
@settings(max_examples=80)
@given(texts=st.lists(TEXTS, min_size=1, max_size=5))
def test_turns_between_control_tokens_are_encoded_each_for_itself(name, shortest, texts):
    tokenizer = cut_for(name)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(word_module, "_SHORTEST_TURN", shortest)
        turns = TurnIds(tokenizer.backend_tokenizer, WordIds(lambda piece: own_ids(tokenizer, piece)))
        for text in (*texts, "<|end|>".join(texts), "<|user|>" + "<|im_start|><|end|>".join(texts * 2)):
            assert turns(text) == turns(text) == own_ids(tokenizer, text)


@pytest.mark.parametrize("normalized", [True, False])
def test_of_control_tokens_that_begin_alike_the_longest_is_taken(normalized):
    from tokenizers import AddedToken

    tokenizer = trained(byte_level())
    tokenizer.add_tokens([AddedToken("<|end|>s", normalized=normalized), AddedToken("x<|e", normalized=False)])
    turns = TurnIds(tokenizer.backend_tokenizer, WordIds(lambda piece: own_ids(tokenizer, piece)))
    for text in ("a<|end|>s b", "a<|end|> s", "x<|end|>s", "xx<|e<|end|>"):
        assert turns(text) == own_ids(tokenizer, text), text


def test_a_turn_seen_before_costs_no_words_and_what_is_remembered_is_bounded(monkeypatch):
    monkeypatch.setattr(word_module, "_MOST_CHARACTERS", 5_000)
    tokenizer, asked = trained(byte_level()), []

    def words(text):
        asked.append(text)
        return [len(text)]

    turns = TurnIds(tokenizer.backend_tokenizer, words)
    examples, question = "e" * 300, "q" * 300
    for number in range(3):
        turns(f"{examples}<|end|>{question}{number}<|end|>short")
    assert asked.count(examples) == 1 and asked.count("short") == 3
    for number in range(100):
        turns(f"{number}{'x' * 999}<|end|>{'y' * 6_000}")
        assert sum(map(len, turns._turns)) <= 6_500


@pytest.mark.parametrize("name", NAMES)
def test_these_tokenisers_are_cut_for(name):
    assert reads_by_word(cut_for(name).backend_tokenizer)


def test_a_known_text_costs_no_encoding():
    asked = []

    def encode(piece):
        asked.append(piece)
        return [len(piece)]

    words = WordIds(encode)
    assert words("one two\nlines  two") == [3, 4 + 6 + 5]
    words("one two\nlines  two")
    assert asked == ["one", " two\nlines  two"]


def test_what_is_remembered_is_bounded(monkeypatch):
    monkeypatch.setattr(word_module, "_MOST", 100)
    words = WordIds(lambda piece: [len(piece)])
    for number in range(1000):
        words(f"a {number} {'x' * 1000}{number}")
        assert len(words._later) <= 100
    assert max(map(len, words._later)) <= 64


def test_a_tokeniser_given_new_tokens_is_looked_at_anew():
    tokenizer = trained(byte_level())
    before = encode_text(tokenizer, "the kettle of the kettle")
    tokenizer.add_tokens(["kettle"])
    after = encode_text(tokenizer, "the kettle of the kettle")
    assert after == own_ids(tokenizer, "the kettle of the kettle") != before


def without(**changes):
    """A tokeniser that would be cut for, changed in one respect."""
    from tokenizers import AddedToken, Tokenizer

    told = json.loads(cut_for("gpt2").backend_tokenizer.to_str())
    marker = changes.pop("marker", None)
    model = changes.pop("model", {})
    backend = Tokenizer.from_str(json.dumps(told | changes | {"model": told["model"] | model}))
    if marker:
        backend.add_tokens([AddedToken(**marker)])
    return backend


def test_others_are_not_cut_for():
    from tokenizers import Tokenizer, models

    byte = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    split = {"type": "Split", "pattern": {"Regex": sorted(SPLITS)[0] + "|x y"}, "behavior": "Isolated", "invert": False}
    assert reads_by_word(without())
    for other in (
        without(pre_tokenizer=None),
        without(pre_tokenizer=byte | {"add_prefix_space": True}),
        without(pre_tokenizer=byte | {"use_regex": False}),
        without(pre_tokenizer={"type": "Sequence", "pretokenizers": [split, byte | {"use_regex": False}]}),
        without(pre_tokenizer={"type": "Metaspace", "replacement": "▁", "prepend_scheme": "first", "split": True}),
        without(normalizer={"type": "Prepend", "prepend": "▁"}),
        without(normalizer={"type": "NFKC"}),
        without(model={"dropout": 0.5}),
        without(marker={"content": "<x>", "lstrip": True}),
        without(marker={"content": "<x>", "rstrip": True}),
        without(marker={"content": "x", "single_word": True}),
        without(marker={"content": "two words"}),
        Tokenizer(models.WordPiece({"a": 0}, unk_token="a")),
        byte_tokenizer().backend_tokenizer,
    ):
        assert not reads_by_word(other)
