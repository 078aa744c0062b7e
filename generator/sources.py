"""The prompts of a run: every source read whole before anything runs, split, and mixed by weight.

Every problem of every source is reported at once. Which split a prompt is in follows from its own text or group alone
(records/splits.py), whatever source it comes from and however sources are weighted. What is left out because another
prompt says the same is counted, and named with that other one (generator/prompt_duplicates.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from generator.mixture import mix
from generator.prompt_duplicates import LeftOut, Why, alike_prompts, held_out_again
from generator.prompt_rows import PromptRow, prompt_rows
from generator.source_config import PromptSource, as_source
from records.errors import DataError, Problem
from records.rows import Message, Prompt
from records.splits import SplitShares, prompt_id, split_of

_MOST_PROBLEMS = 20


@dataclass
class SourceCount:
    """What became of one source's rows."""

    name: str
    prompts: int = 0
    """Rows that are prompts, duplicates among them."""
    duplicates: int = 0
    """Rows whose messages stood earlier, here or in a source before; left out."""
    near_duplicates: int = 0
    """Train prompts that ask the same as a held-out prompt in other function words; left out."""
    alike: int = 0
    """Other prompts that are nearly the same as one that stays, here or in another source; left out."""
    taken: int = 0
    """Prompts of the run; where sources have weights, what the mixture takes."""
    bad_rows: int = 0
    """Rows that are no prompts, where the source says to skip them."""

    def line(self) -> str:
        """The counts in words."""
        left_out = {
            "duplicates": self.duplicates,
            "near-duplicates of held-out": self.near_duplicates,
            "other near-duplicates": self.alike,
            "not taken by weight": self.prompts - self.duplicates - self.near_duplicates - self.alike - self.taken,
            "bad rows skipped": self.bad_rows,
        }
        words = "".join(f", {count} {what}" for what, count in left_out.items() if count)
        return f"{self.name}: {self.taken} taken of {self.prompts} prompts{words}"


@dataclass
class PromptSet:
    """The prompts of a run by split, each id once, and what was left out on the way."""

    prompts: list[Prompt] = field(default_factory=list)
    sources: list[SourceCount] = field(default_factory=list)
    left_out: list[LeftOut] = field(default_factory=list)
    """Duplicates of all kinds, each with the prompt that says the same."""

    @property
    def duplicates(self) -> int:
        """Rows whose messages stood earlier; left out."""
        return sum(source.duplicates for source in self.sources)

    @property
    def near_duplicates(self) -> int:
        """Train prompts that ask the same as a held-out prompt in other function words; left out."""
        return sum(source.near_duplicates for source in self.sources)

    @property
    def alike(self) -> int:
        """Other prompts that are nearly the same as one that stays; left out."""
        return sum(source.alike for source in self.sources)

    def of(self, split: str) -> list[Prompt]:
        """The prompts of one split, in file order."""
        return [prompt for prompt in self.prompts if prompt.split == split]


def load_prompts(
    sources: Sequence[str | PromptSource], shares: SplitShares, *, seed: int = 0, similarity: float | None = None
) -> PromptSet:
    """Read the sources, split their prompts, take out what would leak held-out ones into training, and mix.

    Args:
        sources: paths of prompt files, or more about them.
        shares: of the held-out splits.
        seed: which prompts a weighted mixture takes.
        similarity: leave out all but one of prompts that are so alike (records/near.py), whatever their splits; None
            leaves out exact duplicates alone, and train prompts that ask what a held-out one asks.

    Raises:
        DataError: a source is missing, empty or holds rows that are no prompts; lists all of them by line.
    """
    entries = [as_source(entry) for entry in sources]
    problems: list[Problem] = _weight_problems(entries)
    found = PromptSet(sources=[SourceCount(source.name) for source in entries])
    seen: set[str] = set()
    read = [
        _read_source(source, count, shares, seen, problems, found.left_out)
        for source, count in zip(entries, found.sources, strict=True)
    ]
    _raise_problems(problems)
    # Before the mixture, so that the shares hold, and that no weight brings a near-duplicate back.
    kept = _without_duplicates(read, found, similarity)
    weights = [source.weight for source in entries if source.weight is not None]
    taken = mix(kept, weights, seed) if weights else kept
    for count, prompts in zip(found.sources, taken, strict=True):
        count.taken = len(prompts)
    found.prompts = _all(taken)
    return found


