"""`constitute audit`: the rows of a run's rounds, counted and tested, and what is written of it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError

from constitution.load import load_constitution
from constitution.schema import Constitution
from loop.export_source import round_name
from loop.folder import WARM_UP, RunFolder, round_index
from loop.report import read_object
from records.atomic import write_json_atomic, write_text_atomic
from records.chat import encodable
from records.errors import ConfigError, Problem, problems_error
from records.progress import progress
from records.shard import shards
from records.strict import Strict


class LabelLine(Strict):
    """A line of a file of labels: what a person says of the draft of one chain."""

    id: str = Field(min_length=1)
    """Of the chain, as its row has it."""
    principle: str
    violates: bool = Field(strict=True)


def audit_run(
    path: Path, *, rounds: Sequence[int] | None = None, labels: Path | None = None, output: Path | None = None
) -> tuple[dict[str, Any], Path]:
    """Audit a run and write `audit.json`, `audit.md` and `audit.png`.

    Args:
        path: the run's folder.
        rounds: those to look at; all that have rows, but for the warm-up's, when None.
        labels: JSON lines of `LabelLine`, held against the critic before an exact check is.
        output: where the files go; the run's folder when None.

    Returns:
        The object of `audit.json`, and where it lies.

    Raises:
        ConfigError: no run, no rows, or labels that cannot be read.
        DataError: a shard is damaged, or was made under another constitution.
    """
    from evaluation.audit.audit import audit
    from evaluation.audit.facts import read_facts
    from loop.audit_picture import draw_audit
    from loop.audit_text import audit_text

    folders = _folders(path, rounds)
    constitution = load_constitution(str(path / "constitution.yaml"))
    said = _labels(labels, constitution) if labels else []
    with progress(f"audit {encodable(path.resolve().name)}", None) as display:
        facts = read_facts(folders, constitution, said, display.advance)
    try:
        told = {"run": encodable(path.resolve().name), "labels": len(said), **audit(facts)}
    finally:
        facts.close()
    place = output or path
    place.mkdir(parents=True, exist_ok=True)
    write_json_atomic(place / "audit.json", told)
    draw_audit(told, place / "audit.png")
    write_text_atomic(place / "audit.md", audit_text(told))
    return told, place


def _folders(path: Path, rounds: Sequence[int] | None) -> list[Path]:
    """The rounds that are looked at, in order."""
    settings = read_object(path / "config.json")
    if settings is None:
        raise ConfigError(
            f"{path}: no config.json; expected the folder of a run, or its name under --outputs. An audit reads the "
            "verdicts on the rows that a run made."
        )
    run = RunFolder(path)
    known = [round_index(place) for place in sorted(path.glob("round_[0-9]*")) if place.is_dir()]
    end = settings.get("rounds")
    there = [index for index in known if not isinstance(end, int) or index < end]
    full = [index for index in (WARM_UP, *there) if _holds_rows(run.round(index))]
    wanted = list(rounds) if rounds is not None else [index for index in full if index != WARM_UP] or full
    absent = [index for index in wanted if index not in full]
    if absent or not wanted:
        asked = f"--rounds {','.join(map(round_name, absent))}: " if absent else ""
        found = ", ".join(map(round_name, full)) or "none"
        raise ConfigError(f"{path}: {asked}no rows; rounds with pairs or rejects: {found}. Make them, or name others.")
    return [run.round(index) for index in wanted]


def _holds_rows(folder: Path) -> bool:
    return bool(shards(folder / "pairs") or shards(folder / "rejects"))


def _labels(path: Path, constitution: Constitution) -> list[tuple[str, str, bool]]:
    """What people said, all of the file's problems at once."""
    ids = {principle.id for principle in constitution.principles}
    found: list[tuple[str, str, bool]] = []
    problems: list[Problem] = []
    try:
        lines = path.read_bytes().splitlines()
    except OSError as error:
        raise ConfigError(
            f"--labels {path}: cannot be read ({error.strerror}); expected a file of JSON lines."
        ) from None
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            label = LabelLine.model_validate(json.loads(line))
        except (ValidationError, ValueError) as error:
            told = error.errors()[0]["msg"] if isinstance(error, ValidationError) else str(error)
            problems.append(Problem(f"line {number}", f"{told}; expected {{id, principle, violates: true or false}}"))
            continue
        if label.principle not in ids:
            problems.append(Problem(f"line {number}", f"found the principle {label.principle[:60]!r}; expected one of "
                                    f"{', '.join(sorted(ids)[:10])}"))  # fmt: skip
        found.append((label.id, label.principle, label.violates))
    if problems:
        raise problems_error(str(path), problems, "Mend the labels and run the same command again.")
    return found
