"""What a stage is made from: its digest changes with what matters, and with nothing else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from loop.config import load_run_config
from loop.folder import WARM_UP, RunFolder
from loop.inputs import Run, evaluate_inputs, generate_inputs, open_run, train_inputs
from loop.model_folder import model_fingerprint
from loop.reward_inputs import reward_inputs
from records.digest import digest_json
from records.errors import ConfigError
from tests.loop.scripted_run import CHAINS, write_model_folder, write_world

INPUTS = {"evaluate": evaluate_inputs, "generate": generate_inputs, "train": train_inputs}


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(write_world(tmp_path))
    return tmp_path


def opened(world: Path, *overrides: str) -> Run:
    return open_run(load_run_config(world / "run.yaml", overrides), RunFolder(world / "run"))


def changed(world: Path, *overrides: str) -> set[str]:
    """The stages of round 0 that these settings make anew."""
    return {
        stage
        for stage, inputs in INPUTS.items()
        if digest_json(inputs(opened(world), 0)) != digest_json(inputs(opened(world, *overrides), 0))
    }


@pytest.mark.parametrize(
    ("override", "stages"),
    [
        ("train.beta=0.2", {"train"}),
        ("train.lora.r=8", {"train"}),
        ("evaluate.drafts=3", {"evaluate"}),
        ("evaluate.sampling.temperature=0.5", {"evaluate"}),
        ("generate.draft.temperature=0.5", {"generate"}),
        ("generate.critic.max_tokens=90", {"evaluate", "generate"}),
        ("generate.verify.asks=2", {"generate"}),
        ("generate.filters.length_balance=true", {"generate"}),
        ("train.contradictions=keep", {"train"}),
        ("train.method=sft", {"train"}),
        ("train.reward_gate.least_margin=0", {"train"}),
        ("train.shortcut_pairs=0", set()),
        ("reward.folds=3", set()),
        ("generate.drafts_per_prompt=2", {"generate"}),
        ("generate.passes=2", {"generate"}),
        ("generate.judge.at_least=win", {"generate"}),
        ("seed=7", {"generate", "train"}),
        ("engine.context=1000", {"evaluate", "generate"}),
        ("prompts_per_round=5", {"generate"}),
        ("splits.test=0.3", {"evaluate", "generate"}),
        ("splits.validation=0.4", {"generate"}),
        # How fast, how long and when to stop: what is made stays the same.
        ("rounds=2", set()),
        ("min_pairs=3", set()),
        ("engine.cache_gib=2", set()),
        ("engine.restarts=9", set()),
        ("evaluate.in_flight=3", set()),
        ("generate.in_flight=3", set()),
    ],
)
def test_a_setting_makes_anew_what_depends_on_it(world: Path, override: str, stages: set[str]) -> None:
    assert changed(world, override) == stages


def test_another_margin_of_ratings_makes_other_pairs(world: Path) -> None:
    rated = [
        generate_inputs(
            opened(
                world, "generate.strategy=rating", "generate.drafts_per_prompt=2", f"generate.rating.margin={margin}"
            ),
            0,
        )
        for margin in (1, 2)
    ]
    assert rated[0] != rated[1]


def test_settings_that_came_later_do_not_make_older_runs_stale_at_their_defaults(world: Path) -> None:
    """Runs begun before there were such settings hold no word of them in their markers."""
    run = opened(world, "generate.filters.similarity=0.95", "train.contradictions=drop")
    assert "filters" not in generate_inputs(run, 0)["generate"]
    assert "contradictions" not in train_inputs(run, 0)["train"]


def test_near_duplicate_prompts_make_anew_what_is_made_of_them(world: Path) -> None:
    assert changed(world, "near_duplicate_prompts=keep") == set()
    with open(world / "prompts.jsonl", "a") as file:
        file.writelines(json.dumps({"prompt": f"please say {number}"}) + "\n" for number in range(60))
    assert "generate" in changed(world, "near_duplicate_prompts=keep")
    assert opened(world).prompts.alike > 0 and opened(world).prompts.near_duplicates > 0
    assert opened(world, "near_duplicate_prompts=keep").prompts.alike == 0


def test_other_splits_make_a_training_on_own_pairs_anew(world: Path) -> None:
    (world / "own.jsonl").write_text('{"prompt": "a", "chosen": "b", "rejected": "c"}\n')
    own = "train.pairs_from=[own.jsonl]"
    runs = [opened(world, own, *more) for more in ((), ("splits.test=0.3",), ("train.pairs_from=[]",))]
    first, other, without = (train_inputs(run, 0) for run in runs)
    assert first["held_out"] != other["held_out"] and "held_out" not in without


def test_a_strategy_makes_pairs_anew(world: Path) -> None:
    settings = ["generate.drafts_per_prompt=2", *(f"generate.strategy={name}" for name in ("best_of_n", "rating"))]
    found = [digest_json(generate_inputs(opened(world, *settings[:1], *settings[n : n + 1]), 0)) for n in (1, 2, 3)]
    assert len(set(found)) == 3


def digests(world: Path) -> dict[str, str]:
    run = opened(world)
    return {stage: digest_json(inputs(run, 0)) for stage, inputs in INPUTS.items()}


def differing(before: dict[str, str], after: dict[str, str]) -> set[str]:
    return {stage for stage in before if before[stage] != after[stage]}


@pytest.mark.parametrize(
    ("column", "value", "stages"),
    [
        ("benign", False, {"evaluate", "generate"}),
        ("check", {"require": ["a word"]}, {"evaluate"}),
        ("group", "one", {"evaluate", "generate"}),
    ],
)
def test_what_the_prompt_file_says_beside_the_prompts_counts(
    world: Path, column: str, value: object, stages: set[str]
) -> None:
    before, file = digests(world), world / "prompts.jsonl"
    held = [json.loads(line) for line in file.read_text().splitlines()]
    rows = [{**row, column: value} if number % 2 else row for number, row in enumerate(held)]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert differing(before, digests(world)) == stages


def test_the_order_and_the_name_of_the_prompt_file_do_not_matter(world: Path) -> None:
    before = digests(world)
    lines = (world / "prompts.jsonl").read_text().splitlines(keepends=True)
    (world / "prompts.jsonl").write_text("".join(reversed(lines)))
    assert not differing(before, digests(world))
    (world / "prompts.jsonl").write_text("".join(lines[1:]))
    assert differing(before, digests(world)) & {"generate", "evaluate"}


def test_a_principle_changes_drafts_and_figures_but_not_training_on_the_same_pairs(world: Path) -> None:
    before = digests(world)
    (world / "toy.yaml").write_text((world / "toy.yaml").read_text().replace("insults nobody", "is kind"))
    assert differing(before, digests(world)) == {"evaluate", "generate"}


def test_the_models_content_matters_and_not_where_it_lies(world: Path) -> None:
    before, place = digests(world), model_fingerprint("model")
    (world / "model").rename(world / "elsewhere")
    assert model_fingerprint("elsewhere") == place
    (world / "elsewhere").rename(world / "model")
    (world / "model" / "model.safetensors").write_bytes(b"other weights")
    assert differing(before, digests(world)) == set(INPUTS)
    assert model_fingerprint("owner/name") == "owner/name"


def test_training_depends_on_the_pairs_as_they_lie_on_disk(world: Path) -> None:
    before = digests(world)
    pairs = world / "run" / "round_00" / "pairs"
    pairs.mkdir(parents=True)
    (pairs / "README.md").write_text("card")
    assert not differing(before, digests(world))
    (pairs / "part-00000.jsonl").write_text("{}\n")
    assert differing(before, digests(world)) == {"train"}


def put_adapter(folder: Path, weights: bytes) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "adapter_model.safetensors").write_bytes(weights)
    (folder / "adapter_config.json").write_text('{"r": 16}')


HERE, THERE = (
    "critic_model={model: owner/judge}",
    "critic_model={model: judge, endpoint: {url: 'https://a.example/v1'}}",
)
BOTH = {"evaluate", "generate"}


@pytest.mark.parametrize(
    ("before", "after", "stages"),
    [
        ((), (HERE,), BOTH),
        ((), (THERE,), BOTH),
        ((HERE,), (THERE,), BOTH),
        ((HERE,), (HERE, "critic_model.model=owner/other"), BOTH),
        ((HERE,), (HERE, "critic_model.engine.context=900"), BOTH),
        ((HERE,), (HERE, "critic_model.engine.memory_share=0.4"), set()),
        ((THERE,), (THERE, "critic_model.model=other"), BOTH),
        ((THERE,), (THERE, "critic_model.endpoint.url=https://b.example/v1"), BOTH),
        ((THERE,), (THERE, "critic_model.endpoint.api_key_env=A_KEY"), set()),
        ((THERE,), (THERE, "critic_model.endpoint.retries=1", "critic_model.endpoint.most_in_flight=3"), set()),
    ],
)
def test_who_the_critic_is_matters_and_not_how_it_is_asked(
    world: Path, monkeypatch: pytest.MonkeyPatch, before: tuple[str, ...], after: tuple[str, ...], stages: set[str]
) -> None:
    monkeypatch.setenv("A_KEY", "a-key-of-no-account")
    told = {}
    for name, overrides in (("before", before), ("after", after)):
        run = opened(world, *overrides)
        made_from = {stage: inputs(run, 0) for stage, inputs in INPUTS.items()}
        assert "a-key-of-no-account" not in json.dumps(made_from)
        told[name] = {stage: digest_json(found) for stage, found in made_from.items()}
    assert differing(told["before"], told["after"]) == stages


def test_the_content_of_a_critic_on_this_machine_matters(world: Path) -> None:
    write_model_folder(world / "judge")

    def made_from() -> dict[str, str]:
        run = opened(world, "critic_model={model: judge}")
        return {stage: digest_json(inputs(run, 0)) for stage, inputs in INPUTS.items()}

    before = made_from()
    (world / "judge" / "model.safetensors").write_bytes(b"other weights")
    assert differing(before, made_from()) == BOTH


def test_a_round_depends_on_the_content_of_the_adapter_before_it(world: Path) -> None:
    run = opened(world, "rounds=2")
    with pytest.raises(ConfigError, match=r"round_00.adapter: no adapter; expected the one that the stage before"):
        evaluate_inputs(run, 1)

    def of_round_1() -> dict[str, Any]:
        return {stage: digest_json(inputs(run, 1)) for stage, inputs in INPUTS.items()}

    put_adapter(world / "run" / "round_00" / "adapter", b"one")
    before = of_round_1()
    put_adapter(world / "run" / "round_00" / "adapter", b"two")
    assert differing(before, of_round_1()) == set(INPUTS)


def test_rounds_take_disjoint_slices_and_the_same_validation_prompts(world: Path) -> None:
    run = opened(world, "rounds=3", "prompts_per_round=10", "validation_prompts=3")
    assert run.mode == "fresh"
    drafted = [run.prompts_of(index) for index in range(3)]
    train = [prompt.id for prompts in drafted for prompt in prompts if prompt.split == "train"]
    assert len(train) == len(set(train)) == 30
    validation = [{prompt.id for prompt in prompts if prompt.split == "validation"} for prompts in drafted]
    assert validation[0] == validation[1] == validation[2]
    assert len(validation[0]) == 3
    assert not [prompt for prompts in drafted for prompt in prompts if prompt.split == "test"]
    assert len(opened(world).prompts_of(0)) == CHAINS


def test_all_that_is_wrong_with_the_inputs_is_told_at_once(world: Path) -> None:
    write_model_folder(world / "bare", tokenizer_json=True, model_safetensors=True)
    with pytest.raises(ConfigError) as caught:
        opened(world, "model=bare", "engine.context=4096", "constitution=nosuch", "sources=[a.jsonl, b.jsonl]")
    told = str(caught.value)
    for words in (
        "model: bare: found no *.safetensors", "model: bare: found no tokeniser", "engine.context asks for 4096",
        "'nosuch'", "a.jsonl: no such file", "b.jsonl: no such file",
    ):  # fmt: skip
        assert words in told


@pytest.mark.parametrize(
    ("model", "found"),
    [
        ("./nosuch", "found no config.json"),
        ("model/nosuch", "found no config.json"),
        ("~/model", "~ is not expanded"),
        ("toy.yaml", "found no config.json"),
        ("templateless", "found no chat template"),
    ],
)
def test_a_model_that_cannot_be_used_is_found_before_anything_runs(world: Path, model: str, found: str) -> None:
    write_model_folder(world / "templateless", chat_template_jinja=True)
    with pytest.raises(ConfigError) as caught:
        opened(world, f"model={model}")
    assert found in str(caught.value)
    assert f"model: {model}" in str(caught.value)


def test_a_chat_template_may_lie_in_the_tokenisers_settings_and_an_id_is_left_to_its_library(world: Path) -> None:
    folder = write_model_folder(world / "older", chat_template_jinja=True)
    (folder / "tokenizer_config.json").write_text('{"chat_template": "x"}')
    (folder / "config.json").write_text('{"max_position_embeddings": 8, "rope_scaling": {"rope_type": "yarn"}}')
    assert opened(world, "model=older", "engine.context=4096")
    assert opened(world, "model=owner/name")


def test_prompts_that_leave_a_split_empty_are_refused(world: Path) -> None:
    with pytest.raises(ConfigError, match="none of the 60 prompts falls into the test split"):
        opened(world, "splits.test=0")
    with pytest.raises(ConfigError, match="prompts: fresh needs 9 rounds of 30"):
        opened(world, "prompts=fresh", "prompts_per_round=30", "rounds=9")


def test_a_run_begun_before_a_setting_existed_goes_on_where_it_is_not_given(world: Path) -> None:
    """What a marker of an earlier release holds: the settings of generation that there were then."""
    then = {"draft", "critic", "revision", "principles", "verify", "reviser", "few_shots"}
    assert set(generate_inputs(opened(world), 0)["generate"]) == then
    training = {*train_inputs(opened(world), 0)["train"]}
    assert not training & {"contradictions", "reward_gate", "shortcut_pairs"}
    warmed = {*train_inputs(opened(world, "train.warm_up=sft"), WARM_UP)["train"]}
    assert not warmed & {"max_steps", "gradient_checkpointing", "dtype"}


def test_rewards_depend_on_the_pairs_and_the_base_and_on_no_policy(world: Path) -> None:
    def made_from(*overrides: str) -> str:
        return digest_json(reward_inputs(opened(world, *overrides), 0))

    before = made_from()
    for override in ("reward.folds=3", "train.max_tokens=99", "train.contradictions=keep", "seed=7"):
        assert made_from(override) != before, override
    for override in ("train.beta=0.2", "train.method=sft", "train.reward_gate.keep_share=0.5", "evaluate.drafts=3"):
        assert made_from(override) == before, override
    pairs = world / "run" / "round_00" / "pairs"
    pairs.mkdir(parents=True)
    (pairs / "part-00000.jsonl").write_text("{}\n")
    assert made_from() != before
