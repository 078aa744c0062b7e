"""The engine must speak as the adapter that was just trained; a stale one must fail, a vague one must say so."""

from __future__ import annotations

import asyncio
import json
import math
from pathlib import Path
from typing import Any

import pytest

from generator.engine import Adapter
from loop.hand_off import LEAST_TOKENS, nearer, prove_hand_off, tail_probability
from records.errors import StageError
from tests.scripted import ScriptedEngine

OLD, NEW = -1.0, -1.5
NOISE = (0.3, -0.3, 0.2, -0.1)  # engine and trainer differ so much, in nats a token


class ServingEngine(ScriptedEngine):
    """Scores as if these weights were loaded, whatever adapter is asked for."""

    def __init__(self, logp: float) -> None:
        super().__init__(lambda text, call: "")
        self.logp = logp
        self.asked: list[Adapter | None] = []

    async def score(self, token_ids: tuple[int, ...], adapter: Adapter | None) -> list[float]:
        self.asked.append(adapter)
        # Only scores from the answer on may count: what stands before it is far from either policy.
        before, answer = 4, len(token_ids) - 5
        return [-9.0] * before + [self.logp + NOISE[index % 4] for index in range(answer)]


def write_probe(path: Path, tokens: int, *, digest: str = "new", new: float = NEW, previous: float = OLD) -> Path:
    sequences = [
        {"token_ids": list(range(5 + 64)), "first": 5, "new": [new] * 64, "previous": [previous] * 64}
        for _ in range(tokens // 64)
    ]
    path.write_text(json.dumps({"new_digest": digest, "previous_digest": "old", "sequences": sequences}))
    return path


def prove(engine: ScriptedEngine, probe: Path) -> dict[str, Any]:
    return asyncio.run(prove_hand_off(engine, Adapter(Path("adapter"), "new"), probe))


def test_the_new_weights_are_proven(tmp_path: Path) -> None:
    engine = ServingEngine(NEW)
    proof = prove(engine, write_probe(tmp_path / "probe.json", 1024))
    assert proof["outcome"] == "proven"
    assert proof["tokens"] == 1024
    assert proof["p_value"] < 1e-3
    assert proof["adapter_digest"] == "new"
    assert all(asked is not None and asked.digest == "new" for asked in engine.asked)


def test_the_old_adapter_under_the_new_name_fails(tmp_path: Path) -> None:
    with pytest.raises(StageError) as caught:
        prove(ServingEngine(OLD), write_probe(tmp_path / "probe.json", 1024))
    assert "speaks like the previous policy" in str(caught.value)
    assert "1024 tokens" in str(caught.value)


def test_policies_that_differ_on_too_few_tokens_cannot_be_told_apart(tmp_path: Path) -> None:
    assert prove(ServingEngine(NEW), write_probe(tmp_path / "few.json", 448))["outcome"] == "undecidable"
    assert prove(ServingEngine(OLD), write_probe(tmp_path / "few.json", 448))["outcome"] == "undecidable"
    same = prove(ServingEngine(NEW), write_probe(tmp_path / "same.json", 1024, new=OLD, previous=OLD))
    assert (same["outcome"], same["tokens"], same["p_value"]) == ("undecidable", 0, 1.0)


def test_an_engine_between_the_two_is_undecidable(tmp_path: Path) -> None:
    assert prove(ServingEngine((OLD + NEW) / 2), write_probe(tmp_path / "p.json", 1024))["outcome"] == "undecidable"


def test_a_probe_of_another_adapter_fails_before_anything_is_scored(tmp_path: Path) -> None:
    engine = ServingEngine(NEW)
    with pytest.raises(StageError, match="made for adapter other"):
        prove(engine, write_probe(tmp_path / "probe.json", 1024, digest="other"))
    assert not engine.asked


def test_nearer_counts_tokens_and_not_distances() -> None:
    """One token that is far off must not outweigh the others."""
    tokens = 600
    engine = [NEW] * (tokens - 1) + [OLD - 100]
    assert nearer(engine, [NEW] * tokens, [OLD] * tokens)["outcome"] == "proven"


def test_tokens_that_tell_nothing_do_not_count() -> None:
    found = nearer([NEW] * 1000, [NEW] * 400 + [OLD] * 600, [OLD] * 1000)
    assert (found["tokens"], found["nearer_new"], found["outcome"]) == (400, 400, "undecidable")
    with pytest.raises(ValueError, match="longer"):
        nearer([NEW], [NEW, NEW], [OLD, OLD])


def test_the_border_of_significance_is_exact() -> None:
    tokens = LEAST_TOKENS
    border = next(k for k in range(tokens) if tail_probability(k, tokens) < 1e-3)
    assert tail_probability(border - 1, tokens) >= 1e-3
    for successes, outcome in ((border, "proven"), (border - 1, "undecidable"), (tokens - border, "stale")):
        engine = [NEW] * successes + [OLD] * (tokens - successes)
        assert nearer(engine, [NEW] * tokens, [OLD] * tokens)["outcome"] == outcome
    engine = [NEW] * (tokens - 1)
    assert nearer(engine, [NEW] * (tokens - 1), [OLD] * (tokens - 1))["outcome"] == "undecidable"


def test_the_tail_is_the_binomial_s() -> None:
    assert tail_probability(0, 7) == 1.0
    assert tail_probability(3, 3) == 0.125
    assert tail_probability(2, 3) == 0.5
    assert tail_probability(0, 0) == 1.0
    assert tail_probability(600, 1024) == pytest.approx(
        sum(math.comb(1024, k) * 0.5**1024 for k in range(600, 1025)), rel=1e-9
    )
    assert tail_probability(1500, 2048) > 0.0
