"""`rounds.png`: what the rounds did, in three panels that share one axis of trainings.

On the left the violation rate by critic and by exact check with their intervals, in the middle one line for each
principle, on the right what the policy must not lose: benign prompts answered and harmful ones refused. The colours
are Okabe and Ito's, which colour-blind readers tell apart; line styles and labels say the same again. Where there are
more principles than colours, those violated most are coloured and named, the others drawn thin and grey.
"""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from loop.rounds_table import headline, percent

_INK, _SOFT, _GREY = "#222222", "#666666", "#b8b8b8"
_BLUE, _VERMILION, _GREEN, _PURPLE = "#0072B2", "#D55E00", "#009E73", "#CC79A7"
_COLOURS = (_BLUE, _VERMILION, _GREEN, _PURPLE, "#E69F00", "#56B4E9", "#000000", "#8C6D00")
_DASHES = ("-", (0, (5, 1.5)), (0, (1.5, 1.2)), (0, (6, 1.5, 1.5, 1.5)))
_BEHIND_TEXT = {"facecolor": "white", "edgecolor": "none", "pad": 1.5}
_LEFT = 0.045  # of the figure: where titles and the first panel begin
_TITLE_HEIGHT = 1.155  # of a panel; leaves room for two lines of legend
_LABEL_HEIGHT = 0.062  # of the rate axis, so that neighbouring names do not touch


