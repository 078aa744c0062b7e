"""Where generation on many workers saturates: `python benchmarks/scaling.py [--ray] [--picture FILE]`.

Measured, with the real driver (loop/spread.py), lease book, row store and collection: what the driver spends on a
report and on a chain with workers that answer at once; what a worker spends on writing a row; what collecting and
counting a row costs at the stage's end. With `--ray`, reports cross a real Ray cluster of this machine. Then a
simulation in virtual time: N workers run chains of recorded call lengths (benchmarks/recorded_chains.json: one list a
chain, of [kind, prompt tokens, cached tokens, output tokens], from the demo model under vLLM) through the lease book,
and every report waits for the driver for as long as was measured. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import json
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

ROW_BYTES = 30_000
LEASE = 16
WORKERS = (1, 4, 16, 64, 256, 1024)


def prompts(count: int) -> dict[str, Any]:
    """Prompts by the ids of their chains."""
    from generator.story import chain_id
    from records.rows import Message, Prompt
    from records.splits import prompt_id

    made = {}
    for number in range(count):
        messages = (Message(role="user", content=f"How do I clean the kettle number {number} in the kitchen?" * 4),)
        prompt = Prompt(id=prompt_id(messages), messages=messages, split="train", benign=True)
        made[chain_id(prompt, 0)] = prompt
    return made


class InstantHand:
    """A worker that has finished every chain by the time it is asked again."""

    log = Path("none")

    def __init__(self, lease: int, ask: Any = None) -> None:
        self.lease, self.ask, self.exchanges = lease, ask, 0

    async def start(self) -> tuple[dict[str, Any], int]:
        """At once."""
        return {}, self.lease

    async def exchange(self, lease: Sequence[Any]) -> Any:
        """All of the lease is done."""
        from generator.story import chain_id
        from loop.worker import Report

        self.exchanges += 1
        if self.ask is not None:
            return await self.ask(lease)
        await asyncio.sleep(0)
        return Report(
            done=tuple(chain_id(prompt, 0, index) for prompt, index in lease), pairs=len(lease), wants=self.lease
        )

    async def stop(self, *, free: bool) -> dict[str, Any]:
        """Nothing to stop."""
        return {}

    def kill(self) -> None:
        """Nothing to end."""


class Echo:
    """An actor that answers like `InstantHand`."""

    async def exchange(self, lease: Sequence[Any]) -> Any:
        """All of the lease is done."""
        from generator.story import chain_id
        from loop.worker import Report

        return Report(
            done=tuple(chain_id(prompt, 0, index) for prompt, index in lease),
            pairs=len(lease),
            wants=max(1, len(lease)),
        )


def driver(chains: int, ask: Any = None) -> dict[str, float]:
    """The real stage process, its 64 workers answering at once: what a report costs, and each chain in it."""
    few, many = _drive(chains // 4, 4, ask), _drive(chains, 64, ask)
    a_chain = max(0.0, (many - few) / 60)
    a_report = few - 4 * a_chain
    per_lease = a_report + LEASE * a_chain
    return {
        "us_per_report": round(1e6 * a_report, 1),
        "us_per_chain": round(1e6 * a_chain, 2),
        "leases_per_second": round(1 / per_lease),
        "chains_per_second": round(LEASE / per_lease),
    }


def _drive(chains: int, lease: int, ask: Any) -> float:
    """Seconds that the driver takes for a report of so many chains."""
    from loop.scale_config import ScaleConfig
    from loop.spread import Spread
    from records.errors import StageError
    from records.progress import Progress

    waiting, hands = prompts(chains), []

    def hire(job: Any) -> InstantHand:
        hands.append(InstantHand(lease, ask))
        return hands[-1]

    async def run(folder: Path) -> float:
        spread = Spread(ScaleConfig(workers=64), lambda name, start: None, hire, folder)
        began = time.perf_counter()
        work = ((id, (prompt, 0)) for id, prompt in waiting.items())
        with suppress(StageError):  # its workers say that rows are safe that nobody wrote
            await spread.run(work, chains, Counter(), Progress("driver", chains, io.StringIO()))
        return time.perf_counter() - began

    with tempfile.TemporaryDirectory() as folder:
        seconds = asyncio.run(run(Path(folder)))
    return seconds / sum(hand.exchanges for hand in hands)


def over_ray(chains: int) -> dict[str, float]:
    """The same over actors of a real cluster: two processes that answer for 64 workers."""
    from loop.cluster import Cluster
    from loop.scale_config import ScaleConfig

    cluster = Cluster(ScaleConfig(workers=2, gpus_per_worker=0), Path("unused"))
    cluster.open()
    try:
        import ray

        actors = [ray.remote(num_cpus=0)(Echo).remote() for _ in range(2)]
        turn = iter(range(1 << 30))

        async def ask(lease: Sequence[Any]) -> Any:
            return await actors[next(turn) % 2].exchange.remote(lease)

        _drive(1_000, 16, ask)
        return driver(chains, ask)
    finally:
        cluster.close()


def pair_of(prompt: Any, length: int) -> Any:
    """A pair about as large as those of an 8B model with four principles."""
    from constitution.load import load_constitution
    from records.rows import Author, Draft, Message, Pair, Provenance, TrailEntry, Verdict

    constitution = load_constitution("demo")
    author = Author(model="m", temperature=1.0, top_p=1.0, max_tokens=512)
    text = "Put it in warm water and let it stand for some time. "
    verdict = Verdict(principle=constitution.principles[0].id, verdict="violates", severity=2, critique=text * 4)
    answer = text * (length // 16 // len(text))
    return Pair(
        id=f"{prompt.id}-00-0", prompt_id=prompt.id, split="train", prompt=prompt.messages,
        violated=(verdict.principle,), principles=(verdict.principle,),
        draft=Draft(text=answer, token_ids=tuple(range(300)), logprob=-1.0),
        draft_verdicts=(verdict,) * 4, final_verdicts=(verdict,) * 4,
        trail=(TrailEntry(kind="critique", text=answer, prompt_tokens=400, output_tokens=200),) * 10,
        provenance=Provenance(run="r", round=0, constitution="demo", constitution_digest=constitution.digest,
                              template_digest=constitution.template_digest, policy=author, critic=author,
                              reviser=author, verifier=author, asks=1),
        chosen=(Message(role="assistant", content=answer),), rejected=(Message(role="assistant", content=answer),),
    )  # fmt: skip


def disk(rows: int) -> dict[str, float]:
    """One worker's writing, the collection of closed shards, and the count at the end of the stage."""
    from constitution.load import load_constitution
    from generator.figures import count_outcomes
    from records.store import row_line
    from records.worker_rows import collect, open_rows

    made = [pair_of(prompt, ROW_BYTES) for prompt in prompts(rows).values()]
    size = sum(len(row_line(row)) for row in made[:100]) / 100
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        began = time.perf_counter()
        for number in range(4):
            worker = open_rows(None, folder, f"w{number}")
            for row in made[number::4]:
                worker.append(row)
            worker.close()
        written = time.perf_counter()
        collect(folder, closed={f"w{number}" for number in range(4)})
        collected = time.perf_counter()
        assert count_outcomes(folder, load_constitution("demo"))["pairs"] == rows
        counted = time.perf_counter()
    return {
        "bytes_per_row": round(size),
        "rows_written_per_second": round(rows / (written - began)),
        "mb_written_per_second": round(rows * size / (written - began) / 1e6),
        "rows_collected_per_second": round(rows / (collected - written)),
        "rows_counted_per_second": round(rows / (counted - collected)),
    }


