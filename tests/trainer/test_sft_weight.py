"""The likelihood of the chosen answers beside the preference loss, against plain torch."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from tests.trainer.oracle import load_policy, token_logps
from tests.trainer.tiny import row
from trainer.config import TrainConfig
from trainer.data import load_pairs
from trainer.dpo import TrainJob, train_dpo
from trainer.model import load_tokenizer

pytestmark = pytest.mark.model

ROWS = [row(f"say {n}", "a" * (3 + 2 * n), "b" * 4, id=str(n), split="train") for n in range(4)]
SETTINGS = {"pairs_per_step": 4, "pairs_per_micro_batch": 4, "device": "cpu", "schedule": "constant"}


def train(model: Path, folder: Path, **settings) -> dict:
    folder.mkdir()
    pairs = folder / "pairs.jsonl"
    pairs.write_text("".join(json.dumps(held) + "\n" for held in ROWS))
    config = TrainConfig.model_validate(SETTINGS | settings)
    return train_dpo(TrainJob(model=str(model), pairs=(pairs,), round_folder=folder, config=config))


@pytest.mark.parametrize("weight", [0.0, 1.0, 2.5])
def test_the_first_loss_is_ln_2_and_the_weighted_surprise_of_a_chosen_token(tiny, tmp_path, weight):
    figures = train(tiny, tmp_path / "round", sft_weight=weight, learning_rate=1e-9, max_steps=1)
    policy, tokenizer = load_policy(tiny, None), load_tokenizer(str(tiny))
    pairs = load_pairs([tmp_path / "round" / "pairs.jsonl"], tokenizer, 256).train
    tokens = [logp for pair in pairs for logp in token_logps(policy, pair.prompt_ids, pair.chosen_ids)]
    assert figures["first_loss"] == pytest.approx(math.log(2) - weight * sum(tokens) / len(tokens), abs=1e-4)


def test_it_holds_up_the_chosen_answers(tiny, tmp_path):
    rising = {"learning_rate": 2e-3, "epochs": 12}
    plain = train(tiny, tmp_path / "plain", **rising)
    held = train(tiny, tmp_path / "held", sft_weight=1.0, **rising)
    assert held["logps/chosen"] > plain["logps/chosen"] + 1.0
    assert held["rewards/accuracies"] == 1.0
