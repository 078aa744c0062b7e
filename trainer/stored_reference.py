"""The reference's figures on disk, so that a training which was killed need not compute them again.

The file holds what they were computed from, by digest: the pairs' token ids, the base, the reference's adapter, the
precision and the device. Anything else, or a file that cannot be read, is as good as no file.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from records.atomic import write_json_atomic
from records.digest import digest_json
from trainer.data import EncodedPair

Logps = list[tuple[float, float]]


@dataclass(frozen=True)
class StoredReference:
    """Where figures lie, and what they depend on besides the pairs."""

    path: Path
    inputs: dict[str, str]

    def get(self, pairs: Sequence[EncodedPair], compute: Callable[[], Logps]) -> Logps:
        """The stored figures where they are those of these pairs; else what `compute` gives, stored."""
        key = {**self.inputs, "pairs": _digest(pairs)}
        held = self._read(key, len(pairs))
        if held is None:
            held = compute()
            write_json_atomic(self.path, {"inputs": key, "logps": held})
        return held

    def _read(self, key: dict[str, str], count: int) -> Logps | None:
        try:
            held: dict[str, Any] = json.loads(self.path.read_text(encoding="utf-8"))
            logps = [(float(chosen), float(rejected)) for chosen, rejected in held["logps"]]
            return logps if held["inputs"] == key and len(logps) == count else None
        except (OSError, ValueError, TypeError, KeyError):
            return None


def _digest(pairs: Sequence[EncodedPair]) -> str:
    return digest_json([[pair.id, pair.prompt_ids, pair.chosen_ids, pair.rejected_ids] for pair in pairs])