def draw_picture(found: dict[str, Any], place: Path) -> None:
    """Chains a second over workers, against what they would make without the driver."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(6.4, 3.6))
    workers = [each["workers"] for each in found["simulated"]]
    alone = found["simulated"][0]["chains_per_second"]
    axes.loglog(workers, [each["chains_per_second"] for each in found["simulated"]], "o-", label="simulated")
    axes.loglog(workers, [alone * number for number in workers], ":", label="one worker's rate, times workers")
    axes.axhline(found["driver"]["chains_per_second"], ls="--", lw=0.8, color="gray")
    axes.text(1, found["driver"]["chains_per_second"], "driver", va="bottom", fontsize=8)
    axes.axhline(found["disk"]["rows_counted_per_second"], ls="--", lw=0.8, color="gray")
    axes.text(1, found["disk"]["rows_counted_per_second"], "counting at the end", va="bottom", fontsize=8)
    axes.set(xlabel="workers", ylabel="chains a second")
    axes.legend(fontsize=8, loc="lower right")
    figure.tight_layout()
    figure.savefig(place, dpi=100)


def main() -> None:
    """Measure, simulate, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--ray", action="store_true", help="let reports cross a real Ray cluster of this machine")
    parser.add_argument("--chains", type=int, default=100_000, help="chains through the driver")
    parser.add_argument("--rows", type=int, default=4_000, help="rows through the store")
    parser.add_argument("--token-scale", type=float, default=10.0, help="tokens of a call for each recorded one")
    parser.add_argument("--tokens-per-second", type=float, default=30.0, help="of one sequence in a full batch")
    parser.add_argument("--prefill", type=float, default=5_000.0, help="prompt tokens a second while others decode")
    parser.add_argument("--in-flight", type=int, default=320, help="chains in flight on a worker")
    parser.add_argument("--picture", type=Path, help="a file to draw the result into")
    arguments = parser.parse_args()

    found: dict[str, Any] = {"driver": driver(arguments.chains)}
    print(json.dumps(found), flush=True)
    if arguments.ray:
        found["driver_without_ray"] = found["driver"]
        found["driver"] = over_ray(arguments.chains // 4)
        print(json.dumps(found), flush=True)
    found["disk"] = disk(arguments.rows)
    found |= simulated(found["driver"], found["disk"], arguments)
    if arguments.picture:
        draw_picture(found, arguments.picture)
    print(json.dumps(found))


def simulated(driver: dict[str, float], disk: dict[str, float], arguments: argparse.Namespace) -> dict[str, Any]:
    """What N workers would do, at the speeds that were given and the costs that were measured."""
    from benchmarks.simulated.workers import chain_seconds, simulate

    recorded = json.loads((ROOT / "benchmarks" / "recorded_chains.json").read_text())
    speed = {
        "token_scale": arguments.token_scale,
        "tokens_per_second": arguments.tokens_per_second,
        "prefill_tokens_per_second": arguments.prefill,
    }
    durations = [chain_seconds(calls, speed) for calls in recorded]
    rates = [simulate(count, durations, driver, in_flight=arguments.in_flight, lease=LEASE) for count in WORKERS]
    a_worker = rates[0]["chains_per_second"]
    mean = round(sum(durations) / len(durations), 1)
    return {
        "simulated": rates,
        "assumed": speed | {"in_flight": arguments.in_flight, "chain_seconds": mean},
        "saturation_workers": {
            "driver": round(driver["chains_per_second"] / a_worker),
            "count_at_the_end": round(disk["rows_counted_per_second"] / a_worker),
        },
    }


if __name__ == "__main__":
    main()
