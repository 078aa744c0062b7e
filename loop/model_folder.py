"""What can be known of a model's folder without loading it; a Hugging Face id is left to its library."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from records.digest import digest_file, digest_json
from records.errors import Problem

_WHOLE_MODEL_BYTES = 4 << 30


def model_problems(model: str, context: int | None) -> list[Problem]:
    """Everything seen in the folder that would keep this model from drafting or from being trained.

    Args:
        model: what `model:` says; nothing is known of a Hugging Face id, so it has no problems.
        context: what `engine.context` says.
    """
    folder = Path(model)
    if not (folder / "config.json").is_file():
        return [] if _is_hub_id(model) else [Problem(f"model: {model}", _MISSING)]
    return [Problem(f"model: {model}", message) for message in _faults(folder, context)]


_MISSING = (
    "found no config.json there; expected a model folder, or a Hugging Face id (owner/name). Paths are relative to the "
    "folder the command runs in, and ~ is not expanded"
)


def _is_hub_id(model: str) -> bool:
    """Whether a name that is no model folder here can be an id: `owner/name` where there is no folder `owner`."""
    is_path = model.startswith((".", "/", "~")) or model.count("/") > 1 or Path(model).exists()
    return not is_path and ("/" not in model or not Path(model).parent.is_dir())


def _faults(folder: Path, context: int | None) -> Iterator[str]:
    if not any(folder.glob("*.safetensors")):
        yield "found no *.safetensors; expected weights as safetensors. Convert them with save_pretrained"
    if not any((folder / name).is_file() for name in ("tokenizer.json", "tokenizer.model", "vocab.json")):
        yield "found no tokeniser (tokenizer.json); expected the model's own. Save it there with save_pretrained"
    elif not _has_chat_template(folder):
        yield (
            "found no chat template in its tokeniser; expected an instruction-tuned model. Choose one, or save "
            "a template as chat_template.jinja"
        )
    most = _most_tokens(_read(folder / "config.json"))
    if context and most and context > most:
        yield f"found a context of {most} tokens; engine.context asks for {context}. Lower it, or leave it out"


def _has_chat_template(folder: Path) -> bool:
    if (folder / "chat_template.jinja").is_file() or any((folder / "additional_chat_templates").glob("*.jinja")):
        return True
    names = ("tokenizer_config.json", "chat_template.json")
    return any(_read(folder / name).get("chat_template") for name in names)


def _most_tokens(config: dict[str, Any]) -> int | None:
    """The context that the weights were made for; None where scaling may stretch it."""
    scaling = config.get("rope_scaling") or config.get("rope_parameters") or {}
    kind = scaling.get("rope_type", scaling.get("type", "default")) if isinstance(scaling, dict) else "unknown"
    most = config.get("max_position_embeddings")
    return most if kind == "default" and isinstance(most, int) else None


def _read(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def model_fingerprint(model: str) -> str:
    """Digest of a local model's files (of their sizes, where they are very large), or the id of a remote one."""
    folder = Path(model)
    if not folder.is_dir():
        return model
    names = sorted(path for path in folder.iterdir() if path.suffix in {".safetensors", ".json", ".jinja", ".model"})
    whole = sum(path.stat().st_size for path in names) <= _WHOLE_MODEL_BYTES
    return digest_json([[path.name, digest_file(path) if whole else path.stat().st_size] for path in names])
