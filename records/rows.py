"""The rows that everything reads and writes: prompts, verdicts, pairs and rejects.

A chain (one draft for the `revision` strategy, a group of drafts for the others) ends as exactly one `Pair` or one
`Reject`. `chosen` and `rejected` are fields, never positions. Every row carries what decided it (the verdicts on both
texts, the judge's answers, the ratings) and the trail of everything in between.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from records.strict import Strict

SCHEMA_VERSION = 1

Role = Literal["system", "user", "assistant"]
Split = Literal["train", "validation", "test"]
Strategy = Literal["revision", "best_of_n", "ai_feedback", "rating"]
VerdictName = Literal["violates", "complies", "not_applicable", "unparsed"]
RejectReason = Literal[
    "complies",  # the draft, or every draft of the group, broke no checked principle: nothing to teach
    "not_fixed",  # the final text, or the best draft, still breaks a checked principle
    "unparsed",  # a deciding verdict, rating or answer of the judge could not be read
    "truncated",  # the draft or a revision hit max_tokens; of a group, too many drafts did
    "unchanged",  # the final text is the draft; of a group, all drafts are the same
    "too_long",  # a prompt or a request does not fit the model's context
    "inconsistent",  # deciding verdicts contradict each other
    "leaked",  # the final text talks about the rewriting, or quotes the critique
    "engine_error",  # the engine gave up on this chain
    "tie",  # neither text is better than the other: by verdicts, by ratings, or by the judge
    "judge_disagrees",  # the judge contradicts itself, or prefers the text that would be rejected
    "duplicate",  # a filter: another pair says the same
    "contradictory",  # a filter: another pair says the opposite
    "length_balance",  # a filter: taken out so that being longer is not what the pairs teach
]


class Message(Strict):
    """One turn of a conversation."""

    role: Role
    content: str


class Prompt(Strict):
    """One prompt: a conversation that ends with a user turn.

    `id` is a digest of the messages, so a re-ordered prompt file resumes correctly. `split` follows from `group`
    (records/splits.py). `check` is the raw mapping of an exact check (constitution/checks.py) of whether a text does
    what this prompt wants: an answer where `benign` is true, a refusal where it is false. `later_turns` are user turns
    that follow in the source on answers nobody has given yet; they are kept and not asked.
    """

    id: str
    messages: tuple[Message, ...]
    split: Split
    group: str | None = None
    benign: bool | None = None
    check: dict[str, Any] | None = None
    source: str = ""
    later_turns: tuple[str, ...] = ()


class Verdict(Strict):
    """What one question about one text on one principle came to.

    `critique` is the critic's reasoning, or the raw reply where it could not be read (`unparsed`).
    """

    principle: str
    verdict: VerdictName
    severity: int | None = Field(None, ge=0, le=3)
    critique: str = ""


class TrailEntry(Strict):
    """One engine call of a chain, in order: what was asked for, on which principle, and what came back."""

    kind: Literal["draft", "critique", "recheck", "revision", "verification", "judgement", "rating"]
    principle: str = ""
    candidate: int | None = None
    """Of a group: the number of the draft that the call is about, from 0."""
    text: str
    verdict: VerdictName | None = None
    """What a critic said; `unparsed` for any reply in JSON that could not be read."""
    prompt_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    finish_reason: str = ""


class Author(Strict):
    """Who wrote or judged, and drawn how: a model, its adapter by content digest (empty without one), the sampling.

    `endpoint` is the host of a model elsewhere, without credentials; empty for one on this machine.
    """

    model: str
    endpoint: str = ""
    adapter_digest: str = ""
    temperature: float
    top_p: float
    max_tokens: int


class Provenance(Strict):
    """What a row was made with; equal for all rows of a stage.

    `policy` is the policy of the round; a draft names its own author, which may be another.
    """

    run: str
    round: int
    constitution: str
    constitution_digest: str
    template_digest: str
    policy: Author
    critic: Author
    reviser: Author
    verifier: Author
    judge: Author | None = None
    """Who compares and rates, where the strategy asks for that."""
    asks: int


class Draft(Strict):
    """A draft as the policy generated it, with the ids it sampled.

    `logprob` is the cumulative log-probability in nats under the policy and its sampling temperature of 1.
    `canonical` says whether the sampled ids equal the tokeniser's own ids for the text.
    """

    text: str
    token_ids: tuple[int, ...] = ()
    logprob: float | None = None
    canonical: bool = True
    author: Author | None = None
    """Who drafted it; None in rows older than this column, where it is `provenance.policy`."""


class Candidate(Strict):
    """One draft of a group, in the order of drafting, and what was found about it."""

    draft: Draft
    verdicts: tuple[Verdict, ...] = ()
    rating: int | None = Field(None, ge=1, le=5)
    left_out: Literal["", "truncated", "repeated", "unparsed", "inconsistent", "not_compared"] = ""
    """Why it could be neither chosen nor rejected, whatever the others were."""
    side: Literal["", "chosen", "rejected"] = ""
    """What it became; of a reject, what it would have become."""


class Judgement(Strict):
    """A judge's answer about two texts shown in one order. Texts have names, so the answer is not about a position.

    A name is `draft` or `final`, or the number of a candidate.
    """

    principle: str = ""
    """Under which principle; empty for the question of `generate.judge`."""
    a: str
    b: str
    better: Literal["A", "B", "tie", "unparsed"]
    critique: str = ""
    """The reasoning, or the raw reply where it could not be read."""
    probability: float | None = None
    """That A is better rather than B, by the judge's probabilities of writing either; None where none were given."""

    @property
    def preferred(self) -> str:
        """The name of the better text, `tie` or `unparsed`."""
        return {"A": self.a, "B": self.b}.get(self.better, self.better)


