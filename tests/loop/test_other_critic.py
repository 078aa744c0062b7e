"""Runs whose critic is another model, over HTTP to a real server or in its own engine; the policy is scripted."""

from __future__ import annotations

import json
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from constitution.verdicts import reply_json
from tests.generator.http_endpoint import KEY, KEY_ENV, Raw, Served, asked_first, completion, serving
from tests.loop.scripted_run import CHAINS, constitute, rows, start, write_model_folder, write_world


def critic(body: dict[str, Any]) -> Raw:
    """Sees a rude word where there is one, and repeats the key it was sent, as no server should."""
    turn = body["messages"][-1]["content"]
    if "response_format" not in body:
        return completion("Gladly: it is another number.")
    rude = "idiot" in turn
    return completion(reply_json(f"Rude? Your key is {KEY}.", "violates" if rude else "complies", 2 if rude else 0))


def write_run(folder: Path, critic_model: dict[str, Any]) -> Path:
    world = write_world(folder)
    settings = yaml.safe_load((world / "run.yaml").read_text()) | {"critic_model": critic_model}
    (world / "run.yaml").write_text(yaml.safe_dump(settings))
    return world


def remote(served: Served, **settings: Any) -> dict[str, Any]:
    place = {"url": served.url, "api_key_env": KEY_ENV, "deadline_s": 5, "retries": 1, "patience_s": 5}
    return {"model": "org/judge", "endpoint": place | settings}


@pytest.fixture
def served() -> Iterator[Served]:
    with serving(critic) as served:
        yield served


def test_a_run_with_a_critic_elsewhere_and_its_key_is_nowhere(tmp_path: Path, served: Served) -> None:
    world = write_run(tmp_path, remote(served))
    checked = constitute("check", "run.yaml", cwd=world, **{KEY_ENV: KEY})
    assert f"critic: org/judge at 127.0.0.1:{served.port}" in checked.stdout, checked.stderr
    done = constitute("run", "run.yaml", cwd=world, **{KEY_ENV: KEY})
    assert done.returncode == 0, done.stderr
    run = world / "outputs" / "run"
    found = rows(run / "round_00")
    assert len(found) == len({row["id"] for row in found}) == CHAINS
    pairs = [row for row in found if "chosen" in row]
    assert pairs and all(row["chosen"][0]["content"] == "Gladly: it is another number." for row in pairs)
    for role in ("critic", "reviser", "verifier"):
        author = found[0]["provenance"][role]
        assert (author["model"], author["endpoint"]) == ("org/judge", f"127.0.0.1:{served.port}")
    assert found[0]["provenance"]["reviser"]["max_tokens"] == 80
    assert found[0]["provenance"]["policy"]["endpoint"] == ""
    evaluation = json.loads((run / "round_00" / "evaluation.json").read_text())
    assert evaluation["self_judged"] is False
    assert evaluation["per_principle"]["polite"]["critic_accuracy"] == 1.0
    outputs = json.loads((run / "round_00" / "generate.done.json").read_text())["outputs"]
    assert outputs["critic_endpoint"]["structured_output"] == "json_schema"
    assert f"critic model: `org/judge` at `{served.url}`" in (run / "report.md").read_text()
    assert json.loads((run / "provenance.json").read_text())["critic_model"]["url"] == served.url
    # The key was sent, and is on nothing that the run has left or said.
    assert {headers["authorization"] for headers in served.headers} == {f"Bearer {KEY}"}
    files = [path for path in world.rglob("*") if path.is_file()]
    assert len(files) > 15
    assert [path for path in files if KEY.encode() in path.read_bytes()] == []
    assert KEY not in done.stdout + done.stderr + checked.stdout
    assert "[key]" in json.dumps(found)


def test_a_wrong_key_ends_the_run_with_2_before_a_draft_is_made(tmp_path: Path, served: Served) -> None:
    served.answer = lambda body: Raw(status=401, body=f'{{"error": {{"message": "bad key {KEY}"}}}}'.encode())
    world = write_run(tmp_path, remote(served))
    refused = constitute("run", "run.yaml", cwd=world, **{KEY_ENV: KEY})
    assert refused.returncode == 2
    assert f"{served.url}, model org/judge: status 401: bad key [key]" in refused.stderr
    assert "api_key_env" in refused.stderr
    assert "Traceback" not in refused.stdout + refused.stderr
    assert KEY not in refused.stdout + refused.stderr
    assert [path for path in world.rglob("*") if path.is_file() and KEY.encode() in path.read_bytes()] == []
    assert not list(world.rglob("part-*.jsonl"))


