"""The constitution as records: what the YAML holds once it has been read, extended and validated."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from records.digest import digest_json
from records.rows import Message
from records.strict import Strict

PrincipleId = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")]


class Check(Strict):
    r"""An exact test of a text: a ground truth beside the critic's opinion.

    The text violates when any forbidden pattern is found, any required one is not, or a limit is passed. Patterns are
    RE2 regular expressions (linear time; no backreferences or look-around), searched anywhere in the text; `\b`, `\w`
    and `\d` mean ASCII there. Words are runs of anything but white space.
    """

    forbid: tuple[str, ...] = ()
    """Patterns that must not be found."""
    require: tuple[str, ...] = ()
    """Patterns of which every one must be found."""
    min_words: int | None = Field(None, ge=0)
    max_words: int | None = Field(None, ge=1)
    max_characters: int | None = Field(None, ge=1)
    if_prompt: tuple[str, ...] = ()
    """Where given, the check applies only to prompts whose last user turn matches one of these; else not_applicable."""


class Example(Strict):
    """A worked case of a principle: a few-shot for the critic and a test case of it."""

    context: tuple[Message, ...] = ()
    """The turns before `prompt`, where the conversation has several."""
    prompt: str
    """The last user turn."""
    draft: str
    violates: bool
    severity: int | None = Field(None, ge=0, le=3)
    critique: str = ""
    revision: str | None = None

    @property
    def conversation(self) -> tuple[Message, ...]:
        """The whole conversation that the draft answers."""
        return (*self.context, Message(role="user", content=self.prompt))


class Principle(Strict):
    """One norm, in one sentence, and how to ask about it."""

    id: PrincipleId
    text: str = Field(min_length=1)
    """The norm itself, as a statement about the answer."""
    category: str = "general"
    weight: float = Field(1.0, gt=0.0, allow_inf_nan=False)
    """Relative chance to be drawn for a prompt when not all principles are asked."""
    applies_when: str | None = None
    """A condition on the prompt alone; where given, the critic may answer not_applicable."""
    critique: str | None = None
    """Own critique request; derived from `text` when absent."""
    revise: str | None = None
    """Own revision request; derived from `text` when absent."""
    # Left out of what is written where it is not given, so that constitutions older than it keep their digest.
    compare: str | None = Field(None, exclude_if=lambda request: request is None)
    """Own request to compare two answers; derived from `text` when absent."""
    check: Check | None = None
    examples: tuple[Example, ...] = ()


class Templates(Strict):
    """Jinja2 texts of the user turns that are sent to a model. Empty means: the shipped default."""

    critique: str = ""
    revise: str = ""
    verify: tuple[str, ...] = ()
    """One or more wordings; the n-th question about the same text uses the n-th, in a circle."""
    compare: str = ""
    # As with a principle's `compare`: the shipped wording is no part of the constitution, and nor of its digest.
    rate: str = Field("", exclude_if=lambda wording: not wording)


class Constitution(Strict):
    """A constitution with everything resolved: `extends` applied, templates filled in, ids unique."""

    name: str
    version: int | str = 1
    description: str = ""
    principles: tuple[Principle, ...] = Field(min_length=1)
    templates: Templates

    @property
    def digest(self) -> str:
        """Identity of the norms: principles and templates, not the file's name or layout."""
        return digest_json([self.template_digest, [principle.model_dump() for principle in self.principles]])

    @property
    def template_digest(self) -> str:
        """Identity of the wording that is sent to the models."""
        return digest_json(self.templates.model_dump())

    def principle(self, id: str) -> Principle:
        """The principle with this id.

        Raises:
            KeyError: there is none.
        """
        for principle in self.principles:
            if principle.id == id:
                return principle
        raise KeyError(id)
