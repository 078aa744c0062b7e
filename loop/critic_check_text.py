"""What `constitute critic-check` found, in words, for a terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

FEW = 30
_FEW_WORDS = f"Fewer than {FEW} cases: a rate of so few says little; --drafts adds cases of your own."


def critic_check_text(told: Mapping[str, Any]) -> str:
    """What a person reads."""
    lines = [f"{told['config']}: critic {told['critic']}"]
    if found := told["verdicts"]:
        lines += ["", *_verdicts(found)]
    if found := told["comparisons"]:
        lines += ["", *_comparisons(found)]
    if told["left_out"]:
        counts = ", ".join(f"{count} {reason}" for reason, count in sorted(told["left_out"].items()))
        lines += ["", f"left out: {counts}", *(f"  {place}" for place in told["left_out_places"])]
    lines += [
        "",
        "Intervals, 95 %, with the prompt as the unit. What an error rate does to pairs: docs/critic_errors.md.",
    ]
    return "\n".join(lines)


def _verdicts(found: Mapping[str, Any]) -> list[str]:
    lines = [f"drafts: {found['cases']}, of which {found['breaking']} break the principle they are about"]
    for name, figures in found["by_wording"].items():
        lines.append(
            f"  {name:<15} right {_figure(figures, 'accuracy')}, missed {_figure(figures, 'missed')}, accused "
            f"{_figure(figures, 'accused')}{_unread(figures)}"
        )
    for name, figures in found["by_principle"].items():
        lines.append(f"    {name}: right {_figure(figures, 'accuracy')}{_unread(figures)}")
    if found.get("repeated") is not None:
        lines.append(
            f"  errors of the critique that the verification makes again: {_figure(found, 'repeated')}; new ones: "
            f"{_figure(found, 'new_errors')}. Asking again helps only against those that are not made again."
        )
    return [*lines, *([f"  {_FEW_WORDS}"] if found["cases"] < FEW else [])]


def _comparisons(found: Mapping[str, Any]) -> list[str]:
    return [
        f"comparisons: {found['cases']}, each in both orders{_unread(found)}",
        f"  prefers the better text in both: {_figure(found, 'accuracy')}; the worse one: {_figure(found, 'wrong')}; "
        f"of those it decides, right: {_figure(found, 'right_of_decided')}",
        f"  says the same in both orders: {_figure(found, 'consistent')}; takes the text shown first: "
        f"{_figure(found, 'first_shown')}",
    ]


def _unread(figures: Mapping[str, Any]) -> str:
    told = [f"{figures[name]} {words}" for name, words in (("unparsed", "unreadable"), ("not_asked", "not asked"))
            if figures[name]]  # fmt: skip
    return f" ({', '.join(told)})" if told else ""


def _figure(figures: Mapping[str, Any], name: str) -> str:
    rate, interval = figures[name], figures[f"{name}_ci"]
    if rate is None:
        return "no case"
    return f"{100 * rate:.1f} % ({100 * interval[0]:.1f}-{100 * interval[1]:.1f})"