def _raise_problems(problems: Sequence[Problem]) -> None:
    if problems:
        shown = [str(problem) for problem in problems[:_MOST_PROBLEMS]]
        more = [f"  ... and {len(problems) - _MOST_PROBLEMS} more"] if len(problems) > _MOST_PROBLEMS else []
        raise DataError("\n".join(["The prompts cannot be read:", *shown, *more, "Nothing was run."]))


def _weight_problems(entries: Sequence[PromptSource]) -> list[Problem]:
    without = [source.name for source in entries if source.weight is None]
    if not without or len(without) == len(entries):
        return []
    return [Problem("sources", f"found no weight for {', '.join(without)}; expected one for every source, or for none")]


def _read_source(
    source: PromptSource,
    count: SourceCount,
    shares: SplitShares,
    seen: set[str],
    problems: list[Problem],
    left_out: list[LeftOut],
) -> list[Prompt]:
    prompts: list[Prompt] = []
    faults: list[Problem] = []
    try:
        for row, turns in prompt_rows(source, faults):
            prompt = _prompt(row, turns, source, shares)
            count.prompts += 1
            if prompt.id in seen:
                count.duplicates += 1
                left_out.append(LeftOut("duplicate", source.name, prompt.id, prompt.id, prompt.messages[-1].content))
                continue
            seen.add(prompt.id)
            prompts.append(prompt)
    except DataError as error:
        problems += [*faults, Problem("", str(error))]
        return prompts
    if count.prompts == 0 and (source.skip_bad_rows or not faults):
        problems.append(Problem(source.name, f"holds no prompts ({len(faults)} bad rows); expected at least one"))
    if source.skip_bad_rows:
        count.bad_rows = len({fault.where for fault in faults})
    else:
        problems += faults
    return prompts


def _prompt(row: PromptRow, turns: tuple[Message, ...], source: PromptSource, shares: SplitShares) -> Prompt:
    return Prompt(
        id=prompt_id(turns),
        messages=turns,
        split=split_of(turns, row.group, shares),
        group=row.group,
        benign=row.benign,
        check=row.check.model_dump(exclude_defaults=True) if row.check else None,
        source=source.name,
        later_turns=row.later_turns(),
    )


def _without_duplicates(
    read: Sequence[Sequence[Prompt]], found: PromptSet, similarity: float | None
) -> list[list[Prompt]]:
    """The prompts of each source that stay; the others are counted and noted."""
    apart = _without(read, held_out_again(_all(read)), found.left_out)
    kept = apart if similarity is None else _without(apart, alike_prompts(_all(apart), similarity), found.left_out)
    for count, before, between, after in zip(found.sources, read, apart, kept, strict=True):
        count.near_duplicates, count.alike = len(before) - len(between), len(between) - len(after)
    return kept


def _all(read: Sequence[Sequence[Prompt]]) -> list[Prompt]:
    return [prompt for prompts in read for prompt in prompts]


def _without(
    read: Sequence[Sequence[Prompt]], duplicates: Mapping[str, tuple[Why, str]], left_out: list[LeftOut]
) -> list[list[Prompt]]:
    for prompt in _all(read):
        if prompt.id in duplicates:
            why, other = duplicates[prompt.id]
            left_out.append(LeftOut(why, prompt.source, prompt.id, other, prompt.messages[-1].content))
    return [[prompt for prompt in prompts if prompt.id not in duplicates] for prompts in read]
