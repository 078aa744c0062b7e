"""Is the adapter that the engine serves the one that was just trained? By content, and by what it says.

Engine and trainer differ by 0.1 to 0.3 nats a token, so an absolute tolerance would pass a stale adapter. The question
is comparative: do the engine's log-probabilities lie nearer to the new policy's or to the previous one's?
"""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from generator.engine import Adapter, Engine
from records.errors import StageError

LEAST_TOKENS = 512
SIGNIFICANCE = 1e-3


async def prove_hand_off(engine: Engine, adapter: Adapter, probe_path: Path) -> dict[str, Any]:
    """Score the trainer's probe in the engine and compare token by token.

    Returns:
        `outcome` (`proven` or `undecidable`), `tokens`, `nearer_new`, `p_value`, and the adapter's digest.

    Raises:
        StageError: the probe is not of this adapter, or the engine speaks like the previous policy.
    """
    probe = json.loads(probe_path.read_text(encoding="utf-8"))
    if probe["new_digest"] != adapter.digest:
        raise StageError(
            f"{probe_path}: made for adapter {probe['new_digest'][:16]}, but {adapter.path} holds "
            f"{adapter.digest[:16]}. The adapter that drafts must be the one the round before trained; train it again."
        )
    scored = await asyncio.gather(
        *(engine.score(tuple(sequence["token_ids"]), adapter) for sequence in probe["sequences"])
    )
    engine_logps = [logps[sequence["first"] - 1 :] for logps, sequence in zip(scored, probe["sequences"], strict=True)]
    verdict = nearer(
        [value for logps in engine_logps for value in logps],
        [value for sequence in probe["sequences"] for value in sequence["new"]],
        [value for sequence in probe["sequences"] for value in sequence["previous"]],
    )
    if verdict["outcome"] == "stale":
        raise StageError(
            f"{adapter.path}: the engine speaks like the previous policy, not like this adapter: of "
            f"{verdict['tokens']} tokens only {verdict['nearer_new']} have log-probabilities nearer to it. The engine "
            "serves stale weights; start it anew. If this stays so, this vLLM cannot be trusted with adapters."
        )
    return {**verdict, "adapter_digest": adapter.digest}


def nearer(engine: Sequence[float], new: Sequence[float], previous: Sequence[float]) -> dict[str, Any]:
    """Sign test over tokens: is the engine nearer to the new policy or to the previous one?

    Tokens to which both policies give the same log-probability tell nothing and do not count. `proven` and `stale` need
    a one-sided p below 0.001 over at least 512 tokens that count; anything else is `undecidable`.

    Args:
        engine: log-probabilities in nats, one a token.
        new: the same tokens under the new policy, by the trainer.
        previous: under the previous one.
    """
    n_new = n_previous = 0
    for found, of_new, of_previous in zip(engine, new, previous, strict=True):
        to_new, to_previous = abs(found - of_new), abs(found - of_previous)
        n_new += to_new < to_previous
        n_previous += to_previous < to_new
    tokens = n_new + n_previous
    outcome = "undecidable"
    if tokens >= LEAST_TOKENS:
        if tail_probability(n_new, tokens) < SIGNIFICANCE:
            outcome = "proven"
        elif tail_probability(n_previous, tokens) < SIGNIFICANCE:
            outcome = "stale"
    return {
        "outcome": outcome,
        "tokens": tokens,
        "nearer_new": n_new,
        "p_value": tail_probability(n_new, tokens),
    }


def tail_probability(successes: int, trials: int) -> float:
    """P(X >= successes) for X binomial(trials, 1/2), exact."""
    return float(sum(math.comb(trials, k) for k in range(successes, trials + 1)) / 2**trials) if trials else 1.0
