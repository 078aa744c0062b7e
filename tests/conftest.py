"""Settings of all tests."""

from __future__ import annotations

import contextlib

from hypothesis import settings

# vLLM imports setuptools, which refuses to take distutils' place once another test has loaded that.
with contextlib.suppress(ImportError):
    import setuptools  # noqa: F401

# How long one case takes is the machine's affair; what takes too long is ended by pytest-timeout.
settings.register_profile("constitute", deadline=None)
settings.load_profile("constitute")
