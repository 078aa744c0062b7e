"""What workers run is what one process runs: every strategy, every number of drafts, every drafter, every filter."""

from __future__ import annotations

import asyncio
import io
import json
import shutil
import sys
import types
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from generator.generate import Chain, run_one
from loop.cluster import _Actor
from loop.folder import redo
from loop.spread import WorkerDiedError
from loop.worker import job_of
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
    margin = ["generate.rating.margin=2"] if strategy == "rating" else []
    world = World(f"generate.strategy={strategy}", "generate.drafts_per_prompt=3", *margin)
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


def stopped_with_rows_behind_an_address(store: Path) -> set[str]:
    """A stage whose driver was killed before it collected anything; returns the chains that are safe."""

    async def stop(hand: PlainHand, lease: Sequence[Chain]) -> None:
        if hand.exchanges == 4:
            raise StageError("stopped")

    world = World(rows=f"file://{store}")
    with pytest.raises(StageError, match="stopped"):
        world.generate(stop)
    assert not world.folder.joinpath("pairs").exists() or not rows(world.folder)
    return {json.loads(line)["id"] for path in store.rglob("*.jsonl") for line in path.open()}


@pytest.mark.parametrize("workers", [1, 3])
def test_rows_behind_an_address_are_gone_on_from_with_workers_or_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    monkeypatch.setattr("records.row_objects.OBJECT_SECONDS", 0.0)
    safe = stopped_with_rows_behind_an_address(tmp_path / "store")
    ran: list[str] = []
    for place in ("generator.generate.run_one", "loop.worker.run_one"):
        monkeypatch.setattr(place, counting(ran, run_one))
    world = World(rows=f"file://{tmp_path}/store")
    if workers == 1:
        world.generate_here()
    else:
        world.generate()
    assert_whole(world)
    assert len(safe) > 0 and len(ran) == CHAINS - len(safe)
    assert not list((tmp_path / "store").rglob("*.jsonl"))


def counting(ran: list[str], run: Any) -> Any:
    def run_and_count(prompt: Any, index: int, method: Any) -> Any:
        ran.append(prompt.id)
        return run(prompt, index, method)

    return run_and_count


@pytest.mark.parametrize("changed", ["settings", "redo", "other folder"])
def test_rows_behind_an_address_never_enter_another_making_of_the_stage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changed: str
) -> None:
    monkeypatch.setattr("records.row_objects.OBJECT_SECONDS", 0.0)
    stopped_with_rows_behind_an_address(tmp_path / "store")
    left = {path: path.read_bytes() for path in (tmp_path / "store").rglob("*.jsonl")}
    if changed == "redo":
        redo(World().run.folder, "generate", 0)
    if changed == "other folder":
        shutil.rmtree("outputs/run")
    settings = ["generate.draft.max_tokens=79"] if changed == "settings" else []
    world = World(*settings, rows=f"file://{tmp_path}/store")
    world.generate()
    found = assert_whole(world)
    assert {row["provenance"]["policy"]["max_tokens"] for row in found} == {79 if settings else 80}
    assert {path: path.read_bytes() for path in left} == left


def test_figures_of_critics_at_an_endpoint_are_those_of_all_workers() -> None:
    world = World()
    world.generate()
    one = {"structured_output": "json_schema", "sent_again": 2, "refusals_for_load": 0, "places": 8}
    other = {"structured_output": "none", "sent_again": 3, "refusals_for_load": 1, "places": 4}
    world.spread.engine_figures = [{"engine_restarts": 1, "critic_endpoint": told} for told in (one, other, one)]
    assert world.spread.figures["critic_endpoint"] == {
        "structured_output": "json_schema, none", "sent_again": 7, "refusals_for_load": 1, "places": 20,
    }  # fmt: skip
    assert world.spread.figures["engine_restarts"] == 3


def test_a_worker_on_another_machine_looks_where_the_command_was_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ray starts workers wherever it was itself started there."""
    job = job_of(World().run, 0, "0000-aa", 0)
    given, found = Path.cwd(), list[Path]()

    class Stop(Exception):
        pass

    def look(*_: Any) -> None:
        found.append(Path.cwd())
        raise Stop

    monkeypatch.setattr("loop.stage.send_chatter_to", lambda *_, **__: io.StringIO())
    monkeypatch.setattr("loop.cluster.Worker.of", look)
    monkeypatch.setitem(sys.modules, "__main__", types.ModuleType("__main__"))
    monkeypatch.chdir(tmp_path.parent)
    with pytest.raises(Stop):
        asyncio.run(_Actor(job, "log").start())
    assert found == [given]


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
