r"""Few-shot critiques of other projects: flat transcripts (`\n\nHuman: ... \n\nCritiqueRequest: ...`) and chats."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

_MARK = re.compile(r"(?:\A\s*|\n\n)(Human|Assistant|CritiqueRequest|Critique|RevisionRequest|Revision):")
# Only sentences that say outright that nothing is wrong; praise in passing is no verdict.
_NOTHING_WRONG = re.compile(
    r"(?i)\bnothing (?:is |was )?(?:wrong|harmful|objectionable|problematic)\b"
    r"|\b(?:does not|doesn't|did not|didn't) contain any(?: specific)?(?: examples?| instances?| signs?)?(?: of)? ?"
    r"(?:harm\w*|unethical|offensive|problematic|inappropriate|objectionable)\b"
    r"|\b(?:is|was) not (?:in any way )?(?:harmful|offensive|unethical)\b"
)


@dataclass(frozen=True)
class FewShot:
    """One critique of a draft, and the rewrite where there is one; `turns` end with the user turn it answers."""

    turns: tuple[tuple[str, str], ...]
    draft: str
    critique_request: str
    critique: str
    revision_request: str = ""
    revision: str | None = None

    @property
    def is_unchanged(self) -> bool:
        """The rewrite is the draft again: its writer found nothing to mend."""
        return self.revision is not None and self.revision.split() == self.draft.split()

    @property
    def says_nothing_wrong(self) -> bool:
        """The critique says outright that nothing is wrong."""
        return _NOTHING_WRONG.search(self.critique) is not None

    @property
    def violates(self) -> bool | None:
        """What the few-shot shows about the draft; None where it has neither a rewrite nor such a critique."""
        if self.is_unchanged or self.says_nothing_wrong:
            return False
        return None if self.revision is None else True

    def example(self) -> dict[str, Any]:
        """The few-shot as an example of a principle, in YAML's keys."""
        context = [{"role": role, "content": content} for role, content in self.turns[:-1]]
        entry: dict[str, Any] = {"context": context} if context else {}
        entry |= {"prompt": self.turns[-1][1], "draft": self.draft, "violates": self.violates}
        entry |= {"critique": self.critique}
        return entry if self.is_unchanged or self.revision is None else entry | {"revision": self.revision}


def transcript_few_shots(text: str) -> list[FewShot]:
    """The critiques of a flat transcript, in order; empty where it holds none that follows an answer.

    A second critique after a revision is about the revision. An empty turn, such as the `Human:` at the end, is none.
    """
    parts = _MARK.split(text)
    turns: list[tuple[str, str]] = []
    asked: dict[str, str] = {}
    few_shots: list[FewShot] = []
    for mark, content in zip(parts[1::2], (part.strip() for part in parts[2::2]), strict=True):
        if mark in ("Human", "Assistant"):
            if asked:
                _close(few_shots, turns, asked)
            if content:
                turns.append(("user" if mark == "Human" else "assistant", content))
        else:
            if mark == "CritiqueRequest" and asked:
                _close(few_shots, turns, asked)
            asked[mark] = content
    _close(few_shots, turns, asked)
    return few_shots


def _close(few_shots: list[FewShot], turns: list[tuple[str, str]], asked: dict[str, str]) -> None:
    """End one critique: note it, and let its revision stand where the draft stood."""
    revision = asked.get("Revision") or None
    complete = len(turns) > 1 and turns[-1][0] == "assistant" and turns[-2][0] == "user"
    if complete and asked.get("CritiqueRequest") and asked.get("Critique"):
        few_shots.append(
            FewShot(
                turns=tuple(turns[:-1]),
                draft=turns[-1][1],
                critique_request=asked["CritiqueRequest"],
                critique=asked["Critique"],
                revision_request=asked.get("RevisionRequest", ""),
                revision=revision,
            )
        )
        turns[-1] = ("assistant", revision or turns[-1][1])
    asked.clear()


def chat_few_shot(chat: Any, requests: Collection[str]) -> FewShot | None:
    """The critique in a chat: conversation, draft, critique request, critique, and often revision request, revision.

    Args:
        chat: a list of messages; anything else gives None, as does a chat without a critique of an answer.
        requests: critique requests of the same file; where none of them is asked, the last four messages after the
            draft are taken for the two requests and their answers, or the last two where there are only four in all.
    """
    if not isinstance(chat, list) or not all(_is_message(message) for message in chat):
        return None
    turns = [(message["role"], message["content"].strip()) for message in chat if message["content"].strip()]
    asked = [index for index, (role, text) in enumerate(turns) if role == "user" and text in requests]
    start = asked[0] if asked else len(turns) - (4 if len(turns) > 5 else 2)
    after = turns[start : start + 4]
    if start < 2 or [role for role, _ in turns[start - 2 : start]] != ["user", "assistant"]:
        return None
    if [role for role, _ in after] not in (["user", "assistant"], ["user", "assistant"] * 2):
        return None
    texts = [text for _, text in after]
    return FewShot(tuple(turns[: start - 1]), turns[start - 1][1], *texts)


def _is_message(message: Any) -> bool:
    known = isinstance(message, dict) and message.get("role") in ("system", "user", "assistant")
    return known and isinstance(message.get("content"), str)
