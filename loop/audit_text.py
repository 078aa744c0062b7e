"""`audit.md`: what an audit found, for people. Every figure is in `audit.json` too."""

from __future__ import annotations

from typing import Any

from loop.rounds_table import percent
from records.markdown import bullets, escaped, table

_SHOWN = 10  # of pairs of principles; all are in audit.json


def audit_text(told: dict[str, Any]) -> str:
    """The audit as Markdown."""
    parts = [
        f"# Audit of {escaped(told['constitution']['name'])}, run {escaped(told['run'])}",
        _counted(told),
        "## Findings",
        _findings(told),
        "![Violation and fix rates by principle, with 95 % intervals](audit.png)",
        "## Principles",
        _rates_table(told),
        _RATES_NOTE,
        "## Revisions",
        _revisions_table(told),
        _REVISIONS_NOTE,
        *_critic(told),
        *_redundancy(told),
        *_conflict(told),
        "## Coverage",
        _coverage(told),
        "## How findings are made",
        _rules(told),
    ]
    return "\n\n".join(parts) + "\n"


def _counted(told: dict[str, Any]) -> str:
    counted = told["counted"]
    rejects = ", ".join(f"{name} {count}" for name, count in sorted(counted["rejects"].items()))
    strategies = ", ".join(counted["strategies"])
    lines = [
        f"{counted['verdicts']} verdicts on {counted['chains']} chains of {counted['prompts']} prompts, rounds "
        f"{', '.join(map(str, counted['rounds']))}, strategy {strategies}: {counted['pairs']} pairs"
        + (f"; rejects: {rejects}." if rejects else ".")
    ]
    unknown = counted["verdicts_on_unknown_principles"]
    if unknown:
        named = ", ".join(f"{escaped(id)} ({count})" for id, count in list(unknown.items())[:_SHOWN])
        lines.append(f"Verdicts on principles that the constitution does not have were left out: {named}.")
    return " ".join(lines)


def _findings(told: dict[str, Any]) -> str:
    if not told["findings"]:
        return "Nothing that is both large enough and more than chance."
    return bullets(escaped(finding["words"]) for finding in told["findings"])


def _cell(figure: dict[str, Any] | None) -> str:
    """A rate with its interval and what it is over."""
    return "–" if figure is None else f"{percent(figure['rate'])} {_between(figure['ci'])} n={figure['n']}"


def _between(bounds: list[float]) -> str:
    low, high = (percent(bound).removesuffix(" %") for bound in bounds)
    return f"({low}–{high})"


def _rates_table(told: dict[str, Any]) -> str:
    header = ["principle", "drawn", "applies", "violated", "without the critic's errors", "unparsed"]
    rows = []
    for one in told["principles"]:
        mended = (one["critic"] or {}).get("violated_corrected")
        corrected = "–" if mended is None else f"{percent(mended['rate'])} {_between(mended['ci'])}"
        shares = [_cell(one[name]) for name in ("drawn", "applicable", "violated")]
        rows.append([f"{escaped(one['id'])}", *shares, corrected, _cell(one["unparsed"])])
    return table(header, rows)


_RATES_NOTE = (
    "Drawn: of chains. Applies and unparsed: of first questions about drafts. Violated: of drafts it applies to. "
    "Without the critic's errors: violations among all drafts that could be read, by Rogan and Gladen, where exact "
    "checks or people say how often the critic errs. Brackets hold 95 % intervals, the prompt being the unit."
)


def _revisions_table(told: dict[str, Any]) -> str:
    header = ["principle", "fixed", "asked again", "beyond that", "nothing", "broke another", "length", "refuse"]
    rows = []
    for one in told["principles"]:
        net, length = one["net_fixed"], one["length"]
        beyond = "–" if net is None else f"{net['difference'] * 100:+.0f} points {_between(net['ci'])}"
        factor = "–" if length is None else f"×{length['factor']:.2f} ({length['ci'][0]:.2f}–{length['ci'][1]:.2f})"
        cells = [_cell(one["fixed"]), _cell(one["looks_fixed"]), beyond, _cell(one["nothing"])]
        rows.append([escaped(one["id"]), *cells, _cell(one["broke_another"]), factor, _cell(one["refusing_fixes"])])
    reasons = sorted({one["net_fixed_unknown"] for one in told["principles"] if one["net_fixed_unknown"]})
    known = table(header, rows)
    return "\n\n".join([known, *(f"Beyond chance is not known everywhere: {escaped(reason)}." for reason in reasons)])


