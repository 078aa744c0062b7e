"""What happened to one prompt so far, and the row it becomes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from generator.engine import Completion
from records.chat import encode_text
from records.rows import (
    Draft,
    Message,
    Pair,
    Prompt,
    Provenance,
    Reject,
    RejectReason,
    TrailEntry,
    Verdict,
)


class ChainEnds(Exception):
    """The chain gives no pair; `reason` is one of the closed set, `detail` says it in words."""

    def __init__(self, reason: RejectReason, detail: str) -> None:
        super().__init__(detail)
        self.reason: RejectReason = reason
        self.detail = detail


def chain_id(prompt: Prompt, round: int, index: int = 0) -> str:
    """The id of a chain's one row; a resumed stage looks for it to know which chains are done."""
    return f"{prompt.id}-{round:02d}-{index}"


class Story:
    """Everything one chain has seen; `pair` and `reject` turn it into its one row.

    `text` is the running text: the draft, then the latest revision. `replies` holds the critic's latest reply on each
    principle, which a revision continues from.
    """

    def __init__(self, prompt: Prompt, principles: tuple[str, ...], provenance: Provenance, *, index: int = 0) -> None:
        self.prompt = prompt
        self.principles = principles
        self.provenance = provenance
        self.id = chain_id(prompt, provenance.round, index)
        self.draft: Draft | None = None
        self.text = ""
        self.draft_text = ""
        self.draft_verdicts: tuple[Verdict, ...] = ()
        self.final_verdicts: tuple[Verdict, ...] = ()
        self.violated: tuple[str, ...] = ()
        self.replies: dict[str, str] = {}
        self._reasoning: list[tuple[str, str]] = []
        self.trail: list[TrailEntry] = []

    def add_draft(self, completion: Completion, tokenizer: Any) -> None:
        """Keep the draft with the ids it was sampled as, and say whether they are the tokeniser's own."""
        sampled = list(completion.token_ids)
        # The token that ended the turn; in many models it is another one than the tokeniser's EOS.
        if sampled and sampled[-1] in tokenizer.all_special_ids:
            sampled.pop()
        self.draft = Draft(
            text=completion.text,
            token_ids=completion.token_ids,
            logprob=completion.logprob,
            canonical=encode_text(tokenizer, completion.text) == sampled,
        )
        # White space at the ends is a matter of sampling; on one side only it would be a shortcut for the trainer.
        self.text = self.draft_text = completion.text.strip()
        self._add("draft", completion)

    def add_verdict(self, kind: str, verdict: Verdict, completions: Sequence[Completion]) -> None:
        """Keep a verdict's reply on the trail, after those that could not be read."""
        *unread, read = completions
        for completion in unread:
            self._add(kind, completion, verdict.model_copy(update={"verdict": "unparsed"}))
        if kind != "verification":
            self.replies[verdict.principle] = read.text
        if kind != "verification" and verdict.verdict == "violates":
            self._reasoning.append((verdict.critique, self.text))
        self._add(kind, read, verdict)

    def add_revision(self, principle: str, completion: Completion) -> None:
        """Make a rewrite the running text."""
        self.text = completion.text.strip()
        self._add("revision", completion, principle=principle)

    def critiques(self) -> list[str]:
        """The reasoning about the draft that a reviser may have seen."""
        return [critique for critique, judged in self._reasoning if judged == self.draft_text]

    def rechecks(self) -> list[tuple[str, str]]:
        """The reasoning about the running text between revisions, each with the text it was about."""
        return [(critique, judged) for critique, judged in self._reasoning if judged != self.draft_text]

    def pair(self) -> Pair:
        """The row of a verified pair."""
        return Pair(
            **self._columns(),
            chosen=(Message(role="assistant", content=self.text),),
            rejected=(Message(role="assistant", content=self.draft_text),),
        )

    def reject(self, reason: RejectReason, detail: str) -> Reject:
        """The row of a chain that gave no pair."""
        final = self.text if self.text != self.draft_text else ""
        return Reject(**self._columns(), reason=reason, detail=detail, final=final)

    def _columns(self) -> dict[str, Any]:
        found = [verdict for verdict in self.draft_verdicts if verdict.principle in self.violated]
        return {
            "id": self.id,
            "prompt_id": self.prompt.id,
            "split": self.prompt.split,
            "group": self.prompt.group,
            "benign": self.prompt.benign,
            "prompt": self.prompt.messages,
            "later_turns": self.prompt.later_turns,
            "principles": self.principles,
            "verified": tuple(dict.fromkeys(verdict.principle for verdict in self.final_verdicts)),
            "violated": self.violated,
            "severity": max((verdict.severity for verdict in found if verdict.severity is not None), default=None),
            "draft": self.draft,
            "draft_verdicts": self.draft_verdicts,
            "final_verdicts": self.final_verdicts,
            "trail": tuple(self.trail),
            "provenance": self.provenance,
        }

    def _add(self, kind: Any, completion: Completion, verdict: Verdict | None = None, *, principle: str = "") -> None:
        self.trail.append(
            TrailEntry(
                kind=kind,
                principle=verdict.principle if verdict else principle,
                text=completion.text,
                verdict=verdict.verdict if verdict else None,
                prompt_tokens=completion.prompt_tokens,
                output_tokens=completion.output_tokens,
                cached_tokens=completion.cached_tokens,
                finish_reason=completion.finish_reason,
            )
        )
