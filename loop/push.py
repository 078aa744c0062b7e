"""Handing an export to the Hugging Face Hub. The token comes from the environment alone and is written nowhere."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from records.errors import ConfigError, StageError

TOKEN = "HF_TOKEN"
_ID = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}", re.ASCII)
_OWN_FILES = {".gitattributes"}


@dataclass(frozen=True)
class Push:
    """A dataset repository that an export may go to."""

    id: str
    private: bool
    client: Any = field(repr=False)


def open_push(id: str, *, private: bool) -> Push:
    """Look, before anything is written, whether the export can be uploaded there.

    Raises:
        ConfigError: no such id, no token, or a repository that holds files or is public when it should not be.
        StageError: the Hub cannot be reached.
    """
    if not _ID.fullmatch(id):
        raise ConfigError(f"--push {id}: expected OWNER/NAME.")
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils._validators import validate_repo_id

    try:
        validate_repo_id(id)
    except HFValidationError as error:
        words = " ".join(str(error).split())
        raise ConfigError(f"--push {id}: the Hub has no such names ({words}); expected OWNER/NAME.") from None
    token = os.environ.get(TOKEN, "").strip()
    if not token:
        raise ConfigError(f"--push {id}: the environment has no {TOKEN}; expected a token that may write. Set it.")
    from huggingface_hub import HfApi

    push = Push(id, private, HfApi(token=token))
    with _told(id, "Nothing was written."):
        if not push.client.repo_exists(id, repo_type="dataset"):
            return push
        held = set(push.client.list_repo_files(id, repo_type="dataset")) - _OWN_FILES
        if held:
            raise ConfigError(f"--push {id}: the dataset is there and holds {len(held)} files; expected a new name.")
        if private and not push.client.repo_info(id, repo_type="dataset").private:
            raise ConfigError(f"--push {id}: the dataset is there and public; expected a private one, or --public.")
    return push


def upload(push: Push, folder: Path) -> str:
    """Upload a finished export; returns its address.

    Raises:
        StageError: the Hub refuses or cannot be reached; the export stays where it is.
    """
    private = " --private" if push.private else ""
    way_out = f"The export is whole in {folder}; later: hf upload {push.id} {folder} --repo-type dataset{private}"
    with _told(push.id, way_out):
        push.client.create_repo(push.id, repo_type="dataset", private=push.private, exist_ok=True)
        push.client.upload_folder(
            repo_id=push.id, repo_type="dataset", folder_path=str(folder), commit_message="Export from constitute"
        )
    return f"https://huggingface.co/datasets/{push.id}"


@contextmanager
def _told(id: str, way_out: str) -> Iterator[None]:
    """What the Hub and the network refuse, in words."""
    from huggingface_hub.errors import HfHubHTTPError

    # The client's own errors derive from those of the HTTP library it uses, whichever that is.
    network: Any = next(base for base in HfHubHTTPError.__mro__ if base.__name__ == "HTTPError")
    try:
        yield
    except (OSError, network) as error:
        words = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise StageError(f"--push {id}: the Hub could not be used ({words}). {way_out}") from None
