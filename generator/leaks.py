"""Does a rewrite talk about the rewriting, or quote its critique? Then it must not be called chosen."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from records.rows import Message
from records.splits import normalise

QUOTED_WORDS = 8

_ABOUT_REWRITING = re.compile(
    r"""^\W*(?:(?:sure|certainly|of\ course|okay|ok|absolutely)\b\W+)?
        (?:sure|certainly|of\ course|okay|ok|absolutely|here(?:'s|\ is|\ are))\b[^.\n]{0,60}
        \b(?:revis\w*|rewrit\w*|rewrote|reword\w*|rephras\w*|improved|corrected|updated|edited)\b
      | \b(?:revised|rewritten|reworded|rephrased|corrected)\s+(?:version|answer|response|reply|text|draft)\b
      | ^\W*(?:revision|revised|rewrite|rewritten)\s*:
      | \b(?:i(?:'ve|\ have)?|we(?:'ve|\ have)?)\s+(?:revised|rewritten|reworded|rephrased|removed|edited)\b
      | \b(?:the|my|your)\s+(?:critique(?!\ of\b)|previous\ (?:answer|response)|original\ (?:answer|response|draft))\b
      | \bto\ (?:comply|align)\ with\ the\ (?:principle|constitution|rule)\b""",
    re.IGNORECASE | re.VERBOSE,
)
# Every match of the above holds one of these; a text without any, which is quickly seen, needs no closer look.
_STEMS = (
    *("revis", "rewrit", "rewrote", "reword", "rephras", "improved", "corrected", "updated", "edited", "removed"),
    *("critique", "previous", "original", "comply", "align"),
)
# "Improve my sleep" and "the correct dose" ask for no rewriting: a broad verb counts only with a text to work on.
_ASKS_FOR_REWRITING = re.compile(
    r"""\b(?:rewrit\w*|rewrote|reword\w*|rephras\w*|redraft\w*|reformulat\w*|paraphras\w*|proofread\w*)\b
      | \b(?:revis(?:e|es|ed|ing|ions?)|rework\w*|polish(?:ed|ing)?|edit(?:ed|ing|s)?|improv\w*|
           correct(?:ed|ing|ions?)?|updat(?:e|ed|ing)|critique\w*|feedback)\b
        [^.?!\n]{0,60}?
        (?:\b(?:texts?|essays?|letters?|e-?mails?|drafts?|sentences?|paragraphs?|stor(?:y|ies)|poems?|code|functions?|
                scripts?|answers?|repl(?:y|ies)|responses?|versions?|writing|wording|grammar|spelling|punctuation|
                resumes?|r\u00e9sum\u00e9s?|cvs?|articles?|papers?|messages?|speech(?:es)?|posts?|documents?|abstracts?|
                chapters?|summar(?:y|ies)|translations?|statements?|proposals?)\b
          | \b(?:this|these|that|it|the\ following|below)\s*(?:[:;?!."\u201c\n]|$))""",
    re.IGNORECASE | re.VERBOSE,
)


def find_leak(
    final: str,
    prompt: Sequence[Message],
    draft: str,
    critiques: Iterable[str],
    rechecks: Iterable[tuple[str, str]] = (),
) -> str | None:
    """What gives a rewrite away as a rewrite, in words, or None.

    Two things count: talk of the rewriting ("Sure, here is a revised ..."), unless the prompt itself asks for
    rewriting or the draft has the very words; and eight consecutive words of a critique that stand in neither the
    prompt nor the draft.

    Args:
        final: the text that would be chosen.
        prompt: the conversation it answers.
        draft: the text it was made from.
        critiques: the reasoning texts about the draft that the reviser saw.
        rechecks: those about a rewrite, each with the rewrite it was about, whose words it may quote.
    """
    asked = " ".join(message.content for message in prompt)
    talk = _talk(final, draft) if _may_talk(final) else []
    if talk and not _ASKS_FOR_REWRITING.search(asked):
        return f"talks about the rewriting: {talk[0][:80]!r}"
    final_words = _words(final)
    for critique, judged in (*((text, "") for text in critiques), *rechecks):
        quoted = [run for run in _runs(critique) if run in final_words]
        seen = [_words(text) for text in (asked, draft, judged)] if quoted else []
        told = [run for run in quoted if not any(run in words for words in seen)]
        if told:
            return f"quotes the critique: {min(told).strip()!r}"
    return None


def _may_talk(text: str) -> bool:
    # Outside ASCII other letters count as these without regard to case, such as a dotless i.
    lower = text.lower()
    return not text.isascii() or any(stem in lower for stem in _STEMS)


def _talk(final: str, draft: str) -> list[str]:
    """The words about rewriting that the draft does not have."""
    drafted = normalise(draft)
    return [words for match in _ABOUT_REWRITING.finditer(final) if (words := normalise(match[0])) not in drafted]


def _words(text: str) -> str:
    """The text's words with a space before and after each, so that a run of words is found as a part of it."""
    words = re.findall(r"\w+", normalise(text))
    return f" {' '.join(words)} "


def _runs(text: str) -> set[str]:
    words = _words(text).split()
    return {f" {' '.join(words[start : start + QUOTED_WORDS])} " for start in range(len(words) - QUOTED_WORDS + 1)}
