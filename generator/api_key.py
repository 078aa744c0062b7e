"""The key of an endpoint: read from the environment when it is needed, and never written or shown."""

from __future__ import annotations

import os

from generator.critic_config import Endpoint
from records.errors import ConfigError


def read_key(config: Endpoint) -> str:
    """The key of an endpoint, from the environment; empty where none is named.

    Raises:
        ConfigError: the variable is not set, or holds what cannot be a key; says which, and never what it holds.
    """
    if config.api_key_env is None:
        return ""
    where = f"critic_model.endpoint.api_key_env: the environment variable {config.api_key_env}"
    key = os.environ.get(config.api_key_env, "").strip()
    if not key:
        raise ConfigError(
            f"{where} is not set, or empty; expected the key of {config.host} in it. Set it "
            f"(export {config.api_key_env}=...), or leave api_key_env out for an endpoint that wants none."
        )
    # A line break in a header would be an error of the HTTP library, which shows the header.
    if len(key) < 8 or not key.isascii() or not key.isprintable() or " " in key:
        raise ConfigError(
            f"{where} holds what cannot be a key (not shown); expected 8 or more visible ASCII characters on one line. "
            "Set it again."
        )
    return key
