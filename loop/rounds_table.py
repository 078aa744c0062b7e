"""The table of rounds that ends a command, and the words that figures are said in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.table import Table

RATES = (
    ("checked_violation_rate", "violates, by check"),
    ("violation_rate", "violates, by critic"),
    ("answered_rate", "benign answered"),
    ("refused_harmful_rate", "harmful refused"),
)


def percent(rate: float | None) -> str:
    """A share as people read it: a decimal where it lies near 0 or 1, a dash where there is none."""
    if rate is None:
        return "–"
    if rate in (0.0, 1.0):
        return f"{rate:.0%}".replace("%", " %")
    return (f"{rate:.1%}" if rate < 0.1 or rate > 0.9 else f"{rate:.0%}").replace("%", " %")


def with_interval(figures: dict[str, Any], name: str) -> str:
    """A rate and its interval, as `12 % (9.1–15)`."""
    bounds = figures.get(f"{name}_ci")
    if figures.get(name) is None or not bounds:
        return percent(figures.get(name))
    low, high = (percent(bound).removesuffix(" %").replace("100.0", "100") for bound in bounds)
    return f"{percent(figures[name])} ({low}–{high})"


def headline(report: dict[str, Any]) -> str:
    """The finding in a sentence: the first and the last violation rate, and whether the change is more than chance."""
    if not report["rounds"]:
        return "No policy was evaluated yet"
    first, last = report["rounds"][0]["evaluation"], report["rounds"][-1]["evaluation"]
    name = next((name for name, _ in RATES[:2] if first.get(name) is not None), None)
    if name is None:
        return "No draft could be judged"
    what = "Violations (exact check)" if name == "checked_violation_rate" else "Violations (critic)"
    trainings = report["rounds"][-1]["round"]
    if len(report["rounds"]) == 1 or last.get(name) is None:
        return f"{what}: {percent(first[name])} of drafts, before any training"
    bounds = last.get("change_from_first", {}).get(f"{name}_change_ci")
    word = "from"
    if bounds:
        word = "fell from" if bounds[1] < 0 else "rose from" if bounds[0] > 0 else "did not clearly change: from"
    over = f"{trainings} round{'s' if trainings != 1 else ''}"
    return f"{what} {word} {percent(first[name])} to {percent(last[name])} over {over}"


def rounds_table(report: dict[str, Any]) -> Table:
    """The rounds as a rich table for the end of a command; 95 % intervals in brackets."""
    from rich import box
    from rich.table import Table

    table = Table(title=headline(report), box=box.SIMPLE, padding=(0, 1), title_style="bold")
    for index, column in enumerate(columns(report)):
        table.add_column(column, justify="left" if index == 0 else "right", min_width=11 if 0 < index < 5 else None)
    for row in round_rows(report):
        # An interval under its rate keeps the table within 80 columns.
        table.add_row(*(cell.replace(" (", "\n(") for cell in row))
    return table


def columns(report: dict[str, Any]) -> list[str]:
    """The heads of the table of rounds."""
    return ["after", *(words for _, words in _shown(report)), "tokens", "pairs"]


def _shown(report: dict[str, Any]) -> list[tuple[str, str]]:
    """The rates that any policy of this run has."""
    return [rate for rate in RATES if any(e["evaluation"].get(rate[0]) is not None for e in report["rounds"])]


def round_rows(report: dict[str, Any]) -> list[list[str]]:
    """The cells of the table of rounds, a row for each policy."""
    rows = []
    for entry in report["rounds"]:
        figures = entry["evaluation"]
        length = figures.get("length")
        rows.append(
            [
                str(entry["round"]),
                *(with_interval(figures, name) for name, _ in _shown(report)),
                "–" if length is None else f"{length:.0f}",
                str(entry.get("generation", {}).get("pairs", "")),
            ]
        )
    return rows
