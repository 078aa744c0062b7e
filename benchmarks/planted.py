"""Pairs under a wrong critic: `python benchmarks/planted.py [--chains N] [--bar-chains N] [--picture FILE]`.

Faults are planted in drafts, a reviser mends them most of the time and at times breaks another principle, and a critic
reads the truth and errs (benchmarks/planted_world.py); the chain is the project's own. A pair is right when its draft
truly breaks a principle it was flagged for and its chosen text truly breaks none. Errors are `independent` (each
question errs anew), `persistent` (a text and a principle are misjudged every time they are asked about, in
verification too), or `persistent_other_verifier` (persistent, but a second model verifies, with errors of its own).

Tables of precision (right pairs among all) and yield (pairs per draft), measured beside the closed form
(benchmarks/planted_form.py). The last line is one JSON object: `precision` and `yield` by errors, principles, error
and `asks`, each with `measured`, its 95 % `interval` and `closed`; `bars` for two asks, with what the share of faulty
drafts does to them; `needed`, the fewest asks that reach the bar by the closed form; `wrong`, why pairs were wrong.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
os.environ.setdefault("HF_HUB_OFFLINE", "1")

from benchmarks.planted_form import Case, Errors, expected  # noqa: E402
from benchmarks.planted_world import chains, seeded  # noqa: E402
from records.intervals import wilson  # noqa: E402

KINDS: tuple[Errors, ...] = ("independent", "persistent", "persistent_other_verifier")
PRINCIPLES, ERRORS, ASKS = (1, 4, 20), (0.02, 0.05, 0.1, 0.2, 0.3), (1, 2, 3)
FAULTY = (0.8, 0.5, 0.2, 0.05)  # the first is the usual one: what the demo's first policy does
BARS = ((1, 0.1), (4, 0.05))
PRECISION, YIELD_WITHIN, MOST_ASKS = 0.99, 0.1, 5


def measure(case: Case, count: int, seed: int) -> dict[str, Any]:
    """Precision and yield of so many chains, with their intervals, what is expected, and why pairs were wrong."""
    found = Counter(asyncio.run(chains(case, count, seeded(seed, case))))
    pairs, closed = found["right"] + found["accused"] + found["broken"], expected(case)
    return {
        "precision": _rate(found["right"], pairs, closed.precision),
        "yield": _rate(pairs, count, closed.pairs),
        "chains": count,
        "wrong": {"accused": found["accused"], "broken": found["broken"]},
    }


def _rate(seen: int, of: int, closed: float) -> dict[str, Any]:
    told = {"measured": None, "interval": None, "closed": round(closed, 6)}
    if of:
        told |= {"measured": round(seen / of, 6), "interval": [round(bound, 6) for bound in wilson(seen / of, of)]}
    return told


def grid() -> Iterator[Case]:
    """Every cell of the tables."""
    for kind in KINDS:
        for principles in PRINCIPLES:
            for error in ERRORS:
                for asks in ASKS:
                    yield Case(principles, error, asks, kind)


def bar_of(principles: int, error: float, count: int, seed: int) -> dict[str, Any]:
    """One bar at two asks, at the usual share of faulty drafts and, with a quarter of the chains, at others."""
    usual = measure(Case(principles, error, 2), count, seed)
    third = {str(faulty): _closed(Case(principles, error, 2, faulty=faulty, draft_asks=3)) for faulty in FAULTY}
    at = {str(faulty): measure(Case(principles, error, 2, faulty=faulty), count // 4, seed) for faulty in FAULTY[1:]}
    off = usual["yield"]["measured"] / usual["yield"]["closed"] - 1
    shares = [share / 100 for share in range(1, 100)]
    enough = [share for share in shares if expected(Case(principles, error, 2, faulty=share)).precision >= PRECISION]
    return {
        "principles": principles, "error": error, "asks": 2, "precision_wanted": PRECISION, **usual,
        "reached": usual["precision"]["measured"] >= PRECISION and abs(off) <= YIELD_WITHIN,
        "yield_off_closed": round(off, 4),
        "reached_from_faulty": min(enough, default=None), "other_faulty": at,
        "with_draft_asks_3": third,
    }  # fmt: skip


def _closed(case: Case) -> dict[str, float]:
    found = expected(case)
    return {"precision": round(found.precision, 6), "yield": round(found.pairs, 6)}


def asks_needed() -> dict[str, Any]:
    """By share of faulty drafts, principles and error: the fewest asks with enough precision, and their yield."""
    return {
        str(faulty): {
            str(principles): {str(error): _fewest(principles, error, faulty) for error in ERRORS}
            for principles in PRINCIPLES
        }
        for faulty in FAULTY
    }


def _fewest(principles: int, error: float, faulty: float) -> dict[str, float] | None:
    for asks in range(1, MOST_ASKS + 1):
        found = expected(Case(principles, error, asks, faulty=faulty))
        if found.precision >= PRECISION:
            return {"asks": asks, "yield": round(found.pairs, 4)}
    return None


def run_grid(count: int, seed: int) -> dict[str, Any]:
    """All cells, by errors, principles, error and asks; the largest ones with a quarter of the chains."""
    tables: dict[str, Any] = {}
    for case in grid():
        cell = measure(case, count // 4 if case.principles > 4 else count, seed)
        at = tables.setdefault(case.errors, {}).setdefault(str(case.principles), {})
        at.setdefault(str(case.error), {})[str(case.asks)] = cell
        if case.error == ERRORS[-1] and case.asks == ASKS[-1]:
            print(table_of(case.errors, case.principles, at), flush=True)
    return tables


def table_of(kind: str, principles: int, cells: dict[str, Any]) -> str:
    """A Markdown table: precision and yield, measured (closed form), by error and asks."""
    head = "| critic wrong | " + " | ".join(f"asks {asks}: right | pairs per draft" for asks in ASKS) + " |"
    rows = [f"\n{kind}, {principles} principle{'s' * (principles > 1)}:", head, "|---" * (1 + 2 * len(ASKS)) + "|"]
    for error, by_asks in cells.items():
        told = [_told(by_asks[str(asks)][figure]) for asks in ASKS for figure in ("precision", "yield")]
        rows.append(f"| {float(error):.0%} | {' | '.join(told)} |")
    return "\n".join(rows)


def _told(figure: dict[str, Any]) -> str:
    seen = "no pairs" if figure["measured"] is None else f"{100 * figure['measured']:.1f}"
    return f"{seen} ({100 * figure['closed']:.1f})"


def figures_of(tables: dict[str, Any], figure: str) -> dict[str, Any]:
    """One figure of every cell."""
    return {
        kind: {
            principles: {error: {asks: cell[figure] for asks, cell in row.items()} for error, row in rows.items()}
            for principles, rows in by_principles.items()
        }
        for kind, by_principles in tables.items()
    }


def draw(tables: dict[str, Any], path: Path) -> None:
    """Precision by error: a column for each number of principles, a row for each kind of errors, a line for each asks.

    Lines are the closed form, marks with their intervals what was measured.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(13, 9), dpi=110, facecolor="white", layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(len(KINDS), len(PRINCIPLES), sharex=True, sharey=True)
    curve = [step / 100 for step in range(1, 31)]
    for row, kind in enumerate(KINDS):
        for column, principles in enumerate(PRINCIPLES):
            panel = panels[row][column]
            panel.axhline(PRECISION, color="#b8b8b8", linewidth=1)
            panel.set_title(f"{kind.replace('_', ', ', 1).replace('_', ' ')}; principles: {principles}", fontsize=10)
            for asks, colour, dashes in zip(ASKS, ("#0072B2", "#D55E00", "#009E73"), ("-", "--", ":"), strict=True):
                line = [expected(Case(principles, error, asks, kind)).precision for error in curve]
                panel.plot(curve, line, dashes, color=colour, label=f"asks: {asks}")
                _draw_measured(panel, tables[kind][str(principles)], asks, colour)
    panels[0][0].legend(frameon=False)
    figure.supxlabel("how often the critic is wrong")
    figure.supylabel("right pairs among all pairs")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)


