"""Shares of other preference sets: how many pairs are drawn, which ones, and what is said about it."""

from __future__ import annotations

import json
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.trainer.tiny import rows_preferring
from tests.trainer.training import FAST, write_pairs
from trainer.config import TrainConfig
from trainer.data import EncodedPair
from trainer.dpo import TrainJob, train_dpo
from trainer.mixing import mixed, mixing_alarms
from trainer.pair_sources import PairSource


def pairs_of(*counts):
    """So many pairs of each source."""
    return [
        EncodedPair(f"{place}-{n}", [1], [2], [3], source=place)
        for place, count in enumerate(counts)
        for n in range(count)
    ]


def share(weight, *, repeat=False, path="harmless.jsonl"):
    return PairSource(path=path, weight=weight, repeat=repeat)


@pytest.mark.parametrize(
    ("counts", "sources", "taken"),
    [
        ((10, 20), ("run", "own"), (10, 20)),  # without weights all are taken
        ((70, 100), ("run", share(0.3)), (70, 30)),
        ((70, 30), ("run", share(0.3)), (70, 30)),
        ((70, 12), ("run", share(0.3)), (70, 12)),  # it gives what it has
        ((70, 12), ("run", share(0.3, repeat=True)), (70, 30)),
        ((50, 100, 100), ("run", share(0.3), share(0.2)), (50, 30, 20)),
        ((30, 20, 100), ("run", "own", share(0.5)), (30, 20, 50)),
        ((10, 0), ("run", share(0.3)), (10, 0)),
        # No pairs but the weighted sets': their weights are shares among them, and none is drawn twice.
        ((40, 100), (share(0.2), share(0.2)), (40, 40)),
        ((100, 10), (share(0.6), share(0.2)), (30, 10)),
        ((100, 10), (share(0.6), share(0.2, repeat=True)), (100, 33)),
        ((12, 100), (share(0.5, repeat=True), share(0.25, repeat=True)), (200, 100)),
        ((0, 8), (share(0.5), share(0.2)), (0, 8)),
    ],
)
def test_how_many_pairs_each_source_gives(counts, sources, taken):
    found, told = mixed(pairs_of(*counts), sources, "7")
    assert tuple(Counter(pair.source for pair in found)[place] for place in range(len(counts))) == taken
    assert tuple(one["pairs"] for one in told) == taken and tuple(one["found"] for one in told) == counts
    assert json.loads(json.dumps(told)) == told


@given(
    st.integers(1, 60),
    st.lists(st.tuples(st.integers(0, 60), st.integers(1, 30), st.booleans()), max_size=3),
    st.text(),
)
def test_a_draw_is_without_replacement_or_in_whole_passes_and_the_same_for_a_seed(whole, others, seed):
    shares = [share(weight / 100, repeat=repeat) for _, weight, repeat in others]
    pairs = pairs_of(whole, *(count for count, *_ in others))
    found, _ = mixed(pairs, ["run", *shares], seed)
    assert found == mixed(pairs, ["run", *shares], seed)[0]
    times = Counter(pair.id for pair in found)
    assert all(times[f"0-{n}"] == 1 for n in range(whole))
    for place, ((count, _, repeat), one) in enumerate(zip(others, shares, strict=True), 1):
        drawn = [times[f"{place}-{n}"] for n in range(count)]
        assert not drawn or (max(drawn) - min(drawn) <= 1 and (repeat or max(drawn) <= 1))
        total = whole / (1 - sum(other.weight for other in shares))
        wanted = round(one.weight * total)
        assert sum(drawn) == (0 if not count else wanted if repeat else min(wanted, count))


def test_another_seed_draws_others():
    draws = {tuple(pair.id for pair in mixed(pairs_of(10, 100), ["run", share(0.5)], seed)[0]) for seed in "abcd"}
    assert len(draws) == 4


def test_a_set_too_small_for_its_share_raises_an_alarm_and_no_other_does():
    _, short = mixed(pairs_of(70, 12), ["run", share(0.3)], "0")
    (alarm,) = mixing_alarms(short)
    assert alarm["name"] == "mix_short"
    assert (
        "harmless.jsonl: its 12 pairs are 14.6% of the 82 trained on, and its weight asks for 30.0%" in alarm["message"]
    )
    for counts, sources in (
        ((70, 12), ["run", share(0.3, repeat=True)]),
        ((70, 30), ["run", share(0.3)]),
        ((71, 30), ["run", share(0.3)]),
        ((70, 3), ["run", "own"]),
        ((100, 10), [share(0.6), share(0.2)]),
    ):
        assert mixing_alarms(mixed(pairs_of(*counts), sources, "0")[1]) == []


@pytest.mark.model
def test_a_training_takes_the_share_and_counts_it_by_source(tiny, tmp_path):
    """Held-out, contradictory and validation pairs of the set are left out before the share is drawn."""
    own = rows_preferring("a", "b", count=16, validation=2)
    harmless = [
        {**held, "prompt": [{"role": "user", "content": f"harm {number}"}], "id": f"h{number}"}
        for number, held in enumerate(rows_preferring("c", "d", count=24, validation=4))
    ]
    path = write_pairs(tmp_path / "harmless.jsonl", harmless)
    (tmp_path / "run" / "round_00").mkdir(parents=True)
    job = TrainJob(
        model=str(tiny),
        pairs=(write_pairs(tmp_path / "own.jsonl", own),),
        mixed=(PairSource(path=str(path), weight=0.3),),
        round_folder=tmp_path / "run" / "round_00",
        config=TrainConfig.model_validate(FAST | {"epochs": 1}),
    )
    figures = train_dpo(job)
    assert (figures["pairs"], figures["validation_pairs"]) == (20, 6)
    assert figures["sources"] == [
        {"path": str(tmp_path / "own.jsonl"), "weight": None, "found": 14, "pairs": 14},
        {"path": str(path), "weight": 0.3, "found": 20, "pairs": 6},
    ]
    assert "mix_short" not in {alarm["name"] for alarm in figures["alarms"]}
