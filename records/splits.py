"""Train, validation and test by hash, so a prompt is on the same side in every round, every run and every machine."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

from pydantic import Field

from records.digest import digest_json, digest_text
from records.rows import Message, Split
from records.strict import Settings


class SplitShares(Settings):
    """Shares of the prompts that never train; the rest is train."""

    validation: float = Field(0.1, ge=0.0, lt=1.0)
    """For stopping and choosing; pairs made on these give eval loss and eval rewards."""
    test: float = Field(0.15, ge=0.0, lt=1.0)
    """For the headline figures only."""


def normalise(text: str) -> str:
    """NFKC, case-folded, runs of white space as one space."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def prompt_id(messages: Sequence[Message]) -> str:
    """16 hex digits from the exact messages."""
    return digest_json([[message.role, message.content] for message in messages])[:16]


def split_of(messages: Sequence[Message], group: str | None, shares: SplitShares) -> Split:
    """The split of a prompt, by its group or else by its normalised user turns.

    The hash is uniform on [0, 1); the lowest `test` of it is test, the next `validation` of it is validation.
    """
    turns = "\x1f".join(normalise(message.content) for message in messages if message.role == "user")
    key = f"group:{group}" if group else f"turns:{turns}"
    position = int(digest_text(key)[:15], 16) / 16**15
    if position < shares.test:
        return "test"
    return "validation" if position < shares.test + shares.validation else "train"


# Words that carry no matter of their own; two prompts that differ in these alone ask the same.
FUNCTION_WORDS = frozenset(
    [
        "a",
        "an",
        "the",
        "and",
        "or",
        "but",
        "of",
        "to",
        "in",
        "on",
        "at",
        "for",
        "with",
        "by",
        "from",
        "as",
        "is",
        "are",
        "was",
        "were",
        "be",
        "been",
        "am",
        "do",
        "does",
        "did",
        "can",
        "could",
        "would",
        "should",
        "will",
        "shall",
        "may",
        "might",
        "must",
        "i",
        "me",
        "my",
        "we",
        "us",
        "our",
        "you",
        "your",
        "he",
        "she",
        "it",
        "its",
        "they",
        "them",
        "their",
        "this",
        "that",
        "these",
        "those",
        "what",
        "how",
        "why",
        "when",
        "where",
        "which",
        "who",
        "please",
        "tell",
        "show",
        "explain",
        "way",
        "ways",
        "best",
        "there",
        "any",
        "some",
        "so",
        "if",
        "then",
    ]
)


def content_words(text: str) -> list[str]:
    """What a text is about: its normalised words without function words, in order.

    A text of function words only is one word: itself. Without spaces between words, a phrase counts as a word.
    """
    text = normalise(text)
    return [word for word in re.findall(r"\w+", text) if word not in FUNCTION_WORDS] or [text]


def content_key(messages: Sequence[Message]) -> str:
    """What the user turns are about: their content words, sorted. Equal keys are near-duplicates.

    Prompts that differ in one content word have different keys. Prompts of function words only are their own key.
    """
    return " ".join(sorted(content_words(" ".join(message.content for message in messages if message.role == "user"))))
