"""Bugs in what a training optimises, on which pairs, and in how a killed one goes on."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

CHECKPOINTS, LOSSES, SOFT = (f"tests/trainer/test_{name}.py" for name in ("checkpoints", "losses", "soft_labels"))
SAME_BYTES = f"{CHECKPOINTS}::test_a_killed_training_ends_with_the_same_bytes"

DPO_MUTANTS = (
    Mutant(
        "training: a killed one goes on with other random numbers",
        "trainer/resume.py",
        '    torch.random.set_rng_state(tensors["cpu"])\n',
        "",
        (SAME_BYTES,),
    ),
    Mutant(
        "training: a killed one goes on with an optimizer that remembers nothing",
        "trainer/resume.py",
        'trainer.optimizer.load_state_dict(_put_together(moments, self._kept.state["optimizer"]))',
        "assert moments",
        (SAME_BYTES,),
    ),
    Mutant(
        "training: a checkpoint of other inputs is gone on from",
        "trainer/checkpoint.py",
        'if found.state.get("made_from") != made_from:',
        "if False:",
        (f"{CHECKPOINTS}::test_a_checkpoint_of_other_inputs_is_never_used",),
    ),
    Mutant(
        "training: the reference's sums are not desensitised",
        "trainer/reference.py",
        'batch["completion_mask"], trainer.ld_alpha)',
        'batch["completion_mask"], None)',
        (f"{LOSSES}::test_length_desensitised_sums_count_alike_for_policy_and_reference",),
    ),
    Mutant(
        "training: alpha taken for TRL's coefficient",
        "trainer/pair_trainer.py",
        "1.0 - config.f_alpha",
        "config.f_alpha",
        (f"{LOSSES}::test_other_divergences_are_those_of_the_paper",),
    ),
    Mutant(
        "training: the opposite label counts p",
        "trainer/soft_labels.py",
        "((1.0 - probabilities) * beta * margins)",
        "(probabilities * beta * margins)",
        (f"{SOFT}::test_a_pair_counts_p_for_its_label_and_the_rest_for_the_opposite_one",),
    ),
    Mutant(
        "training: a share is of the other pairs, not of all",
        "trainer/mixing.py",
        "total = whole / (1.0 - sum(weights.values()))",
        "total = float(whole)",
        ("tests/trainer/test_mixing.py::test_how_many_pairs_each_source_gives",),
    ),
    Mutant(
        "training: initial is always the base",
        "trainer/dpo.py",
        '"initial": self.initial_adapter,',
        '"initial": None,',
        ("tests/loop/test_references.py::test_start_and_reference_are_the_policies_of_the_design",),
    ),
    Mutant(
        "training: a template that opens a thought is taken",
        "records/chat.py",
        "    if opened:\n",
        "    if False:\n",
        ("tests/records/test_real_templates.py::test_a_template_that_pairs_cannot_be_written_in_is_refused_in_words",),
    ),
)
