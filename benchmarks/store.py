"""What a million rows cost on disk: `python benchmarks/store.py [--rows N] [--tokens N] [--folder FOLDER]`.

A round of N rows and a hundredth more, four pairs to one reject, is written by a process that is killed (-9) once N
rows are there. What follows is measured, each step in a process of its own and with the files out of the page cache:
finding what is done, as a resumed stage does, then writing the rest; compaction; finding what is done again; `datasets`
reading all pairs in streaming. A row is a real `Pair` under one principle: a prompt of 20 words, answers of `--tokens`
words, the draft's token ids, a trail of four calls and the whole provenance, 4.4 kB at 60 words and 9 kB at 200.

The last line is one JSON object. `peak_rss_mib` is the largest of finding and compacting.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import random
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

BARS = {"resume_seconds": 20.0, "peak_rss_mib": 1024.0}
_TOLD_EVERY = 500


def row_id(number: int) -> str:
    """As a chain's: 16 hex digits of the prompt, the round and the draft."""
    return f"{number * 2654435761 % 2**64:016x}-00-0"


def row(number: int, tokens: int) -> Any:
    """The row of this number, the same every time; a `Reject` for each fifth."""
    from records.rows import Draft, Message, Pair, Reject, TrailEntry, Verdict

    drawn = random.Random(number)
    draft, revision, prompt = (_text(drawn, count) for count in (tokens, tokens, 20))
    seen = Verdict(principle="no-insults", verdict="violates", severity=2, critique=_text(drawn, 15))
    final = Verdict(principle="no-insults", verdict="complies", severity=0, critique=_text(drawn, 12))
    calls = (("draft", draft, None), ("critique", seen.critique, "violates"), ("revision", revision, None),
             ("verification", final.critique, "complies"))  # fmt: skip
    columns: dict[str, Any] = {
        "id": row_id(number),
        "prompt_id": row_id(number)[:16],
        "split": "train",
        "prompt": (Message(role="user", content=prompt),),
        "principles": ("no-insults",),
        "verified": ("no-insults",),
        "violated": ("no-insults",),
        "draft": Draft(text=draft, token_ids=tuple(drawn.choices(range(128_000), k=tokens)), logprob=-drawn.random()),
        "draft_verdicts": (seen,),
        "final_verdicts": (final,),
        "trail": tuple(
            TrailEntry(kind=kind, principle="no-insults", text=text, verdict=verdict, prompt_tokens=300,
                       output_tokens=tokens, cached_tokens=200, finish_reason="stop")
            for kind, text, verdict in calls
        ),
        "provenance": _provenance(),
    }  # fmt: skip
    if number % 5 == 4:
        return Reject(**columns, reason="not_fixed", detail="still violates no-insults", final=revision)
    sides = {"chosen": revision, "rejected": draft}
    return Pair(**columns, **{name: (Message(role="assistant", content=text),) for name, text in sides.items()})


_WORDS = ["".join(random.Random(n).choices("etaoinshrdlu", k=2 + n % 7)) for n in range(5000)]
_UP_TO = list(itertools.accumulate(1 / (n + 1) for n in range(5000)))
_kept: list[Any] = []


def _text(drawn: random.Random, count: int) -> str:
    return " ".join(drawn.choices(_WORDS, cum_weights=_UP_TO, k=count))


def _provenance() -> Any:
    from records.rows import Author, Provenance

    if not _kept:
        author = Author(model="owner/model-8b-instruct", temperature=0.7, top_p=0.95, max_tokens=512)
        policy = author.model_copy(update={"adapter_digest": "a" * 64})
        digests = {"constitution_digest": "c" * 64, "template_digest": "d" * 64}
        seats = {"policy": policy, "critic": author, "reviser": author, "verifier": author}
        _kept.append(Provenance(run="million", round=0, constitution="core", asks=1, **digests, **seats))
    return _kept[0]


def write(folder: Path, total: int, tokens: int) -> dict[str, Any]:
    """Find what is done and write the rest; tells on its way how many rows it wrote."""
    from records.store import RowStore

    began = time.perf_counter()
    pairs, rejects = RowStore(folder / "pairs"), RowStore(folder / "rejects")
    left = [n for n in range(total) if (id := row_id(n)) not in pairs.ids and id not in rejects.ids]
    figures = {"resume_seconds": time.perf_counter() - began, "resume_rss": _peak(), "done": total - len(left)}
    for written, number in enumerate(left, 1):
        (rejects if number % 5 == 4 else pairs).append(row(number, tokens))
        if written % _TOLD_EVERY == 0:
            print(written, flush=True)
    pairs.close()
    rejects.close()
    assert len(pairs.ids) + len(rejects.ids) == total, "each row once"
    return figures


