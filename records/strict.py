"""The one base of every record and every config section: frozen, and unknown keys are refused."""

from __future__ import annotations

import os

from pydantic import BaseModel, ConfigDict

# Reading the docstrings of fields out of the source is a sixth of a start, and only `constitute config` shows them: it
# sets this variable before the first section is defined.
DESCRIBE = "CONSTITUTE_DESCRIBE"


class Strict(BaseModel):
    """Frozen, no unknown keys. Validators are built on first use, so start-up pays only for the records it touches."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=(), defer_build=True)


class Settings(Strict):
    """A section of a run file: the docstring under a field is its description in `constitute config`."""

    model_config = ConfigDict(use_attribute_docstrings=DESCRIBE in os.environ)
