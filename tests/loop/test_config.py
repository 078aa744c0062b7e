"""A run file is read whole: every problem at once, each with its place, what was found and what was expected."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest

from constitution.yaml_file import read_yaml
from loop.config import RunConfig, load_run_config
from loop.inputs import Run
from records.errors import ConfigError
from tests.tracked import ROOT

GOOD = "model: m\nconstitution: demo\nsources: [a.jsonl]\n"


def write(folder: Path, text: str) -> Path:
    path = folder / "run.yaml"
    path.write_text(text)
    return path


def problems(folder: Path, text: str, *overrides: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load_run_config(write(folder, text), overrides)
    return str(caught.value)


def test_every_ready_run_file_parses() -> None:
    files = [path for path in (ROOT / "configs").rglob("*.yaml") if "model" in (read_yaml(path).value or {})]
    assert len(files) >= 2
    assert len(files) == len(list((ROOT / "configs").rglob("*.y*ml")))
    for path in files:
        assert load_run_config(path).rounds >= 1


def test_a_file_gives_its_settings_and_the_rest_are_defaults(tmp_path: Path) -> None:
    config = load_run_config(write(tmp_path, GOOD + "train: {beta: 0.2}\n"))
    assert (config.model, config.sources, config.train.beta) == ("m", ("a.jsonl",), 0.2)
    assert config.train.learning_rate == 5e-6
    assert (config.train.start_from, config.train.reference) == ("previous", "previous")


def test_the_warm_up_has_no_adapter_of_its_own(tmp_path: Path) -> None:
    """The rounds train its adapter on: one of another shape would be found out only after a round of drafts."""
    told = problems(tmp_path, GOOD + "train: {warm_up: sft}\nwarm_up: {lora: {r: 8}}\n")
    assert "line 5: found the unknown key 'warm_up.lora'" in told
    config = load_run_config(write(tmp_path, GOOD + "train: {lora: {r: 8}}\nwarm_up: {epochs: 3}\n"))
    run = Run(config, *[None] * (len(fields(Run)) - 1))
    assert (run.warm_up().lora.r, run.warm_up().epochs) == (8, 3)


def test_all_problems_are_told_at_once_with_their_lines(tmp_path: Path) -> None:
    text = (
        "model: m\nconstitution: demo\nrounds: 0\ntrian: {}\ntrain:\n  beta: -1\n  lerning_rate: 1\nsplits: {test: 2}\n"
    )
    told = problems(tmp_path, text)
    assert told.startswith(str(tmp_path / "run.yaml"))
    assert "line 3: rounds: found 0" in told
    assert "line 4: found the unknown key 'trian'" in told
    assert "Did you mean 'train'?" in told
    assert "line 6: train.beta: found -1" in told
    assert "line 7: found the unknown key 'train.lerning_rate'; expected one of losses, label_smoothing," in told
    assert "Did you mean 'learning_rate'?" in told
    assert "found no sources; expected this key" in told
    assert "splits.test: found 2" in told
    assert "6 problems; nothing was run." in told
    assert "constitute check" in told


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("model: [unclosed\n", "malformed YAML"),
        ("", "empty file"),
        ("- a\n", "expected a mapping"),
        (GOOD + "model: other\n", "found the key 'model' twice, lines 1 and 4"),
        (GOOD + "seed: !!python/name:os.system\n", "found the tag"),
        (GOOD + "sources: a.jsonl\n".replace("sources", "rounds"), "rounds: found 'a.jsonl'"),
        ("model: ''\nconstitution: demo\nsources: []\n", "model: found ''"),
        (GOOD + "train: {start_from: initial, pairs: this_round}\n", "expected pairs: all_rounds"),
        (GOOD + "train: {lora: {r: 7}}\n", "expected one of 1, 8, 16"),
        (GOOD + "generate: {strategy: best_of_m}\n", "generate.strategy: found 'best_of_m'"),
        (GOOD + "generate: {strategy: rating}\n", "drafts_per_prompt is 1; expected at least 2"),
        (GOOD + "generate: {drafts_from: {base: 0.5}}\n", "the shares add up to 0.5; expected 1"),
        (GOOD + "generate: {drafts_from: {base: 2, previous: -1}}\n", "generate.drafts_from.base: found 2"),
        (GOOD + "generate: {drafts_from: {initial: 1}}\n", "expected one of base, round_0, previous"),
        (GOOD + "generate: {passes: 0}\n", "generate.passes: found 0"),
        (
            GOOD + "generate: {strategy: rating, drafts_per_prompt: 2, drafts_from: {base: 0.5, previous: 0.5}, "
            "draft: {temperature: 0}}\n",
            "draft.temperature is 0, at which a policy drafts the same",
        ),
        (GOOD + "generate: {rating: {margin: 2}}\n", "strategy revision rates nothing; expected strategy rating"),
        (
            GOOD + "generate: {strategy: ai_feedback, drafts_per_prompt: 2, verify: {asks: 5}}\n",
            "takes the judge's word and verifies nothing",
        ),
        (
            GOOD + "generate: {strategy: best_of_n, drafts_per_prompt: 4, passes: 2}\n",
            "strategy best_of_n rewrites nothing, and passes is 2; expected 1",
        ),
        (
            GOOD + "generate: {strategy: rating, drafts_per_prompt: 2, draft: {temperature: 0}}\n",
            "drafts the same each time; expected a temperature above 0",
        ),
        (GOOD + "generate: {verify: {asks: 3, draft_asks: 2}}\n", "draft_asks is 2 and asks 3; expected no fewer"),
        (GOOD + "generate: {judge: {at_least: loss}}\n", "generate.judge.at_least: found 'loss'"),
        (GOOD + "generate: {rating: {margin: 5}}\n", "generate.rating.margin: found 5"),
    ],
)
def test_what_is_no_run_file_is_refused_in_words(tmp_path: Path, text: str, found: str) -> None:
    told = problems(tmp_path, text)
    assert found in told
    assert "nothing was run" in told


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nosuch\.yaml: found no such file; expected a YAML file"):
        load_run_config(tmp_path / "nosuch.yaml")


def test_overrides_are_read_as_yaml_and_reach_into_sections(tmp_path: Path) -> None:
    overrides = [
        "rounds=3", "prompts_per_round=null", "sources=[b.jsonl, c.jsonl]", "train.beta=0.05", "engine.eager=true",
        "train.learning_rate=1e-3", "generate.draft.max_tokens=7", "constitution=a=b.yaml",
    ]  # fmt: skip
    config = load_run_config(write(tmp_path, GOOD + "prompts_per_round: 5\n"), overrides)
    assert (config.rounds, config.prompts_per_round, config.sources) == (3, None, ("b.jsonl", "c.jsonl"))
    assert (config.train.beta, config.train.learning_rate, config.engine.eager) == (0.05, 1e-3, True)
    assert config.generate.draft.max_tokens == 7
    assert config.generate.draft.temperature == 1.0
    assert config.constitution == "a=b.yaml"


def test_a_section_given_in_part_keeps_its_own_defaults(tmp_path: Path) -> None:
    """A critic given only max_tokens once took the temperature of drafts."""
    text = GOOD + "generate: {critic: {max_tokens: 9}}\ntrain: {lora: {alpha: 8}}\n"
    config = load_run_config(write(tmp_path, text), ["generate.revision.max_tokens=8"])
    assert (config.generate.critic.max_tokens, config.generate.critic.temperature) == (9, 0.0)
    assert (config.generate.revision.max_tokens, config.generate.revision.temperature) == (8, 0.7)
    assert config.generate.draft == RunConfig.model_fields["generate"].default.draft
    assert (config.train.lora.r, config.train.lora.alpha) == (16, 8)


def test_wrong_overrides_are_told_beside_the_problems_of_the_file(tmp_path: Path) -> None:
    told = problems(
        tmp_path, GOOD + "seed: x\n",
        "rounds", "=3", "rounds=two", "train.beat=1", "model.x=1", "engine={contxt: 5}",
    )  # fmt: skip
    assert "  rounds: found no key=value; expected for example rounds=2" in told
    assert "  =3: found no key=value" in told
    assert "rounds=two: rounds: found 'two'" in told
    assert "train.beat=1: found the unknown key 'train.beat'" in told
    assert "Did you mean 'beta'?" in told
    assert "model.x=1: model is not a section" in told
    assert "engine={contxt: 5}: found the unknown key 'engine.contxt'" in told
    assert "line 4: seed: found 'x'" in told


def test_a_resolved_file_is_read_back_as_the_same_settings(tmp_path: Path) -> None:
    """config.json in the run folder is what a stage reads."""
    config = load_run_config(write(tmp_path, GOOD + "train: {lora: {r: 8}}\n"), ["rounds=2"])
    assert RunConfig.model_validate(config.model_dump(mode="json")) == config