_REVISIONS_NOTE = (
    "Fixed and nothing: of revisions for a principle that ended decided. Asked again: how often the *unchanged* draft, "
    "found violating and asked about once more, looks fixed; what a revision does beyond that is the figure to go by. "
    "Broke another: the final text breaks a principle that the draft kept. Length: the factor that a revision for this "
    "principle accounts for, others of the same chain told apart. Refuse: of fixed texts on prompts not known to be "
    "harmful, by usual English phrases."
)


def _critic(told: dict[str, Any]) -> list[str]:
    known = [one for one in told["principles"] if one["critic"] or one["stability"]]
    if not known:
        return []
    header = ["principle", "held against", "precision", "recall", "specificity", "same answer again"]
    rows = []
    for one in known:
        critic = one["critic"] or {"held_against": {}, "precision": None, "recall": None, "specificity": None}
        against = ", ".join(f"{count} by {who}" for who, count in critic["held_against"].items() if count) or "–"
        cells = [_cell(critic[name]) for name in ("precision", "recall", "specificity")]
        rows.append([escaped(one["id"]), against, *cells, _cell(one["stability"])])
    return ["## The critic", table(header, rows)]


def _redundancy(told: dict[str, Any]) -> list[str]:
    rows = [
        [" and ".join(map(escaped, pair["principles"])), f"{pair['kappa']:.2f}", _raw(pair["ci"]), str(pair["n"])]
        for pair in told["redundancy"][:_SHOWN]
    ]
    if not rows:
        return []
    header = ["principles", "kappa", "95 %", "drafts"]
    return ["## The same verdicts", f"Of {len(told['redundancy'])} pairs the most alike.", table(header, rows)]


def _conflict(told: dict[str, Any]) -> list[str]:
    known = [pair for pair in told["conflict"] if pair["beyond"] is not None]
    rows = [
        [
            f"{escaped(pair['fixed'])} → {escaped(pair['broken'])}",
            _cell(pair["broken_rate"]),
            _cell(pair["elsewhere"]),
            f"{pair['beyond'] * 100:+.0f} points {_between(pair['ci'])}",
        ]
        for pair in known[:_SHOWN]
    ]
    if not rows:
        return []
    header = ["mended → broken", "broken", "where others were mended", "beyond other revisions"]
    note = (
        f"Of {len(known)} pairs the worst. Beyond other revisions: what a revision for the first adds to the chance "
        "that the second is lost, all revisions of a chain told apart, minus what one for any other principle adds."
    )
    return ["## Mended at the cost of another", note, table(header, rows)]


def _raw(bounds: list[float]) -> str:
    return f"{bounds[0]:.2f} to {bounds[1]:.2f}"


def _coverage(told: dict[str, Any]) -> str:
    coverage, subset = told["coverage"], told["subset"]
    if coverage["untouched"] is None:
        return "No verdict could be read."
    without = ", ".join(map(escaped, subset["left_out"]))
    lines = [
        f"Prompts that no principle touches (nothing was found broken): {_cell(coverage['untouched'])}; prompts to "
        f"which none applies: {_cell(coverage['none_applies'])}."
    ]
    if subset["principles"]:
        how = "no smaller set does" if subset["exact"] else "found greedily, so a smaller set may do as well"
        named = ", ".join(map(escaped, subset["principles"]))
        lines.append(
            f"{len(subset['principles'])} of {len(told['principles'])} principles ({how}) find something in "
            f"{percent(subset['kept'])} of the {subset['drafts']} drafts in which anything was found: {named}."
        )
    lines += [f"Rubber stamps are left out of both: {without}."] if without else []
    return bullets(lines)


def _rules(told: dict[str, Any]) -> str:
    tests = told["tests"]
    head = (
        f"{tests['made']} tests were made; {tests['too_few_cases']} more had too few cases. A finding is an effect of "
        f"at least the minimum that stands after {tests['adjustment']}, so that at most "
        f"{percent(tests['false_findings'])} of findings are expected to be false."
    )
    rules = bullets(f"{kind.replace('_', ' ')}: {rule['reason']}." for kind, rule in tests["thresholds"].items())
    return f"{head}\n\n{rules}"
