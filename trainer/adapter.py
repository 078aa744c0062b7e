"""LoRA adapters: begin one, continue one, load one beside another, save one so that vLLM can serve it.

There is only ever one trained adapter, named `default`: a later round continues its weights, adapters never pile up.
Beside an adapter lies `base.json` with the digest of the base it was trained on, so one of another base is refused even
where all shapes agree.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from records.atomic import crash_point
from records.digest import adapter_digest
from records.errors import ConfigError, Problem, problems_error
from trainer.config import LoraSettings
from trainer.model import name_of

TRAINED = "default"
_WEIGHTS, _CONFIG, _BASE = "adapter_model.safetensors", "adapter_config.json", "base.json"


def digest_of(folder: Path | None) -> str:
    """An adapter's content digest; empty for no adapter, which is the base."""
    return adapter_digest(folder) if folder else ""


def check_adapter_files(folder: Path) -> dict[str, Any]:
    """An adapter's configuration, refused where it is not a plain LoRA adapter.

    Raises:
        ConfigError: all that is wrong with the folder.
    """
    missing = [name for name in (_WEIGHTS, _CONFIG) if not (folder / name).is_file()]
    if missing:
        raise problems_error(
            f"adapter {folder}", [Problem(name, "not there; expected a LoRA adapter's file") for name in missing]
        )
    config: dict[str, Any] = json.loads((folder / _CONFIG).read_text(encoding="utf-8"))
    wanted = {"peft_type": "LORA", "use_dora": False, "bias": "none", "modules_to_save": None}
    problems = [
        Problem(_CONFIG, f"{name} is {config[name]!r}; expected {value!r}, which vLLM can serve")
        for name, value in wanted.items()
        if config.get(name, value) != value
    ]
    if problems:
        raise problems_error(f"adapter {folder}", problems, "Train the adapter again as plain LoRA.")
    return config


def begin_adapter(model: Any, settings: LoraSettings, *, name: str, start: Path | None) -> Any:
    """The model with one trainable adapter: fresh (equal to the base), or with the weights of an earlier one.

    Args:
        model: the frozen base, without adapters.
        settings: what the adapter looks like; an earlier one must look the same.
        name: the model's name, for error messages and the saved configuration.
        start: folder of the adapter to continue; None begins a fresh one.

    Raises:
        ConfigError: the targets do not exist in this model, or the earlier adapter does not fit.
    """
    from peft import LoraConfig, get_peft_model

    targets = settings.targets if isinstance(settings.targets, str) else list(settings.targets)
    config = LoraConfig(
        r=settings.r,
        lora_alpha=settings.alpha,
        lora_dropout=settings.dropout,
        target_modules=targets,
        bias="none",
        task_type="CAUSAL_LM",
    )
    try:
        policy = get_peft_model(model, config, adapter_name=TRAINED)
    except ValueError as error:
        raise ConfigError(f"train.lora.targets {targets}: {error}. Expected layers of model {name}.") from error
    if start:
        _check_same_settings(start, settings)
        _fill(policy, TRAINED, start)
    return policy


def _check_same_settings(folder: Path, settings: LoraSettings) -> None:
    config = check_adapter_files(folder)
    pairs = (("r", config["r"], settings.r), ("alpha", config["lora_alpha"], settings.alpha))
    problems = [
        Problem(_CONFIG, f"{name} is {found}; expected {wanted}, as train.lora.{name} says")
        for name, found, wanted in pairs
        if found != wanted
    ]
    if problems:
        raise problems_error(
            f"adapter {folder}", problems, "An adapter is continued as it is: set train.lora to its values."
        )


