"""Bugs that would spoil a run in silence, and the tests that must notice each of them."""

from __future__ import annotations

from tests.mutants.audits import AUDIT_MUTANTS
from tests.mutants.dpo import DPO_MUTANTS
from tests.mutants.mutant import Mutant
from tests.mutants.strategies import STRATEGY_MUTANTS
from tests.mutants.training import TRAINING_MUTANTS

CHAIN, DPO = "tests/generator/test_chain.py", "tests/trainer/test_dpo.py"
ENDPOINT, FAULTS = "tests/generator/test_endpoint.py", "tests/generator/test_endpoint_faults.py"
KEYS = "tests/generator/test_endpoint_keys.py"
POLICIES = "tests/trainer/test_policies.py"
SIGN = f"{DPO}::test_pairs_raise_what_they_prefer_and_swapped_pairs_lower_it"

MUTANTS = (
    *AUDIT_MUTANTS,
    *STRATEGY_MUTANTS,
    *DPO_MUTANTS,
    *TRAINING_MUTANTS,
    Mutant(
        "chosen ranks last in an export for NeMo-RL",
        "records/layouts.py",
        "enumerate((pair.chosen, pair.rejected))",
        "enumerate((pair.rejected, pair.chosen))",
        ("tests/loop/test_export.py::test_nemo_rl_ranks_chosen_0",),
    ),
    Mutant(
        "the chosen text always stands as a in AnnotatedPairs",
        "records/annotated_pairs.py",
        "int(digest_text(id)[:8], 16) % 2 == 0",
        "True",
        ("tests/records/test_annotated_pairs.py::test_the_chosen_side_is_drawn_from_the_pairs_id_alone",),
    ),
    Mutant(
        "chosen and rejected swapped in the row",
        "generator/story.py",
        'chosen=(Message(role="assistant", content=self.text),),\n'
        '            rejected=(Message(role="assistant", content=self.draft_text),),',
        'chosen=(Message(role="assistant", content=self.draft_text),),\n'
        '            rejected=(Message(role="assistant", content=self.text),),',
        (f"{CHAIN}::test_the_pair_is_oriented_by_field",),
    ),
    Mutant(
        "chosen and rejected swapped before training",
        "trainer/reference.py",
        '"chosen_ids": pair.chosen_ids,\n        "rejected_ids": pair.rejected_ids,',
        '"chosen_ids": pair.rejected_ids,\n        "rejected_ids": pair.chosen_ids,',
        (SIGN,),
    ),
    Mutant(
        "of two pairs that contradict each other only one is seen to",
        "records/opinions.py",
        "smallest.get((one.about, not one.first_chosen))",
        "smallest.get((one.about, False)) if one.first_chosen else None",
        ("tests/records/test_opinions.py::test_the_same_two_texts_the_other_way_round",),
    ),
    Mutant(
        "pairs that have moved already are not looked at when filters decide again",
        "records/pair_texts.py",
        'if row["reason"] in self.reasons:',
        "if False:",
        ("tests/generator/test_filtering.py::test_a_pair_made_anew_is_held_against_those_that_have_moved",),
    ),
    Mutant(
        "long answers make two short questions one",
        "records/near.py",
        "for mine, other in zip(left, right, strict=True):",
        "for mine, other in zip(left[-1:], right[-1:], strict=True):",
        ("tests/generator/test_filters.py::test_prompt_chosen_and_rejected_must_all_be_nearly_the_same",),
    ),
    Mutant(
        "verification skipped",
        "generator/chain.py",
        "await verify(story, drawn, method)",
        "pass",
        (f"{CHAIN}::test_every_reason_of_the_closed_set",),
    ),
    Mutant(
        "unparsed read as complies, in a reply",
        "constitution/verdicts.py",
        'verdict="unparsed", severity=None',
        'verdict="complies", severity=None',
        ("tests/constitution/test_verdicts.py", f"{CHAIN}::test_every_reason_of_the_closed_set"),
    ),
    Mutant(
        "unparsed read as complies, in the decision",
        "generator/decide.py",
        "    if unread:",
        "    if not answers:",
        ("tests/generator/test_decide.py",),
    ),
    Mutant(
        "the previous adapter drafts: the round's",
        "loop/inputs.py",
        'self.folder.round(index - 1) / "adapter" if index > 0',
        'self.folder.round(index - 2) / "adapter" if index > 0',
        ("tests/loop/test_inputs.py::test_a_round_depends_on_the_content_of_the_adapter_before_it",),
    ),
    Mutant(
        "the previous adapter drafts: the engine's",
        "generator/vllm_engine.py",
        "number, known = self.adapters[adapter.digest]",
        "number, known = next(iter(self.adapters.values()))",
        ("tests/generator/test_vllm_engine.py::test_base_requests_beside_adapter_requests_are_those_of_the_base",),
    ),
    Mutant(
        "the last partial batch dropped while generating",
        "generator/schedule.py",
        "        while running:",
        "        while len(running) >= in_flight:",
        ("tests/generator/test_schedule.py::test_every_unit_once_and_never_too_many_at_once",),
    ),
    Mutant(
        "the last partial batch dropped in training",
        "trainer/pair_trainer.py",
        "remove_unused_columns=False,",
        "remove_unused_columns=False,\n        dataloader_drop_last=True,",
        (f"{DPO}::test_the_last_partial_batch_is_trained",),
    ),
    Mutant(
        "the last partial batch dropped in the reference",
        "trainer/reference.py",
        "for row in rows]):",
        "for row in rows])[:-1]:",
        (f"{POLICIES}::test_each_pairs_reference_is_that_of_plain_torch",),
    ),
    Mutant(
        "completion mask off by one in the encoding",
        "records/chat.py",
        "return prompt_ids, ids[len(prompt_ids) :]",
        "return prompt_ids[:-1], ids[len(prompt_ids) - 1 :]",
        (
            "tests/trainer/test_data.py::test_conversational_pairs_have_one_bos_and_keep_eos",
            "tests/records/test_chat.py",
        ),
    ),
    Mutant(
        "completion mask off by one in the reference",
        "trainer/reference.py",
        "ids.masked_fill(answers == 0, -100)",
        "ids.masked_fill(answers.roll(1, -1) == 0, -100)",
        (f"{POLICIES}::test_each_pairs_reference_is_that_of_plain_torch",),
    ),
    Mutant(
        "reference = policy",
        "trainer/dpo.py",
        "job.adapter_of(job.config.reference), job.model) as reference",
        "job.adapter_of(job.config.start_from), job.model) as reference",
        (f"{POLICIES}::test_start_and_reference_are_the_named_policies",),
    ),
    Mutant(
        "a validation prompt in train: the split",
        "records/splits.py",
        'return "validation" if position < shares.test + shares.validation else "train"',
        'return "train"',
        ("tests/generator/test_rounds.py",),
    ),
    Mutant(
        "a validation prompt in train: its pairs",
        "trainer/data.py",
        "kept[preference.split].append(pair)",
        'kept["train"].append(pair)',
        ("tests/trainer/test_data.py::test_validation_pairs_are_kept_apart",),
    ),
    Mutant(
        "a test prompt's near-duplicate in train",
        "generator/prompt_duplicates.py",
        'if prompt.split != "train":',
        'if prompt.split == "none":',
        ("tests/generator/test_sources.py::test_near_duplicates_of_held_out_prompts_leave_train",),
    ),
    Mutant(
        "an imported pair on a test prompt in train",
        "records/sources/import_pairs.py",
        '(held_out if pair.split == "test" else kept)',
        "kept",
        ("tests/records/test_import_pairs.py",),
    ),
    Mutant(
        "a near-duplicate of a test prompt brought back by a mixture",
        "generator/sources.py",
        "taken = mix(kept, weights, seed)",
        "taken = mix(read, weights, seed)",
        ("tests/generator/test_mixture.py",),
    ),
    Mutant(
        "a truncated draft kept",
        "generator/drafts.py",
        'refuse_cut(completion, "draft")',
        "pass",
        (f"{CHAIN}::test_a_cut_or_empty_text_is_never_kept",),
    ),
    Mutant(
        "a row written twice on resume: nothing is known to be done",
        "records/store.py",
        "self.ids.update(found)",
        "pass",
        ("tests/generator/test_generate.py", "tests/records/test_store.py"),
    ),
    Mutant(
        "a row written twice on resume: done prompts run again",
        "generator/generate.py",
        "if id not in pairs.ids and id not in rejects.ids:",
        "if id not in pairs.ids:",
        ("tests/generator/test_generate.py",),
    ),
    Mutant(
        "a pair that was turned down stays among the pairs",
        "records/compact.py",
        'if row["id"] in self.without:',
        "if not row:",
        ("tests/records/test_compact.py", "tests/records/test_compact_faults.py"),
    ),
    Mutant(
        "what a killed compaction was told is not gone by",
        "records/compact.py",
        "if decided is None:",
        "if True:",
        ("tests/records/test_compact_faults.py",),
    ),
    Mutant(
        "the lines of a shard stand beside the Parquet that replaces them",
        "records/shard.py",
        "found[shard_number(path)] = path",
        "found[shard_number(path), path.suffix] = path",
        ("tests/records/test_compact_faults.py",),
    ),
    Mutant(
        "a damaged shard is thrown away",
        "records/shard.py",
        "os.rename(path, place)",
        "os.unlink(path)",
        ("tests/generator/test_damage.py",),
    ),
    Mutant(
        "wrong sign of beta",
        "trainer/pair_trainer.py",
        "beta=config.beta,",
        "beta=-config.beta,",
        (SIGN,),
    ),
    Mutant(
        "critic elsewhere: the key follows a redirect",
        "generator/exchange.py",
        "follow_redirects=False",
        "follow_redirects=True",
        (f"{KEYS}::test_no_key_follows_a_redirect",),
    ),
    Mutant(
        "critic elsewhere: a proxy of the environment gets the key",
        "generator/exchange.py",
        "trust_env=False",
        "trust_env=True",
        (f"{ENDPOINT}::test_without_a_key_no_header_is_sent_and_the_environment_adds_none",),
    ),
    Mutant(
        "critic elsewhere: the key stored where a server repeats it",
        "generator/chat_reply.py",
        '_without(secret, choice.message.content or "")',
        'choice.message.content or ""',
        (f"{KEYS}::test_a_key_in_a_reply_never_comes_through",),
    ),
    Mutant(
        "critic elsewhere: a reply cut by a filter read as whole",
        "generator/chat_reply.py",
        '"stop" if choice.finish_reason == "stop" else "length"',
        '"length" if choice.finish_reason == "length" else "stop"',
        (f"{ENDPOINT}::test_a_reply_that_is_not_ended_by_the_model_is_never_a_verdict",),
    ),
    Mutant(
        "critic elsewhere: rows pay for an endpoint that answers nobody",
        "generator/endpoint.py",
        "if was_well and well:",
        "if True:",
        (f"{FAULTS}::test_an_endpoint_that_gives_nobody_a_reply_for_a_while_costs_no_call",),
    ),
    Mutant(
        "critic elsewhere: a body read without end",
        "generator/exchange.py",
        "if len(content) > most:",
        "if False:",
        (f"{FAULTS}::test_a_huge_body_is_read_up_to_a_bound_that_follows_from_what_was_asked_for",),
    ),
    Mutant(
        "critic elsewhere: another critic's rows gone on with",
        "loop/inputs.py",
        '{"model": other.model, "url": other.endpoint.url}',
        '{"model": other.model}',
        ("tests/loop/test_inputs.py::test_who_the_critic_is_matters_and_not_how_it_is_asked",),
    ),
)
