"""Settings of all tests."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import settings

# vLLM imports setuptools, which refuses to take distutils' place once another test has loaded that.
with contextlib.suppress(ImportError):
    import setuptools  # noqa: F401

# How long one case takes is the machine's affair; what takes too long is ended by pytest-timeout.
settings.register_profile("constitute", deadline=None)
settings.load_profile("constitute")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The files that run a real model first: they take longest, and two workers then end together."""
    heavy = {item.path for item in items if "model" in item.keywords}
    items.sort(key=lambda item: item.path not in heavy)
