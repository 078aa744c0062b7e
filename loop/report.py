"""`report.json`: the figures of a run, put together from its folder alone, so it can be built again at any time.

Read are `config.json`, each round's `evaluation.json`, and the done-markers of its stages, whose `outputs` hold what
the stage counted. Entry i of `rounds` is the policy after i trainings, with the generation and the training that it
drafted for; the last entry has neither.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from loop.folder import round_index
from records.atomic import write_json_atomic, write_text_atomic
from records.chat import encodable
from records.errors import DataError

Report = dict[str, Any]

LENGTH_DRIFT = 0.2
SHARE_WORTH_AN_ALARM = 0.05
STAGES = ("evaluate", "generate", "reward", "train")


def build_report(run_dir: Path) -> Report:
    """The report of a run, finished or not.

    `status` is `complete`, `too_few_pairs` (the loop ended early, and says so) or `unfinished`.

    Raises:
        DataError: a file of the run folder cannot be read.
    """
    config = read_object(run_dir / "config.json") or {}
    numbered = sorted((round_index(path), path) for path in run_dir.glob("round_[0-9]*") if path.is_dir())
    # A run may be cut short by a smaller `rounds`; what lies beyond its end stays on disk and is not of this run.
    end = config.get("rounds", len(numbered))
    folders = {i: path for i, path in numbered if i <= end}
    markers = {
        i: {
            stage: read_object(path / f"{stage}.done.json") if i < end or stage == "evaluate" else None
            for stage in STAGES
        }
        for i, path in folders.items()
    }
    found = {i: read_object(path / "evaluation.json") for i, path in folders.items()}
    evaluations = {i: evaluation for i, evaluation in found.items() if evaluation is not None}
    rounds = [_entry(i, evaluation, markers[i], config) for i, evaluation in evaluations.items()]
    _add_changes(rounds, list(evaluations.values()))
    warm_up = {stage: read_object(run_dir / "warm_up" / f"{stage}.done.json") for stage in STAGES}
    stages = [warm_up, *markers.values()]
    finished = [marker for of_round in stages for marker in of_round.values() if marker]
    return {
        "run": encodable(run_dir.name),
        "status": _status(config, stages, evaluations),
        "seconds": float(sum(marker["seconds"] for marker in finished)),
        "alarms": [*_training_alarms(rounds), *_evaluation_alarms(rounds)],
        "rounds": rounds,
    }


def write_report(run_dir: Path) -> Report:
    """Build the report and write `report.json`, `report.md` and, where a policy was evaluated, `rounds.png`."""
    from loop.report_text import report_text

    report = build_report(run_dir)
    write_json_atomic(run_dir / "report.json", report)
    if report["rounds"]:
        from loop.picture import draw_rounds

        draw_rounds(report, run_dir / "rounds.png")
    write_text_atomic(run_dir / "report.md", report_text(report, run_dir))
    return report


def read_object(path: Path) -> dict[str, Any] | None:
    """A JSON object, or None where the file is not there."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise DataError(f"{path}: not JSON ({error}). Files of a run are not edited by hand; put it back.") from None
    if not isinstance(value, dict):
        raise DataError(f"{path}: found a {type(value).__name__}; expected a JSON object.")
    return value


def _entry(index: int, evaluation: dict[str, Any], markers: dict[str, Any], config: dict[str, Any]) -> dict[str, Any]:
    """One policy: its evaluation without the counts by prompt, and what its round came to."""
    shown = {name: value for name, value in evaluation.items() if name not in ("by_prompt", "policy")}
    entry: dict[str, Any] = {
        "round": index,
        "policy": evaluation.get("policy") or {"model": config.get("model", ""), "adapter_digest": ""},
        "evaluation": shown,
    }
    for stage, name in (("generate", "generation"), ("reward", "reward"), ("train", "training")):
        if markers[stage]:
            entry[name] = {"seconds": markers[stage].get("seconds"), **markers[stage].get("outputs", {})}
    return entry


