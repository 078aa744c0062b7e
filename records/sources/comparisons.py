"""Which answer is better, from one row: two sides, or ranked answers of which the best is set over the worst.

Nothing random decides: answers that rank alike give no pair, and of several best (or worst) ones the first is taken.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from records.rows import Message, TrailEntry
from records.sources.sides import RowProblem, check_sides, common_length, messages_of
from records.sources.transcripts import is_open_transcript, is_transcript, transcript_turns

Row = dict[str, Any]
Ratings = tuple[float | None, float | None]


@dataclass(frozen=True)
class Comparison:
    """One pair as conversations; a rating is larger for a better answer."""

    prompt: tuple[Message, ...]
    chosen: tuple[Message, ...]
    rejected: tuple[Message, ...]
    chosen_rating: float | None = None
    rejected_rating: float | None = None
    trail: tuple[TrailEntry, ...] = ()
    """What the source keeps of how the chosen answer came to be."""


def column(row: Row, name: str) -> Any:
    """A column's value; `a.b` reaches into a mapping. None where there is none.

    The name as it stands comes first, for sets that have dots in their columns' names.
    """
    value: Any = row
    for part in [name] if name in row else name.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return value


def text_of(row: Row, name: str) -> str:
    """A column that must hold text.

    Raises:
        RowProblem: it is absent, or holds something else.
    """
    value = column(row, name)
    if value is None:
        raise RowProblem("no_column", f"no column {name} (found {found_columns(row)}); expected text in it")
    if not isinstance(value, str):
        raise RowProblem("not_text", f"{name} is {type(value).__name__}; expected text")
    return value


def found_columns(row: Row) -> str:
    """The columns of a row, as messages name them."""
    listed = ", ".join(map(str, row))
    return listed if len(listed) <= 120 else f"{listed[:117]}..."


def entries(value: Any, *names: str) -> list[Any]:
    """A list of mappings, also where a columnar file holds it as a mapping of lists.

    Args:
        value: the column.
        names: what of each mapping is wanted; other lists beside these may have any length.

    Raises:
        RowProblem: the lists that are wanted differ in length, so that nobody knows what belongs together.
    """
    if isinstance(value, dict):
        lists = {name: value[name] for name in names if isinstance(value.get(name), list)}
        lengths = {len(inner) for inner in lists.values()}
        if len(lengths) > 1:
            found = ", ".join(f"{len(inner)} {name}" for name, inner in lists.items())
            raise RowProblem("rating", f"found lists of unequal lengths ({found}); expected one of each for each")
        return [dict(zip(lists, inner, strict=True)) for inner in zip(*lists.values(), strict=True)]
    return list(value) if isinstance(value, list | tuple) else []


def compare(prompt: Any, chosen: Any, rejected: Any, ratings: Ratings = (None, None)) -> list[Comparison]:
    """The pair of two sides; none where they are rated alike.

    Args:
        prompt: text or messages; None where both sides begin with it.
        chosen: text, messages (the answer alone or a whole conversation), or a flat dialogue.
        rejected: as `chosen`.
        ratings: of chosen and rejected.

    Raises:
        RowProblem: the row cannot be a pair, or the ratings contradict it.
    """
    if None not in ratings and ratings[0] == ratings[1]:
        return []
    if ratings[0] is not None and ratings[1] is not None and not ratings[0] > ratings[1]:
        raise RowProblem("rating", f"chosen is rated {ratings[0]}, rejected {ratings[1]}; expected chosen above it")
    if (_is_whole(prompt, chosen) and _is_whole(prompt, rejected)) or _share_a_user_turn(chosen, rejected):
        asked, best, worst = _without_common_turns(prompt, _turns("chosen", chosen), _turns("rejected", rejected))
    elif prompt is None:
        raise RowProblem(
            "no_common_prompt", "no prompt, and the sides are no whole conversations; expected a column prompt"
        )
    else:
        asked = prompt_turns(prompt)
        best, worst = (_answer(prompt, name, side) for name, side in (("chosen", chosen), ("rejected", rejected)))
    if best == worst:
        raise RowProblem("same_answers", "chosen equals rejected; expected two different answers")
    check_sides(asked, best, worst)
    return [Comparison(asked, best, worst, *ratings)]


def prompt_turns(prompt: Any) -> tuple[Message, ...]:
    """A prompt column as turns: text, messages, or a flat dialogue that asks to be continued.

    Raises:
        RowProblem: it is none of these.
    """
    if isinstance(prompt, str):
        return transcript_turns(prompt) if is_open_transcript(prompt) else (Message(role="user", content=prompt),)
    return _turns("prompt", prompt)


def _turns(name: str, side: Any) -> tuple[Message, ...]:
    if isinstance(side, str):
        return transcript_turns(side)
    if not isinstance(side, list | tuple):
        raise RowProblem("not_text", f"{name} is {type(side).__name__}; expected text or a list of messages")
    return messages_of(name, side)


def _is_whole(prompt: Any, side: Any) -> bool:
    """Whether a side is a conversation with its prompt, rather than the answer alone."""
    if isinstance(side, str):
        begins = prompt is None or (isinstance(prompt, str) and is_transcript(prompt) and side.startswith(prompt))
        return begins and is_transcript(side)
    return isinstance(side, list | tuple) and (len(side) > 1 or prompt is None)


def _share_a_user_turn(chosen: Any, rejected: Any) -> bool:
    """Whether both sides are flat dialogues that begin alike: then neither is the text of an answer."""
    if not (
        isinstance(chosen, str) and isinstance(rejected, str) and is_transcript(chosen) and is_transcript(rejected)
    ):
        return False
    first, second = transcript_turns(chosen), transcript_turns(rejected)
    return any(turn.role == "user" for turn in first[: common_length(first, second)])


def _without_common_turns(
    prompt: Any, chosen: tuple[Message, ...], rejected: tuple[Message, ...]
) -> tuple[tuple[Message, ...], ...]:
    if chosen == rejected:
        raise RowProblem("same_answers", "chosen equals rejected; expected two different answers")
    length = common_length(chosen, rejected)
    if length == 0:
        raise RowProblem("no_common_prompt", "chosen and rejected share no first turn; expected the prompt in both")
    common = chosen[:length]
    said = [message.content for message in common]
    # A prompt column beside whole conversations repeats what was asked, often its last or first turn alone.
    # It may itself spell a dialogue, so as a text it comes first.
    if prompt is not None and prompt not in said and not {turn.content for turn in prompt_turns(prompt)} <= set(said):
        raise RowProblem("no_common_prompt", "prompt is no turn that chosen and rejected share; expected it in both")
    return common, chosen[length:], rejected[length:]


def _answer(prompt: Any, name: str, side: Any) -> tuple[Message, ...]:
    if not isinstance(side, str):
        return _turns(name, side)
    # After a flat `Assistant:` the space belongs to the mark.
    flat = isinstance(prompt, str) and is_open_transcript(prompt)
    return (Message(role="assistant", content=side.removeprefix(" ") if flat else side),)


def rank(
    prompt: Any, answers: Sequence[Any], ratings: Sequence[Any], *, lower_is_better: bool = False
) -> list[Comparison]:
    """The best answer over the worst one; none where all rank alike.

    Args:
        prompt: as in `compare`.
        answers: texts or lists of messages, at least two.
        ratings: one for each; all numbers, or all one of the words best and worst.
        lower_is_better: numbers are ranks, 1 the best; the pair then carries no ratings.

    Raises:
        RowProblem: there are fewer than two answers, or ratings that are no numbers or not one for each.
    """
    if len(answers) < 2 or len(answers) != len(ratings):
        found = f"{len(answers)} answers and {len(ratings)} ratings"
        raise RowProblem("rating", f"found {found}; expected two answers or more and a rating for each")
    numbers = numbers_of(ratings, lower_is_better=lower_is_better)
    best, worst = numbers.index(max(numbers)), numbers.index(min(numbers))
    if numbers[best] == numbers[worst]:
        return []
    rated = (None, None) if lower_is_better else (numbers[best], numbers[worst])
    return compare(prompt, answers[best], answers[worst], rated)


def numbers_of(ratings: Sequence[Any], *, lower_is_better: bool = False) -> list[float]:
    """Ratings as numbers of which more is better; the words best and worst are 1 and -1, whatever numbers mean.

    Raises:
        RowProblem: one is neither, or words stand beside numbers, which nothing sets in an order.
    """
    worded = [_WORDS[rating] for rating in ratings if isinstance(rating, str) and rating in _WORDS]
    if not worded:
        return [-_number(rating) if lower_is_better else _number(rating) for rating in ratings]
    if len(worded) != len(ratings):
        found = ", ".join(str(rating)[:40] for rating in ratings)
        raise RowProblem("rating", f"ratings are {found}; expected numbers alone, or the words best and worst alone")
    return worded


_WORDS = {"best": 1.0, "worst": -1.0}


def _number(rating: Any) -> float:
    try:
        number = float(rating) if not isinstance(rating, bool) else math.nan
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        raise RowProblem("rating", f"a rating is {str(rating)[:40]!r}; expected a number, best or worst")
    return number


def ratings_of(row: Row, chosen: str, rejected: str) -> Ratings:
    """The two rating columns as numbers; None where one is absent.

    Raises:
        RowProblem: one is there and no rating, or one is a word and the other a number.
    """
    values = [column(row, name) for name in (chosen, rejected)]
    given = [value for value in values if value is not None and value != ""]
    numbers = iter(numbers_of(given))
    first, second = (None if value is None or value == "" else next(numbers) for value in values)
    return first, second
