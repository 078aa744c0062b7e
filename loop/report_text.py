"""The report in words and tables: `report.md`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from loop.report_reward import told_of_pairs
from loop.rounds_table import RATES, columns, headline, percent, round_rows, with_interval
from loop.training_text import training_notes
from records.markdown import bullets, table
from records.store import shards

_TRAINING = ("pairs", "loss", "rewards/accuracies", "rewards/margins", "first_loss", "eval_loss", "too_long", "seconds")


def report_text(report: dict[str, Any], run_dir: Path) -> str:
    """`report.md`."""
    config = _config(run_dir)
    parts = [f"# {report['run']}", f"**{headline(report)}.**", *_what_was_run(report, config)]
    if report["rounds"]:
        parts += ["![The rates by round](rounds.png)", "## Rounds", table(columns(report), round_rows(report))]
        parts += [_how_to_read(report), "## Principles", *_principles(report)]
    parts += [*_generation(report), *_training(report), *told_of_pairs(report), *_sway(report)]
    alarms = (f"round {alarm['round']}, {alarm['name']}: {alarm['message']}" for alarm in report["alarms"])
    parts += ["## Alarms", bullets(alarms) or "None."]
    parts += ["## Where the rows are", _places(run_dir)]
    return "\n\n".join(parts) + "\n"


def _config(run_dir: Path) -> dict[str, Any]:
    path = run_dir / "config.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def _what_was_run(report: dict[str, Any], config: dict[str, Any]) -> list[str]:
    status = {
        "complete": "complete",
        "too_few_pairs": f"ended early: fewer than {config.get('min_pairs', 'min_pairs')} pairs to train on",
        "unfinished": "unfinished; the same command goes on from here",
    }
    lines = [
        f"Status: {status.get(report['status'], report['status'])}.",
        f"Time in stages: {report['seconds']:.0f} s.",
    ]
    named = ("model", "constitution", "prompts_per_round")
    lines += [f"{name.replace('_', ' ')}: `{config[name]}`." for name in named if config.get(name)]
    if config.get("critic_model"):
        other = config["critic_model"]
        place = f" at `{other['endpoint']['url']}`" if other.get("endpoint") else ""
        lines.append(f"critic model: `{other['model']}`{place}.")
    if config.get("train"):
        warm_up = config["train"].get("warm_up", "none")
        initial = (
            "the base itself, since there is no warm-up" if warm_up == "none" else f"the {warm_up} warm-up's adapter"
        )
        lines.append(f"base: the weights of `model`. Initial policy: {initial}.")
    if config.get("sources"):
        lines.append(f"prompts from: {', '.join(f'`{_source_name(source)}`' for source in config['sources'])}.")
    if report["rounds"]:
        figures = report["rounds"][-1]["evaluation"]
        lines.append(f"Each policy wrote {figures['drafts']} drafts on {figures['prompts']} test prompts.")
    return [bullets(lines)]


def _source_name(source: str | dict[str, Any]) -> str:
    """A source as the report names it: its place, whatever else the run file says of it."""
    if isinstance(source, str):
        return source
    place = source.get("path") or source.get("hub") or (source.get("sql") or {}).get("connect") or "template"
    weight = source.get("weight")
    return f"{place} (weight {weight:g})" if weight else str(place)


def _how_to_read(report: dict[str, Any]) -> str:
    lines = ["Brackets hold 95 % intervals with the prompt as the unit; test prompts only, never trained on."]
    figures = report["rounds"][-1]["evaluation"]
    if figures.get("self_judged"):
        lines.append(
            "**Self-judged:** the critic's figures come from the model that also drafts, so they share its blind "
            "spots. Figures by check come from exact patterns and limits."
        )
    who = {"check": "by the exact check in each prompt's row", "judge": "by a yes-or-no question to the critic's model"}
    lines.append(f"Whether a draft answers or refuses was told {who.get(figures['answered_by'], 'by nobody')}.")
    for entry in report["rounds"]:
        figures = entry["evaluation"]
        names = ("too_long", "engine_errors", "unparsed", "answered_unparsed")
        left_out = [f"{figures[name]} {name.replace('_', ' ')}" for name in names if figures.get(name)]
        if left_out:
            lines.append(f"Left out of the rates after {entry['round']} trainings: {', '.join(left_out)}.")
        if figures.get("truncated"):
            lines.append(
                f"After {entry['round']} trainings {figures['truncated']} drafts were truncated: out of the rates of "
                "violation and refusal, counted as not answered where the prompt is benign."
            )
    change = report["rounds"][-1]["evaluation"].get("change_from_first", {})
    for name, words in RATES:
        if change.get(f"{name}_change") is not None:
            low, high = (100 * bound for bound in change[f"{name}_change_ci"])
            points = 100 * change[f"{name}_change"]
            lines.append(f"Change from first to last, {words}: {points:+.1f} points ({low:+.1f} to {high:+.1f}).")
    return bullets(lines)


def _principles(report: dict[str, Any]) -> list[str]:
    """A row for each principle: its rates by round, and how far the critic agreed with the check."""
    ids = list(dict.fromkeys(id for entry in report["rounds"] for id in entry["evaluation"]["per_principle"]))
    header = ["principle", *(f"after {entry['round']}" for entry in report["rounds"]), "critic right"]
    rows = [
        [
            f"`{id}`",
            *(_both_rates(entry["evaluation"]["per_principle"].get(id, {})) for entry in report["rounds"]),
            with_interval(report["rounds"][0]["evaluation"]["per_principle"].get(id, {}), "critic_accuracy"),
        ]
        for id in ids
    ]
    note = (
        "Violation rate by the critic, then by the exact check where the principle has one, over the drafts it applies "
        "to. Critic right: agreement with the check on the first policy's drafts."
    )
    return [table(header, rows), note]


def _both_rates(figures: dict[str, Any]) -> str:
    by_critic = percent(figures.get("violation_rate"))
    return (
        f"{by_critic} / {percent(figures['checked_violation_rate'])}"
        if "checked_violation_rate" in figures
        else by_critic
    )


def _generation(report: dict[str, Any]) -> list[str]:
    entries = [entry for entry in report["rounds"] if "generation" in entry]
    if not entries:
        return []
    reasons = sorted({reason for entry in entries for reason in entry["generation"].get("rejects", {})})
    header = ["round", "chains", "pairs", *(f"rejects: {reason}" for reason in reasons), "chains/s", "seconds"]
    rows = []
    for entry in entries:
        figures = entry["generation"]
        rejects = [figures.get("rejects", {}).get(reason, 0) for reason in reasons]
        values = [figures.get("chains"), figures.get("pairs"), *rejects]
        values += [figures.get("chains_per_second"), figures.get("seconds")]
        rows.append([str(entry["round"]), *map(_number, values)])
    told = [*_groups(entries), *_by_check(entries), *_gaps(entries), *_beyond_drawn(entries), *_damaged(entries)]
    return ["## Pairs", table(header, rows), *told]


def _groups(entries: Sequence[dict[str, Any]]) -> list[str]:
    """What was chosen among, and how steady the judge was, where drafts are chosen among or a judge compares."""
    lines = []
    for entry in entries:
        figures = entry["generation"]
        strategies = [name for name in figures.get("by_strategy", {}) if name != "revision"]
        if strategies:
            out = [f"{count} {why.replace('_', ' ')}" for why, count in figures["drafts_left_out"].items()]
            left = f"; left out of their groups: {', '.join(out)}" if out else ""
            lines.append(f"Round {entry['round']}, {', '.join(strategies)}: {figures['drafts']} drafts{left}.")
        drafted = figures.get("drafts_by_adapter", {})
        if len(drafted) > 1:
            by = ", ".join(f"{count} by {name[:12]}" for name, count in drafted.items())
            lines.append(f"Round {entry['round']}: drafts by the base or an adapter's digest: {by}.")
        if figures.get("compared"):
            rate = percent(figures["orders_disagree_rate"])
            lines.append(
                f"Round {entry['round']}: the judge compared {figures['compared']} times in both orders, and in {rate} "
                "did not say the same of the same text."
            )
    return [bullets(lines)] if lines else []


def _by_check(entries: Sequence[dict[str, Any]]) -> list[str]:
    """What the exact checks say of the labels that the critic gave."""
    checked, right = (
        sum(entry["generation"].get(name, 0) for entry in entries) for name in ("checked_pairs", "checked_pairs_right")
    )
    if not checked:
        return []
    return [
        f"Of {checked} pairs whose violated principle has an exact check, {right} ({percent(right / checked)}) are "
        "right by it: chosen passes every check, rejected fails those of the principles it is said to break."
    ]


def _gaps(entries: Sequence[dict[str, Any]]) -> list[str]:
    """Whether length alone would tell chosen from rejected, and what filters changed of it."""
    lines = []
    for entry in entries:
        gap = entry["generation"].get("length_gap") or {}
        if gap.get("before") is not None:
            after = "no pair is left" if gap["after"] is None else f"{gap['after']:+.1f} after them"
            told = (
                f"{gap['after']:+.1f}"
                if gap["after"] == gap["before"]
                else f"{gap['before']:+.1f} before filters, {after}"
            )
            lines.append(f"Round {entry['round']}: chosen minus rejected, mean characters: {told}.")
    return [bullets(lines)] if lines else []


def _beyond_drawn(entries: Sequence[dict[str, Any]]) -> list[str]:
    """How often a rewrite breaks a principle that was not drawn for its prompt, where that was looked at."""
    rates = [(entry["round"], entry["generation"].get("new_violation_rate")) for entry in entries]
    lines = [
        f"Round {index}: {percent(rate)} of the final texts break a principle that was not drawn for the prompt."
        for index, rate in rates
        if rate is not None
    ]
    return [bullets(lines)] if lines else []


def _damaged(entries: Sequence[dict[str, Any]]) -> list[str]:
    """The shards that could not be read, whose prompts were done again."""
    counts = [(entry["round"], entry["generation"].get("damaged_shards")) for entry in entries]
    lines = [
        f"Round {index}: {count} shard{'s were' if count > 1 else ' was'} damaged and set aside (in `pairs/damaged/`, "
        "`rejects/damaged/`), and the prompts done again."
        for index, count in counts
        if count
    ]
    return [bullets(lines)] if lines else []


def _training(report: dict[str, Any]) -> list[str]:
    entries = [entry for entry in report["rounds"] if "training" in entry]
    if not entries:
        return []
    keys = [key for key in _TRAINING if any(key in entry["training"] for entry in entries)]
    header = ["round", "method", "start from", "reference", *keys]
    rows = []
    for entry in entries:
        figures = entry["training"]
        named = [str(figures.get(name, "–")) for name in ("method", "start_from", "reference")]
        rows.append([str(entry["round"]), *named, *(_number(figures.get(key)) for key in keys)])
    note = "Means over the last tenth of the optimizer steps; log: `training.jsonl`."
    return ["## Training", table(header, rows), note, *training_notes(entries), *_hand_offs(report)]


def _hand_offs(report: dict[str, Any]) -> list[str]:
    """Whether the engine was shown to speak with each adapter that was trained."""
    rounds = report["rounds"]
    proofs = [(f"of training {one['round']}", one["evaluation"].get("hand_off")) for one in rounds]
    others = [(one["round"], one.get("generation", {}).get("hand_off_round_0")) for one in rounds]
    proofs += [(f"of round 0, which drafts in round {index} too", proof) for index, proof in others]
    lines = [
        f"The engine speaks with the adapter {which}: {proof['outcome']} ({proof['nearer_new']} of "
        f"{proof['tokens']} tokens nearer to it than to the policy before, p = {_number(proof['p_value'])})."
        for which, proof in proofs
        if proof
    ]
    return [bullets(lines)] if lines else []


def _sway(report: dict[str, Any]) -> list[str]:
    entries = [entry for entry in report["rounds"] if entry["evaluation"].get("sway", {}).get("seen")]
    if not entries:
        return []
    orders = list(entries[0]["evaluation"]["sway"]["orders"])
    rows = [
        [
            str(entry["round"]),
            str(entry["evaluation"]["sway"]["seen"]),
            with_interval(entry["evaluation"]["sway"], "swayed_rate"),
            *(percent(entry["evaluation"]["sway"]["orders"][order]["rate"]) for order in orders),
        ]
        for entry in entries
    ]
    header = ["after", "drafts", "any order", *(order.replace("_", " ") for order in orders)]
    note = "Share of known violations that the critic no longer sees once an order to it is appended to the draft."
    return ["## Orders to the critic", note, table(header, rows)]


def _places(run_dir: Path) -> str:
    """The folders that hold rows, with what they hold."""
    folders = sorted({path.parent for path in run_dir.glob("round_*/*/part-*")})
    lines = [
        f"`{folder.relative_to(run_dir)}/` ({len(shards(folder))} shard{'s' if len(shards(folder)) != 1 else ''})"
        for folder in folders
    ]
    rest = "Pairs and rejects open with `datasets.load_dataset(folder)`. Every figure here: `report.json`."
    return "\n\n".join(part for part in (bullets(lines), rest) if part)


def _number(value: Any) -> str:
    return "–" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)