def _draw_measured(panel: Any, cells: dict[str, Any], asks: int, colour: str) -> None:
    for error, by_asks in cells.items():
        found = by_asks[str(asks)]["precision"]
        if found["measured"] is not None:
            panel.plot([float(error)] * 2, found["interval"], color=colour, linewidth=1)
            panel.plot(float(error), found["measured"], "o", color=colour, markersize=4)


def main() -> None:
    """Measure all cells, then the bars with more chains."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--chains", type=int, default=1000, help="of each cell; with 20 principles a quarter")
    parser.add_argument(
        "--bar-chains", type=int, default=20_000, help="of each bar; at other shares of faulty drafts a quarter"
    )
    parser.add_argument("--picture", type=Path, help="draw the tables into this PNG")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    tables = run_grid(asked.chains, asked.seed)
    bars = [bar_of(principles, error, asked.bar_chains, asked.seed) for principles, error in BARS]
    if asked.picture:
        draw(tables, asked.picture)
    told = {
        "planted": {"faulty": Case(1, 0, 1).faulty, "mends": Case(1, 0, 1).mends, "breaks": Case(1, 0, 1).breaks},
        **{figure: figures_of(tables, figure) for figure in ("precision", "yield", "wrong")},
        "needed": asks_needed(),
        "bars": bars,
    }
    print(json.dumps(told))


if __name__ == "__main__":
    main()
