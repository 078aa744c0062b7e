"""`critic_model:` in a run file: what is refused before anything runs, and that nothing like a key is ever shown."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from loop.config import RunConfig, load_run_config
from records.errors import ConfigError

GOOD: dict[str, Any] = {"model": "m", "constitution": "demo", "sources": ["a.jsonl"]}
URL = "https://critic.example/v1"


def load(folder: Path, critic_model: Any, *overrides: str) -> RunConfig:
    path = folder / "run.yaml"
    path.write_text(yaml.safe_dump(GOOD | {"critic_model": critic_model}, sort_keys=False))
    return load_run_config(path, overrides)


def refused(folder: Path, critic_model: Any, *overrides: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load(folder, critic_model, *overrides)
    return str(caught.value)


def at(url: str, **settings: Any) -> dict[str, Any]:
    return {"model": "judge", "endpoint": {"url": url, **settings}}


def test_a_critic_model_is_on_this_machine_or_at_an_endpoint(tmp_path: Path) -> None:
    here = load(tmp_path, {"model": "judge"}).critic_model
    assert here and here.endpoint is None and here.local_engine.memory_share == 0.9
    there = load(tmp_path, at(f"{URL}/", api_key_env="CRITIC_KEY"), "critic_model.endpoint.retries=2").critic_model
    assert there and there.endpoint and (there.endpoint.url, there.endpoint.retries) == (URL, 2)
    assert there.endpoint.host == "critic.example"
    told = refused(tmp_path, at(URL) | {"engine": {"eager": True}})
    assert "critic_model: found a mapping; expected engine or endpoint" in told
    assert load_run_config(tmp_path / "run.yaml", ["critic_model=null"]).critic_model is None


@pytest.mark.parametrize("url", ["http://localhost:8000/v1", "http://127.0.0.1/v1", "http://[::1]:8000/v1", URL])
def test_http_is_for_this_machine(tmp_path: Path, url: str) -> None:
    assert load(tmp_path, at(url)).critic_model


@pytest.mark.parametrize("url", ["http://critic.example/v1", "http://10.0.0.1/v1", "http://localhost.example:80/v1"])
def test_http_to_another_machine_wants_a_word(tmp_path: Path, url: str) -> None:
    assert "critic_model.endpoint: found a mapping; expected https for another machine" in refused(tmp_path, at(url))
    assert load(tmp_path, at(url, allow_http=True)).critic_model


@pytest.mark.parametrize(
    ("url", "found"),
    [
        ("critic.example/v1", "expected an address such as https://host/v1"),
        ("ftp://critic.example/v1", "expected an address"),
        ("https://", "expected an address"),
        ("https://critic.example:99999/v1", "expected an address"),
        ("https://[::1/v1", "expected an address"),
        ("https://critic.example/v 1", "expected an address"),
        ("https://critic.example/v1/chat/completions", "leave /chat/completions out"),
        ("", "expected an address"),
    ],
)
def test_what_is_no_address_is_told_with_its_line(tmp_path: Path, url: str, found: str) -> None:
    told = refused(tmp_path, at(url))
    assert found in told
    assert "line 8: critic_model.endpoint.url" in told


SECRETS = ["hunter2-hidden", "sk-proj-abcDEF", "SKabc123DEF"]


@pytest.mark.parametrize("secret", SECRETS)
@pytest.mark.parametrize(
    ("settings", "overrides"),
    [
        ({"url": "https://me:{}@critic.example/v1"}, []),
        ({"url": "https://critic.example/v1?key={}"}, []),
        ({"url": "https://critic.example/v1#{}"}, []),
        ({"url": URL, "api_key_env": "{}"}, []),
        ({"url": URL, "api_key": "{}"}, []),
        ({"url": URL}, ["critic_model.endpoint.api_key_env={}"]),
        ({"url": URL}, ["critic_model.endpoint.api_key={}"]),
        ({"url": URL}, ["critic_model.endpoint.url=https://me:{}@critic.example/v1"]),
        ({"url": URL}, ["critic_model={{model: judge, endpoint: {{url: x, api_key: {}}}}}"]),
    ],
)
def test_a_key_in_the_wrong_place_is_refused_and_not_shown(
    tmp_path: Path, secret: str, settings: dict[str, str], overrides: list[str]
) -> None:
    place = {name: value.format(secret) for name, value in settings.items()}
    told = refused(tmp_path, at(**place), *(override.format(secret) for override in overrides))
    assert secret not in told
    assert "critic_model" in told


@pytest.mark.parametrize(
    "settings", [{"most_in_flight": 0}, {"deadline_s": 0}, {"retries": -1}, {"patience_s": 0}, {"nosuch": 1}]
)
def test_settings_out_of_range_are_refused(tmp_path: Path, settings: dict[str, Any]) -> None:
    (name,) = settings
    assert f"critic_model.endpoint.{name}" in refused(tmp_path, at(URL, **settings))


def test_a_resolved_file_with_a_critic_is_read_back_as_the_same_settings(tmp_path: Path) -> None:
    """config.json in the run folder is what a stage reads."""
    for critic in (at(URL, api_key_env="KEY"), {"model": "judge"}, {"model": "judge", "engine": {"eager": True}}):
        config = load(tmp_path, critic)
        assert RunConfig.model_validate(config.model_dump(mode="json")) == config