class Outcome(Strict):
    """The columns that pairs and rejects share."""

    schema_version: int = SCHEMA_VERSION
    id: str
    prompt_id: str
    strategy: Strategy = "revision"
    split: Split
    group: str | None = None
    benign: bool | None = None
    prompt: tuple[Message, ...]
    later_turns: tuple[str, ...] = ()
    """User turns that followed the prompt in its source, unasked."""
    principles: tuple[str, ...] = ()
    """The principles drawn for this chain; every one was asked about the draft, or was what drafts were judged by."""
    verified: tuple[str, ...] = ()
    """The principles on which the final text was judged; empty where that did not come to its end."""
    violated: tuple[str, ...] = ()
    """The principles that every question about the draft found broken."""
    severity: int | None = None
    """The largest severity among `violated`."""
    draft: Draft | None = None
    """What is, or would be, rejected: the draft that was revised, or the candidate that came last."""
    draft_verdicts: tuple[Verdict, ...] = ()
    """On `draft`."""
    final_verdicts: tuple[Verdict, ...] = ()
    """On what is, or would be, chosen, in fresh conversations."""
    candidates: tuple[Candidate, ...] = ()
    """All drafts of a group; empty for the `revision` strategy."""
    judgements: tuple[Judgement, ...] = ()
    preference_probability: float | None = Field(None, ge=0.0, le=1.0)
    """That `chosen` is preferred, by the judge whose preference is the label (`ai_feedback`); None elsewhere."""
    trail: tuple[TrailEntry, ...] = ()
    provenance: Provenance


class Pair(Outcome):
    """A verified (rejected, chosen) pair in TRL's conversational preference format, plus provenance columns."""

    chosen: tuple[Message, ...]
    rejected: tuple[Message, ...]

    @property
    def authors(self) -> tuple[Author, Author]:
        """Who wrote `chosen`, and who wrote `rejected`."""
        drafters = {candidate.side: candidate.draft.author or self.provenance.policy for candidate in self.candidates}
        if drafters:
            return drafters["chosen"], drafters["rejected"]
        return self.provenance.reviser, (self.draft and self.draft.author) or self.provenance.policy


class Reject(Outcome):
    """A chain that gave no pair, with the one reason why; `detail` says it in words."""

    reason: RejectReason
    detail: str = ""
    final: str = ""
    """The last revision, or the draft that would have been chosen, where there was one."""