def draw_rounds(report: dict[str, Any], path: Path) -> None:
    """Draw the rounds of a report that has at least one."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rounds = report["rounds"]
    figure = Figure(figsize=(15, 6), dpi=120, facecolor="white")
    FigureCanvasAgg(figure)
    figure.text(_LEFT, 0.935, headline(report), fontsize=17, fontweight="bold", color=_INK)
    figure.text(_LEFT, 0.883, _subtitle(report), fontsize=10.5, color=_SOFT)
    grid = figure.add_gridspec(
        1, 3, width_ratios=(1, 1.55, 1), left=_LEFT, right=0.985, top=0.695, bottom=0.11, wspace=0.17
    )
    panels = [figure.add_subplot(grid[0, column]) for column in range(3)]
    _draw_panel(panels[0], rounds, "Drafts that violate", _VIOLATIONS)
    _draw_principles(panels[1], rounds)
    _draw_panel(panels[2], rounds, "What must not be lost", _KEPT)
    highest = max((rate for _, points in _principle_lines(rounds) for _, rate in points), default=1.0)
    tops = (1.0, next(top for top in (0.1, 0.2, 0.4, 0.6, 0.8, 1.0) if highest <= top), 1.0)
    for panel, top in zip(panels, tops, strict=True):
        _dress(panel, [entry["round"] for entry in rounds], top)
    _spread_labels(panels[1], tops[1])
    write_picture(figure, path)


_VIOLATIONS = (
    ("checked_violation_rate", "by exact check", _VERMILION, "o", "-"),
    ("violation_rate", "by critic", _BLUE, "s", (0, (5, 1.5))),
)
_KEPT = (
    ("answered_rate", "benign prompts answered", _GREEN, "o", "-"),
    ("refused_harmful_rate", "harmful prompts refused", _PURPLE, "s", (0, (5, 1.5))),
)


def _subtitle(report: dict[str, Any]) -> str:
    last = report["rounds"][-1]["evaluation"]
    words = [f"run {report['run']}", f"{last['prompts']} test prompts, {last['drafts']} drafts of each policy"]
    words += ["bars: 95 % intervals"]
    words += ["critic's figures are self-judged"] if last.get("self_judged") else []
    words += [] if report["status"] == "complete" else [report["status"].replace("_", " ")]
    return "  ·  ".join(words)


def _draw_panel(panel: Any, rounds: Sequence[dict[str, Any]], title: str, series: Sequence[tuple[Any, ...]]) -> None:
    """Rates with their intervals; series whose bars would lie on each other stand a little apart."""
    _title(panel, title)
    drawn = [line for line in series if any(entry["evaluation"].get(line[0]) is not None for entry in rounds)]
    for index, (name, label, colour, marker, style) in enumerate(drawn):
        points = [(e["round"], e["evaluation"][name], e["evaluation"][f"{name}_ci"]) for e in rounds if _has(e, name)]
        shift = 0.0 if len(drawn) < 2 else (index - 0.5) * 0.012 * max(1, rounds[-1]["round"])
        x = [point[0] + shift for point in points]
        y = [point[1] for point in points]
        below = [rate - low for _, rate, (low, _) in points]
        above = [high - rate for _, rate, (_, high) in points]
        panel.errorbar(
            x, y, yerr=(below, above), label=f"{label}: {_from_to(y)}", color=colour, marker=marker, linestyle=style,
            linewidth=2.2, markersize=6.5, capsize=3.5, elinewidth=1.4, clip_on=False, zorder=3,
        )  # fmt: skip
    if drawn:
        panel.legend(
            loc="upper left", bbox_to_anchor=(-0.02, _TITLE_HEIGHT - 0.02), frameon=False, fontsize=9.5,
            handlelength=2.6, borderaxespad=0, labelspacing=0.3, labelcolor=_INK,
        )  # fmt: skip
    else:
        panel.text(0.5, 0.5, "nothing was judged", transform=panel.transAxes, ha="center", color=_SOFT)


def _title(panel: Any, title: str, below: str = "") -> None:
    panel.text(0, _TITLE_HEIGHT, title, transform=panel.transAxes, fontsize=12.5, color=_INK)
    panel.text(0, _TITLE_HEIGHT - 0.065, below, transform=panel.transAxes, fontsize=10, color=_SOFT)


def _from_to(rates: Sequence[float]) -> str:
    return percent(rates[0]) if len(rates) == 1 else f"{percent(rates[0])} → {percent(rates[-1])}"


def _has(entry: dict[str, Any], name: str) -> bool:
    return entry["evaluation"].get(name) is not None


def _principle_lines(rounds: Sequence[dict[str, Any]]) -> list[tuple[str, list[tuple[int, float]]]]:
    """Id and (round, rate) of each principle, those violated most first; the critic's rate, else the check's."""
    lines: dict[str, list[tuple[int, float]]] = {}
    for entry in rounds:
        for id, figures in entry["evaluation"]["per_principle"].items():
            rate = figures.get("violation_rate")
            rate = figures.get("checked_violation_rate") if rate is None else rate
            if rate is not None:
                lines.setdefault(id, []).append((entry["round"], rate))
    return sorted(lines.items(), key=lambda line: (-max(rate for _, rate in line[1]), line[0]))


def _draw_principles(panel: Any, rounds: Sequence[dict[str, Any]]) -> None:
    lines = _principle_lines(rounds)
    named, others = lines[: len(_COLOURS)], lines[len(_COLOURS) :]
    by_critic = any(figures.get("violation_rate") is not None for figures in _all_figures(rounds))
    title = f"Each of the {len(lines)} principles" if len(lines) > 1 else "The principle"
    below = "by critic" if by_critic else "by exact check"
    _title(panel, f"{title}: drafts that violate", below + (", most violated ones named" if others else ""))
    for index, (_, points) in enumerate(others):
        label = f"{len(others)} more" if index == 0 else None
        x, y = zip(*points, strict=True)
        panel.plot(x, y, color=_GREY, linewidth=1, marker="o", markersize=2.5, zorder=1, label=label, clip_on=False)
    for index, (id, points) in enumerate(named):
        x, y = zip(*points, strict=True)
        panel.plot(
            x, y, color=_COLOURS[index], linestyle=_DASHES[index % len(_DASHES)], linewidth=2, marker="o", markersize=5,
            label=f"{_shortened(id)}  {_from_to(y)}", clip_on=False, zorder=3,
        )  # fmt: skip


def _all_figures(rounds: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    return [figures for entry in rounds for figures in entry["evaluation"]["per_principle"].values()]


def _shortened(id: str) -> str:
    return id if len(id) <= 22 else id[:21] + "…"


def _dress(panel: Any, trainings: Sequence[int], top: float) -> None:
    """Axes alike in every panel; `top` is the highest rate shown."""
    from matplotlib.ticker import PercentFormatter

    panel.set_ylim(0, top)
    panel.yaxis.set_major_formatter(PercentFormatter(1.0, symbol=" %"))
    panel.set_yticks([top * quarter / 4 for quarter in range(5)])
    room = 0.06 * max(1, trainings[-1] - trainings[0])
    panel.set_xlim(trainings[0] - room, trainings[-1] + room)
    every = 1 + (trainings[-1] - trainings[0]) // 11
    panel.set_xticks(range(trainings[0], trainings[-1] + 1, every))
    if len(trainings) == 1:
        panel.set_xlim(trainings[0] - 0.5, trainings[0] + 0.5)
    panel.set_xlabel("policy after this many trainings", fontsize=10, color=_SOFT)
    panel.xaxis.set_label_coords(0.5, -0.075)
    panel.grid(axis="y", color="#e6e6e6", linewidth=0.8)
    panel.set_axisbelow(True)
    panel.tick_params(length=0, labelsize=10, colors=_SOFT, pad=6)
    for side in ("top", "right", "left"):
        panel.spines[side].set_visible(False)
    panel.spines["bottom"].set_color("#bbbbbb")


def _spread_labels(panel: Any, top: float) -> None:
    """Write each line's name at its right end, moved up or down so that no two names touch."""
    lines = [line for line in panel.get_lines() if not str(line.get_label()).startswith("_")]
    ordered = sorted(lines, key=lambda line: (float(line.get_ydata()[-1]), float(line.get_ydata()[0])))
    wanted = [float(line.get_ydata()[-1]) for line in ordered]
    heights = [
        top * height for height in spread([max(rate / top, _LABEL_HEIGHT / 2) for rate in wanted], _LABEL_HEIGHT)
    ]
    left, right = panel.get_xlim()
    panel.set_xlim(left, right + (right - left))
    width = panel.get_xlim()[1] - left
    for line, wished, height in zip(ordered, wanted, heights, strict=True):
        end = float(line.get_xdata()[-1])
        place = right + 0.03 * width
        panel.plot(
            [end + 0.012 * width, place - 0.008 * width], [wished, height], color=line.get_color(), linewidth=0.7,
            alpha=0.6, clip_on=False,
        )  # fmt: skip
        colour = _SOFT if line.get_color() == _GREY else line.get_color()
        panel.text(place, height, line.get_label(), color=colour, fontsize=9.5, va="center", bbox=_BEHIND_TEXT)
    panel.xaxis.set_label_coords((right - left) / width / 2, -0.075)


def spread(wanted: Sequence[float], apart: float) -> list[float]:
    """Heights near the wanted ones, ascending as they are, at least `apart` from each other, from 0 upwards to 1."""
    heights: list[float] = []
    for height in wanted:
        heights.append(max(height, heights[-1] + apart) if heights else max(height, 0.0))
    for index in range(len(heights) - 1, -1, -1):
        top = heights[index + 1] - apart if index + 1 < len(heights) else 1.0
        heights[index] = min(heights[index], top)
    return heights


def write_picture(figure: Any, path: Path) -> None:
    """The picture, whole or not at all."""
    picture = io.BytesIO()
    figure.savefig(picture, format="png")
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    temporary.write_bytes(picture.getvalue())
    os.replace(temporary, path)
