"""Pairs of every strategy through the readers: rows as a dataset, each export layout, and the card's words."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml

from generator.config import JudgeConfig
from loop.export import export
from loop.export_wanted import Wanted
from loop.report_text import report_text
from records.rows import Pair
from tests.generator.toy import CONSTITUTION, DRAFT_TEXT, FINAL_TEXT, outcome_of, provenance, script
from tests.loop.run_folder import finished_run
from tests.loop.toy_export import EARLIER, SYSTEM, talk, write_rows, write_template
from tests.scripted import author_of
from trainer.preferences import read_preferences

STRATEGIES = ("revision", "best_of_n", "ai_feedback", "rating")


def rows(strategy: str) -> list[Pair]:
    """Three pairs that passed the gate, of which the last is on a prompt of several turns."""
    settings = {
        "strategy": strategy,
        "drafts": 2,
        "gate": JudgeConfig(),
        "provenance": provenance(judge=author_of("j")),
    }
    asked = [talk(f"Asked {len(before)}?", before=before) for before in ((), (SYSTEM,), (SYSTEM, *EARLIER))]
    made = [outcome_of(script(draft=[DRAFT_TEXT, FINAL_TEXT]), one, **settings) for one in asked]
    assert all(isinstance(row, Pair) for row in made)
    return made


@pytest.fixture(params=STRATEGIES)
def written(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, Path]:
    write_rows(tmp_path / "rows", rows(request.param))
    (tmp_path / "norms.yaml").write_text(yaml.safe_dump(CONSTITUTION.model_dump(mode="json"), sort_keys=False))
    return request.param, tmp_path


def test_rows_load_as_a_dataset_and_train_as_they_stand(written: tuple[str, Path]) -> None:
    import datasets

    strategy, folder = written
    loaded = datasets.load_dataset(str(folder / "rows" / "pairs"), split="train", cache_dir=str(folder / "cache"))
    assert loaded["strategy"][:] == [strategy] * 3
    assert [len(one) for one in loaded["candidates"]] == [0 if strategy == "revision" else 2] * 3
    stored = [Pair.model_validate_json(line) for line in _lines(folder / "rows" / "pairs")]
    assert [len(one) for one in loaded["judgements"]] == [len(row.judgements) for row in stored]
    found = read_preferences([folder / "rows" / "pairs"])
    assert [(one.prompt, one.chosen[0].content, one.rejected[0].content) for one in found] == [
        (row.prompt, FINAL_TEXT, DRAFT_TEXT) for row in stored
    ]
    assert [turn.role for turn in found[-1].prompt] == ["system", "user", "assistant", "user"]


def _lines(folder: Path) -> list[str]:
    return [line for path in sorted(folder.glob("part-*.jsonl")) for line in path.read_text().splitlines()]


@pytest.mark.parametrize("to", ["trl", "trl-standard", "nemo-rl", "open-cai", "annotated-pairs"])
def test_every_layout_takes_every_strategy(written: tuple[str, Path], to: str) -> None:
    strategy, folder = written
    output, norms = folder / "out", str(folder / "norms.yaml")
    tally = export(
        Wanted(folder / "rows" / "pairs", to, output, constitution=norms, template=write_template(folder))
        if to == "trl-standard"
        else Wanted(folder / "rows" / "pairs", to, output, constitution=norms)
    )
    assert tally.pairs == {(0, "train"): 3} and not tally.left_out
    card = (output / "README.md").read_text()
    roles = set(re.findall(r"(?m)^\| (policy|critic|reviser|verifier|judge) \|", card))
    expected = {"revision": {"critic", "reviser", "verifier"}, "best_of_n": {"critic", "verifier"}}
    assert roles == {"policy", "judge", *expected.get(strategy, set())}
    assert ("made and verified" in card) == (strategy in expected)
    assert ("before and after a rewrite" in card) == (strategy == "revision")
    texts = "".join(path.read_text() for path in output.rglob("*.json*"))
    assert "Asked 3?" in texts and "Be brief." in texts and DRAFT_TEXT in texts


def test_the_report_says_what_was_chosen_among_and_how_steady_the_judge_was(tmp_path: Path) -> None:
    from loop.report import build_report

    run = finished_run(tmp_path)
    marker = run / "round_00" / "generate.done.json"
    made = json.loads(marker.read_text())
    made["outputs"] |= {
        "by_strategy": {"ai_feedback": {"chains": 50, "pairs": 40}}, "drafts": 100,
        "drafts_left_out": {"repeated": 3, "not_compared": 1}, "compared": 48, "orders_disagree_rate": 0.25,
    }  # fmt: skip
    made["outputs"]["rejects"] = {"tie": 6, "judge_disagrees": 4}
    marker.write_text(json.dumps(made))
    text = report_text(build_report(run), run)
    assert "Round 0, ai_feedback: 100 drafts; left out of their groups: 3 repeated, 1 not compared." in text
    assert "Round 0: the judge compared 48 times in both orders, and in 25 % did not say the same" in text
    assert "rejects: judge_disagrees" in text and "rejects: tie" in text
    assert "Round 1, " not in text
