"""Drafts of several policies in one run: whose adapters a stage serves, proves, names, and is made from."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from loop.config import load_run_config
from loop.folder import WARM_UP, RunFolder, end_stage
from loop.inputs import Run, generate_inputs, open_run, train_inputs
from records.digest import adapter_digest, digest_json
from tests.loop.scripted_run import CHAINS, constitute, rows, write_world

SETTINGS = ("rounds=2", "train.warm_up=sft", "generate.drafts_from={base: 0.25, round_0: 0.25, previous: 0.5}")


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(write_world(tmp_path))
    return tmp_path


def opened(world: Path, *overrides: str, settings: tuple[str, ...] = SETTINGS) -> Run:
    config = load_run_config(world / "run.yaml", [*settings, *overrides])
    return open_run(config, RunFolder(world / "outputs" / "run"))


def put_adapter(folder: Path, weights: bytes, *, new: float = -1.0) -> str:
    """An adapter as training leaves it; the scripted engine scores every token at -1 nat."""
    (folder / "adapter").mkdir(parents=True, exist_ok=True)
    (folder / "adapter" / "adapter_model.safetensors").write_bytes(weights)
    (folder / "adapter" / "adapter_config.json").write_text('{"r": 16}')
    digest = adapter_digest(folder / "adapter")
    sequences = [{"token_ids": [1] * 601, "first": 1, "new": [new] * 600, "previous": [-2.0] * 600}]
    (folder / "probe.json").write_text(json.dumps({"new_digest": digest, "sequences": sequences}))
    return digest


def trained(world: Path, *, initial: float = -1.0) -> tuple[str, str]:
    """The adapters of the warm-up and of round 0, so that round 1 can draft; returns their digests."""
    run = opened(world)
    digests = put_adapter(run.folder.round(WARM_UP), b"initial", new=initial), put_adapter(run.folder.round(0), b"next")
    end_stage(run.folder, "train", 0, train_inputs(run, 0), outputs={}, seconds=0.0)
    return digests


def test_the_policies_of_a_round_by_name(world: Path) -> None:
    initial, following = trained(world)
    found = {
        index: {name: who.digest if who else "" for name, (_, who) in opened(world).drafters(index).items()}
        for index in (WARM_UP, 0, 1)
    }
    assert found == {
        WARM_UP: {"base": "", "round_0": "", "previous": ""},
        0: {"base": "", "round_0": initial, "previous": initial},
        1: {"base": "", "round_0": initial, "previous": following},
    }
    alone = opened(world, settings=SETTINGS[:2])
    assert {name: (share, who.digest) for name, (share, who) in alone.drafters(1).items()} == {
        "previous": (1.0, following)
    }
    base = opened(world, settings=("rounds=2", SETTINGS[2]))
    assert base.drafters(1)["round_0"] == (0.25, None), "without a warm-up the base drafts round 0"


def test_a_round_is_drafted_by_all_of_them_each_named_and_proven(world: Path) -> None:
    initial, following = trained(world)
    done = constitute("generate", "run.yaml", *SETTINGS, "--round", "1", "--run", "run", cwd=world)
    assert done.returncode == 0, done.stderr
    found = rows(world / "outputs" / "run" / "round_01")
    authors = [row["draft"]["author"]["adapter_digest"] for row in found]
    assert set(authors) == {"", initial, following} and len(authors) == CHAINS
    assert authors.count(following) > authors.count("")
    assert {row["provenance"]["policy"]["adapter_digest"] for row in found} == {following}
    marker = json.loads((world / "outputs" / "run" / "round_01" / "generate.done.json").read_text())
    assert marker["inputs"]["drafters"] == {"base": "", "round_0": initial, "previous": following}
    assert marker["outputs"]["hand_off"]["adapter_digest"] == following
    assert marker["outputs"]["hand_off_round_0"]["adapter_digest"] == initial
    assert marker["outputs"]["hand_off_round_0"]["outcome"] == "proven"
    assert sum(marker["outputs"]["drafts_by_adapter"].values()) == CHAINS


def test_no_draft_is_made_by_a_policy_of_round_0_that_is_not_the_trained_one(world: Path) -> None:
    trained(world, initial=-2.5)
    refused = constitute("generate", "run.yaml", *SETTINGS, "--round", "1", "--run", "run", cwd=world)
    assert refused.returncode == 2, refused.stderr
    assert "warm_up" in refused.stderr and "speaks like the previous policy" in refused.stderr
    assert not list((world / "outputs" / "run" / "round_01").rglob("part-*.jsonl"))


def test_what_is_drafted_from_is_what_a_stage_is_made_from(world: Path) -> None:
    trained(world)

    def made_from(*settings: str) -> str:
        return digest_json(generate_inputs(opened(world, settings=settings), 1))

    mixed, alone, shares = SETTINGS, SETTINGS[:2], (*SETTINGS[:2], "generate.drafts_from={base: 0.5, previous: 0.5}")
    before = {settings: made_from(*settings) for settings in (mixed, alone, shares)}
    assert len(set(before.values())) == 3
    put_adapter(world / "outputs" / "run" / "warm_up", b"another")
    assert {settings: made_from(*settings) != digest for settings, digest in before.items()} == {
        mixed: True,
        alone: False,
        shares: False,
    }
    put_adapter(world / "outputs" / "run" / "round_00", b"another too")
    assert made_from(*alone) != before[alone]


def test_an_engine_holds_the_adapters_of_those_who_draft_and_of_nobody_else(world: Path) -> None:
    from io import StringIO

    from loop.engines import open_engines

    initial, following = trained(world)

    def held(stages: tuple[str, ...], settings: tuple[str, ...] = SETTINGS) -> set[str]:
        return set(open_engines(opened(world, settings=settings), 1, stages, StringIO()).policy.adapters)

    assert held(("evaluate", "generate")) == {initial, following}
    assert held(("evaluate",)) == held(("generate",), SETTINGS[:2]) == {following}
