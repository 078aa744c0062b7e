"""`audit.png`: how often each principle is violated, and how often a revision for it mends it, with intervals."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from loop.picture import write_picture

MOST = 60
"""Principles drawn, those violated most; more would be no picture."""
_INK, _SOFT, _BLUE, _GREEN, _ORANGE = "#222222", "#666666", "#0072B2", "#009E73", "#D55E00"
_ROW, _HEAD = 0.3, 2.0  # inches


def draw_audit(told: dict[str, Any], path: Path) -> None:
    """Draw the principles of an audit, the most violated on top."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    drawn = sorted(told["principles"], key=lambda one: (-_rate(one["violated"]), one["id"]))[:MOST]
    height = _HEAD + _ROW * max(4, len(drawn))
    figure = Figure(figsize=(12, height), dpi=110, facecolor="white")
    FigureCanvasAgg(figure)
    figure.text(0.02, 1 - 0.42 / height, _headline(told), fontsize=15, fontweight="bold", color=_INK)
    figure.text(0.02, 1 - 0.72 / height, _subtitle(told, len(drawn)), fontsize=10, color=_SOFT)
    grid = figure.add_gridspec(1, 2, left=0.23, right=0.97, top=1 - 1.45 / height, bottom=0.45 / height, wspace=0.12)
    left, right = (figure.add_subplot(grid[0, column]) for column in range(2))
    _draw(left, drawn, "Drafts that violate", (("violated", _BLUE, "o", "by critic", 0.0),))
    _draw(
        right,
        drawn,
        "Revisions that mend it",
        (("fixed", _GREEN, "o", "revised", 0.0), ("looks_fixed", _ORANGE, "D", "unchanged, asked again", 0.22)),
    )
    left.set_yticks(range(len(drawn)), [_shortened(one["id"]) for one in drawn], fontsize=9.5)
    right.set_yticks([])
    write_picture(figure, path)


def _rate(figure: dict[str, Any] | None) -> float:
    return -1.0 if figure is None else float(figure["rate"])


def _headline(told: dict[str, Any]) -> str:
    found = len(told["findings"])
    return f"{found or 'No'} finding{'' if found == 1 else 's'} on {len(told['principles'])} principles"


def _subtitle(told: dict[str, Any], drawn: int) -> str:
    counted = told["counted"]
    words = [
        f"run {told['run']}",
        f"{counted['chains']} chains of {counted['prompts']} prompts",
        "bars: 95 % intervals",
    ]
    words += [f"the {drawn} violated most"] if drawn < len(told["principles"]) else []
    # A dollar sign would begin a formula.
    return "  ·  ".join(words).replace("$", r"\$")


def _draw(panel: Any, drawn: Sequence[dict[str, Any]], title: str, series: Sequence[tuple[Any, ...]]) -> None:
    from matplotlib.ticker import PercentFormatter

    panel.set_title(title, loc="left", fontsize=11.5, color=_INK, pad=20)
    for name, colour, marker, label, shift in series:
        known = [(row + shift, one[name]) for row, one in enumerate(drawn) if one[name] is not None]
        if known:
            places, rates = [place for place, _ in known], [figure["rate"] for _, figure in known]
            spans = [[abs(figure["rate"] - figure["ci"][side]) for _, figure in known] for side in (0, 1)]
            panel.errorbar(
                rates, places, xerr=spans, fmt=marker, color=colour, markersize=5, linewidth=0, elinewidth=1.6,
                capsize=0, label=label,
            )  # fmt: skip
    if len(series) > 1 and panel.get_legend_handles_labels()[0]:
        panel.legend(
            loc="lower left", bbox_to_anchor=(-0.02, 1.0), ncols=2, frameon=False, fontsize=9, borderaxespad=0,
            labelcolor=_SOFT,
        )  # fmt: skip
    panel.set_xlim(-0.01, 1.01)
    panel.set_ylim(max(4, len(drawn)) - 0.5, -0.6)
    panel.xaxis.set_major_formatter(PercentFormatter(1.0, symbol=" %"))
    panel.grid(axis="x", color="#e6e6e6", linewidth=0.8)
    panel.set_axisbelow(True)
    panel.tick_params(length=0, labelsize=9.5, colors=_SOFT)
    for side in ("top", "right", "left"):
        panel.spines[side].set_visible(False)
    panel.spines["bottom"].set_color("#bbbbbb")


def _shortened(id: str) -> str:
    return id if len(id) <= 30 else id[:29] + "…"
