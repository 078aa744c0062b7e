"""The model and its tokeniser as training needs them: local files first, safetensors only.

Code from elsewhere runs only where `trust_remote_code` asks for it.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any, Literal

from records.errors import ConfigError

_VALUES_PER_WEIGHT = 32
_SMALL = 20_000_000


def prepare_environment(model: str) -> None:
    """Set what the model libraries read when they are first imported; call it before they are.

    A model that lies on this machine needs no network, so none is used. One process trains on one GPU, the first
    visible one, unless a launcher started several processes.
    """
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    if Path(model).is_dir():
        os.environ.setdefault("HF_HUB_OFFLINE", "1")
    if "LOCAL_RANK" not in os.environ:
        os.environ.setdefault("CUDA_VISIBLE_DEVICES", "0")


def check_model(model: str) -> None:
    """Refuse a model path that cannot be loaded; a Hugging Face id is left to its library.

    Raises:
        ConfigError: a path with nothing there, or a folder without config.json or safetensors weights.
    """
    path = Path(model)
    if path.is_dir():
        missing = [name for name in ("config.json", "*.safetensors") if not any(path.glob(name))]
        if missing:
            raise ConfigError(
                f"model {model}: the folder has no {' and no '.join(missing)}; expected a model saved with "
                "save_pretrained, weights as safetensors. Name another folder, or convert the weights."
            )
    elif path.exists() or model.startswith((".", "/", "~")) or model.count("/") != 1:
        raise ConfigError(
            f"model {model}: there is no such folder; expected a folder with config.json, a tokeniser and safetensors "
            "weights, or a Hugging Face id (owner/name). Mend model: in the run file."
        )


def load_tokenizer(model: str, *, trust_remote_code: bool = False) -> Any:
    """The model's tokeniser.

    Raises:
        ConfigError: there is none at that path or id.
    """
    from transformers import AutoTokenizer

    check_model(model)
    try:
        return AutoTokenizer.from_pretrained(model, trust_remote_code=trust_remote_code)
    except Exception as error:  # a file that is no tokeniser makes the library fail in whatever way it comes to
        raise _cannot_load(model, "tokeniser", error) from error


def load_model(
    model: str,
    *,
    device: Literal["cpu", "cuda"],
    dtype: Literal["float32", "bfloat16"],
    trust_remote_code: bool = False,
) -> Any:
    """The model with its weights frozen, in evaluation mode, on the device.

    Raises:
        ConfigError: it cannot be loaded, or a GPU is asked for and there is none.
    """
    import torch
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging

    check_model(model)
    logging.disable_progress_bar()
    try:
        loaded = AutoModelForCausalLM.from_pretrained(
            model, dtype=getattr(torch, dtype), use_safetensors=True, trust_remote_code=trust_remote_code
        )
    except (OSError, ValueError) as error:
        raise _cannot_load(model, "model", error) from error
    spare_threads(loaded, device)
    return loaded.to(device).eval().requires_grad_(False)


def spare_threads(model: Any, device: Literal["cpu", "cuda"]) -> None:
    """Compute on one thread where the model is small; unless the environment says how many.

    Threads gain little on matrices this small, and on a busy machine their waiting for each other made training 20
    times slower.
    """
    import torch

    if device == "cpu" and model.num_parameters() < _SMALL and "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(1)


def _cannot_load(model: str, what: str, error: Exception) -> ConfigError:
    reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    return ConfigError(f"model {model}: its {what} cannot be loaded ({reason}). Mend model: in the run file.")


def choose_device(asked: Literal["auto", "cpu", "cuda"]) -> Literal["cpu", "cuda"]:
    """The device to train on.

    Raises:
        ConfigError: a GPU is asked for and there is none.
    """
    import torch

    available = torch.cuda.is_available()
    if asked == "cuda" and not available:
        raise ConfigError("train.device is cuda and no GPU is visible; expected one. Set it to auto or cpu.")
    return "cuda" if available and asked != "cpu" else "cpu"


def choose_dtype(
    asked: Literal["auto", "float32", "bfloat16"], device: Literal["cpu", "cuda"]
) -> Literal["float32", "bfloat16"]:
    """Precision of the frozen weights: bfloat16 on a GPU and float32 on a CPU unless asked otherwise."""
    if asked != "auto":
        return asked
    return "bfloat16" if device == "cuda" else "float32"


def context_of(model: str, *, trust_remote_code: bool = False) -> int | None:
    """Most tokens that the model was made for, where its configuration says so."""
    from transformers import AutoConfig

    try:
        config = AutoConfig.from_pretrained(model, trust_remote_code=trust_remote_code)
    except (OSError, ValueError) as error:
        raise _cannot_load(model, "configuration", error) from error
    return getattr(config.get_text_config(), "max_position_embeddings", None)


def base_digest(model: Any) -> str:
    """Digest of a model's identity: names, shapes and the first values of all its weights, before it has an adapter.

    A few values of each weight tell two fine-tunes of one architecture apart without reading gigabytes. They are
    taken as bfloat16, so a model has one digest in either precision.
    """
    import torch

    digest = hashlib.sha256()
    for name, weight in sorted(model.state_dict().items()):
        values = weight.detach().flatten()[:_VALUES_PER_WEIGHT].to(torch.bfloat16).float().cpu()
        digest.update(json.dumps([name, list(weight.shape), values.tolist()]).encode())
    return digest.hexdigest()


def name_of(model: str) -> str:
    """The model's name without this machine's path to it."""
    path = Path(model)
    return path.resolve().name if path.is_dir() else model
