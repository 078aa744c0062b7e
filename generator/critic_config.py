"""The settings of a critic that is another model: on this machine, or behind an OpenAI-compatible endpoint."""

from __future__ import annotations

import ipaddress
import re
from typing import Any
from urllib.parse import SplitResult, urlsplit

from pydantic import Field, field_validator, model_validator
from pydantic_core import PydanticCustomError

from generator.config import EngineConfig
from records.strict import Settings

SECRET = "may_be_secret"
"""Type of the validation errors whose input must not be shown: it may be a key in the wrong place."""


class Endpoint(Settings):
    """Where an OpenAI-compatible server answers, and how patiently it is asked.

    TLS certificates are always verified. Proxies, keys and certificates that the environment names (HTTPS_PROXY,
    .netrc, SSL_CERT_FILE) are not used: what is sent goes to this address alone, and redirects are refused.
    """

    url: str
    """Address up to and with the version, such as https://host/v1; `/chat/completions` is put behind it."""
    api_key_env: str | None = None
    """Name (capitals, digits and `_`) of the environment variable that holds the key, sent as a bearer token. The key
    itself is written nowhere. Empty: no key is sent."""
    allow_http: bool = False
    """Speak plain http to another machine. Key, prompts and drafts then cross the network readable by all on it."""
    most_in_flight: int = Field(64, ge=1)
    """Most calls in flight. It begins with few, grows with every good reply and is halved at each refusal for load."""
    deadline_s: float = Field(120.0, gt=0.0)
    """Seconds that one attempt may take, from the connection to the last byte of the reply."""
    retries: int = Field(6, ge=0)
    """Times a call is sent again after no usable reply (garbage, deadline, closed connection, status 500). Then, once
    the endpoint is seen to answer another question, as often again; then its chain is a reject."""
    patience_s: float = Field(600.0, gt=0.0)
    """Seconds to wait for an endpoint that takes no call at all (down, or too busy) before the stage ends with an
    error; finished rows are safe. Waiting for it costs no retries."""
    ca_file: str | None = None
    """File (PEM) of the authorities that the server's certificate is verified against; empty: the public ones."""

    @field_validator("api_key_env")
    @classmethod
    def _is_a_name(cls, name: str | None) -> str | None:
        if name is not None and not re.fullmatch(r"[A-Z_][A-Z0-9_]*", name):
            raise PydanticCustomError(
                SECRET,
                "found what is no name of an environment variable (not shown: it may be the key itself); expected "
                "capitals, digits and _, such as CRITIC_API_KEY. Put the key into that variable",
            )
        return name

    @field_validator("url")
    @classmethod
    def _is_an_address(cls, url: str) -> str:
        parts = _split(url)
        if parts is None or re.search(r"[\s\x00-\x1f]", url):
            raise ValueError("expected an address such as https://host/v1")
        if "@" in parts.netloc or parts.query or parts.fragment:
            raise PydanticCustomError(
                SECRET,
                "found credentials, a query or a fragment in the address (not shown); expected https://host/v1 alone. "
                "Name the variable that holds the key as api_key_env",
            )
        if parts.path.rstrip("/").endswith("/completions"):
            raise ValueError("expected the address up to the version; leave /chat/completions out")
        return url.rstrip("/")

    @model_validator(mode="after")
    def _is_safe(self) -> Endpoint:
        parts = urlsplit(self.url)
        if parts.scheme == "http" and not self.allow_http and not _is_this_machine(parts.hostname or ""):
            raise ValueError("expected https for another machine; take allow_http: true to send all of it readable")
        return self

    @property
    def host(self) -> str:
        """Host and, where given, port."""
        return urlsplit(self.url).netloc


class CriticModel(Settings):
    """A critic of its own: `model` with an `engine` of its own on this machine, or by name at an `endpoint`.

    It judges drafts and final texts, in generation and evaluation alike, drawn as `generate.critic` says, and rewrites
    where `generate.reviser` is `critic`. A model elsewhere has a chat template of its own: a text that spells its
    control tokens is in its server's hands.
    """

    model: str = Field(min_length=1)
    """Folder or Hugging Face id; with an endpoint, the name that the model has there."""
    engine: EngineConfig | None = None
    """How vLLM runs it, beside the policy's engine; on one GPU the `memory_share`s of both must leave room for both."""
    endpoint: Endpoint | None = None
    """Where it is reached, if it does not run in this process."""

    @model_validator(mode="before")
    @classmethod
    def _has_one_place(cls, value: Any) -> Any:
        if isinstance(value, dict) and value.get("engine") is not None and value.get("endpoint") is not None:
            raise ValueError("expected engine or endpoint, where the model runs, and not both")
        return value

    @property
    def local_engine(self) -> EngineConfig:
        """The engine's settings of a critic on this machine."""
        return self.engine or EngineConfig()


def _split(url: str) -> SplitResult | None:
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return None
    return parts if usable else None


def _is_this_machine(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
