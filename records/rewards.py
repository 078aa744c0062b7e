"""What a reward model said of pairs: a row for each pair beside the pairs themselves, which are never rewritten."""

from __future__ import annotations

from records.rows import SCHEMA_VERSION, Split
from records.strict import Strict

ABOUT = """What a reward model says of the pairs of a round, a row for each; `id` is the pair's.

`margin` is `chosen_reward` minus `rejected_reward`, in nats: the model's log-odds that the chosen answer is preferred.
`seen` says whether the model that scored the pair was trained on its prompt, which makes its margin too large.
`reward_model` is the content digest of that model's adapter; the adapters lie in `reward_model/` (trained on all pairs)
and `reward_folds/` (each on all but the prompts that it scores)."""


class RewardRow(Strict):
    """The rewards of one pair."""

    schema_version: int = SCHEMA_VERSION
    id: str
    split: Split
    chosen_reward: float
    rejected_reward: float
    margin: float
    seen: bool
    reward_model: str
