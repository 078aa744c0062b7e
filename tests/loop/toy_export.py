"""A run folder whose rows are real outcomes of scripted chains, to export from, and how the command is called."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

from records.compact import compact_round
from records.features import write_card
from records.rows import Message, Pair, Prompt, Reject
from records.splits import prompt_id
from records.store import RowStore
from tests.generator.toy import CONSTITUTION, FINAL_TEXT, outcome_of, prompt, provenance, script, verdict_on
from tests.scripted import CHAT_TEMPLATE

HOSTILE = "null \x00, emoji \U0001f9d1\u200d\U0001f680, \u202eleft\u202c, }} {{ 'a\"b' \\ | <b>, line\nline \u2028 end"
LONE = "lone \udfff here"
SYSTEM = Message(role="system", content="Be brief.\n\nAlways.")
EARLIER = (
    Message(role="user", content="Hello: who are you?"),
    Message(role="assistant", content="A cook.\n\nTruly."),
)


def talk(text: str, *, before: tuple[Message, ...] = (), **columns: Any) -> Prompt:
    """A prompt of several turns."""
    messages = (*before, Message(role="user", content=text))
    return prompt(**{"id": prompt_id(messages), "messages": messages, **columns})


def outcomes(round: int = 0) -> list[Pair | Reject]:
    """Pairs of every shape, in both splits, and rejects of two reasons in each."""
    of_round = {"provenance": provenance(round=round)}
    modest = verdict_on(final={"modest": "not_applicable"}, draft={"modest": "not_applicable"})
    polite = verdict_on(draft={"modest": "complies", "kind": "complies"})
    found = []
    for split in ("train", "validation"):
        asked = [
            talk(f"Plain, {split} {round}?", split=split),
            talk(f"With a system line, {split} {round}?", before=(SYSTEM,), split=split),
            talk(f"Later, {split} {round}?", before=(SYSTEM, *EARLIER), split=split),
            talk(f"{HOSTILE}, {split} {round}", split=split, group="odd", benign=True),
        ]
        found += [outcome_of(script(critic=modest), one, **of_round) for one in asked]
        found += [
            outcome_of(script(critic=polite), talk(f"One, {split} {round}?", split=split), **of_round),
            outcome_of(script(FINAL_TEXT), talk(f"Good, {split} {round}?", split=split), **of_round),
            outcome_of(
                script(critic=verdict_on(final={"kind": "unparsed"})),
                talk(f"Odd, {split} {round}?", split=split),
                **of_round,
            ),
        ]
    return found


def write_rows(folder: Path, rows: list[Pair | Reject]) -> None:
    """Rows as a round's generation leaves them, in several shards."""
    for name, kind in (("pairs", Pair), ("rejects", Reject)):
        store = RowStore(folder / name, rows_per_shard=3)
        write_card(folder / name, kind)
        for row in rows:
            if isinstance(row, kind):
                store.append(row)
        store.close()


def write_run(folder: Path, rounds: int = 2, *, compacted: bool = True) -> Path:
    """A run of some rounds under the toy constitution; the last is not finished, and its rows are no Parquet yet."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps({"rounds": rounds, "model": "scripted"}))
    (folder / "constitution.yaml").write_text(yaml.safe_dump(CONSTITUTION.model_dump(mode="json"), sort_keys=False))
    for index in range(rounds):
        write_rows(folder / f"round_{index:02d}", outcomes(index))
        if index < rounds - 1:
            if compacted:
                compact_round(folder / f"round_{index:02d}")
            (folder / f"round_{index:02d}" / "generate.done.json").write_text("{}")
    return folder


def stored(run: Path, *rounds: int, split: str | None = None) -> list[Pair]:
    """The pairs of a run as its shards hold them."""
    from records.store import read_rows

    rows = [Pair.model_validate(row) for index in rounds for row in read_rows(run / f"round_{index:02d}" / "pairs")]
    return [row for row in rows if split in (None, row.split)]


def write_template(folder: Path) -> str:
    """The toy tokeniser's chat template as a file."""
    path = folder / "chat.jinja"
    path.write_text(CHAT_TEMPLATE)
    return str(path)
