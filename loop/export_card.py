"""The dataset card of an export: a header that `datasets` and the Hub read, and what a person must know of the pairs.

Names, principles and models come from files that may be hostile: in the body they are escaped, in the header they are
YAML scalars on one line.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import yaml
from pydantic import BaseModel

from loop.export_source import ROLES, Source, Tally, round_name
from loop.rounds_table import headline
from records.digest import digest_text
from records.features import features
from records.markdown import bullets, escaped, one_line, table
from records.rows import Author, Reject

ABOUT = {
    "trl": "TRL's conversational preference format, with every column that constitute stores: verdicts, trail, "
    "provenance.",
    "trl-standard": "TRL's standard preference format: three strings, rendered by the chat template named below. A "
    "prompt begins with whatever the template writes first (a BOS too), so tokenise without adding special tokens.",
    "nemo-rl": "NeMo-RL's preference format; the completion of rank 0 is chosen.",
    "open-cai": "The open CAI layout, whole conversations. The `_prefs` and `_sft` splits hold the same pairs: the "
    "former for preference training, the latter, by its column `messages`, for supervised training on chosen.",
    "annotated-pairs": "AnnotatedPairs 2.0 in one JSON file; opens in Feedback Forensics. Each principle is an "
    "annotator that prefers the text complying where the other violates, or the one that the judge prefers under it; "
    "`split` is in each comparison's metadata.",
}
_VERIFIED = {"revision", "best_of_n"}
"""Strategies whose chosen answers complied with every principle that was asked."""
_LABELS = {
    "revision": "The labels are a model's verdicts, before and after a rewrite, on the principles that were asked. A "
    "chosen answer complies by those verdicts; it may be wrong, or break what no principle names.",
    "best_of_n": "The labels are a model's verdicts on several drafts of one policy. A chosen answer complies by those "
    "verdicts, asked twice; it may be wrong, or break what no principle names.",
    "ai_feedback": "The labels are a model's preference between two drafts under the principles that were drawn, the "
    "same in both orders. A chosen answer is the better one by that; it may break any principle.",
    "rating": "The labels are a model's ratings of drafts by a rubric of the principles that were drawn. A chosen "
    "answer is the one rated higher; it may break any principle.",
}
_LEFT_OUT = {
    "spells_marker": "a text spells a marker of the chat template, which a string would turn into the real one",
    "same_text": "both sides are the same string once rendered",
}


@dataclass(frozen=True)
class Written:
    """What the files of an export are: the split of each file by name, and the columns of its rows."""

    layout: str
    licence: str
    template: Any
    splits: Mapping[str, str]
    rejects: Mapping[str, str]
    row: type[BaseModel] | None
    """None where the columns are left to the reader."""


def card_text(source: Source, tally: Tally, written: Written) -> str:
    """The whole card."""
    parts = [
        f"---\n{_header(source, written)}---",
        f"# {escaped(source.name)}",
        f"Preference pairs made {'and verified ' if set(tally.strategies) <= _VERIFIED else ''}with constitute. "
        f"{ABOUT[written.layout]}",
        *_finding(source),
        "## Pairs and rejects",
        *_counts(source, tally),
        "## Constitution",
        *_constitution(source, tally),
        "## Models",
        *_models(tally, written),
        "## Licence",
        f"`{written.licence}`. To whom the outputs of these models may be given, and under what licence, follows from "
        "the models' own licences and from the prompts; that is for whoever publishes this to determine.",
        "## Limitations",
        bullets(_limitations(tally)),
    ]
    return "\n\n".join(parts) + "\n"


def _header(source: Source, written: Written) -> str:
    tables = (("default", "", written.splits, written.row), ("rejects", "rejects/", written.rejects, Reject))
    configs, columns = [], []
    for name, place, files, row in tables:
        if files:
            config: dict[str, Any] = {"config_name": name}
            config["data_files"] = [{"split": split, "path": f"{place}{path}"} for path, split in files.items()]
            if row is None:
                config["field"] = "comparisons"
            else:
                columns.append({"config_name": name, "features": features(row)})
            configs.append(config)
    header = {
        "license": written.licence,
        "pretty_name": one_line(source.name),
        "tags": ["preference", "constitutional-ai", "synthetic"],
        "configs": configs,
    }
    header |= {"dataset_info": columns} if columns else {}
    return yaml.safe_dump(header, sort_keys=False, width=float("inf"))


def _finding(source: Source) -> list[str]:
    """The headline of the run's report, where there is one."""
    if not source.report or not source.report.get("rounds"):
        return []
    return [
        f"The run that they come from: {escaped(headline(source.report))} (status {escaped(source.report['status'])})."
    ]


