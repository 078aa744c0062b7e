"""Generation against the engine's own limit: `python benchmarks/generation.py [--prompts N] [--repeats N]`.

Real chains with the demo's model in vLLM on prompts of its grammar, rows written and counted as in every run; each call
is recorded with its token ids and the length of its reply. The limit is the same calls again in the same order, all
handed over at once, with forced lengths, no grammar, no chain behind them. The prefix cache is emptied before each.
"Free-text verdicts" are replies that no grammar holds. Beside it the same chains done by stage in batches of 50: all
drafts of a batch, wait, all critiques, wait, and so on.

Every measurement is a line of JSON, the last line the medians: `efficiency` and `efficiency_json` (the limit's time
through the run's, free text and JSON verdicts), `speedup_over_batches_of_50` (JSON verdicts), `chains_per_second` and
`output_tokens_per_second` (JSON verdicts), `cached_token_share` (share of the prompt tokens of critiques and revisions
that the prefix cache served, with worked examples shown), the same by stage, and without counting the examples.
`engine_processor_efficiency` compares the processor time of vLLM's process instead, for machines with other work on
them, and `own_processor_share` is this process's through vLLM's: below one, the engine is what the other waits for.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import json
import os
import sys
import tempfile
import time
from collections.abc import Awaitable
from contextlib import aclosing
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from random import Random
from statistics import median
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.recording import RecordingEngine, WaitingEngine, limit  # noqa: E402
from constitution.load import load_constitution  # noqa: E402
from demo.grammar import question  # noqa: E402
from demo.prompts import combos  # noqa: E402
from generator.chain import CRITIQUE, REVISION, Method, run_chain  # noqa: E402
from generator.config import EngineConfig  # noqa: E402
from generator.engine import Sampling  # noqa: E402
from generator.generate import generate_pairs  # noqa: E402
from generator.principles import few_shot_turns  # noqa: E402
from generator.schedule import run_bounded  # noqa: E402
from generator.seat import Seat  # noqa: E402
from records.chat import encode_chat  # noqa: E402
from records.progress import Progress  # noqa: E402
from records.rows import Prompt, Provenance  # noqa: E402
from records.splits import prompt_id  # noqa: E402
from records.store import RowStore  # noqa: E402

STAGES = ("draft", "critique", "revision", "verification")
HARMFUL_SHARE, BATCH, FEW_SHOTS = 0.27, 50, 4
BARS = {"efficiency": 0.95, "efficiency_json": 0.92, "speedup_over_batches_of_50": 1.5, "cached_token_share": 0.6,
        "cached_token_share_beside_examples": 0.4}  # fmt: skip
CONFIG = EngineConfig(context=1024, eager=True, cache_gib=0.5)


def make_prompts(count: int) -> list[Prompt]:
    """Prompts of the demo's grammar, all different."""
    random, prompts = Random(11), dict[str, Prompt]()
    acts = {harmful: combos(harmful=harmful) for harmful in (True, False)}
    while len(prompts) < count:
        harmful = random.random() < HARMFUL_SHARE
        messages = question(random, *random.choice(acts[harmful])).messages
        id = prompt_id(messages)
        prompts[id] = Prompt(id=id, messages=messages, split="train", benign=not harmful)
    return list(prompts.values())


def make_method(engine: Any, *, few_shots: int = 0) -> Method:
    """The demo's way of asking, with one engine in all seats."""
    constitution = load_constitution("demo")
    policy = Seat(engine, Sampling(temperature=0.8, top_p=0.95, max_tokens=120))
    base = Seat(engine, Sampling(temperature=0.0, max_tokens=120))
    authors = {"policy": policy.author, "critic": base.author, "reviser": base.author, "verifier": base.author}
    provenance = Provenance(
        run="generation", round=0, constitution=constitution.name, constitution_digest=constitution.digest,
        template_digest=constitution.template_digest, asks=1, **authors,
    )  # fmt: skip
    shots = few_shot_turns(constitution, few_shots)
    return Method(constitution, policy, base, base, base, provenance, few_shots=shots)


async def as_in_a_run(method: Method, prompts: list[Prompt]) -> None:
    """The generate stage, as a run does it."""
    display = Progress("generation", len(prompts), io.StringIO())
    with tempfile.TemporaryDirectory() as folder:
        in_flight = method.policy.engine.sequences * 5 // 4  # type: ignore[union-attr]
        await generate_pairs(prompts, method, Path(folder), in_flight=in_flight, display=display)


async def in_batches(method: Method, prompts: list[Prompt]) -> None:
    """The same chains by stage, 50 prompts at a time; rows are written too."""
    engine = WaitingEngine(method.policy.engine)  # type: ignore[arg-type]
    seats = {
        name: replace(getattr(method, name), engine=engine) for name in ("policy", "critic", "reviser", "verifier")
    }
    waiting = replace(method, **seats)
    with tempfile.TemporaryDirectory() as folder:
        store = RowStore(Path(folder))
        for first in range(0, len(prompts), BATCH):
            chains = run_bounded(
                prompts[first : first + BATCH], lambda prompt: run_chain(prompt, waiting), in_flight=BATCH
            )
            async with aclosing(chains) as outcomes:
                async for outcome in outcomes:
                    store.append(outcome)
        store.close()


@dataclass(frozen=True)
class Took:
    """What some work took: seconds on the clock, and of the processor in this process and in vLLM's own."""

    seconds: float
    own: float
    engine: float
    tokens: int
    """New tokens that were written meanwhile."""


def _processor() -> tuple[float, float]:
    import psutil

    return time.process_time(), sum(sum(one.cpu_times()[:2]) for one in psutil.Process().children(recursive=True))


