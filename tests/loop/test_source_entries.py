"""Sources in a run file: every problem with its line, what changes a stage's inputs, and what is said about them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from loop.config import RunConfig, load_run_config
from loop.folder import RunFolder
from loop.inputs import Run, evaluate_inputs, generate_inputs, open_run
from loop.provenance import provenance
from records.digest import digest_json
from records.errors import ConfigError
from tests.loop.scripted_run import RUN, write_world

HEAD = "model: m\nconstitution: demo\n"


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(write_world(tmp_path))
    return tmp_path


def opened(world: Path, sources: str, *overrides: str) -> Run:
    (world / "run.yaml").write_text(RUN.replace("[prompts.jsonl]", sources))
    return open_run(load_run_config(world / "run.yaml", overrides), RunFolder(world / "run"))


def digest(run: Run) -> tuple[str, str]:
    return digest_json(generate_inputs(run, 0)), digest_json(evaluate_inputs(run, 0))


def test_all_problems_of_entries_are_told_at_once_with_their_lines(tmp_path: Path) -> None:
    entries = [
        "  - good.jsonl",
        "  - {path: a.jsonl, presett: hh-rlhf}",
        "  - {path: b.jsonl, preset: nosuch}",
        "  - {path: c.jsonl, weight: -1}",
        "  - {sql: {connect: x.duckdb, qery: select 1}}",
        "  - {template: 'About {{ topic }}', variables: {topc: [a]}}",
        "  - 7",
    ]
    path = tmp_path / "run.yaml"
    path.write_text(HEAD + "sources:\n" + "\n".join(entries) + "\n")
    with pytest.raises(ConfigError) as caught:
        load_run_config(path, ["rounds=0"])
    told = str(caught.value)
    for words in (
        "line 5: found the unknown key 'sources.1.presett'; expected one of path, hub", "Did you mean 'preset'?",
        "line 6: sources.2: found a mapping; found no preset 'nosuch'; expected one of hh-rlhf",
        "line 7: sources.3.weight: found -1",
        "line 8: found the unknown key 'sources.4.sql.qery'; expected one of connect, query. Did you mean 'query'?",
        "line 8: found no sources.4.sql.query",
        "line 9: sources.5: found a mapping; the template shows topic, which variables lacks",
        "line 10: sources.6: found 7",
        "rounds=0",
    ):  # fmt: skip
        assert words in told
    assert "sources.0" not in told


def test_entries_are_read_back_from_a_resolved_file_and_described(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    entries = (
        "[a.jsonl, {path: b.csv, columns: {prompt: q}, weight: 0.5}, {template: '{{ n }}', variables: {n: [1, x]}}]"
    )
    path.write_text(f"{HEAD}sources: {entries}\n")
    config = load_run_config(path)
    assert config.sources[0] == "a.jsonl"
    assert RunConfig.model_validate(json.loads(json.dumps(config.model_dump(mode="json")))) == config
    assert "skip_bad_rows" in json.dumps(RunConfig.model_json_schema())


def test_the_same_prompts_from_another_kind_of_source_change_nothing(world: Path) -> None:
    before = digest(opened(world, "[prompts.jsonl]"))
    rows = [json.loads(line)["prompt"] for line in (world / "prompts.jsonl").read_text().splitlines()]
    (world / "asked.csv").write_text("question,more\n" + "".join(f"{row},x\n" for row in rows))
    assert digest(opened(world, "[{path: asked.csv, columns: {prompt: question}}]")) == before
    assert digest(opened(world, "[{template: 'say {{ n }}', variables: {n: " + str(list(range(60))) + "}}]")) == before
    (world / "asked.csv").write_text("question,more\n" + "".join(f"{row},y\n" for row in rows))
    assert digest(opened(world, "[{path: asked.csv, columns: {prompt: question}, weight: 2}]")) == before


def test_other_prompts_groups_and_later_turns_are_other_inputs(world: Path) -> None:
    def turned(rows: list[dict[str, object]], keys: str = "columns: {turns: asked, group: doc}") -> tuple[str, str]:
        (world / "asked.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        return digest(opened(world, f"[{{path: asked.jsonl, {keys}}}]"))

    rows: list[dict[str, object]] = [{"asked": [f"say {number}", "again"], "doc": None} for number in range(60)]
    before = turned(rows)
    assert turned(list(reversed(rows))) == before
    assert turned([{**row, "extra": 1} for row in rows]) == before
    assert turned([{**row, "asked": [*row["asked"], "more"]} for row in rows])[0] != before[0]  # type: ignore[misc]
    assert turned([{**row, "doc": f"d{index % 9}"} for index, row in enumerate(rows)])[0] != before[0]
    assert turned(rows[:-9])[0] != before[0]


def test_a_weight_and_the_seed_of_a_mixture_are_inputs_and_the_counts_are_kept(world: Path) -> None:
    (world / "more.jsonl").write_text("".join(json.dumps({"prompt": f"tell {n}"}) + "\n" for n in range(60)))
    half = opened(world, "[{path: prompts.jsonl, weight: 1}, {path: more.jsonl, weight: 0.5}]")
    less = opened(world, "[{path: prompts.jsonl, weight: 1}, {path: more.jsonl, weight: 0.4}]")
    assert digest(half)[0] != digest(less)[0]
    counted = provenance(half)["sources"]
    assert [(count["name"], count["prompts"], count["taken"]) for count in counted] == [
        ("prompts.jsonl", 60, 60),
        ("more.jsonl", 60, 30),
    ]
    other = opened(world, "[{path: prompts.jsonl, weight: 1}, {path: more.jsonl, weight: 0.5}]", "seed=1")
    assert {prompt.id for prompt in other.prompts.prompts} != {prompt.id for prompt in half.prompts.prompts}


def test_all_problems_of_pairs_and_losses_are_told_at_once_with_their_lines(tmp_path: Path) -> None:
    lines = [
        "sources: [a.jsonl]",
        "train:",
        "  losses: {sigmoid: 0, dpo: 1}",
        "  pairs_from:",
        "    - good.jsonl",
        "    - {path: a.jsonl, wieght: 0.3}",
        "    - {path: b.jsonl, weight: 30}",
        "    - 7",
    ]
    path = tmp_path / "run.yaml"
    path.write_text(HEAD + "\n".join(lines) + "\n")
    with pytest.raises(ConfigError) as caught:
        load_run_config(path)
    told = str(caught.value)
    for words in (
        "line 5: train.losses.sigmoid: found 0", "line 5: train.losses.dpo: found 'dpo'; Input should be 'sigmoid'",
        "line 8: found the unknown key 'train.pairs_from.1.wieght'; expected one of path, weight, repeat.",
        "Did you mean 'weight'?", "line 8: found no train.pairs_from.1.weight",
        "line 9: train.pairs_from.2.weight: found 30", "line 10: train.pairs_from.3: found 7",
    ):  # fmt: skip
        assert words in told, told
    path.write_text(HEAD + "sources: [a.jsonl]\ntrain: {label_smoothing: 0.1, soft_labels: true, losses: {ipo: 1}}\n")
    with pytest.raises(
        ConfigError, match=r"label_smoothing is 0\.1 .*; soft_labels is defined for sigmoid; found losses ipo"
    ):
        load_run_config(path)
