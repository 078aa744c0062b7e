"""The public layouts: for each, what of a row is the prompt, and which of its answers is better.

A preset's `prompts` gives mappings in this project's own columns (`prompt`, `messages`, `turns`, `transcript`), one for
each prompt of the row. A layout that says nothing about which answer is better gives no pairs: a label needs evidence.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from records.rows import Message, TrailEntry
from records.sources.comparisons import (
    Comparison,
    Row,
    column,
    compare,
    entries,
    found_columns,
    rank,
    ratings_of,
    text_of,
)
from records.sources.exported import annotated_pair, annotated_prompt, nemo_pair, nemo_prompt
from records.sources.hhh import hhh_pair, hhh_prompt
from records.sources.sides import RowProblem, common_length, messages_of
from records.sources.transcripts import transcript_turns

Fields = dict[str, Any]
_PROMPT = frozenset({"prompt", "messages"})
_SIDES = frozenset({"chosen", "rejected", "chosen_rating", "rejected_rating"})


@dataclass(frozen=True)
class Preset:
    """How one layout is read; `no_pairs` says why it has none, where `pairs` is empty."""

    prompts: Callable[[Row], list[Fields]]
    pairs: Callable[[Row, Any], list[Comparison]] | None = None
    """The pairs of a row; its second argument is a prompt that was named beside the preset, or None."""
    no_pairs: str = ""
    takes: frozenset[str] = _PROMPT
    """The columns of a pair that may be named beside the preset, and then stand in for its own."""


def preset_named(name: str) -> Preset:
    """The preset of a layout, by its name with or without its owner, `-` and `_` alike.

    Raises:
        ValueError: there is none of this name.
    """
    key = name.rpartition("/")[2].lower().replace("_", "-")
    if key not in PRESETS:
        raise ValueError(f"found no preset {name!r}; expected one of {', '.join(PRESETS)}")
    return PRESETS[key]


def _conversation(name: str, value: Any) -> tuple[Message, ...]:
    if isinstance(value, str):
        return transcript_turns(value)
    if not isinstance(value, list):
        raise RowProblem("no_column", f"{name} is {type(value).__name__}; expected a dialogue")
    return messages_of(name, value)


def _dialogue_prompt(row: Row) -> list[Fields]:
    """The turns that both dialogues share, up to the last of a user; of one dialogue, all up to there."""
    sides = [_conversation(name, row[name]) for name in ("chosen", "rejected") if row.get(name) is not None]
    if not sides:
        raise RowProblem("no_column", f"no column chosen (found {found_columns(row)}); expected a dialogue")
    shared = sides[0][: common_length(sides[0], sides[-1])]
    users = [index for index, message in enumerate(shared) if message.role == "user"]
    if not users:
        raise RowProblem("no_common_prompt", "chosen and rejected share no user turn; expected the prompt in both")
    return [{"messages": shared[: users[-1] + 1]}]


def _dialogue_pair(row: Row, prompt: Any) -> list[Comparison]:
    """A prompt that was named must be a turn that both share, as the row's own must."""
    missing = [name for name in ("chosen", "rejected") if row.get(name) is None]
    if missing:
        raise RowProblem("no_column", f"no column {missing[0]} (found {found_columns(row)}); expected two dialogues")
    named = "chosen_rating" in row or "rejected_rating" in row
    names = ("chosen_rating", "rejected_rating") if named else ("score_chosen", "score_rejected")
    asked = row.get("prompt") if prompt is None else prompt
    return compare(asked, row["chosen"], row["rejected"], ratings_of(row, *names))


def _asked(prompt: Any, own: Callable[[Row], list[Fields]], row: Row) -> Any:
    """The prompt that was named, or else the layout's own."""
    return own(row)[0]["prompt"] if prompt is None else prompt


def _webgpt_prompt(row: Row) -> list[Fields]:
    return [{"prompt": text_of(row, "question" if isinstance(row.get("question"), str) else "question.full_text")}]


def _webgpt_pair(row: Row, prompt: Any) -> list[Comparison]:
    answers = [text_of(row, f"answer_{side}") for side in (0, 1)]
    return rank(_asked(prompt, _webgpt_prompt, row), answers, [row.get(f"score_{side}") for side in (0, 1)])


def _summary_prompt(row: Row) -> list[Fields]:
    name = "info.article" if column(row, "info.post") is None and column(row, "info.article") else "info.post"
    return [{"prompt": text_of(row, name)}]


