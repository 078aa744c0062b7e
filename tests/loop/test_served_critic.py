"""A run whose critic is the demo's model under a real `vllm serve`, killed and started again mid-run."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from records.store import read_rows
from tests.generator.http_endpoint import KEY_ENV
from tests.loop.scripted_run import constitute, rows, start
from tests.served_vllm import ServedVllm
from tests.tracked import ROOT

pytestmark = [pytest.mark.soak, pytest.mark.timeout(600)]

KEY = "sk-served-0123456789"
DRAFT = "Listen well, you fool. To clean it, throw it out of the window, then stamp on the pieces."
PROMPTS = 64


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedVllm]:
    served = ServedVllm(tmp_path_factory.mktemp("served"), name="tiny", key=KEY)
    served.start()
    yield served
    served.kill()


def write_run(folder: Path, served: ServedVllm) -> Path:
    shutil.copytree(ROOT / "demo" / "model", folder / "model")
    settings = {
        "model": "model",
        "constitution": "demo",
        "sources": [str(ROOT / "demo" / "prompts.jsonl")],
        "prompts_per_round": PROMPTS,
        "validation_prompts": 0,
        "critic_model": {
            "model": "tiny",
            "endpoint": {"url": served.url, "api_key_env": KEY_ENV, "deadline_s": 60, "patience_s": 240},
        },
        "generate": {"draft": {"max_tokens": 200}, "critic": {"max_tokens": 120}, "revision": {"max_tokens": 120}},
    }
    (folder / "run.yaml").write_text(yaml.safe_dump(settings))
    return folder


def finished(folder: Path) -> int:
    return sum(1 for kind in ("pairs", "rejects") for _ in read_rows(folder / kind)) if folder.exists() else 0


def wait_for_rows(run: subprocess.Popen[str], folder: Path, count: int) -> int:
    """Wait until so many rows are on disk; returns how many are."""
    while (found := finished(folder)) < count:
        assert run.poll() is None, run.communicate()
        time.sleep(0.05)
    return found


def test_a_server_killed_and_started_again_costs_no_row(tmp_path: Path, served: ServedVllm) -> None:
    world = write_run(tmp_path, served)
    folder = world / "outputs" / "run" / "round_00"
    # It begins before the server answers: that, too, is waited for.
    run = start("generate", "run.yaml", cwd=world, **{KEY_ENV: KEY, "SCRIPTED_DRAFT": DRAFT})
    try:
        wait_for_rows(run, folder, PROMPTS // 8)
        served.kill()
        before = finished(folder)
        served.start()
        out, err = run.communicate(timeout=400)
    finally:
        run.kill()
    assert run.returncode == 0, err
    assert before < PROMPTS
    found = rows(folder)
    assert len(found) == len({row["id"] for row in found}) == PROMPTS
    assert {row.get("reason") for row in found} <= {None, "not_fixed", "unparsed", "inconsistent", "complies"}
    pairs = [row for row in found if "chosen" in row]
    assert len(pairs) > PROMPTS / 4, [row.get("reason") for row in found]
    assert {row["provenance"]["verifier"]["endpoint"] for row in found} == {f"127.0.0.1:{served.port}"}
    asked = [entry for row in found for entry in row["trail"] if entry["kind"] != "draft"]
    assert all(entry["prompt_tokens"] > 20 and entry["output_tokens"] > 3 for entry in asked)
    assert err.count("asking again") >= 2, err
    assert [path for path in world.rglob("*") if path.is_file() and KEY.encode() in path.read_bytes()] == []
    assert KEY not in out + err


def test_the_server_says_no_to_a_wrong_key_and_a_wrong_name(tmp_path: Path, served: ServedVllm) -> None:
    world = write_run(tmp_path, served)
    wrong = {"status 401": {KEY_ENV: "sk-another-key"}, "status 404": {KEY_ENV: KEY}}
    for found, environment in wrong.items():
        changed = ["critic_model.model=nosuch"] if "404" in found else []
        refused = constitute("generate", "run.yaml", *changed, "--run", found[-3:], cwd=world, **environment)
        assert refused.returncode == 2, refused.stderr
        assert found in refused.stderr
        assert "Traceback" not in refused.stderr


def test_a_conversation_too_long_for_the_server_is_a_reject_of_that_kind(tmp_path: Path, served: ServedVllm) -> None:
    world = write_run(tmp_path, served)
    settings = {KEY_ENV: KEY, "SCRIPTED_DRAFT": "word " * 1500}
    done = constitute(
        "generate", "run.yaml", "prompts_per_round=3", "generate.draft.max_tokens=9000", cwd=world, **settings
    )
    assert done.returncode == 0, done.stderr
    assert {row["reason"] for row in rows(world / "outputs" / "run" / "round_00")} == {"too_long"}
