"""Which policy a training starts from and which one is its reference, each recomputed from the files by plain torch."""

from __future__ import annotations

import math

import pytest

from records.digest import adapter_digest
from tests.trainer.oracle import answer_logps, dpo_loss, load_policy
from tests.trainer.tiny import row, rows_preferring
from tests.trainer.training import FAST, train, write_pairs
from trainer.config import TrainConfig
from trainer.data import load_pairs
from trainer.model import load_tokenizer

pytestmark = pytest.mark.model

LN2 = math.log(2)


@pytest.mark.parametrize("reference", ["base", "initial", "previous"])
@pytest.mark.parametrize("start_from", ["initial", "previous"])
def test_start_and_reference_are_the_named_policies(tiny, policies, tmp_path, start_from, reference):
    """One step at next to no rate leaves the start as it was, so its loss is the oracle's of two known policies.

    Catches a reference that is the policy, one that is the base, a mask that is off by one, chosen and rejected
    swapped, and a wrong sign of beta.
    """
    from safetensors.torch import load_file

    rows = rows_preferring("a", "b", count=6, validation=0)
    folder = tmp_path / "round_00"
    earlier = {"previous": policies["previous"], "initial": policies["initial"]}
    settings = {"start_from": start_from, "reference": reference, "max_steps": 1, "beta": 0.3, "learning_rate": 1e-30}
    report = train(tiny, folder, rows, **earlier, **settings)
    weights = [load_file(path / "adapter_model.safetensors") for path in (folder / "adapter", policies[start_from])]
    assert all((weights[0][key] == weights[1][key]).all() for key in weights[1])
    start, against = (load_policy(tiny, policies[name]) for name in (start_from, reference))
    pairs = load_pairs([tmp_path / "round_00.jsonl"], load_tokenizer(str(tiny)), 256).train
    expected = [dpo_loss(answer_logps(start, pair), answer_logps(against, pair), 0.3) for pair in pairs]
    assert report["first_loss"] == pytest.approx(sum(expected) / len(expected), abs=1e-4)
    if start_from != reference:
        assert abs(report["first_loss"] - LN2) > 1e-3
    assert (report["start_from"], report["reference"]) == (start_from, reference)
    digests = {name: adapter_digest(path) if path else "" for name, path in policies.items()}
    assert (report["start_digest"], report["reference_digest"]) == (digests[start_from], digests[reference])


def test_without_a_warm_up_initial_is_the_base(tiny, policies, tmp_path):
    rows = rows_preferring("a", "b", count=6, validation=0)
    settings = {"start_from": "initial", "reference": "initial"}
    report = train(tiny, tmp_path / "round_01", rows, previous=policies["previous"], **settings)
    assert (report["start_digest"], report["reference_digest"]) == ("", "")
    assert report["first_loss"] == pytest.approx(LN2, abs=1e-5)


def test_each_pairs_reference_is_that_of_plain_torch(tiny, policies, tmp_path):
    """Sums over exactly the answer's tokens, padded batches or not, in the pairs' own order."""
    from trainer.adapter import begin_adapter, loaded_beside
    from trainer.model import load_model
    from trainer.pair_trainer import attach_reference, build_trainer, training_arguments

    rows = [row("q" * (index % 5 + 1), "a" * (index + 1), "b" * (9 - index)) for index in range(8)]
    pairs = load_pairs([write_pairs(tmp_path / "rows.jsonl", rows)], load_tokenizer(str(tiny)), 256).train
    config = TrainConfig.model_validate(FAST)
    model = load_model(str(tiny), device="cpu", dtype="float32")
    policy = begin_adapter(model, config.lora, name=str(tiny), start=policies["initial"])
    arguments = training_arguments(config, steps=4, folder=tmp_path, seed=0, device="cpu", dtype="float32")
    trainer = build_trainer(policy, load_tokenizer(str(tiny)), pairs, [], arguments)
    with loaded_beside(policy, policies["previous"], str(tiny)) as name:
        attach_reference(trainer, pairs, [], name)
    plain = load_policy(tiny, policies["previous"])
    for held, pair in zip(trainer.train_dataset, pairs, strict=True):
        chosen, rejected = answer_logps(plain, pair)
        assert held["id"] == pair.id
        assert held["ref_chosen_logps"] == pytest.approx(chosen, abs=1e-3)
        assert held["ref_rejected_logps"] == pytest.approx(rejected, abs=1e-3)