def compact(folder: Path) -> dict[str, Any]:
    """Turn all rows into Parquet under their cards."""
    from records.compact import compact_round
    from records.features import write_card
    from records.rows import Pair, Reject

    write_card(folder / "pairs", Pair)
    write_card(folder / "rejects", Reject)
    began = time.perf_counter()
    compact_round(folder)
    return {"compact_seconds": time.perf_counter() - began, "compact_rss": _peak()}


def stream(folder: Path) -> dict[str, Any]:
    """Read every pair as a user of `datasets` does who has no room for a copy."""
    from datasets import load_dataset

    began = time.perf_counter()
    found = sum(1 for pair in load_dataset(str(folder / "pairs"), split="train", streaming=True) if pair["chosen"])
    seconds = time.perf_counter() - began
    return {
        "streamed": found,
        "stream_seconds": seconds,
        "stream_rows_per_second": found / seconds,
        "stream_rss": _peak(),
    }


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _step(name: str, arguments: argparse.Namespace, folder: Path, total: int) -> subprocess.Popen[str]:
    _uncache(folder)
    options = ["--rows", str(total), "--tokens", str(arguments.tokens), "--folder", str(folder)]
    command = [sys.executable, __file__, "--step", name, *options]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_DATASETS_CACHE": str(folder / "cache")}
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)


def _uncache(folder: Path) -> None:
    """Take the files out of the page cache, so that reading them is reading the disk."""
    for path in folder.rglob("part-*"):
        with open(path, "rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def _figures(process: subprocess.Popen[str]) -> dict[str, Any]:
    out, _ = process.communicate()
    assert process.returncode == 0, out
    return json.loads(out.splitlines()[-1])


def measure(arguments: argparse.Namespace, folder: Path) -> Iterator[dict[str, Any]]:
    """Each step's figures, in order."""
    rows, total = arguments.rows, arguments.rows + max(arguments.rows // 100, _TOLD_EVERY)
    began = time.perf_counter()
    writer = _step("write", arguments, folder, total)
    assert writer.stdout is not None
    for line in writer.stdout:
        if int(line) >= rows:
            break
    writer.kill()
    seconds = time.perf_counter() - began
    writer.communicate()
    size = sum(path.stat().st_size for path in folder.rglob("part-*"))
    yield {"write_seconds": seconds, "bytes_per_row": size // rows, "lines_gib": size / 2**30}
    found = _figures(_step("write", arguments, folder, total))
    assert rows <= found["done"] <= total, found
    yield found
    yield _figures(_step("compact", arguments, folder, total))
    yield {"parquet_gib": sum(path.stat().st_size for path in folder.rglob("part-*.parquet")) / 2**30}
    found = _figures(_step("write", arguments, folder, total))
    assert found["done"] == total, found
    yield {"resume_compacted_seconds": found["resume_seconds"], "resume_compacted_rss": found["resume_rss"]}
    found = _figures(_step("stream", arguments, folder, total))
    assert found["streamed"] == sum(1 for number in range(total) if number % 5 != 4), found
    yield found


def main() -> None:
    """Do all steps, or the one that `--step` names in this process."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--tokens", type=int, default=60, help="words in an answer")
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()), help="where there is room")
    parser.add_argument("--step", choices=("write", "compact", "stream"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.step:
        steps: dict[str, Callable[[], dict[str, Any]]] = {
            "write": lambda: write(arguments.folder, arguments.rows, arguments.tokens),
            "compact": lambda: compact(arguments.folder),
            "stream": lambda: stream(arguments.folder),
        }
        print(json.dumps(steps[arguments.step]()))
        return
    needed, free = arguments.rows * (2800 + 35 * arguments.tokens) * 1.5, shutil.disk_usage(arguments.folder).free
    if free < needed:
        sys.exit(
            f"{arguments.folder}: {free / 2**30:.1f} GiB free; expected {needed / 2**30:.1f}. Name another --folder."
        )
    figures: dict[str, Any] = {"rows": arguments.rows, "tokens": arguments.tokens}
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        for found in measure(arguments, Path(folder)):
            figures |= found
            print(json.dumps(found), flush=True)
    peaks = (figures[name] for name in ("resume_rss", "resume_compacted_rss", "compact_rss"))
    figures["peak_rss_mib"] = max(peaks)
    rounded = {name: round(value, 2) if isinstance(value, float) else value for name, value in figures.items()}
    print(json.dumps(rounded | {"bars": BARS}))


if __name__ == "__main__":
    main()