def _counts(source: Source, tally: Tally) -> Iterator[str]:
    """A row for each round and split; its chains are its pairs, those left out, and its rejects."""
    lost = [(name, counts) for name, counts in (("left out", tally.left_out), ("rejects", tally.rejects)) if counts]
    columns = [(name, reason, counts) for name, counts in lost for reason in sorted({reason for *_, reason in counts})]
    cells = sorted({*tally.pairs, *((round, split) for _, counts in lost for round, split, _ in counts)})
    header = ["round, split", "chains", "pairs", *(f"{name}: {reason}" for name, reason, _ in columns)]
    rows = []
    for round, split in cells:
        figures = [tally.pairs[round, split], *(counts[round, split, reason] for _, reason, counts in columns)]
        rows.append([f"{round_name(round)}, {split}", *map(str, [sum(figures), *figures])])
    yield table(header, rows)
    notes = [f"Left out as {reason}: {words}." for reason, words in _LEFT_OUT.items() if reason in _reasons(tally)]
    if not any(folder for _, folder in source.folders):
        notes.append("Rejects were not among what was exported; chains are those that gave a pair.")
    if tally.mended:
        notes.append(f"In {tally.mended} rows a character that UTF-8 cannot hold is written as U+FFFD.")
    if tally.other_rounds:
        notes.append(f"Left out: {tally.other_rounds} rows that name another round than those exported.")
    if source.unfinished:
        notes.append(f"Not finished when exported: round {', '.join(map(round_name, source.unfinished))}.")
    if notes:
        yield bullets(notes)


def _reasons(tally: Tally) -> set[str]:
    return {reason for *_, reason in tally.left_out}


def _constitution(source: Source, tally: Tally) -> Iterator[str]:
    yield bullets(f"{escaped(name)}, digest `{escaped(digest)}`" for name, digest in tally.constitutions)
    if source.constitution is None:
        yield "Its principles were not given to the export; rows name them by id."
    else:
        principles = source.constitution.principles
        yield bullets(f"**{escaped(principle.id)}**: {escaped(principle.text)}" for principle in principles)


def _models(tally: Tally, written: Written) -> Iterator[str]:
    rows = [[role, *_author_cells(author)] for role in ROLES for author in tally.authors[role]]
    yield table(["role", "model", "adapter", "temperature", "top p", "max tokens"], rows)
    if written.template is not None:
        digest = digest_text(written.template.chat_template)
        yield f"Chat template: {escaped(str(written.template.name_or_path))}, digest `{digest}`."


def _author_cells(author: Author) -> list[str]:
    adapter = escaped(author.adapter_digest) or "none"
    return [escaped(author.model), adapter, f"{author.temperature:g}", f"{author.top_p:g}", str(author.max_tokens)]


def _limitations(tally: Tally) -> Iterator[str]:
    yield "Every answer, chosen and rejected, was written by a language model; no person has read them all."
    yield from (words for strategy, words in _LABELS.items() if strategy in tally.strategies)
    policies, critics = (
        {author.model for role in roles for author in tally.authors[role]}
        for roles in (("policy",), ("critic", "judge"))
    )
    if policies & critics:
        shared = ", ".join(map(escaped, sorted(policies & critics)))
        yield f"**Self-judged:** the critic is the policy's own base ({shared}), so both share their blind spots."
    if "revision" in tally.strategies:
        yield "A rewrite also differs from its draft in length and tone, and a trained model may learn that instead."
    yield "`validation` is for stopping and choosing; train on `train` alone. Pairs on test prompts are never made."
