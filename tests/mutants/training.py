"""Seeded bugs of what is trained on pairs, and of what is said about them."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

TRAINING_MUTANTS = (
    Mutant(
        "shortcuts: words are measured on the prompts that they were fitted on",
        "trainer/shortcuts.py",
        "return np.array([fold[prompt] for prompt in prompts], dtype=int)",
        "return np.arange(len(prompts)) % count",
        ("tests/trainer/test_shortcuts.py::test_words_are_fitted_on_other_prompts_than_they_are_measured_on",),
    ),
    Mutant(
        "shortcuts: the reference's figures taken for another policy's",
        "trainer/shortcut_probe.py",
        "if adapter == job.adapter_of(job.config.reference) and",
        "if True and",
        ("tests/trainer/test_shortcut_probe.py::test_the_scores_are_means_of_plain_torch_under_base_and_policy",),
    ),
    Mutant(
        "rewards: a pair is scored by a model that was trained on it",
        "trainer/reward.py",
        "tuple(pair for pair, fold in placed if fold != number)",
        "tuple(pair for pair, fold in placed)",
        ("tests/trainer/test_reward.py::test_a_fold_is_scored_as_by_a_model_that_was_trained_on_the_other_alone",),
    ),
    Mutant(
        "rewards: the last token is looked for by an id that answers end with",
        "trainer/reward_trainer.py",
        "pad_token_id = pad\n",
        "pad_token_id = tokenizer.eos_token_id\n",
        ("tests/trainer/test_reward.py::test_the_reward_is_read_at_the_closing_eos_though_it_is_the_padding",),
    ),
    Mutant(
        "rewards: the gate keeps the worst pairs",
        "trainer/reward_gate.py",
        "(-margins[id], id)",
        "(margins[id], id)",
        ("tests/trainer/test_reward_gate.py::test_what_stays_keeps_its_order_and_what_goes_is_listed",),
    ),
    Mutant(
        "supervised rounds begin anew instead of going on",
        "trainer/sft.py",
        "start=job.start), base",
        "start=None), base",
        ("tests/trainer/test_pair_sft.py::test_it_learns_to_say_the_chosen_answers_and_goes_on_from_the_round_before",),
    ),
)
