"""What a chain costs besides the model: `python benchmarks/overhead.py [--prompts N]`.

An engine that answers at once, the demo's tokeniser and constitution, texts of 200 tokens, no two the same. 60 %
of the drafts break two principles and take two revisions each, so a chain is 3 or 8 calls. Two processes are measured,
one with a tenth of the prompts, so that what grows with the number of rows shows in `rss_growth_mib`. The last line is
one JSON object: `ms_per_chain` (wall time of the whole generate stage on one core, rows on disk and counted),
`cpu_ms_per_chain` (the same in processor time, which other work on the machine does not add to), `rss_growth_mib`, and
`load`, how many processes wanted the machine's cores before and after.
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
from random import Random
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

TOKENS = 200
VIOLATING = 0.6
BARS = {"ms_per_chain": 2.0, "rss_growth_mib": 100.0}


class Texts:
    """Texts of 200 tokens with their ids, each with a word that no other has; made without a tokeniser's work."""

    def __init__(self, tokenizer: Any) -> None:
        from demo.recipe import _vocabulary

        self.ids_of = lambda text: tokenizer.backend_tokenizer.encode(text, add_special_tokens=False).ids
        self.first = self.ids_of("Now")
        random, words, ids = Random(1), _vocabulary(), {word: self.ids_of(f" {word}") for word in _vocabulary()}
        self.bodies = []
        for _ in range(500):
            said: list[str] = []
            told: list[int] = []
            while len(told) < TOKENS - 6:
                said.append(random.choice(words))
                told += ids[said[-1]]
            self.bodies.append((" ".join(said), told))
        self.made = 0

    def make(self, mark: str, mark_id: int) -> tuple[str, tuple[int, ...]]:
        """The next text, which ends with a mark."""
        self.made += 1
        body, ids = self.bodies[self.made % len(self.bodies)]
        return f"Now {self.made} {body} {mark}", (*self.first, *self.ids_of(f" {self.made}"), *ids, mark_id)


class InstantEngine:
    """Answers without a model; a mark at the end of a text says two faults, another one, a third none."""

    model, sequences, deaths = "instant", 256, 0

    def __init__(self) -> None:
        from transformers import AutoTokenizer

        self.tokenizer = AutoTokenizer.from_pretrained(ROOT / "demo" / "model")
        self.context = 100_000
        self.texts = Texts(self.tokenizer)
        self.marks = {mark: self.tokenizer.encode(f" {mark}", add_special_tokens=False)[-1] for mark in "QZX"}
        self.drafts = 0

    def write(self, mark: str) -> Any:
        from generator.engine import Completion

        text, ids = self.texts.make(mark, self.marks[mark])
        return Completion(text, ids, "stop", prompt_tokens=300, cached_tokens=200, logprob=-150.0)

    def judge(self, broken: bool) -> Any:
        from generator.engine import Completion

        said = f"Number {self.texts.made} stands for some time, which is {'too sure' if broken else 'as it should be'}."
        verdict = f'"verdict":"{"violates" if broken else "complies"}","severity":{2 if broken else 0}'
        return Completion(f'{{"critique":"{said}",{verdict}}}', (1,) * 40, "stop", prompt_tokens=300, cached_tokens=200)

    async def complete(self, call: Any) -> Any:
        await asyncio.sleep(0)
        two, one = self.marks["Q"] in call.token_ids, self.marks["Z"] in call.token_ids
        if call.schema:
            return self.judge(two or one)
        if two or one:
            return self.write("Z" if two else "X")
        self.drafts += 1
        return self.write("Q" if self.drafts % 10 < 10 * VIOLATING else "X")


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


def _generate(count: int, method: Any) -> tuple[float, float, int, dict[str, Any]]:
    """Seconds of the stage, on the clock and of the processor, bytes of its rows, and its figures."""
    from generator.generate import generate_pairs
    from records.progress import Progress

    display = Progress("overhead", count, io.StringIO())
    with tempfile.TemporaryDirectory() as folder:
        began, worked = time.perf_counter(), time.process_time()
        figures = asyncio.run(generate_pairs(Prompts(count), method, Path(folder), in_flight=320, display=display))
        seconds, worked = time.perf_counter() - began, time.process_time() - worked
        return seconds, worked, sum(path.stat().st_size for path in Path(folder).rglob("part-*")), figures


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
    seconds, worked, size, figures = _generate(count, method)
    assert figures["pairs"] == round(VIOLATING * count), figures
    return {
        "prompts": count,
        "seconds": round(seconds, 2),
        "ms_per_chain": round(1000 * seconds / count, 3),
        "cpu_ms_per_chain": round(1000 * worked / count, 3),
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
    found, load = [], [os.getloadavg()[0]]
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
    load.append(os.getloadavg()[0])
    figures = {"ms_per_chain": many["ms_per_chain"], "rss_growth_mib": growth}
    told = {"cpu_ms_per_chain": many["cpu_ms_per_chain"], "load": [round(one, 1) for one in load]}
    print(json.dumps(figures | told | {"bars": BARS, "runs": found}))


def _one_core() -> None:
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})


if __name__ == "__main__":
    main()