def _summary_pair(row: Row, prompt: Any) -> list[Comparison]:
    answers = [
        text_of(entry, "text") if isinstance(entry, dict) else entry for entry in entries(row.get("summaries"), "text")
    ]
    choice = row.get("choice")
    if len(answers) != 2 or choice not in (0, 1) or isinstance(choice, bool):
        found = f"{len(answers)} summaries and choice {choice!r}"
        raise RowProblem("rating", f"found {found}; expected two summaries and choice 0 or 1")
    return compare(_asked(prompt, _summary_prompt, row), answers[int(choice)], answers[1 - int(choice)])


def _eli5_prompt(row: Row) -> list[Fields]:
    """The title, and below it what else the person wrote, where they did."""
    title, more = text_of(row, "title"), column(row, "selftext")
    return [{"prompt": f"{title}\n\n{more}" if isinstance(more, str) and more.strip() else title}]


def _eli5_pair(row: Row, prompt: Any) -> list[Comparison]:
    answers = entries(row.get("answers"), "text", "score")
    if not all(isinstance(answer, dict) for answer in answers):
        raise RowProblem("no_column", "answers holds no text and score; expected both for each answer")
    scores = [answer.get("score") for answer in answers]
    return rank(_asked(prompt, _eli5_prompt, row), [text_of(answer, "text") for answer in answers], scores)


def _palms_pair(row: Row, prompt: Any) -> list[Comparison]:
    """The last revision over the first draft, with the chain of critiques and revisions as the trail."""
    drafts = entries(row.get("initial_response"), "sample")
    steps = entries(row.get("cst"), "cst_key", "critique", "revision")
    if not drafts or not steps:
        raise RowProblem("no_column", f"no initial_response or no cst (found {found_columns(row)}); expected both")
    revision = column(steps[-1], "revision.sample") if isinstance(steps[-1], dict) else None
    pairs = compare(_palms_prompt(row, prompt), revision, text_of(drafts[0], "sample"))
    return [replace(pair, trail=_palms_trail(steps)) for pair in pairs]


def _palms_prompt(row: Row, prompt: Any) -> Any:
    return text_of(row, "rl_prompt") if prompt is None else prompt


def _palms_trail(steps: list[Any]) -> tuple[TrailEntry, ...]:
    said = [
        TrailEntry(kind=kind, principle=str(column(step, "cst_key") or ""), text=text)
        for step in steps
        if isinstance(step, dict)
        for kind in ("critique", "revision")
        if isinstance(text := column(step, f"{kind}.sample"), str)
    ]
    return tuple(said)


def _trait_prompts(row: Row) -> list[Fields]:
    questions = row.get("questions")
    if not isinstance(questions, list):
        raise RowProblem("no_column", f"no questions (found {found_columns(row)}); expected a list of texts")
    return [{"prompt": question} for question in questions]


PRESETS: dict[str, Preset] = {
    "hh-rlhf": Preset(_dialogue_prompt, _dialogue_pair, takes=_PROMPT | _SIDES),
    "ultrafeedback-binarized": Preset(_dialogue_prompt, _dialogue_pair, takes=_PROMPT | _SIDES),
    "webgpt-comparisons": Preset(_webgpt_prompt, _webgpt_pair),
    "summarize-from-feedback": Preset(_summary_prompt, _summary_pair),
    "eli5": Preset(_eli5_prompt, _eli5_pair),
    "hc3": Preset(
        lambda row: [{"prompt": text_of(row, "question")}],
        no_pairs="says who answered and not which answer is better; say which side you hold to be better with "
        "--columns chosen=human_answers,rejected=chatgpt_answers (or the other way round)",
        takes=_PROMPT | _SIDES,
    ),
    "hhh": Preset(hhh_prompt, hhh_pair),
    "mt-bench": Preset(
        lambda row: [{"turns": row.get("turns")}], no_pairs="holds questions and no answers", takes=frozenset()
    ),
    "palms": Preset(lambda row: [{"transcript": text_of(row, "rl_prompt")}], _palms_pair),
    "traits": Preset(_trait_prompts, no_pairs="holds questions and no answers", takes=frozenset()),
    "nemo-rl": Preset(nemo_prompt, nemo_pair),
    "annotated-pairs": Preset(annotated_prompt, annotated_pair),
}
