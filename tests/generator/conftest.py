"""Fixtures of the generator's tests."""

from __future__ import annotations

import pytest


@pytest.fixture
def soon(monkeypatch):
    """The first wait before another attempt of an endpoint's call is short; those after it double as ever."""
    monkeypatch.setattr("generator.endpoint._FIRST_WAIT_S", 0.05)
