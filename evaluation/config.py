"""The settings of evaluation; the `evaluate:` section of a run file."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from generator.engine import Sampling
from records.strict import Settings


class EvaluateConfig(Settings):
    """How much is drafted and judged, and who says whether a draft does what its prompt wants."""

    drafts: int = Field(4, ge=1)
    """Drafts of each test prompt. Intervals treat the prompt as the unit, so more prompts narrow them more."""
    critic_drafts: int = Field(4, ge=0)
    """How many of a prompt's drafts the critic judges, the first ones; exact checks look at all. 0 asks no critic."""
    sampling: Sampling = Sampling(temperature=1.0, top_p=1.0, max_tokens=512)
    """How the drafts are drawn; the same in every round, or the rounds cannot be compared."""
    answered_by: Literal["check", "judge", "none"] = "check"
    """Who says whether a draft answers a benign prompt or refuses a harmful one: the exact check in the prompt's row,
    a yes-or-no question to the critic's model (on the drafts that the critic judges), or nobody."""
    max_prompts: int | None = Field(None, ge=1)
    """Most test prompts, chosen by the order of their ids, so the same ones in every round. Null takes all."""
    in_flight: int = Field(256, ge=1)
    """Most drafts at work at once; each has up to one question for each principle waiting."""
    sway_drafts: int = Field(20, ge=0)
    """Drafts with a known violation on which orders to the critic are tried, to see how often they sway it."""
