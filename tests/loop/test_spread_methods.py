"""What workers run is what one process runs: every strategy, every number of drafts, every drafter, every filter."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from generator.generate import Chain
from loop.spread import WorkerDiedError
from records.errors import StageError
from records.shard import shards
from tests.loop.scripted_process import ScriptedVllm
from tests.loop.scripted_run import CHAINS, rows
from tests.loop.test_drafts_from import SETTINGS, trained
from tests.loop.test_spread import PlainHand, World, assert_whole
from tests.loop.test_spread import here as here


@pytest.mark.parametrize("workers", [1, 3])
def test_every_chain_of_a_prompt_is_a_row_of_its_own(workers: int) -> None:
    world = World("generate.drafts_per_prompt=3", workers=workers)

    async def die_once(hand: PlainHand, lease: Sequence[Chain]) -> None:
        if hand.job.start == 0 and hand.exchanges == 3:
            raise WorkerDiedError("killed")

    figures = world.generate(die_once)
    found = assert_whole(world, 3)
    assert {row["id"].rpartition("-")[2] for row in found} == {"0", "1", "2"}
    assert figures["chains"] == figures["drafts"] == 3 * CHAINS and figures["worker_deaths"] == 1
    assert len(world.hands) == workers + 1
    assert world.display.done == 3 * CHAINS


@pytest.mark.parametrize("strategy", ["best_of_n", "ai_feedback", "rating"])
def test_a_group_of_drafts_is_one_chain_of_one_worker(strategy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCRIPTED_VARIED", "1")
    world = World(f"generate.strategy={strategy}", "generate.drafts_per_prompt=3", "generate.rating.margin=2")
    figures = world.generate()
    found = assert_whole(world)
    assert {row["strategy"] for row in found} == {strategy}
    assert figures["by_strategy"] == {strategy: {"chains": CHAINS, "pairs": figures["pairs"]}}
    assert figures["drafts"] == 3 * CHAINS and figures["pairs"] > CHAINS / 2
    assert all(hand.exchanges > 1 for hand in world.hands)
    judge = {(row["provenance"]["judge"] or {}).get("model") for row in found}
    assert judge == ({None} if strategy == "best_of_n" else {"model"})


def test_all_that_draft_are_served_and_proven_by_each_worker(tmp_path: Path) -> None:
    initial, following = trained(tmp_path)
    world = World(*SETTINGS, index=1)
    figures = world.generate()
    authors = Counter(row["draft"]["author"]["adapter_digest"] for row in assert_whole(world))
    assert set(authors) == {"", initial, following}
    assert figures["drafts_by_adapter"] == {digest or "base": count for digest, count in authors.items()}
    assert figures["hand_off"]["adapter_digest"] == following
    assert figures["hand_off_round_0"]["adapter_digest"] == initial
    for hand in world.hands:
        engine = hand.worker.engines.policy
        assert isinstance(engine, ScriptedVllm) and engine.scored == {initial, following}, (
            "each is asked what it serves"
        )


def test_no_worker_drafts_with_an_adapter_of_round_0_that_is_not_the_trained_one(tmp_path: Path) -> None:
    trained(tmp_path, initial=-2.5)
    world = World(*SETTINGS, index=1)
    with pytest.raises(StageError, match="speaks like the previous policy"):
        world.generate()
    assert not rows(world.folder)


def test_filters_look_at_the_pairs_of_all_workers() -> None:
    """Every prompt is asked three times, so a worker alone sees no more than some of the duplicates."""
    world = World("generate.drafts_per_prompt=3")
    spread = world.generate()
    assert spread["rejects"]["duplicate"] > CHAINS / 2
    shutil.rmtree(world.folder)
    alone = world.generate_here()
    assert {name: spread[name] for name in alone if "second" not in name} == {
        name: value for name, value in alone.items() if "second" not in name
    }


def garble(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2] + b"\xff\x00\xfe" * 20 + data[len(data) // 2 + 60 :])


@pytest.mark.parametrize("dies", [True, False])
def test_a_workers_shard_that_is_damaged_is_kept_and_its_chains_are_done_again(dies: bool) -> None:
    world = World()
    damaged: list[Path] = []

    async def damage(hand: PlainHand, lease: Sequence[Chain]) -> None:
        if not damaged and hand.exchanges == 4:
            damaged.extend(shards(world.folder / "workers" / hand.job.name / "pairs"))
            garble(damaged[0])
            if dies:
                hand.kill()
                raise WorkerDiedError("killed")

    figures = world.generate(damage)
    assert_whole(world)
    assert figures["damaged_shards"] == 1 and figures["chains"] == CHAINS
    kept = world.folder / "pairs" / "damaged"
    assert len(list(kept.glob("part-*"))) == 1
    # A closed shard is moved by its ids, and found damaged among the round's, where all of it is read.
    assert (damaged[0].parts[-3] in (kept / "why.txt").read_text()) == dies
    assert "The shard is set aside as damaged/" in world.told.getvalue()


def test_a_damaged_object_is_fetched_kept_and_its_chains_are_done_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(rows=f"file://{tmp_path}/store")
    damaged: list[Path] = []

    async def damage(hand: PlainHand, lease: Sequence[Chain]) -> None:
        objects = sorted((tmp_path / "store").rglob("*.jsonl"))
        if objects and not damaged:
            damaged.append(objects[0])
            garble(objects[0])

    monkeypatch.setattr("records.row_objects.OBJECT_SECONDS", 0.0)
    figures = world.generate(damage)
    assert_whole(world)
    assert figures["damaged_shards"] == 1
    kept = [path.name for path in (world.folder / "pairs" / "damaged").glob("part-*")]
    assert kept == [f"part-object-{damaged[0].name}-1"]
    assert not list((tmp_path / "store").rglob("*.jsonl"))


def test_rows_that_reach_no_run_folder_are_an_error_that_says_why() -> None:
    """Workers on another machine, where the same path is another disk."""
    world = World(workers=2)

    async def elsewhere(hand: PlainHand, lease: Sequence[Chain]) -> None:
        if hand.exchanges == 1:
            hand.worker.rows = Nowhere()

    with pytest.raises(StageError, match=r"workers said that 52 rows are safe; found 0\. .*all machines share"):
        world.generate(elsewhere)
    assert world.generate()["chains"] == CHAINS
    assert_whole(world)


def test_rows_that_went_with_their_machine_are_made_again() -> None:
    world = World(workers=4)

    async def elsewhere(hand: PlainHand, lease: Sequence[Chain]) -> None:
        if hand.job.start == 0 and hand.exchanges == 1:
            hand.worker.rows = Nowhere()

    assert world.generate(elsewhere)["chains"] == CHAINS
    assert_whole(world)
    assert "rows that workers had made are lost" in world.told.getvalue() and len(world.hands) == 8


class Nowhere:
    """Takes rows, says that they are safe."""

    def __init__(self) -> None:
        self.ids: list[str] = []

    def append(self, row: Any) -> None:
        self.ids.append(row.id)

    def settle(self, *, all: bool) -> list[str]:
        ids, self.ids = self.ids, []
        return ids

    def close(self) -> None:
        """Nothing to close."""
