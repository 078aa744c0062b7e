"""Content digests: identity is what a thing holds, never its name or its path."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any


def digest_text(text: str) -> str:
    """SHA-256 of the UTF-8 text, as 64 hex digits. Lone surrogates are kept, not refused."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def digest_json(value: Any) -> str:
    """SHA-256 of the value as canonical JSON (sorted keys, no white space)."""
    return digest_text(json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True))


def digest_file(path: Path) -> str:
    """SHA-256 of a file's bytes."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest_folder(folder: Path, pattern: str = "*") -> str:
    """SHA-256 over the relative names and bytes of the files in a folder that match `pattern`, in name order."""
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob(pattern) if path.is_file())
    return digest_json([[name, digest_file(folder / name)] for name in names])


def adapter_digest(folder: Path) -> str:
    """Digest of what makes an adapter the adapter it is: its weights and its configuration.

    Raises:
        FileNotFoundError: the folder lacks `adapter_model.safetensors` or `adapter_config.json`.
    """
    config = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
    # The path of the base model is a fact of the machine, not of the adapter.
    config.pop("base_model_name_or_path", None)
    return digest_json([digest_file(folder / "adapter_model.safetensors"), config])
