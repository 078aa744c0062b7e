"""Weighted mixtures: the shares hold, nothing is taken twice, and no weight moves a prompt to another split."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from generator.mixture import mix
from generator.source_config import PromptSource
from generator.sources import PromptSet, load_prompts
from records.errors import DataError
from records.rows import Message, Prompt
from records.splits import SplitShares, content_key

SHARES = SplitShares(validation=0.2, test=0.3)


def write(path: Path, prompts: list[str]) -> str:
    path.write_text("".join(json.dumps({"prompt": prompt}) + "\n" for prompt in prompts))
    return str(path)


@pytest.fixture
def files(tmp_path: Path) -> tuple[str, str]:
    a = write(tmp_path / "a.jsonl", [f"Mend thing{number}?" for number in range(100)])
    return a, write(tmp_path / "b.jsonl", [f"Paint thing{number}?" for number in range(400)])


def mixed(files: tuple[str, str], *weights: float, seed: int = 0) -> PromptSet:
    sources = [PromptSource(path=path, weight=weight) for path, weight in zip(files, weights, strict=True)]
    return load_prompts(sources, SHARES, seed=seed)


def ids(found: PromptSet) -> set[str]:
    return {prompt.id for prompt in found.prompts}


def test_the_shares_hold_and_are_counted(files: tuple[str, str]) -> None:
    found = mixed(files, 0.3, 0.7)
    assert [source.taken for source in found.sources] == [100, 233]
    assert [source.line() for source in found.sources] == [
        f"{files[0]}: 100 taken of 100 prompts",
        f"{files[1]}: 233 taken of 400 prompts, 167 not taken by weight",
    ]
    assert len(found.prompts) == len(ids(found)) == 333
    assert ids(mixed(files, 3, 7)) == ids(found)
    assert [source.taken for source in mixed(files, 0.8, 0.2).sources] == [100, 25]
    assert [source.taken for source in load_prompts(files, SHARES).sources] == [100, 400]


def test_the_seed_decides_and_neither_order_nor_names_do(files: tuple[str, str], tmp_path: Path) -> None:
    found = mixed(files, 0.5, 0.5)
    assert ids(mixed(files, 0.5, 0.5)) == ids(found) != ids(mixed(files, 0.5, 0.5, seed=1))
    lines = Path(files[1]).read_text().splitlines()
    turned = write(tmp_path / "turned.jsonl", [json.loads(line)["prompt"] for line in reversed(lines)])
    assert ids(mixed((turned, files[0]), 0.5, 0.5)) == ids(found)


def test_a_larger_share_keeps_what_a_smaller_one_took(files: tuple[str, str]) -> None:
    assert ids(mixed(files, 0.8, 0.2)) < ids(mixed(files, 0.5, 0.5)) < ids(mixed(files, 0.3, 0.7))


def test_no_weight_moves_a_prompt_or_brings_a_near_duplicate_of_a_held_out_one_back(
    files: tuple[str, str], tmp_path: Path
) -> None:
    near = write(tmp_path / "near.jsonl", [f"How could you paint the thing{number}?" for number in range(400)])
    whole = load_prompts([*files, near], SHARES)
    split = {prompt.id: prompt.split for prompt in whole.prompts}
    assert whole.near_duplicates > 0
    sources = [PromptSource(path=path, weight=weight) for path, weight in zip([*files, near], (5, 1, 6), strict=True)]
    found = load_prompts(sources, SHARES)
    assert found.sources[1].taken == 20
    assert all(split[prompt.id] == prompt.split for prompt in found.prompts)
    held_out = {content_key(prompt.messages) for prompt in whole.prompts if prompt.split != "train"}
    assert not held_out & {content_key(prompt.messages) for prompt in found.of("train")}


def test_a_prompt_of_two_sources_counts_for_the_first_alone(files: tuple[str, str], tmp_path: Path) -> None:
    again = write(tmp_path / "c.jsonl", [f"Mend thing{number}?" for number in range(150)])
    found = mixed((files[0], again), 0.5, 0.5)
    assert [(source.duplicates, source.taken) for source in found.sources] == [(0, 50), (100, 50)]
    with pytest.raises(DataError, match="over 100, 0 prompts give a source no prompt at all"):
        mixed((files[0], files[0]), 0.5, 0.5)
    with pytest.raises(DataError, match="weights 1, 1000 over 100, 400 prompts"):
        mixed(files, 1, 1000)


@given(st.lists(st.tuples(st.integers(1, 60), st.floats(0.05, 5)), min_size=1, max_size=4), st.integers(0, 9))
def test_no_larger_mixture_holds_the_shares(sources: list[tuple[int, float]], seed: int) -> None:
    prompts = [
        [Prompt(id=f"{index}-{n}", messages=(Message(role="user", content="x"),), split="train") for n in range(count)]
        for index, (count, _) in enumerate(sources)
    ]
    weights = [weight for _, weight in sources]
    try:
        taken = mix(prompts, weights, seed)
    except DataError:
        total = min(count / weight for count, weight in sources)
        assert min(weights) * total < 1
        return
    scale = max(len(one) / weight for one, weight in zip(taken, weights, strict=True))
    for one, weight in zip(taken, weights, strict=True):
        assert abs(len(one) - weight * scale) <= 1 + 1e-6
    assert any(len(one) == len(held) for one, held in zip(taken, prompts, strict=True))
