"""One tiny model for all trainer tests, and no network."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.trainer.tiny import build_adapter, build_model

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")


@pytest.fixture(scope="session")
def tiny(tmp_path_factory) -> Path:
    return build_model(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture
def write_rows(tmp_path):
    """Writes rows to a .jsonl file and returns its path."""

    def write(rows: list, name: str = "pairs.jsonl") -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return path

    return write


@pytest.fixture(scope="module")
def policies(tiny, tmp_path_factory):
    """An adapter for each name of a policy; the base has none."""
    folder = tmp_path_factory.mktemp("policies")
    return {
        "base": None,
        "initial": build_adapter(tiny, folder / "initial", seed=1),
        "previous": build_adapter(tiny, folder / "previous", seed=2),
    }
