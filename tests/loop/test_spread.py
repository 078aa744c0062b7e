"""Generation on workers, with everything but Ray: real workers as plain objects, a scripted engine in each."""

from __future__ import annotations

import asyncio
import io
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from constitution.checks import run_check
from generator.generate import Chain, generate_pairs
from loop.config import load_run_config
from loop.draft_stage import generation, rows_address
from loop.engines import open_engines
from loop.folder import RunFolder, begin_stage, redo
from loop.inputs import Run, generate_inputs, open_run
from loop.spread import Spread, WorkerDiedError
from loop.worker import Job, Report, Worker, job_of
from records.errors import ConfigError, StageError, StaleStageError
from records.progress import Progress
from records.worker_rows import WORKERS
from tests.loop.scripted_process import ScriptedVllm
from tests.loop.scripted_run import CHAINS, rows, write_world

Before = Callable[["PlainHand", Sequence[Chain]], Any]


class PlainHand:
    """A worker in this process. `before` is called before each exchange, and may raise or change it."""

    def __init__(self, job: Job, before: Before | None = None) -> None:
        self.job, self.before = job, before
        self.log = Path("logs") / f"worker_{job.name}.log"
        self.worker = Worker.of(job, io.StringIO())
        self.exchanges = 0
        self.stopped = self.killed = False

    async def start(self) -> tuple[dict[str, Any], int]:
        proof = await self.worker.start(io.StringIO())
        return proof, self.worker.wants

    async def exchange(self, lease: Sequence[Chain]) -> Report:
        self.exchanges += 1
        if self.before:
            await self.before(self, lease)
        return await self.worker.exchange(lease)

    async def stop(self, *, free: bool) -> dict[str, Any]:
        self.stopped = True
        return await self.worker.stop(free=free)

    def kill(self) -> None:
        self.killed = True
        for task in self.worker._tasks:
            task.cancel()


