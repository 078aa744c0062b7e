"""Settings of all tests."""

from __future__ import annotations

from hypothesis import settings

# How long one case takes is the machine's affair; what takes too long is ended by pytest-timeout.
settings.register_profile("constitute", deadline=None)
settings.load_profile("constitute")
