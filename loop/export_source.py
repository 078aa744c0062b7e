"""What an export reads: the pairs of a run's rounds, or of one folder of pairs, with all that is known about them."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from constitution.load import load_constitution
from constitution.schema import Constitution
from loop.folder import WARM_UP, RunFolder, round_index
from loop.report import read_object
from loop.rounds_table import headline
from records.chat import encodable
from records.compact import decided_moves
from records.errors import ConfigError, DataError
from records.rows import SCHEMA_VERSION, Author, Message, Outcome, Pair, Reject
from records.store import read_rows, shards
from trainer.preferences import group_rows

SPLITS = ("train", "validation")
ROLES = ("policy", "critic", "reviser", "verifier", "judge")
_AT_WORK = {
    "revision": {"critic", "reviser", "verifier"},
    "best_of_n": {"critic", "verifier"},
    "ai_feedback": set[str](),
    "rating": set[str](),
}
"""The roles, beside policy and judge, that a strategy gives work to."""
_MOST_FAULTS = 1000
_MOST_SHOWN = 20
_WAY_OUT = "Nothing was exported. Mend or remove the rows, or export others."
Row = TypeVar("Row", Pair, Reject)


@dataclass(frozen=True)
class Source:
    """Folders of pairs in reading order, each with its rejects where there are any, and what was said about them."""

    name: str
    path: Path
    folders: tuple[tuple[Path, Path | None], ...]
    rounds: tuple[int, ...] | None
    """The rounds asked for; None is all."""
    constitution: Constitution | None
    report: dict[str, Any] | None
    unfinished: tuple[int, ...] = ()


@dataclass
class Tally:
    """What was read, counted as it passes; nothing here grows with the number of rows."""

    pairs: Counter[tuple[int, str]] = field(default_factory=Counter)
    """Pairs written, by round and split."""
    rejects: Counter[tuple[int, str, str]] = field(default_factory=Counter)
    """Rejects by round, split and reason."""
    left_out: Counter[tuple[int, str, str]] = field(default_factory=Counter)
    """Pairs that the layout cannot say, by round, split and reason."""
    mended: int = 0
    """Rows with a lone surrogate, which no UTF-8 file can hold, written as U+FFFD."""
    other_rounds: int = 0
    """Rows among those of the rounds asked for that say they are of another one; left out."""
    authors: dict[str, dict[Author, None]] = field(default_factory=lambda: {role: {} for role in ROLES})
    strategies: dict[str, None] = field(default_factory=dict)
    constitutions: dict[tuple[str, str], None] = field(default_factory=dict)
    faults: dict[Path, list[tuple[int, str]]] = field(default_factory=dict)

    def fault(self, folder: Path, number: int, message: str) -> None:
        """Note what is wrong with a row; reading ends where there is no end of it."""
        self.faults.setdefault(folder, []).append((number, message))
        if sum(map(len, self.faults.values())) >= _MOST_FAULTS:
            self.refuse_faults()

    def refuse_faults(self) -> None:
        """End with one error that lists everything wrong with the rows, where anything is.

        Raises:
            DataError: there are faults.
        """
        told = [line for folder, found in self.faults.items() for line in group_rows(str(folder), found)]
        if told:
            more = [f"  and {len(told) - _MOST_SHOWN} more"] if len(told) > _MOST_SHOWN else []
            shown = [f"  {line}" for line in told[:_MOST_SHOWN]]
            raise DataError(
                "\n".join([*shown, *more, "Nothing was exported. Mend or remove the rows, or export others."])
            )


def open_source(path: Path, rounds: Sequence[int] | None, constitution: str | None) -> Source:
    """Find what is to be exported.

    Args:
        path: a run's folder, or a folder of shards of pairs.
        rounds: which rounds; all of the run when None, but for the warm-up's, which take round 0's prompts.
        constitution: name or file, for a folder of pairs; a run has its own.

    Raises:
        ConfigError: there are no pairs, or none of a round that is asked for.
    """
    if (path / "config.json").is_file():
        if constitution:
            raise ConfigError(
                f"--constitution {constitution}: {path} is a run and holds its own; leave the option out."
            )
        return _open_run(RunFolder(path), rounds)
    if not shards(path):
        raise ConfigError(
            f"{path}: found neither a run (config.json) nor shards of pairs (part-00000.*); expected one of them. "
            "A bare name is a run under --outputs; a folder of pairs is given as a path, such as ./pairs."
        )
    norms = load_constitution(constitution) if constitution else None
    return Source(path.resolve().name, path, ((path, None),), tuple(rounds) if rounds else None, norms, None)


def _open_run(run: RunFolder, rounds: Sequence[int] | None) -> Source:
    settings = read_object(run.path / "config.json") or {}
    # A round without a pair has rejects, which are told as well.
    on_disk = sorted(round_index(path) for path in run.path.glob("round_[0-9]*") if _holds_rows(path))
    # A run may be cut short by a smaller `rounds`; what lies beyond its end is not of this run.
    end = settings.get("rounds", len(on_disk))
    if not isinstance(end, int):
        raise ConfigError(f"{run.path / 'config.json'}: rounds is {end!r}; expected a number. Put the file back.")
    there = [index for index in on_disk if index < end]
    known = [WARM_UP, *there] if shards(run.round(WARM_UP) / "pairs") else there
    absent = [index for index in rounds or () if index not in known]
    if absent or not any(shards(run.round(index) / "pairs") for index in known):
        known = [index for index in known if shards(run.round(index) / "pairs")]
        found = ", ".join(map(round_name, known)) or "none"
        asked = f"--rounds {','.join(map(round_name, absent))}: " if absent else ""
        raise ConfigError(f"{run.path}: {asked}no pairs; rounds with pairs: {found}. Make them, or name others.")
    taken = tuple(rounds or there or known)
    folders = tuple((run.round(index) / "pairs", run.round(index) / "rejects") for index in taken)
    unfinished = tuple(index for index in taken if run.done("generate", index) is None)
    norms, report = load_constitution(str(run.path / "constitution.yaml")), _report_of(run)
    return Source(run.path.resolve().name, run.path, folders, taken, norms, report, unfinished)


def _holds_rows(round: Path) -> bool:
    return bool(shards(round / "pairs") or shards(round / "rejects"))


def _report_of(run: RunFolder) -> dict[str, Any] | None:
    """The run's report, where it has one whose finding can be told."""
    report = read_object(run.path / "report.json")
    try:
        if report and report.get("rounds"):
            headline(report), report["status"]
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise ConfigError(
            f"{run.path / 'report.json'}: is not what constitute writes ({type(error).__name__}: {error}); expected a "
            f"report. Make it again: constitute report {run.path.name}"
        ) from None
    return report


