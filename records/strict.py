"""The one base of every record and every config section: frozen, and unknown keys are refused."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Strict(BaseModel):
    """Frozen, no unknown keys. Validators are built on first use, so start-up pays only for the records it touches."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=(), defer_build=True)


class Settings(Strict):
    """A section of a run file: the docstring under a field is its description in `--help` and in the JSON schema."""

    model_config = ConfigDict(use_attribute_docstrings=True)
