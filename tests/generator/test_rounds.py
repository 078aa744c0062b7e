"""Which prompts a round gets, and that held-out ones never train."""

from __future__ import annotations

import json
import random

import pytest

from generator.rounds import choose_mode, round_prompts
from generator.sources import load_prompts
from records.errors import ConfigError
from records.splits import SplitShares

SHARES = SplitShares(validation=0.1, test=0.2)


@pytest.fixture
def found(tmp_path):
    return load_prompts([write(tmp_path / "prompts.jsonl", range(300))], SHARES)


def write(path, numbers):
    path.write_text("".join(json.dumps({"prompt": f"How do I paint wall number {n}?"}) + "\n" for n in numbers))
    return str(path)


def ids(prompts):
    return [prompt.id for prompt in prompts]


def slices(found, mode="fresh", per_round=60, rounds=4, most_validation=5, seed=3):
    return [
        round_prompts(found, index, mode=mode, per_round=per_round, most_validation=most_validation, seed=seed)
        for index in range(rounds)
    ]


def test_fresh_slices_are_disjoint_and_the_last_partial_one_is_kept(found):
    train = [[prompt.id for prompt in part if prompt.split == "train"] for part in slices(found)]
    together = [id for part in train for id in part]
    assert len(together) == len(set(together))
    assert set(together) == set(ids(found.of("train"))), "four rounds of 60 take all, the last one the rest"
    assert [len(part) for part in train[:3]] == [60, 60, 60] and 0 < len(train[3]) < 60


def test_validation_prompts_are_the_same_every_round_and_test_prompts_in_none(found):
    rounds = slices(found)
    validation = [[prompt.id for prompt in part if prompt.split == "validation"] for part in rounds]
    assert len(validation[0]) == 5 and all(part == validation[0] for part in validation)
    assert not {prompt.id for part in rounds for prompt in part} & set(ids(found.of("test")))


def test_a_reordered_file_gives_the_same_rounds_and_another_seed_others(found, tmp_path):
    numbers = list(range(300))
    random.Random(0).shuffle(numbers)
    again = load_prompts([write(tmp_path / "again.jsonl", numbers)], SHARES)
    assert [ids(part) for part in slices(again)] == [ids(part) for part in slices(found)]
    assert [ids(part) for part in slices(found, seed=4)] != [ids(part) for part in slices(found)]


def test_repeated_prompts_and_no_limits(found):
    first, second, *_ = slices(found, mode="repeat")
    assert ids(first) == ids(second)
    (everything,) = slices(found, per_round=None, rounds=1, most_validation=None)
    assert set(ids(everything)) == set(ids(found.of("train") + found.of("validation")))


def test_fresh_where_there_are_enough():
    assert choose_mode(None, per_round=10, rounds=3, found=30) == "fresh"
    assert choose_mode(None, per_round=10, rounds=3, found=29) == "repeat"
    assert choose_mode(None, per_round=None, rounds=3, found=29) == "repeat"
    assert choose_mode("repeat", per_round=10, rounds=1, found=30) == "repeat"
    with pytest.raises(ConfigError, match=r"3 rounds of 10.*found 29"):
        choose_mode("fresh", per_round=10, rounds=3, found=29)
    with pytest.raises(ConfigError, match="prompts_per_round"):
        choose_mode("fresh", per_round=None, rounds=3, found=29)
