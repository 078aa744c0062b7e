"""Uploading an export: what would go to the Hub, under which name and how visible; the client alone is replaced."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from loop.cli import main
from tests.loop.toy_export import write_run

SECRET = "hf_secret"


class Hub:
    """What a test says is on the Hub, and what was done there; `HfApi(token=...)` gives it."""

    def __init__(self) -> None:
        self.held: dict[str, list[str]] = {}
        self.private = True
        self.calls: list[tuple[str, Any]] = []
        self.uploaded: dict[str, bytes] = {}
        self.fault: Exception | None = None

    def __call__(self, *, token: str) -> Hub:
        self.calls.append(("token", token))
        return self

    def repo_exists(self, id: str, *, repo_type: str) -> bool:
        assert repo_type == "dataset"
        return id in self.held

    def list_repo_files(self, id: str, *, repo_type: str) -> list[str]:
        return self.held[id]

    def repo_info(self, id: str, *, repo_type: str) -> Any:
        return SimpleNamespace(private=self.private)

    def create_repo(self, id: str, **options: Any) -> None:
        self.calls.append(("create", (id, options)))

    def upload_folder(self, *, repo_id: str, repo_type: str, folder_path: str, commit_message: str) -> None:
        if self.fault:
            raise self.fault
        self.calls.append(("upload", (repo_id, repo_type)))
        files = [path for path in Path(folder_path).rglob("*") if path.is_file()]
        self.uploaded = {path.relative_to(folder_path).as_posix(): path.read_bytes() for path in files}


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Hub:
    import huggingface_hub
    import transformers.utils.hub  # noqa: F401 - it names the client's class while it is imported, so it comes first

    hub = Hub()
    monkeypatch.setattr(huggingface_hub, "HfApi", hub)
    monkeypatch.setenv("HF_TOKEN", SECRET)
    write_run(tmp_path / "outputs" / "toy")
    monkeypatch.chdir(tmp_path)
    return hub


@pytest.fixture
def push(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Any]:
    """`constitute export toy --to trl -o out --push ID ARGUMENTS` in this process; status and all it printed."""
    before = signal.getsignal(signal.SIGTERM)

    def run(id: str, *more: str, output: str = "out") -> tuple[int, str]:
        arguments = ["export", "toy", "--to", "trl", "-o", output, "--push", id, *more]
        monkeypatch.setattr(sys, "argv", ["constitute", *arguments])
        status = 0
        try:
            main()
        except SystemExit as end:
            status = int(end.code or 0)
        out, err = capsys.readouterr()
        assert SECRET not in out + err
        assert "Traceback" not in out + err
        return status, out + err

    yield run
    signal.signal(signal.SIGTERM, before)


def test_the_folder_goes_up_whole_and_private(hub: Hub, push: Any, tmp_path: Path) -> None:
    status, told = push("me/pairs")
    assert status == 0
    assert "uploaded: https://huggingface.co/datasets/me/pairs" in told
    assert hub.calls == [
        ("token", SECRET),
        ("create", ("me/pairs", {"repo_type": "dataset", "private": True, "exist_ok": True})),
        ("upload", ("me/pairs", "dataset")),
    ]
    names = ("README.md", "train.jsonl", "validation.jsonl")
    assert hub.uploaded == {name: (tmp_path / "out" / name).read_bytes() for name in names}
    assert all(SECRET.encode() not in content for content in hub.uploaded.values())


def test_public_is_said_aloud(hub: Hub, push: Any) -> None:
    assert push("me/pairs", "--public")[0] == 0
    assert hub.calls[1][1][1]["private"] is False


@pytest.mark.parametrize(
    ("id", "arguments", "found"),
    [
        ("pairs", [], "expected OWNER/NAME"),
        ("me/../x", [], "expected OWNER/NAME"),
        ("me/a..b", [], "the Hub has no such names"),
        ("me/a--b", [], "the Hub has no such names"),
        ("me/a.", [], "the Hub has no such names"),
        ("me/a.git", [], "the Hub has no such names"),
        ("me/full", [], "holds 1 files; expected a new name"),
        ("me/open", [], "is there and public"),
        ("me/pairs", ["--licence", "?"], "--licence"),
    ],
)
def test_what_may_not_be_pushed_is_told_before_anything_is_written(
    hub: Hub, push: Any, tmp_path: Path, id: str, arguments: list[str], found: str
) -> None:
    hub.held = {"me/full": [".gitattributes", "data.jsonl"], "me/open": [".gitattributes"]}
    hub.private = id != "me/open"
    status, told = push(id, *arguments)
    assert status == 2
    assert found in told
    assert not (tmp_path / "out").exists()
    assert not hub.uploaded


def test_an_empty_private_dataset_is_filled(hub: Hub, push: Any) -> None:
    hub.held = {"me/pairs": [".gitattributes"]}
    assert push("me/pairs")[0] == 0
    assert hub.uploaded


def test_a_file_is_not_pushed(hub: Hub, push: Any, tmp_path: Path) -> None:
    status, told = push("me/pairs", "--splits", "train", output="out.jsonl")
    assert status == 2
    assert "expected -o FOLDER" in told
    assert not (tmp_path / "out.jsonl").exists()


def test_the_token_comes_from_the_environment_alone(hub: Hub, push: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_TOKEN")
    status, told = push("me/pairs")
    assert status == 2
    assert "the environment has no HF_TOKEN" in told
    assert hub.calls == []


def test_a_failed_upload_leaves_the_export_and_says_how_to_go_on(hub: Hub, push: Any, tmp_path: Path) -> None:
    hub.fault = ConnectionError("no route\nmore")
    status, told = push("me/pairs")
    assert status == 2
    assert "the Hub could not be used (no route)" in told
    assert "hf upload me/pairs out --repo-type dataset --private" in told
    assert (tmp_path / "out" / "train.jsonl").exists()


def test_offline_is_told_by_the_real_client(tmp_path: Path, push: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """No stand-in here: the Hub's own client at an address where nothing listens."""
    import huggingface_hub

    write_run(tmp_path / "outputs" / "toy")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_TOKEN", SECRET)
    real = huggingface_hub.HfApi
    monkeypatch.setattr(huggingface_hub, "HfApi", lambda token: real(endpoint="http://127.0.0.1:9", token=token))
    status, told = push("me/pairs")
    assert status == 2
    assert "--push me/pairs: the Hub could not be used" in told
    assert "Nothing was written." in told
    assert not (tmp_path / "out").exists()
