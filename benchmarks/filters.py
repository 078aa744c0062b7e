"""What filtering costs: `python benchmarks/filters.py [--pairs N]` prints one line of JSON.

Pairs of a prompt of 10 to 110 words, a rejected text of 150 and a chosen one of 140 words, of a vocabulary with the
frequencies of a language (Zipf). Of a hundred, one repeats another pair, one does so in nearly the same words, one is
another pair's opposite, and ten share a prompt with another pair. The pairs are made anew each time they are read, as
rows on disk are, which `seconds` counts and `making_seconds` is one time of. Memory is what filtering adds.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import sys
import time
from collections import Counter
from collections.abc import Iterator
from itertools import accumulate
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from generator.config import FilterConfig
from generator.filters import decide
from records.pair_texts import PairTexts

VOCABULARY = [f"word{number}" for number in range(30_000)]
_SOURCE = random.Random(0)
_WEIGHTS = list(accumulate(1 / (rank + 3) for rank in range(len(VOCABULARY))))
# Texts are put together of phrases, so that making them takes less than filtering them.
PHRASES = [" ".join(_SOURCE.choices(VOCABULARY, cum_weights=_WEIGHTS, k=10)) for _ in range(100_000)]


class Pairs:
    """Made as they are asked for, the same every time."""

    def __init__(self, count: int) -> None:
        self.count, self.read = count, 0

    def __iter__(self) -> Iterator[PairTexts]:
        self.read += 1
        return (self.pair(number) for number in range(self.count))

    def pair(self, number: int) -> PairTexts:
        """Pair by number; the last digits say whether it goes back to the pair fifty before it."""
        kind = number % 100
        prompt, chosen, rejected = self.texts(number - 50 if kind in (51, 52, 53) else number)
        if 60 <= kind < 70:
            prompt = self.texts(number - 50)[0]
        if kind == 52:
            chosen = f"{chosen} altered"
        if kind == 53:
            chosen, rejected = rejected, chosen
        return PairTexts(f"{number:08d}", "train", "", prompt, chosen, rejected)

    def texts(self, number: int) -> tuple[str, str, str]:
        """Prompt, chosen and rejected text."""
        source = random.Random(number)
        phrases = source.choices(PHRASES, k=29 + source.randrange(1, 12))
        return " ".join(phrases[29:]), " ".join(phrases[:14]), " ".join(phrases[14:29])


def peak_mib() -> float:
    """The most memory this process has held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=100_000)
    pairs = Pairs(parser.parse_args().pairs)
    decide(Pairs(200), FilterConfig(), 0)  # what is imported at the first pair is no cost of a pair
    before, began = peak_mib(), time.perf_counter()
    for _ in pairs:
        pass
    making, began = time.perf_counter() - began, time.perf_counter()
    decided = decide(pairs, FilterConfig(), 0)
    seconds = time.perf_counter() - began
    print(
        json.dumps(
            {
                "pairs": pairs.count,
                "seconds": round(seconds, 1),
                "making_seconds": round(making, 1),
                "times_read": pairs.read - 1,
                "pairs_per_second": round(pairs.count / seconds),
                "pairs_per_second_besides_reading": round(pairs.count / (seconds - (pairs.read - 1) * making)),
                "memory_mib": round(peak_mib() - before),
                "left_out": dict(sorted(Counter(reason for reason, _ in decided.values()).items())),
            }
        )
    )


if __name__ == "__main__":
    main()
