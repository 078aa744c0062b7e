"""Run folders made by hand, as the stages leave them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from evaluation.summary import summarise
from tests.evaluation.toy import CONSTITUTION, row
from tests.scripted import author_of

CONFIG = {"rounds": 2, "model": "demo-model", "min_pairs": 10, "constitution": "toy", "sources": ["prompts.jsonl"]}


def evaluation(
    broken: int, *, adapter: str = "", prompts: int = 20, tokens: int = 10, **columns: Any
) -> dict[str, Any]:
    """The figures of a policy whose first `broken` prompts get rude drafts; half the prompts are benign."""
    rows = []
    for index in range(prompts):
        verdict = "violates" if index < broken else "complies"
        rows += [
            row(
                f"prompt-{index}",
                number,
                verdicts={"polite": verdict, "modest": "not_applicable", "kind": "complies"},
                checks={"polite": verdict, "modest": "not_applicable"},
                benign=index % 2 == 0,
                does_what_is_asked="yes",
                answered_by="check",
                output_tokens=tokens,
                policy=author_of("demo-model", adapter),
                critic=author_of("demo-model"),
                **columns,
            )
            for number in range(2)
        ]
    return summarise(rows, CONSTITUTION)


def write(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))


def marker(outputs: dict[str, Any], seconds: float) -> dict[str, Any]:
    return {"digest": "d", "inputs": {}, "outputs": outputs, "seconds": seconds, "finished": "2026-01-01T00:00:00Z"}


GENERATED = {"chains": 50, "pairs": 40, "rejects": {"complies": 8, "unparsed": 2}, "chains_per_second": 12.5}


def trained(adapter: str, **figures: Any) -> dict[str, Any]:
    return {
        "method": "dpo", "pairs": 40, "loss": 0.41, "rewards/accuracies": 0.95, "rewards/margins": 0.8,
        "start_from": "previous", "reference": "previous", "adapter_digest": adapter, "alarms": [], **figures,
    }  # fmt: skip


def finished_run(folder: Path, **config: Any) -> Path:
    """Two rounds: 16, then 8, then 1 of 20 prompts get violating drafts."""
    run = folder / "toy-run"
    write(run / "config.json", CONFIG | config)
    for index, (broken, adapter) in enumerate([(16, ""), (8, "aaa"), (1, "bbb")]):
        round_dir = run / f"round_{index:02d}"
        proof = {"outcome": "proven", "tokens": 600, "nearer_new": 450, "p_value": 1e-9, "adapter_digest": adapter}
        figures = evaluation(broken, adapter=adapter) | ({"hand_off": proof} if index else {})
        write(round_dir / "evaluation.json", figures)
        write(round_dir / "evaluate.done.json", marker({}, 5.0))
        if index < 2:
            write(round_dir / "generate.done.json", marker(GENERATED, 10.0))
            write(round_dir / "train.done.json", marker(trained("aaabbb"[3 * index : 3 * index + 3]), 4.0))
            (round_dir / "pairs").mkdir()
            (round_dir / "pairs" / "part-00000.jsonl").write_text("")
    return run
