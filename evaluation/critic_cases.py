"""Labelled cases for a critic: drafts with the verdict they deserve, and pairs of answers of which one is better.

A case comes with its label: from a constitution's own examples, a file whose columns are named, or anybody's preference
data. A row that is no case is counted with its reason; nothing about it is guessed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator
from typing import Any, TypeVar

from pydantic import Field

from constitution.schema import Constitution, Example
from records.digest import digest_json
from records.errors import ConfigError, DataError
from records.rows import Message
from records.sources.comparisons import column, found_columns, prompt_turns, text_of
from records.sources.layouts import check_gives_pairs, row_pairs
from records.sources.origin import Origin
from records.sources.readers import Found, Unreadable, read_origin
from records.sources.sides import RowProblem, check_sides
from records.strict import Strict

LABEL_COLUMNS = ("prompt", "draft", "principle", "violates")
_LABELS = {
    **dict.fromkeys(("true", "yes", "1", "violates"), True),
    **dict.fromkeys(("false", "no", "0", "complies"), False),
}
_MOST_SHOWN = 5
Case = TypeVar("Case")


class VerdictCase(Strict):
    """A draft of which it is known whether it breaks a principle."""

    source: str
    principle: str
    prompt: tuple[Message, ...]
    draft: str
    violates: bool


class ComparisonCase(Strict):
    """Two answers to a conversation, of which one is known to be better."""

    source: str
    prompt: tuple[Message, ...]
    better: str
    worse: str


class Cases(Strict):
    """All that a critic is asked about, and what could not be: bad rows by reason, with the places of the first."""

    verdicts: tuple[VerdictCase, ...] = ()
    comparisons: tuple[ComparisonCase, ...] = ()
    left_out: dict[str, int] = Field(default_factory=dict)
    places: tuple[str, ...] = ()

    def joined(self, other: Cases) -> Cases:
        """The cases of both."""
        return Cases(
            verdicts=self.verdicts + other.verdicts,
            comparisons=self.comparisons + other.comparisons,
            left_out=dict(Counter(self.left_out) + Counter(other.left_out)),
            places=(*self.places, *other.places)[:_MOST_SHOWN],
        )


def example_cases(constitution: Constitution, shown: Collection[Example]) -> Cases:
    """The constitution's own examples, but for those that the critic is shown as worked ones: it has their answers."""
    own = [(principle, example) for principle in constitution.principles for example in principle.examples]
    kept = [(principle, example) for principle, example in own if example not in shown]
    return Cases(
        verdicts=tuple(
            VerdictCase(
                source=f"constitution {constitution.name}",
                principle=principle.id,
                prompt=example.conversation,
                draft=example.draft,
                violates=example.violates,
            )
            for principle, example in kept
        ),
        left_out={"shown": len(own) - len(kept)} if len(kept) < len(own) else {},
    )


def read_verdict_cases(origin: Origin, constitution: Constitution) -> Cases:
    """Labelled drafts of any source.

    Args:
        origin: its `columns` map `prompt` (text or messages), `draft`, `principle` (an id of the constitution) and
            `violates` (true/false, yes/no, 1/0, violates/complies) to the source's own names.
        constitution: whose principles they are about.

    Raises:
        ConfigError: a column is unknown, or a preset is named.
        DataError: the source cannot be read, or no row is a case (lists why).
    """
    unknown = [name for name in origin.columns if name not in LABEL_COLUMNS]
    if unknown:
        raise ConfigError(f"{origin.name}: found columns {', '.join(unknown)}; expected of {', '.join(LABEL_COLUMNS)}.")
    known = {principle.id for principle in constitution.principles}

    def read(found: Found) -> Iterator[VerdictCase]:
        row = _row_of(found)
        named = {name: origin.columns.get(name, name) for name in LABEL_COLUMNS}
        principle = text_of(row, named["principle"])
        if principle not in known:
            raise RowProblem("no_column", f"principle is {principle!r}; expected one of {', '.join(sorted(known))}")
        if column(row, named["prompt"]) is None:
            raise RowProblem(
                "no_column", f"no column {named['prompt']} (found {found_columns(row)}); expected a prompt"
            )
        prompt, draft = prompt_turns(column(row, named["prompt"])), text_of(row, named["draft"])
        answer = (Message(role="assistant", content=draft),)
        check_sides(prompt, answer, answer)
        violates = _label(column(row, named["violates"]))
        yield VerdictCase(source=origin.name, principle=principle, prompt=prompt, draft=draft, violates=violates)

    verdicts, left_out, places = _read_all(origin, read)
    return Cases(verdicts=tuple(verdicts), left_out=left_out, places=tuple(places))


def read_comparison_cases(origin: Origin, most: int) -> Cases:
    """Pairs of answers from preference data of any layout that `import-pairs` reads.

    Args:
        origin: where from, with preset or columns.
        most: of more cases, so many are taken, by a hash of what they say.

    Raises:
        ConfigError: what is named gives no pairs.
        DataError: as `read_verdict_cases`.
    """
    check_gives_pairs(origin)

    def read(found: Found) -> Iterator[ComparisonCase]:
        for pair in row_pairs(_row_of(found), origin):
            if isinstance(pair, RowProblem):
                raise pair
            better, worse = pair.chosen[0].content, pair.rejected[0].content
            yield ComparisonCase(source=origin.name, prompt=pair.prompt, better=better, worse=worse)

    cases, left_out, places = _read_all(origin, read)
    cases.sort(key=lambda case: digest_json(["critic-check", case.model_dump(mode="json")]))
    if len(cases) > most:
        left_out["beyond_most"] = len(cases) - most
    return Cases(comparisons=tuple(cases[:most]), left_out=left_out, places=tuple(places))


def _read_all(origin: Origin, read: Callable[[Found], Iterator[Case]]) -> tuple[list[Case], dict[str, int], list[str]]:
    cases: list[Case] = []
    left_out: Counter[str] = Counter()
    places: list[str] = []
    for found in read_origin(origin):
        try:
            cases += read(found)
        except RowProblem as problem:
            left_out[problem.reason] += 1
            places.append(f"{found.where}: {problem}")
    if not cases:
        told = "\n".join(f"  {place}" for place in places[:_MOST_SHOWN])
        raise DataError(f"{origin.name}: found no labelled case; nothing was asked.\n{told}")
    return cases, dict(left_out), places[:_MOST_SHOWN]


def _row_of(found: Found) -> dict[str, Any]:
    if isinstance(found.row, Unreadable):
        raise RowProblem("unreadable", found.row.reason)
    if not isinstance(found.row, dict):
        raise RowProblem("unreadable", f"is {type(found.row).__name__}; expected an object with named columns")
    return found.row


def _label(value: Any) -> bool:
    label = _LABELS.get(str(value).strip().lower())
    if label is None:
        raise RowProblem("rating", f"violates is {str(value)[:40]!r}; expected true or false, or violates or complies")
    return label
