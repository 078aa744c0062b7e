"""What a chain costs besides the model: `python benchmarks/overhead.py [--prompts N] [--few N]`.

An engine that answers at once, the demo's tokeniser and constitution, 200-token texts. 60 % of the drafts break two
principles and take two revisions each, so a chain is 3 or 8 calls. Two processes are measured, one with a tenth of the
prompts, so that what grows with the number of rows shows in `rss_growth_mib`. The last line is one JSON object:
`ms_per_chain` (wall time of the whole generate stage on one core, rows on disk and counted) and `rss_growth_mib`.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

TOKENS = 200
VIOLATING = 0.6
BARS = {"ms_per_chain": 2.0, "rss_growth_mib": 100.0}


class InstantEngine:
    """Answers without a model; a mark among the tokens of a text says two faults, another one."""

    model, sequences, deaths = "instant", 256, 0

    def __init__(self) -> None:
        from transformers import AutoTokenizer

        from constitution.verdicts import reply_json
        from generator.engine import Completion

        self.tokenizer = AutoTokenizer.from_pretrained(ROOT / "demo" / "model")
        self.context = 100_000
        words = "Put it in warm water and let it stand for some time , then wipe it with a soft cloth . " * 40
        plain = self.tokenizer.encode(words, add_special_tokens=False)[: TOKENS - 1]
        self.two, self.one = (self.tokenizer.encode(f" {mark}", add_special_tokens=False)[-1] for mark in ("Q", "Z"))

        def completion(ids: list[int]) -> Completion:
            text = self.tokenizer.decode(ids)
            return Completion(text, tuple(ids), "stop", prompt_tokens=300, cached_tokens=200, logprob=-150.0)

        def reply(text: str) -> Completion:
            return Completion(text, tuple(self.tokenizer.encode(text)), "stop", prompt_tokens=300, cached_tokens=200)

        self.good = completion(plain)
        self.bad, self.better = (completion([*plain, mark]) for mark in (self.two, self.one))
        self.violates = reply(
            reply_json("The answer says that it stands for some time, which is too sure.", "violates", 2)
        )
        self.complies = reply(reply_json("The answer says nothing of the kind.", "complies", 0))
        self.drafts = 0

    async def complete(self, call: Any) -> Any:
        await asyncio.sleep(0)
        two, one = self.two in call.token_ids, self.one in call.token_ids
        if call.schema:
            return self.violates if two or one else self.complies
        if two or one:
            return self.better if two else self.good
        self.drafts += 1
        return self.bad if self.drafts % 10 < 10 * VIOLATING else self.good


class Prompts(Sequence[Any]):
    """Prompts made as they are asked for, so that only what generation itself keeps is measured."""

    def __init__(self, count: int) -> None:
        self.count = count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: Any) -> Any:
        from records.rows import Message, Prompt
        from records.splits import prompt_id

        if index >= self.count:
            raise IndexError(index)
        messages = (Message(role="user", content=f"How do I clean the kettle number {index} in the kitchen?"),)
        return Prompt(id=prompt_id(messages), messages=messages, split="train", benign=True)

    def __iter__(self) -> Iterator[Any]:
        return (self[index] for index in range(self.count))


def _generate(count: int, method: Any) -> tuple[float, int, dict[str, Any]]:
    """Seconds of the stage, bytes of its rows, and its figures."""
    from generator.generate import generate_pairs
    from records.progress import Progress

    display = Progress("overhead", count, io.StringIO())
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        figures = asyncio.run(generate_pairs(Prompts(count), method, Path(folder), in_flight=320, display=display))
        seconds = time.perf_counter() - began
        return seconds, sum(path.stat().st_size for path in Path(folder).rglob("part-*")), figures


def measure(count: int) -> dict[str, Any]:
    """One generate stage in this process."""
    from constitution.load import load_constitution
    from generator.engine import Sampling
    from generator.method import Method
    from generator.seat import Seat
    from records.rows import Provenance

    engine, constitution = InstantEngine(), load_constitution("demo")
    seat = Seat(engine, Sampling(temperature=0.0, max_tokens=600))
    author = seat.author
    provenance = Provenance(
        run="overhead", round=0, constitution=constitution.name, constitution_digest=constitution.digest,
        template_digest=constitution.template_digest,
        policy=author, critic=author, reviser=author, verifier=author, asks=1,
    )  # fmt: skip
    method = Method(constitution, seat, seat, seat, seat, provenance, draw=2)
    _generate(20, method)  # what is imported or compiled at the first chain is no cost of a chain
    seconds, size, figures = _generate(count, method)
    assert figures["pairs"] == round(VIOLATING * count), figures
    return {
        "prompts": count,
        "seconds": round(seconds, 2),
        "ms_per_chain": round(1000 * seconds / count, 3),
        "peak_rss_mib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
        "calls_per_chain": round(figures["calls"] / count, 2),
        "bytes_per_row": round(size / count),
    }


def main() -> None:
    """Measure a tenth of the prompts and all of them, each in a process of its own on one core."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--prompts", type=int, default=100_000)
    parser.add_argument("--one", action="store_true", help="measure in this process and print its figures")
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps(measure(arguments.prompts)))
        return
    found = []
    for count in (arguments.prompts // 10, arguments.prompts):
        command = [sys.executable, __file__, "--one", "--prompts", str(count)]
        # One core: the tokeniser's threads would hide what a chain costs.
        environment = {**os.environ, "TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1"}
        told = subprocess.run(
            command, check=True, capture_output=True, text=True, env=environment, preexec_fn=_one_core
        )
        found.append(json.loads(told.stdout.splitlines()[-1]))
        print(json.dumps(found[-1]), flush=True)
    few, many = found
    growth = round(many["peak_rss_mib"] - few["peak_rss_mib"], 1)
    print(json.dumps({"ms_per_chain": many["ms_per_chain"], "rss_growth_mib": growth, "bars": BARS, "runs": found}))


def _one_core() -> None:
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})


if __name__ == "__main__":
    main()