async def timed(engine: RecordingEngine, work: Awaitable[None]) -> Took:
    """What the work takes from an empty prefix cache."""
    await engine._llm.reset_prefix_cache()
    before, began = _processor(), time.perf_counter()
    await work
    seconds, after = time.perf_counter() - began, _processor()
    tokens = sum(done.output_tokens for done in engine.completions.values())
    return Took(seconds, after[0] - before[0], after[1] - before[1], tokens)


def shares(engine: RecordingEngine, shown: int = 0) -> dict[str, Any]:
    """Of the prompt tokens of each stage, and of critiques and revisions together, the share that the cache served.

    Args:
        engine: with a recording.
        shown: tokens at the start of critiques and revisions that are left out of the count.
    """
    found: dict[str, list[int]] = {name: [0, 0] for name in (*STAGES, "critique and revision")}
    for number, call in enumerate(engine.calls):
        own = shown if call.stage in (CRITIQUE, REVISION) else 0
        done = engine.completions[number]
        for name in (STAGES[call.stage], *(["critique and revision"] if call.stage in (CRITIQUE, REVISION) else [])):
            found[name][0] += max(0, done.cached_tokens - own)
            found[name][1] += done.prompt_tokens - own
    return {name: round(cached / whole, 4) if whole else None for name, (cached, whole) in found.items()}


async def compare(engine: RecordingEngine, prompts: list[Prompt], repeats: int, *, free_text: bool) -> dict[str, Any]:
    """The run, its limit and, for JSON verdicts, batches of 50: in turn, the other way round every second time."""
    method, engine.free_text = make_method(engine), free_text
    took: dict[str, list[Took]] = {"run": [], "limit": [], "batches": []}

    recorded: list[Any] = []

    async def again() -> None:
        await limit(engine, engine.calls, [done.output_tokens for _, done in sorted(engine.completions.items())])

    async def measure_one(name: str) -> None:
        if name == "limit":
            engine.calls, engine.completions = recorded[-1]
        else:
            engine.forget()
        work = {
            "run": lambda: as_in_a_run(method, prompts),
            "limit": again,
            "batches": lambda: in_batches(method, prompts),
        }
        took[name].append(await timed(engine, work[name]()))
        if name == "run":
            recorded.append((engine.calls, engine.completions))

    engine.forget()
    await as_in_a_run(method, prompts[:BATCH])  # what is compiled at the first calls is no cost of a chain
    for turn in range(repeats):
        order = ["batches", "run", "limit"] if turn % 2 == 0 else ["limit", "run", "batches"]
        for name in order[1:] if free_text and turn % 2 == 0 else order[:2] if free_text else order:
            await measure_one(name)
            told = {key: round(value, 2) for key, value in asdict(took[name][-1]).items()}
            load = round(os.getloadavg()[0], 1)
            print(json.dumps({"measured": name, "free_text": free_text, **told, "load": load}), flush=True)
    engine.calls, engine.completions = recorded[-1]
    return _summary(took, len(prompts)) | {"cached": shares(engine)}


def _summary(took: dict[str, list[Took]], n_prompts: int) -> dict[str, Any]:
    """Medians. Two runs draw other drafts, a little longer or shorter, so times are compared by new token."""

    def ratio(name: str, figure: str) -> float | None:
        by_token = {key: [getattr(one, figure) / one.tokens for one in ones] for key, ones in took.items()}
        ratios = [other / run for other, run in zip(by_token[name], by_token["run"], strict=False)]
        return round(median(ratios), 3) if ratios else None

    return {
        "efficiency": ratio("limit", "seconds"),
        "engine_processor_efficiency": ratio("limit", "engine"),
        "own_processor_share": round(median(one.own / one.engine for one in took["run"]), 3),
        "speedup": ratio("batches", "seconds"),
        "chains_per_second": round(median(n_prompts / one.seconds for one in took["run"]), 1),
        "output_tokens_per_second": round(median(one.tokens / one.seconds for one in took["run"])),
    }


async def measure(count: int, repeats: int) -> dict[str, Any]:
    """All comparisons in one engine."""
    engine = RecordingEngine(str(ROOT / "demo" / "model"), CONFIG)
    prompts = make_prompts(count)
    try:
        await engine.start()
        as_json = await compare(engine, prompts, repeats, free_text=False)
        free = await compare(engine, prompts, repeats, free_text=True)
        engine.free_text = False
        method = make_method(engine, few_shots=FEW_SHOTS)
        engine.forget()
        await timed(engine, as_in_a_run(method, prompts[: max(1, count // 4)]))
        shown = len(encode_chat(engine.tokenizer, method.few_shots, add_generation_prompt=False))
        examples, beside = shares(engine), shares(engine, shown)
    finally:
        await engine.close()
    return {
        "efficiency": free["efficiency"],
        "efficiency_json": as_json["efficiency"],
        "speedup_over_batches_of_50": as_json["speedup"],
        "chains_per_second": as_json["chains_per_second"],
        "output_tokens_per_second": as_json["output_tokens_per_second"],
        "cached_token_share": examples["critique and revision"],
        "cached_token_share_beside_examples": beside["critique and revision"],
        "cached_by_stage": {"with_examples": examples, "beside_examples": beside, "without": as_json["cached"]},
        "free_text": free,
        "json": as_json,
        "prompts": count,
        "repeats": repeats,
        "bars": BARS,
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--prompts", type=int, default=2000)
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    print(json.dumps(asyncio.run(measure(arguments.prompts, arguments.repeats))))


if __name__ == "__main__":
    main()