def _add_changes(rounds: Sequence[dict[str, Any]], evaluations: Sequence[dict[str, Any]]) -> None:
    """Give each policy but the first how its rates changed, from the last policy and from the first."""
    # numpy takes a tenth of a second to load, which a command that only prints help need not pay.
    from evaluation.summary import changes

    for index in range(1, len(rounds)):
        for place, before in (("change", evaluations[index - 1]), ("change_from_first", evaluations[0])):
            if "by_prompt" in before and "by_prompt" in evaluations[index]:
                rounds[index]["evaluation"][place] = changes(before, evaluations[index])


def _status(config: dict[str, Any], markers: Sequence[dict[str, Any]], evaluations: dict[int, Any]) -> str:
    if config.get("rounds") in evaluations:
        return "complete"
    last = next((stages for stages in reversed(markers) if stages["generate"]), None)
    if last is not None and not last["train"]:
        outputs = last["generate"].get("outputs", {})
        # Pairs of validation prompts are made too, and never trained on.
        pairs = outputs.get("train_pairs", outputs.get("pairs", 0))
        if pairs < (config.get("min_pairs") or 0):
            return "too_few_pairs"
    return "unfinished"


def _alarm(round_index: int, name: str, message: str) -> dict[str, Any]:
    return {"round": round_index, "name": name, "message": message}


def _training_alarms(rounds: Sequence[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """The alarms that each training raised, and a hand-off in which another adapter turned up."""
    policies = {entry["round"]: entry["policy"] for entry in rounds}
    for entry in rounds:
        training = entry.get("training", {})
        for alarm in (*entry.get("reward", {}).get("alarms", ()), *training.get("alarms", ())):
            known = alarm if isinstance(alarm, dict) else {"name": "training", "message": str(alarm)}
            yield _alarm(entry["round"], known["name"], known["message"])
        trained = training.get("adapter_digest")
        served = policies.get(entry["round"] + 1, {}).get("adapter_digest", trained)
        if trained and served != trained:
            yield _alarm(
                entry["round"],
                "hand_off",
                f"the adapter trained here is {trained[:12]}, the next policy evaluated is {served[:12] or 'the base'}",
            )


def _evaluation_alarms(rounds: Sequence[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for entry in rounds:
        yield from _count_alarms(entry)
    for before, entry in pairwise(rounds):
        yield from _length_alarm(before, entry, "the policy before it")
    if len(rounds) > 2:
        yield from _length_alarm(rounds[0], rounds[-1], "the first policy")


def _length_alarm(before: dict[str, Any], entry: dict[str, Any], whose: str) -> Iterator[dict[str, Any]]:
    was, is_now = before["evaluation"].get("length"), entry["evaluation"].get("length")
    if not was or is_now is None or abs(is_now / was - 1) <= LENGTH_DRIFT:
        return
    yield _alarm(
        entry["round"],
        "length_drift",
        f"drafts have {is_now:.1f} tokens on average, {is_now / was - 1:+.0%} against {was:.1f} of {whose}; more than "
        f"{LENGTH_DRIFT:.0%} may mean that length was learned instead of the principles",
    )


_OUT = "The rates leave them out"


def _count_alarms(entry: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Drafts that rates leave out, where there are enough of them to move one."""
    figures = entry["evaluation"]
    counts = (
        (
            "truncated",
            figures.get("drafts"),
            "hit max_tokens; raise evaluate.sampling.max_tokens. The rates of violation and refusal leave them out; "
            "they count as not answered",
        ),
        ("unparsed", figures.get("judged"), f"got no readable verdict from the critic; read its replies. {_OUT}"),
        ("too_long", figures.get("drafts"), f"or their questions did not fit the context; shorten prompts. {_OUT}"),
        ("engine_errors", figures.get("drafts"), f"were given up by the engine; read its log. {_OUT}"),
    )
    for name, total, words in counts:
        count = figures.get(name) or 0
        if total and count / total > SHARE_WORTH_AN_ALARM:
            yield _alarm(entry["round"], name, f"{count} of {total} drafts {words}.")