def check_same_base(folder: Path, base: str, name: str) -> None:
    """Refuse an adapter that was trained on another base than this one.

    Args:
        folder: the adapter.
        base: the base's digest (trainer/model.py).
        name: the base's name or path.

    Raises:
        ConfigError: by digest where the adapter carries one, else by the base's name.
    """
    config = check_adapter_files(folder)
    made_for = str(config.get("base_model_name_or_path") or "")
    record = folder / _BASE
    recorded = json.loads(record.read_text(encoding="utf-8"))["digest"] if record.is_file() else ""
    same = recorded == base if recorded else Path(made_for).name == Path(name_of(name)).name
    if not same:
        raise ConfigError(
            f"adapter {folder}: trained on another base ({made_for or 'not named'}); expected {name_of(name)}, the "
            "weights that model: names now. Set model: to the adapter's base, or begin a new run."
        )


def _fill(policy: Any, name: str, folder: Path) -> None:
    """Put a folder's weights into an adapter of the same shapes."""
    from peft import get_peft_model_state_dict, set_peft_model_state_dict
    from safetensors.torch import load_file

    weights = load_file(folder / _WEIGHTS)
    expected = get_peft_model_state_dict(policy, adapter_name=name, save_embedding_layers=False)
    problems = [Problem(key, "not there; expected for this model and train.lora") for key in expected.keys() - weights]
    problems += [Problem(key, "has no place in this model under train.lora") for key in weights.keys() - expected]
    problems += [
        Problem(key, f"shape {tuple(weights[key].shape)}; expected {tuple(expected[key].shape)}")
        for key in expected.keys() & weights.keys()
        if weights[key].shape != expected[key].shape
    ]
    if problems:
        shown = sorted(problems, key=str)[:6]
        raise problems_error(
            f"adapter {folder}: does not fit the model ({len(problems)} weights differ)",
            shown,
            "The adapter is of another base or of other train.lora settings.",
        )
    set_peft_model_state_dict(policy, weights, adapter_name=name)


@contextmanager
def loaded_beside(policy: Any, folder: Path | None, model: str) -> Iterator[str | None]:
    """An earlier policy beside the trained one: the name to select it by, None for the base (adapters off).

    The earlier adapter is read from its files, is never trained, and is gone after the block.
    """
    if folder is None:
        yield None
        return
    from peft import LoraConfig

    name = "earlier"
    check_adapter_files(folder)
    settings = LoraConfig.from_pretrained(str(folder))
    settings.inference_mode = True
    try:
        policy.add_adapter(name, settings)
    except ValueError as error:
        raise ConfigError(f"adapter {folder}: does not fit model {model} ({error}).") from error
    try:
        _fill(policy, name, folder)
        yield name
    finally:
        policy.set_adapter(TRAINED)
        policy.delete_adapter(name)


def save_adapter(policy: Any, folder: Path, *, model: str, base: str) -> str:
    """Write the trained adapter, whole or not at all, and return its digest.

    Args:
        policy: the trained model.
        folder: the adapter's folder; what is left there of an earlier attempt is replaced.
        model: the base's name or path; only its name is written.
        base: the base's digest (trainer/model.py).
    """
    from peft import get_peft_model_state_dict
    from safetensors.torch import save_file

    temporary = folder.with_name(f".{folder.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    weights = get_peft_model_state_dict(policy, adapter_name=TRAINED, save_embedding_layers=False)
    tensors = {key: value.detach().cpu().contiguous() for key, value in weights.items()}
    save_file(tensors, temporary / _WEIGHTS, metadata={"format": "pt"})
    config = policy.peft_config[TRAINED].to_dict()
    config |= {"base_model_name_or_path": name_of(model), "inference_mode": True}
    # Sets come in another order in every process; sorted, the same training gives the same digest.
    config = {key: sorted(value) if isinstance(value, set) else value for key, value in config.items()}
    for file, value in ((_CONFIG, config), (_BASE, {"model": name_of(model), "digest": base})):
        (temporary / file).write_text(json.dumps(value, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    crash_point("adapter-before-rename")
    shutil.rmtree(folder, ignore_errors=True)
    os.replace(temporary, folder)
    crash_point("adapter-after-rename")
    return adapter_digest(folder)
