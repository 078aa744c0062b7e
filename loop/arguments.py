"""Arguments that several verbs of the command line share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from records.errors import ConfigError

Outputs = Annotated[Path, typer.Option("--outputs", help="Folder that holds the runs.")]
OUTPUTS = Path("outputs")


def run_path(run: str, outputs: Path) -> Path:
    """A run's folder: a name under `outputs`, or a path where it has a separator."""
    if run in (".", "..", ""):
        raise ConfigError(f"--run {run!r}: expected a name such as demo, or the path of a folder.")
    return Path(run) if "/" in run else outputs / run