def test_a_missing_key_is_told_with_all_else_that_is_wrong(tmp_path: Path, served: Served) -> None:
    world = write_run(tmp_path, remote(served))
    refused = constitute("run", "run.yaml", "sources=[nosuch.jsonl]", cwd=world)
    assert refused.returncode == 2
    assert f"the environment variable {KEY_ENV} is not set" in refused.stderr
    assert "nosuch.jsonl: no such file" in refused.stderr
    assert not served.bodies


def test_an_endpoint_that_goes_away_ends_the_stage_and_the_same_command_goes_on(tmp_path: Path, served: Served) -> None:
    """No chain in flight becomes a reject: its prompt is done when the endpoint is back."""

    def goes_away(body: dict[str, Any]) -> Any:
        if not asked_first(body) and len(served.bodies) > 60:
            served.answer = lambda body: Raw(status=503, body=b"")
            return Raw(status=503, body=b"")
        return critic(body)

    served.answer = goes_away
    world = write_run(tmp_path, remote(served, patience_s=1.0))
    stopped = constitute("generate", "run.yaml", cwd=world, **{KEY_ENV: KEY})
    assert stopped.returncode == 2, stopped.stderr
    assert "it takes no call (status 503" in stopped.stderr
    assert "Traceback" not in stopped.stderr
    before = {row["id"] for row in rows(world / "outputs" / "run" / "round_00")}
    assert 0 < len(before) < CHAINS
    served.answer = critic
    done = constitute("generate", "run.yaml", cwd=world, **{KEY_ENV: KEY})
    assert done.returncode == 0, done.stderr
    found = rows(world / "outputs" / "run" / "round_00")
    assert len(found) == len({row["id"] for row in found}) == CHAINS
    assert before <= {row["id"] for row in found}
    assert not [row for row in found if row.get("reason") == "engine_error"]


def test_a_run_that_waits_for_a_hanging_endpoint_can_be_stopped(tmp_path: Path, served: Served) -> None:
    begun = threading.Event()

    def hangs(body: dict[str, Any]) -> Any:
        if asked_first(body):
            return critic(body)
        begun.set()
        return lambda handler: served.over.wait()

    served.answer = hangs
    run = start("generate", "run.yaml", cwd=write_run(tmp_path, remote(served, deadline_s=300)), **{KEY_ENV: KEY})
    try:
        assert begun.wait(60)
        run.send_signal(signal.SIGINT)
        _, err = run.communicate(timeout=20)
    finally:
        run.kill()
    assert run.returncode == 130
    assert "run the same command again to go on" in err
    assert "Traceback" not in err


def test_a_critic_in_an_engine_of_its_own_judges_and_is_named(tmp_path: Path) -> None:
    world = write_run(tmp_path, {"model": "judge", "engine": {"context": 1024}})
    write_model_folder(world / "judge")
    done = constitute("run", "run.yaml", cwd=world)
    assert done.returncode == 0, done.stderr
    assert "starting vLLM for model\n" in done.stderr
    assert "starting vLLM for judge\n" in done.stderr
    provenance = rows(world / "outputs" / "run" / "round_00")[0]["provenance"]
    named = {role: provenance[role]["model"] for role in ("policy", "critic", "reviser", "verifier")}
    assert named == {"policy": "model", "critic": "judge", "reviser": "judge", "verifier": "judge"}
    evaluation = json.loads((world / "outputs" / "run" / "round_00" / "evaluation.json").read_text())
    assert evaluation["self_judged"] is False
    by_policy = constitute("generate", "run.yaml", "generate.reviser=policy", "--run", "other", cwd=world)
    assert by_policy.returncode == 0, by_policy.stderr
    provenance = rows(world / "outputs" / "other" / "round_00")[0]["provenance"]
    assert (provenance["reviser"]["model"], provenance["verifier"]["model"]) == ("model", "judge")


def test_the_folder_of_a_critic_on_this_machine_is_looked_at_first(tmp_path: Path) -> None:
    world = write_run(tmp_path, {"model": "./nosuch"})
    refused = constitute("run", "run.yaml", cwd=world)
    assert refused.returncode == 2
    assert "critic_model.model: ./nosuch: found no config.json there" in refused.stderr
