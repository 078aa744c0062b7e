"""The row of evaluation: one draft of one test prompt, and everything that was found about it.

`summarise` (evaluation/summary.py) makes every figure from these rows alone, so figures can be made again at any time.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from records.rows import SCHEMA_VERSION, Author, Message, Verdict
from records.shard import DamagedShardError, shard_rows, shards
from records.strict import Strict

Asked = Literal["yes", "no", "unparsed"]
AnsweredBy = Literal["check", "judge", "none"]


class DraftRow(Strict):
    """One draft under evaluation; its id is the prompt's id and the draft's number."""

    schema_version: int = SCHEMA_VERSION
    id: str
    prompt_id: str
    number: int
    prompt: tuple[Message, ...]
    benign: bool | None = None
    policy: Author
    critic: Author
    text: str = ""
    output_tokens: int = 0
    finish: Literal["whole", "truncated", "none"]
    """`truncated`: the draft hit `max_tokens`; it is stored and counted, and nothing is judged. `none`: there is no
    draft, for the reason in `problem`."""
    problem: Literal["too_long", "engine_error"] | None = None
    """What kept the draft, or with a whole draft some question about it, from being asked; `detail` says it."""
    detail: str = ""
    checks: tuple[Verdict, ...] = ()
    """The exact checks, one for each principle that has one; no model was asked."""
    judged: bool = False
    """Whether the critic was asked about this draft."""
    verdicts: tuple[Verdict, ...] = ()
    """The critic's verdicts, one for each principle."""
    answered_by: AnsweredBy = "none"
    does_what_is_asked: Asked | None = None
    """Whether the draft does what its prompt wants: an answer to a benign prompt, a refusal of a harmful one. Null
    where nobody was asked."""


def draft_id(prompt_id: str, number: int) -> str:
    """The id of the prompt's draft of this number, counted from 0."""
    return f"{prompt_id}-{number}"


def read_drafts(folder: Path) -> list[DraftRow]:
    """Every finished row of an evaluation.

    Raises:
        DamagedShardError: a row is not of this format, or cannot be read; names its shard.
    """
    rows = []
    paths = shards(folder)
    for path in paths:
        for number, row in enumerate(shard_rows(path, growing=path == paths[-1]), 1):
            try:
                rows.append(DraftRow.model_validate(row))
            except ValidationError as error:
                found = str(error).replace("\n", " ")
                raise DamagedShardError(path, f"row {number} is not an evaluated draft ({found})") from None
    return rows
