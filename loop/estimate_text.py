"""An estimate in words and figures, for a terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_ROWS = (
    ("calls", "calls"),
    ("prompt_tokens", "prompt tokens"),
    ("output_tokens", "output tokens"),
    ("pairs", "pairs"),
    ("seconds", "minutes"),
)
HOW = (
    "Intervals, 95 %: calls, tokens and pairs by bootstrap over the followed prompts; minutes by the spread of the "
    "time between chains' ends under full load, on this machine as busy as it was just now.",
    "Later rounds are taken to be as the first: their policies mostly break fewer principles, which takes fewer calls, "
    "and draft with an adapter, which takes longer on a CPU.",
    "Pairs are those before filters, which leave out duplicates and, where asked, balance lengths.",
)


def estimate_text(config: str, told: Mapping[str, Any]) -> str:
    """What a person reads."""
    seen, made = told["calibration"], told["generation"]
    rounds = told["rounds"]
    lines = [
        f"{config}: {seen['chains']} chains of {seen['prompts']} prompts followed, {seen['chains_timed']} timed with "
        f"{seen['in_flight']} in flight; the engines took {seen['start_seconds']:.0f} s to start, the chains "
        f"{seen['seconds']:.0f} s.",
        "",
        f"one round's generation, {made['chains']} chains",
        *_table(made),
    ]
    if rounds > 1:
        lines += ["", f"all {rounds} generations", *_table(told["all_rounds"])]
    if told.get("warm_up_left_out"):
        lines += ["", "The warm-up is not in these figures: it revises, and what was followed chooses among drafts."]
    if "cost" in told:
        lines += ["", f"cost at the endpoint: {figure(told['cost']['all_rounds'], 1.0, 2)}"]
    judged, trained = told["evaluation"], told["training"]
    lines += [
        "",
        f"each of {judged['policies']} evaluations: {judged['drafts']} drafts, {judged['calls']} calls, "
        f"{judged['prompt_tokens']} prompt tokens, {judged['output_tokens']} output tokens (without the drafts on "
        "which orders to the critic are tried); minutes are not estimated.",
        f"trainings: on about {', '.join(map(str, trained['pairs']))} pairs, "
        f"{', '.join(map(str, trained['optimizer_steps']))} optimizer steps; minutes are not estimated, since nothing "
        "was trained.",
        "",
        *HOW,
    ]
    return "\n".join(lines)


def _table(made: Mapping[str, Any]) -> list[str]:
    return [
        f"  {words:<14} {figure(made[name], 60.0 if name == 'seconds' else 1.0, 1 if name == 'seconds' else 0)}"
        for name, words in _ROWS
    ]


def figure(found: Mapping[str, float | None], unit: float, digits: int) -> str:
    """An estimate with its interval, or the bounds alone, as `1,234 (1,100–1,350)`."""
    estimate, low, high = (None if found[name] is None else found[name] / unit for name in ("estimate", "low", "high"))  # type: ignore[operator]
    bounds = f"{low:,.{digits}f}–{high:,.{digits}f}"
    return f"between {bounds.replace('–', ' and ')}" if estimate is None else f"{estimate:,.{digits}f} ({bounds})"