def round_name(index: int) -> str:
    """A round as people write it."""
    return "warm_up" if index == WARM_UP else str(index)


def parse_rounds(text: str) -> tuple[int, ...]:
    """Round numbers from `0,1`; `warm_up` is the one before the first.

    Raises:
        ConfigError: anything else.
    """
    names = [name.strip() for name in text.split(",")]
    if not all(name == "warm_up" or name.isdecimal() for name in names):
        raise ConfigError(f"--rounds {text}: expected round numbers such as 0,1 (or warm_up).")
    return tuple(dict.fromkeys(WARM_UP if name == "warm_up" else int(name) for name in names))


def read_pairs(source: Source, tally: Tally) -> Iterator[tuple[Path, int, Pair]]:
    """Every pair of the rounds asked for, in order, with its folder and row number; what is wrong goes to the tally."""
    for folder, rejects in source.folders:
        # Those that filters have decided on, where the decision is not yet carried out.
        going = (decided_moves(rejects.parent) if rejects else None) or {}
        for number, pair in _read(folder, Pair, source, tally):
            if pair.id in going:
                continue
            message = _pair_fault(pair)
            if message:
                tally.fault(folder, number, message)
            else:
                yield folder, number, pair


def read_rejects(source: Source, tally: Tally) -> Iterator[Reject]:
    """Every reject of the rounds asked for, in order."""
    for _, folder in source.folders:
        if folder is not None:
            yield from (reject for _, reject in _read(folder, Reject, source, tally))


def _read(folder: Path, kind: type[Row], source: Source, tally: Tally) -> Iterator[tuple[int, Row]]:
    for number, found in enumerate(read_rows(folder), 1):
        text = json.dumps(found, ensure_ascii=False)
        clean = encodable(text)
        tally.mended += clean is not text
        try:
            row = kind.model_validate_json(clean)
        except ValidationError as error:
            tally.fault(folder, number, _invalid(error, kind))
            continue
        if source.rounds is not None and row.provenance.round not in source.rounds:
            tally.other_rounds += 1
            continue
        message = _outcome_fault(row, source.constitution)
        if message:
            tally.fault(folder, number, message)
            continue
        for role, author in _authors(row):
            tally.authors[role].setdefault(author)
        tally.strategies.setdefault(row.strategy)
        tally.constitutions.setdefault((row.provenance.constitution, row.provenance.constitution_digest))
        yield number, row


def _authors(row: Outcome) -> Iterator[tuple[str, Author]]:
    """Who had a part in a row, by role; the policy is who drafted."""
    provenance = row.provenance
    drafts = [candidate.draft for candidate in row.candidates] if row.candidates else [row.draft]
    yield from (("policy", (draft and draft.author) or provenance.policy) for draft in drafts)
    yield from ((role, getattr(provenance, role)) for role in ROLES if role in _AT_WORK[row.strategy])
    if provenance.judge:
        yield "judge", provenance.judge


def _invalid(error: ValidationError, kind: type[Outcome]) -> str:
    faults = error.errors(include_url=False)
    told = [f"{'.'.join(map(str, fault['loc'])) or 'row'}: {fault['msg']}" for fault in faults[:3]]
    return f"is no {kind.__name__} ({'; '.join(told)}); expected a row that constitute wrote"


def _outcome_fault(row: Outcome, constitution: Constitution | None) -> str:
    if row.split not in SPLITS:
        return f"split is {row.split!r}, which is held out for evaluation; expected train or validation"
    if row.schema_version != SCHEMA_VERSION:
        return f"schema_version is {row.schema_version}; expected {SCHEMA_VERSION}"
    digest = row.provenance.constitution_digest
    if constitution is not None and digest != constitution.digest:
        return (
            f"made under constitution {row.provenance.constitution!r} of digest {digest[:12]}; expected "
            f"{constitution.name!r} of digest {constitution.digest[:12]}"
        )
    return ""


def _pair_fault(pair: Pair) -> str:
    if not pair.prompt or pair.prompt[-1].role != "user":
        return f"turns of prompt are {_roles(pair.prompt)}; expected a user turn last"
    for name, side in (("chosen", pair.chosen), ("rejected", pair.rejected)):
        if [message.role for message in side] != ["assistant"]:
            return f"turns of {name} are {_roles(side)}; expected one assistant turn"
    return "chosen equals rejected; expected two different answers" if pair.chosen == pair.rejected else ""


def _roles(turns: Sequence[Message]) -> str:
    return ", ".join(turn.role for turn in turns) or "none"
