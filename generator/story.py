"""What happened to one prompt so far, and the row it becomes."""

from __future__ import annotations

from collections.abc import Coroutine, Sequence
from typing import Any

from constitution.schema import Principle
from generator.engine import Completion, EngineFailedError, PromptTooLongError
from generator.seat import Seat
from records.chat import encode_text
from records.rows import (
    Candidate,
    Draft,
    Judgement,
    Message,
    Pair,
    Prompt,
    Provenance,
    Reject,
    RejectReason,
    Strategy,
    TrailEntry,
    Verdict,
    VerdictName,
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


async def told(story: Story, work: Coroutine[Any, Any, None]) -> Pair | Reject:
    """The one row that a chain's work comes to, however it ends."""
    try:
        await work
    except ChainEnds as end:
        return story.reject(end.reason, end.detail)
    except PromptTooLongError as error:
        return story.reject("too_long", str(error))
    except EngineFailedError as error:
        return story.reject("engine_error", str(error))
    return story.pair()


class Story:
    """Everything one chain has seen; `pair` and `reject` turn it into its one row.

    `text` is the running text: the draft, then the latest revision; of a group, the candidate that is chosen, and
    `draft` the one that is rejected. `replies` holds the critic's latest reply on each principle, which a revision
    continues from.
    """

    def __init__(
        self,
        prompt: Prompt,
        principles: Sequence[Principle],
        provenance: Provenance,
        *,
        strategy: Strategy = "revision",
        index: int = 0,
    ) -> None:
        self.prompt = prompt
        self.principles = tuple(principle.id for principle in principles)
        self.provenance = provenance
        self.strategy = strategy
        self.index = index
        self.id = chain_id(prompt, provenance.round, index)
        self.candidates: list[Candidate] = []
        self.judgements: tuple[Judgement, ...] = ()
        self.preference_probability: float | None = None
        self.draft: Draft | None = None
        self.text = ""
        self.draft_text = ""
        self.is_revised = False
        self.draft_verdicts: tuple[Verdict, ...] = ()
        self.final_verdicts: tuple[Verdict, ...] = ()
        self.violated: tuple[str, ...] = ()
        self.replies: dict[str, str] = {}
        self._reasoning: list[tuple[str, str]] = []
        self.trail: list[TrailEntry] = []

    def add_draft(self, completion: Completion, seat: Seat) -> None:
        """Keep the draft, which is the running text from now on."""
        self.draft = draft_of(completion, seat)
        # White space at the ends is a matter of sampling; on one side only it would be a shortcut for the trainer.
        self.text = self.draft_text = completion.text.strip()
        self.add_call("draft", completion)

    def choose(self, chosen: int, rejected: int) -> None:
        """Make two candidates what is chosen and what is rejected, with the verdicts on them where there are any."""
        for number, side in ((chosen, "chosen"), (rejected, "rejected")):
            self.candidates[number] = self.candidates[number].model_copy(update={"side": side})
        best, worst = self.candidates[chosen], self.candidates[rejected]
        self.text, self.draft_text = best.draft.text.strip(), worst.draft.text.strip()
        self.draft, self.draft_verdicts = worst.draft, worst.verdicts

    def sides(self) -> dict[str, str]:
        """What is, or would be, chosen and rejected, in this order, by the names that judgements give them."""
        numbers = {candidate.side: str(number) for number, candidate in enumerate(self.candidates)}
        chosen, rejected = (numbers["chosen"], numbers["rejected"]) if numbers else ("final", "draft")
        return {chosen: self.text, rejected: self.draft_text}

    def add_verdict(
        self, kind: str, verdict: Verdict, completions: Sequence[Completion], *, candidate: int | None = None
    ) -> None:
        """Keep a verdict's reply on the trail, after those that could not be read."""
        *_, read = completions
        self.add_replies(kind, completions, verdict.verdict, principle=verdict.principle, candidate=candidate)
        if kind != "verification":
            self.replies[verdict.principle] = read.text
        if kind != "verification" and verdict.verdict == "violates":
            self._reasoning.append((verdict.critique, self.text))

    def add_revision(self, principle: str, completion: Completion) -> None:
        """Make a rewrite the running text."""
        self.text, self.is_revised = completion.text.strip(), True
        self.add_call("revision", completion, principle=principle)

    def add_judgements(
        self, found: Sequence[tuple[Judgement, Sequence[Completion]]], principle: str = ""
    ) -> tuple[Judgement, ...]:
        """Keep a judge's answers under a principle, or to the question of the gate, with their replies."""
        told = tuple(judgement.model_copy(update={"principle": principle}) for judgement, _ in found)
        self.judgements += told
        for judgement, completions in found:
            verdict: VerdictName | None = "unparsed" if judgement.better == "unparsed" else None
            self.add_replies("judgement", completions, verdict, principle=principle)
        return told

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
            "strategy": self.strategy,
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
            "candidates": tuple(self.candidates),
            "judgements": self.judgements,
            "preference_probability": self.preference_probability,
            "trail": tuple(self.trail),
            "provenance": self.provenance,
        }

    def add_replies(
        self, kind: str, completions: Sequence[Completion], verdict: VerdictName | None, **about: Any
    ) -> None:
        """Keep a reply in JSON on the trail, after those that could not be read; `about` as in `add_call`."""
        *unread, last = completions
        for completion in unread:
            self.add_call(kind, completion, verdict="unparsed", **about)
        self.add_call(kind, last, verdict=verdict, **about)

    def add_call(self, kind: Any, completion: Completion, **about: Any) -> None:
        """Put one call on the trail; `about` are the other columns of `TrailEntry`."""
        self.trail.append(
            TrailEntry(
                kind=kind,
                text=completion.text,
                prompt_tokens=completion.prompt_tokens,
                output_tokens=completion.output_tokens,
                cached_tokens=completion.cached_tokens,
                finish_reason=completion.finish_reason,
                **about,
            )
        )


def draft_of(completion: Completion, seat: Seat) -> Draft:
    """A draft with the ids it was sampled as, whether they are the tokeniser's own, and who wrote it."""
    sampled = list(completion.token_ids)
    # The token that ended the turn; in many models it is another one than the tokeniser's EOS.
    if sampled and sampled[-1] in seat.tokenizer.all_special_ids:
        sampled.pop()
    return Draft(
        text=completion.text,
        token_ids=completion.token_ids,
        logprob=completion.logprob,
        canonical=encode_text(seat.tokenizer, completion.text) == sampled,
        author=seat.author,
    )
