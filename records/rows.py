"""The rows that everything reads and writes: prompts, verdicts, pairs and rejects.

A chain (one draft, for the `revision` strategy) ends as exactly one `Pair` or one `Reject`. `chosen` and `rejected`
are fields, never positions. Every row carries what decided it: two lists of verdicts, on the draft and on the final
text, and the trail of everything in between.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from records.strict import Strict

SCHEMA_VERSION = 1

Role = Literal["system", "user", "assistant"]
Split = Literal["train", "validation", "test"]
VerdictName = Literal["violates", "complies", "not_applicable", "unparsed"]
RejectReason = Literal[
    "complies",  # the draft broke no checked principle: nothing to teach
    "not_fixed",  # the final text still breaks a checked principle
    "unparsed",  # a deciding verdict could not be read
    "truncated",  # the draft or a revision hit max_tokens
    "unchanged",  # the final text is the draft
    "too_long",  # a prompt or a request does not fit the model's context
    "inconsistent",  # deciding verdicts contradict each other
    "leaked",  # the final text talks about the rewriting, or quotes the critique
    "engine_error",  # the engine gave up on this chain
    "tie",  # the judge finds neither text better
    "judge_disagrees",  # the judge's answers in the two orders contradict each other
    "duplicate",  # another pair says the same, exactly or nearly
    "contradictory",  # another pair of the same prompt says the opposite
    "length_balance",  # left out so that length alone does not tell chosen from rejected
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

    kind: Literal["draft", "critique", "recheck", "revision", "verification"]
    principle: str = ""
    text: str
    verdict: VerdictName | None = None
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
    """What a row was made with; equal for all rows of a stage."""

    run: str
    round: int
    constitution: str
    constitution_digest: str
    template_digest: str
    policy: Author
    critic: Author
    reviser: Author
    verifier: Author
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


class Outcome(Strict):
    """The columns that pairs and rejects share."""

    schema_version: int = SCHEMA_VERSION
    id: str
    prompt_id: str
    split: Split
    group: str | None = None
    benign: bool | None = None
    prompt: tuple[Message, ...]
    later_turns: tuple[str, ...] = ()
    """User turns that followed the prompt in its source, unasked."""
    principles: tuple[str, ...] = ()
    """The principles drawn for this prompt; every one was asked about the draft."""
    verified: tuple[str, ...] = ()
    """The principles on which the final text was judged; empty where that did not come to its end."""
    violated: tuple[str, ...] = ()
    """The principles that every question about the draft found broken."""
    severity: int | None = None
    """The largest severity among `violated`."""
    draft: Draft | None = None
    draft_verdicts: tuple[Verdict, ...] = ()
    final_verdicts: tuple[Verdict, ...] = ()
    trail: tuple[TrailEntry, ...] = ()
    provenance: Provenance


class Pair(Outcome):
    """A verified (rejected, chosen) pair in TRL's conversational preference format, plus provenance columns."""

    chosen: tuple[Message, ...]
    rejected: tuple[Message, ...]


class Reject(Outcome):
    """A chain that gave no pair, with the one reason why; `detail` says it in words."""

    reason: RejectReason
    detail: str = ""
    final: str = ""
    """The last revision, where there was one."""