class World:
    """A round of a run of the scripted world on workers."""

    def __init__(self, *overrides: str, index: int = 0, **scale: Any) -> None:
        self.index = index
        settings = {"workers": 3, "gpus_per_worker": 0, "lease": 2} | scale
        spread = [f"scale.{key}={value}" for key, value in settings.items()]
        config = load_run_config(Path("run.yaml"), [*overrides, *spread])
        self.run: Run = open_run(config, RunFolder(Path("outputs/run").resolve()))
        self.folder = self.run.folder.round(index)
        self.hands: list[PlainHand] = []
        self.told = io.StringIO()

    def generate(self, before: Before | None = None, hire: Callable[[Job], Any] | None = None) -> dict[str, Any]:
        return asyncio.run(self._generate(before, hire))

    async def _generate(self, before: Before | None, hire: Callable[[Job], Any] | None) -> dict[str, Any]:
        def plain(job: Job) -> PlainHand:
            self.hands.append(PlainHand(job, before))
            return self.hands[-1]

        scale, begun = self.run.config.scale, generate_inputs(self.run, self.index)
        begin_stage(self.run.folder, "generate", self.index, begun)
        left_at = rows_address(self.run, self.index)
        self.spread = Spread(scale, partial(job_of, self.run, self.index), hire or plain, self.folder, left_at)
        return await self._pairs(self.spread) | self.spread.figures

    def generate_here(self) -> dict[str, Any]:
        """The same in this process."""
        return asyncio.run(self._pairs(None))

    async def _pairs(self, elsewhere: Spread | None) -> dict[str, Any]:
        engines = open_engines(self.run, self.index, ("generate",), io.StringIO())
        method, in_flight = generation(self.run, self.index, engines)
        prompts, filters = self.run.prompts_of(self.index), self.run.config.generate.filters
        self.display = Progress("generate", len(prompts) * method.chains_per_prompt, self.told)
        return await generate_pairs(
            prompts,
            method,
            self.folder,
            in_flight=in_flight,
            display=self.display,
            filters=filters,
            elsewhere=elsewhere,
            left_at=rows_address(self.run, self.index),
        )


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_world(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("loop.engines.VllmEngine", ScriptedVllm)


def assert_whole(world: World, chains_per_prompt: int = 1) -> list[dict[str, Any]]:
    found = rows(world.folder)
    assert len({row["id"] for row in found}) == len(found) == CHAINS * chains_per_prompt
    assert set(Counter(row["prompt_id"] for row in found).values()) == {chains_per_prompt}
    assert not (world.folder / "workers").exists()
    assert {path.suffix for path in world.folder.glob("*/part-*")} == {".parquet"}, "compacted as in one process"
    return found


def test_every_prompt_ends_as_one_row_and_all_workers_had_some() -> None:
    world = World()
    figures = world.generate()
    assert_whole(world)
    assert figures["chains"] == figures["pairs"] + sum(figures["rejects"].values()) == CHAINS
    assert (figures["workers"], figures["worker_deaths"], figures["duplicate_rows"]) == (3, 0, 0)
    assert len(world.hands) == 3 and all(hand.exchanges > 1 and hand.stopped for hand in world.hands)
    assert len({hand.worker.engines.policy for hand in world.hands}) == 3, "each has an engine of its own"
    most = {hand.worker.engines.policy.most_in_flight for hand in world.hands}  # type: ignore[union-attr]
    assert max(most) > 1
    for pair in (row for row in rows(world.folder) if "chosen" in row):
        check = world.run.constitution.principles[0].check
        assert check is not None and run_check(check, (), pair["chosen"][0]["content"]) == "complies"


def test_what_a_dead_worker_held_is_done_by_others_and_it_is_started_again() -> None:
    world = World()

    async def die_once(hand: PlainHand, lease: Sequence[Chain]) -> None:
        if hand.job.start == 1 and hand.exchanges == 3:
            await hand.worker.exchange(lease)  # it has rows of which the driver never hears
            hand.kill()
            raise WorkerDiedError("killed")

    figures = world.generate(die_once)
    assert_whole(world)
    assert figures["worker_deaths"] == 1 and figures["chains_given_back"] > 0
    assert figures["duplicate_rows"] == 0, "its rows were found on disk, and nobody did them again"
    assert len(world.hands) == 4 and world.hands[3].job.start == 3
    assert len({hand.job.name for hand in world.hands}) == 4, "no two starts write one file"
    assert f"worker 1 died (killed); its log: {world.hands[1].log}" in world.told.getvalue()


def test_rows_of_a_worker_that_was_only_thought_dead_are_dropped() -> None:
    world = World(silence_s=0.3)
    written, released = asyncio.Event(), asyncio.Event()
    late = []

    async def hang(hand: PlainHand, lease: Sequence[Chain]) -> None:
        if hand.job.start == 0 and hand.exchanges == 2:
            hand.kill = lambda: None  # type: ignore[method-assign]
            late.append(asyncio.create_task(finish_late(hand, lease)))
            await released.wait()
        elif world.spread.book.given_back:
            await written.wait()

    async def finish_late(hand: PlainHand, lease: Sequence[Chain]) -> None:
        while not world.spread.book.given_back:
            await asyncio.sleep(0.01)
        await hand.worker.exchange(lease)
        written.set()

    figures = world.generate(hang)
    assert_whole(world)
    assert figures["worker_deaths"] == 1
    assert "no report in 0 s" in world.told.getvalue()
    assert figures["duplicate_rows"] > 0


def test_a_worker_that_keeps_dying_ends_the_stage_with_its_log_and_rows_are_safe() -> None:
    world = World(deaths=2)

    async def die(hand: PlainHand, lease: Sequence[Chain]) -> None:
        if hand.job.name.startswith("0002-"):
            raise WorkerDiedError("no memory")

    with pytest.raises(StageError, match=r"worker 2 died 3 times .*no memory.*worker_0002-.*log") as told:
        world.generate(die)
    assert "same command" in str(told.value)
    assert world.generate()["chains"] == CHAINS
    assert_whole(world)


def test_a_death_after_work_does_not_count_with_those_before() -> None:
    world = World(deaths=1, workers=2)

    def starts() -> int:
        return sum(hand.job.name.startswith("0001-") for hand in world.hands)

    async def die_after_some(hand: PlainHand, lease: Sequence[Chain]) -> None:
        if hand.job.name.startswith("0001-") and hand.exchanges == 3 and starts() < 4:
            raise WorkerDiedError("again")
        while hand.job.name.startswith("0000-") and starts() < 4:
            await asyncio.sleep(0.01)  # or it does all the work before the other has died so often

    assert world.generate(die_after_some)["worker_deaths"] == 3
    assert_whole(world)


@pytest.mark.parametrize("error", [StageError("vLLM could not be started"), ConfigError("no such model")])
def test_an_error_that_a_person_can_mend_ends_the_stage_as_on_one_machine(error: Exception) -> None:
    class Unable(PlainHand):
        async def start(self) -> tuple[dict[str, Any], int]:
            raise error

    with pytest.raises(type(error), match=str(error)):
        World().generate(hire=Unable)


def test_a_row_that_cannot_be_written_ends_the_stage() -> None:
    world = World()

    def full(row: Any) -> None:
        raise StageError("No space left on device")

    async def fill(hand: PlainHand, lease: Sequence[Chain]) -> None:
        if hand.job.start == 0 and hand.exchanges == 2:
            hand.worker.rows.append = full  # type: ignore[method-assign]

    with pytest.raises(StageError, match="No space left"):
        world.generate(fill)
    assert all(hand.stopped or hand.killed for hand in world.hands)
    assert world.generate()["chains"] == CHAINS
    assert_whole(world)


def test_a_request_to_stop_reaches_the_workers_and_the_next_start_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCRIPTED_PAUSE", "0.05")
    world = World()

    async def stopped() -> None:
        task = asyncio.create_task(world._generate(None, None))
        while not world.hands or world.spread.book.left > CHAINS - 8:
            await asyncio.sleep(0.01)
        task.cancel()
        await task

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(stopped())
    assert all(hand.stopped for hand in world.hands)
    written = {path.parent.parent.name for path in world.folder.glob("workers/*/*/part-*")}
    assert written == {hand.job.name for hand in world.hands}
    monkeypatch.delenv("SCRIPTED_PAUSE")
    again = World(workers=1)
    again.generate_here()
    assert_whole(again)


def test_workers_that_reach_only_a_url_put_their_rows_there(tmp_path: Path) -> None:
    world = World(rows=f"file://{tmp_path}/store")
    figures = world.generate()
    assert_whole(world)
    assert figures["chains"] == CHAINS
    (place,) = (tmp_path / "store" / "run").iterdir()
    assert place.is_dir() and place.name.startswith("round_00-"), "they were written there"
    assert not list((tmp_path / "store").rglob("*.jsonl")), "and removed once they were in the run folder"


def test_fewer_chains_than_workers_start_fewer_workers() -> None:
    world = World(workers=400)
    world.generate()
    assert len(world.hands) <= CHAINS
    assert_whole(world)


def test_rows_that_workers_left_count_as_output_of_their_stage_and_go_with_redo() -> None:
    folder = World().run.folder
    begin_stage(folder, "generate", 0, {"seed": 1})
    assert begin_stage(folder, "generate", 0, {"seed": 2}), "nothing is there yet"
    (folder.round(0) / WORKERS / "0000-aa" / "pairs").mkdir(parents=True)
    with pytest.raises(StaleStageError, match="seed: was 2, now 3"):
        begin_stage(folder, "generate", 0, {"seed": 3})
    redo(folder, "generate", 0)
    assert not (folder.round(0) / WORKERS).exists()


def test_what_a_round_is_made_from_says_nothing_of_workers() -> None:
    assert generate_inputs(World().run, 0) == generate_inputs(World(workers=1).run, 0)
