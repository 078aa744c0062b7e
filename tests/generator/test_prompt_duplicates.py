"""Prompts that say the same: one stays, the others are counted and named, and the order of files does not matter."""

from __future__ import annotations

import json
import random

import pytest

from generator.source_config import PromptSource
from generator.sources import load_prompts
from records.splits import SplitShares

NO_HELD_OUT = SplitShares(validation=0.0, test=0.0)
HELD_OUT = SplitShares(validation=0.3, test=0.3)
PAGE = [f"word{number}" for number in range(80)]


def write(path, rows):
    path.write_text("".join(json.dumps(row if isinstance(row, dict) else {"prompt": row}) + "\n" for row in rows))
    return str(path)


def asked(found):
    return sorted(prompt.messages[-1].content for prompt in found.prompts)


def page(number):
    """A long prompt that differs from the others of its kind in one word."""
    return " ".join([*PAGE, f"matter{number}"])


def test_exact_and_near_duplicates_are_left_out_counted_and_named(tmp_path):
    first = write(tmp_path / "a.jsonl", ["Clean the oven?", page(1), "Clean the oven?", "Clean the sink?"])
    second = write(tmp_path / "b.jsonl", ["How do I clean an OVEN?", page(2), "Mend the sink?", page(1)])
    found = load_prompts([first, second], NO_HELD_OUT, similarity=0.95)
    assert (found.duplicates, found.near_duplicates, found.alike) == (2, 0, 2)
    assert len(found.prompts) == 8 - 2 - 2 == sum(source.taken for source in found.sources)
    assert sorted(one.why for one in found.left_out) == ["duplicate"] * 2 + ["near_duplicate"] * 2
    instead = {one.id: one.other for one in found.left_out if one.why == "near_duplicate"}
    kept = {prompt.id for prompt in found.prompts}
    assert all(instead.get(one.other, one.other) in kept for one in found.left_out)
    gone = {one.asked for one in found.left_out if one.why == "near_duplicate"}
    assert len(gone & {"Clean the oven?", "How do I clean an OVEN?"}) == len(gone & {page(1), page(2)}) == 1
    assert {source.line() for source in found.sources} >= {
        f"{source.name}: {source.taken} taken of 4 prompts, 1 duplicates"
        + (f", {source.alike} other near-duplicates" if source.alike else "")
        for source in found.sources
    }


def test_without_a_similarity_they_stay(tmp_path):
    path = write(tmp_path / "a.jsonl", ["Clean the oven?", "How do I clean an OVEN?", page(1), page(2)])
    found = load_prompts([path], NO_HELD_OUT)
    assert (len(found.prompts), found.alike, found.left_out) == (4, 0, [])
    assert load_prompts([path], NO_HELD_OUT, similarity=1.0).alike == 1


def test_the_order_of_rows_and_files_does_not_matter(tmp_path):
    rows = [page(number) for number in range(5)]
    rows += [f"{verb} the {thing}?" for verb in ("Mend", "How to mend") for thing in "abc"]
    found = []
    for seed in range(4):
        random.Random(seed).shuffle(rows)
        halves = [write(tmp_path / f"{seed}{half}.jsonl", rows[half::2]) for half in (0, 1)]
        found.append(asked(load_prompts(halves, HELD_OUT, similarity=0.95)))
    assert found[0] == found[1] == found[2] == found[3]


def test_a_held_out_prompt_stays_before_a_train_prompt(tmp_path):
    """What is near a held-out prompt would tell training what evaluation asks."""
    rows = [page(number) for number in range(40)]
    found = load_prompts([write(tmp_path / "a.jsonl", rows)], HELD_OUT, similarity=0.95)
    assert [prompt.split for prompt in found.prompts] == ["test"]
    assert found.alike == 39
    apart = load_prompts([write(tmp_path / "b.jsonl", rows)], HELD_OUT)
    assert len(apart.prompts) == 40


def test_near_duplicates_of_held_out_prompts_are_named_whatever_is_set(tmp_path):
    rows = [f"{start} {thing}?" for start in ("Mend the", "How do I mend my") for thing in PAGE]
    for similarity in (None, 0.95):
        found = load_prompts([write(tmp_path / "a.jsonl", rows)], HELD_OUT, similarity=similarity)
        named = [one for one in found.left_out if one.why == "near_duplicate_of_held_out"]
        held_out = {prompt.id for prompt in found.prompts if prompt.split != "train"}
        assert len(named) == found.near_duplicates > 0
        if similarity is None:
            assert all(one.other in held_out for one in named)
        assert found.near_duplicates + found.alike == len(rows) - len(found.prompts)


@pytest.mark.parametrize("before", ["system", "assistant"])
def test_what_came_before_the_question_keeps_prompts_apart(tmp_path, before):
    def talk(words):
        turns = [{"role": "user", "content": "Hello."}, {"role": "assistant", "content": words}]
        head = [{"role": "system", "content": words}] if before == "system" else turns
        return {"messages": [*head, {"role": "user", "content": "How do I clean the oven?"}]}

    path = write(tmp_path / "a.jsonl", [talk("You are a pirate."), talk("You are a doctor."), talk("you ARE a doctor")])
    found = load_prompts([path], NO_HELD_OUT, similarity=0.95)
    assert len(found.prompts) == 2 and found.alike == 1


def test_a_template_over_one_document_keeps_its_prompts(tmp_path):
    """The document makes them alike; that is what they are for."""
    path = write(tmp_path / "documents.jsonl", [{"text": page(1)}])
    questions = ("Sum it up.", "Who wrote it?", "who wrote it")
    source = PromptSource(path=path, template="{{ text }} {{ question }}", variables={"question": questions})
    found = load_prompts([source], NO_HELD_OUT, similarity=0.95)
    assert len(found.prompts) == 2 and found.alike == 1


def test_near_duplicates_go_before_the_mixture_is_weighed(tmp_path):
    many = write(tmp_path / "many.jsonl", [page(number) for number in range(30)] + ["One?", "Two?"])
    few = write(tmp_path / "few.jsonl", ["Three?", "Four?", "Five?"])
    entries = [PromptSource(path=many, weight=0.5), PromptSource(path=few, weight=0.5)]
    found = load_prompts(entries, NO_HELD_OUT, similarity=0.95)
    assert [source.taken for source in found.sources] == [3, 3]
    assert [source.alike for source in found.sources] == [29, 0]
