"""AnnotatedPairs 2.0, the format that Feedback Forensics opens: comparisons, and what each annotator said of them.

Every principle is an annotator; it prefers the text that complies where the other violates. The verified label is one
more, the default annotator. Which text stands as `a` follows from the pair's id alone, so the better one has no fixed
side. Ids are the first 8 hex digits of an MD5, as the format wants: with very many comparisons some will be alike, so
each carries its pair's id as well.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any

from records.digest import digest_text
from records.layouts import transcript
from records.rows import Author, Judgement, Message, Pair, Verdict, VerdictName

VERSION = "2.0"
LABEL = "The pair's label: chosen over rejected, as the evidence on its row decided it (verdicts, judgements, ratings)."
METADATA_KEYS = ("pair_id", "split", "round", "violated", "prompt_messages")
Annotation = dict[str, str | None]


def short_id(text: str) -> str:
    """The format's id of a text: the first 8 hex digits of its MD5."""
    return hashlib.md5(text.encode("utf-8"), usedforsecurity=False).hexdigest()[:8]


def annotators(principles: Mapping[str, str]) -> dict[str, dict[str, str]]:
    """The `annotators` of a file: the label, then each principle.

    Args:
        principles: text by id. Two principles of one text are one annotator.
    """
    found = {short_id(LABEL): {"name": "chosen", "description": LABEL, "type": "unknown"}}
    for id, text in principles.items():
        found.setdefault(short_id(text), {"name": id, "description": text, "type": "principle"})
    return found


def comparison(pair: Pair, principles: Mapping[str, str], chosen_is_a: bool | None = None) -> dict[str, Any]:
    """One entry of `comparisons`.

    Args:
        pair: the stored row; its texts can be written as UTF-8.
        principles: text by id, of all principles that were asked.
        chosen_is_a: whether the chosen text stands as `a`; drawn from the pair's id when left out.

    Raises:
        ValueError: a verdict names a principle that is not among `principles`.
    """
    chosen_is_a = _drawn(pair.id) if chosen_is_a is None else chosen_is_a
    final, draft = ("a", "b") if chosen_is_a else ("b", "a")
    wrote_chosen, wrote_rejected = pair.authors
    texts = {final: _response(pair.chosen, wrote_chosen), draft: _response(pair.rejected, wrote_rejected)}
    prompt = transcript(pair.prompt)
    content = "|".join([prompt, *(json.dumps(texts[side], sort_keys=True) for side in "ab")])
    of_draft, of_final = (
        _by_annotator(verdicts, principles) for verdicts in (pair.draft_verdicts, pair.final_verdicts)
    )
    given: dict[str, Annotation] = {short_id(LABEL): {"pref": final}}
    for annotator, found in of_draft.items():
        if annotator in of_final:
            given[annotator] = _annotation({draft: found, final: of_final[annotator]})
    letters = {"chosen": final, "rejected": draft}
    compared = {str(number): letters[one.side] for number, one in enumerate(pair.candidates) if one.side}
    for annotator, preferred in _compared(pair.judgements, principles).items():
        given[annotator] = _preference(preferred, compared)
    return {
        "id": short_id(content),
        "prompt": prompt,
        "response_a": texts["a"],
        "response_b": texts["b"],
        "annotations": given,
        "metadata": _metadata(pair),
    }


def _drawn(id: str) -> bool:
    return int(digest_text(id)[:8], 16) % 2 == 0


def _response(side: tuple[Message, ...], author: Author) -> dict[str, str]:
    model = f"{author.model}+{author.adapter_digest[:12]}" if author.adapter_digest else author.model
    return {"text": side[0].content, "model": model}


def _by_annotator(verdicts: Iterable[Verdict], principles: Mapping[str, str]) -> dict[str, set[VerdictName]]:
    """The distinct answers about one text by annotator."""
    answers: dict[str, set[VerdictName]] = {}
    for verdict in verdicts:
        answers.setdefault(short_id(_known(verdict.principle, principles)), set()).add(verdict.verdict)
    return answers


def _known(principle: str, principles: Mapping[str, str]) -> str:
    if principle not in principles:
        raise ValueError(f"a verdict names principle {principle!r}, which the constitution does not have")
    return principles[principle]


def _annotation(answers: Mapping[str, set[VerdictName]]) -> Annotation:
    """What one principle says of the two sides.

    Answers that were unreadable or that disagree about a text say nothing of it, and a principle that applies to one
    side only contradicts itself, since whether it applies is about the prompt: both are `invalid`.
    """
    a, b = ("".join(answers[side]) if len(answers[side]) == 1 else "unparsed" for side in "ab")
    if (a, b) == ("complies", "violates"):
        return {"pref": "a"}
    if (a, b) == ("violates", "complies"):
        return {"pref": "b"}
    reasons = {"complies": "both", "violates": "neither", "not_applicable": "not_applicable"}
    return {"pref": None, "no_pref_reason": reasons.get(a, "invalid") if a == b else "invalid"}


def _compared(judgements: Iterable[Judgement], principles: Mapping[str, str]) -> dict[str, set[str]]:
    """What a judge preferred under each principle, by annotator: the names of texts, `tie` or `unparsed`."""
    answers: dict[str, set[str]] = {}
    for judgement in judgements:
        if judgement.principle:
            known = _known(judgement.principle, principles)
            answers.setdefault(short_id(known), set()).add(judgement.preferred)
    return answers


def _preference(preferred: set[str], letters: Mapping[str, str]) -> Annotation:
    """What a judge's answers in both orders say of the two sides; where they differ, nothing (`invalid`)."""
    answer = "".join(preferred) if len(preferred) == 1 else "unparsed"
    if answer in letters:
        return {"pref": letters[answer]}
    return {"pref": None, "no_pref_reason": "both" if answer == "tie" else "invalid"}


def _metadata(pair: Pair) -> dict[str, str]:
    """What the format has no place for; the turns as JSON, since readers take these values for plain text."""
    turns = [message.model_dump() for message in pair.prompt]
    values = (
        pair.id,
        pair.split,
        str(pair.provenance.round),
        ", ".join(pair.violated),
        json.dumps(turns, ensure_ascii=False),
    )
    return dict(zip(METADATA_KEYS, values, strict=True))
