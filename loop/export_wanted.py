"""What a person asks `constitute export` for, and what can be known to be wrong with it before anything is opened."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from loop.export_source import SPLITS
from records.atomic import orphaned

ANNOTATED = "annotated-pairs"
LAYOUTS = ("trl", "trl-standard", "nemo-rl", "open-cai", ANNOTATED)
_LICENCE = re.compile(r"[a-z0-9][a-z0-9.+-]{0,63}")


@dataclass(frozen=True)
class Wanted:
    """What a person asked for."""

    source: Path
    to: str
    output: Path
    rounds: tuple[int, ...] | None = None
    splits: tuple[str, ...] = SPLITS
    include_rejects: bool = False
    template: str | None = None
    constitution: str | None = None
    licence: str = "other"

    @property
    def is_file(self) -> bool:
        """Whether `output` names one file rather than a folder."""
        return self.output.suffix in (".json", ".jsonl")


def wrong(wanted: Wanted) -> list[str]:
    """What can be known to be wrong without opening anything."""
    found = []
    if wanted.to not in LAYOUTS:
        found.append(f"--to {wanted.to}: expected one of {', '.join(LAYOUTS)}.")
    unknown = [split for split in wanted.splits if split not in SPLITS]
    if unknown or not wanted.splits:
        held_out = " Pairs are never made on test prompts." if "test" in unknown else ""
        found.append(f"--splits {','.join(wanted.splits)}: expected {' or '.join(SPLITS)}, or both.{held_out}")
    if not _LICENCE.fullmatch(wanted.licence):
        found.append(f"--licence {wanted.licence!r}: expected an identifier such as apache-2.0, cc-by-4.0 or other.")
    if (wanted.to == "trl-standard") != bool(wanted.template):
        found.append(
            "--template: trl-standard renders through a named chat template and no other layout takes one; expected "
            "--template FILE_OR_MODEL_FOLDER with --to trl-standard alone."
        )
    places = [wanted.output, wanted.output.with_suffix(".md")] if wanted.is_file else [wanted.output]
    # A killed export may have left one of its two files, which the same command then replaces.
    orphans = orphaned(wanted.output)
    taken = [place for place in places if os.path.lexists(place) and str(place.absolute()) not in orphans]
    found += [f"{place}: is there already; expected a new name." for place in taken]
    return found + (_wrong_with_a_file(wanted) if wanted.is_file else [])


def _wrong_with_a_file(wanted: Wanted) -> list[str]:
    found = []
    if (wanted.output.suffix == ".json") != (wanted.to == ANNOTATED):
        found.append(f"{wanted.output}: expected .json for {ANNOTATED}, .jsonl for any other layout, or a folder.")
    if wanted.to == "open-cai":
        found.append(f"{wanted.output}: open-cai has several splits; expected a folder.")
    elif wanted.to != ANNOTATED and len(wanted.splits) > 1:
        found.append(f"{wanted.output}: a file holds one split; expected --splits train, or a folder.")
    if wanted.include_rejects:
        found.append(f"{wanted.output}: --include-rejects writes a second table; expected a folder.")
    return found
