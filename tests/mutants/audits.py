"""Bugs that would have an audit say what is not so."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

ESTIMATES, FACTS = "tests/evaluation/audit/test_estimates.py", "tests/evaluation/audit/test_facts.py"
FIGURES, PLANTED = "tests/evaluation/audit/test_figures.py", "tests/evaluation/audit/test_planted.py"
LOOPS = f"{FIGURES}::test_every_count_is_that_of_a_plain_loop"

AUDIT_MUTANTS = (
    Mutant(
        "audit: drafts of one prompt pass for independent ones",
        "evaluation/audit/estimates.py",
        "effective = np.clip(prompts * ratio, prompts, np.maximum(total, prompts))",
        "effective = np.maximum(total, prompts)",
        (f"{ESTIMATES}::test_drafts_of_one_prompt_do_not_pass_for_independent_ones",),
    ),
    Mutant(
        "audit: tests stand without regard to how many were made",
        "evaluation/audit/estimates.py",
        "least = min(least, chances[ordered[rank - 1]] * len(ordered) / rank)",
        "least = chances[ordered[rank - 1]]",
        (f"{ESTIMATES}::test_discoveries_are_those_of_benjamini_and_hochberg",),
    ),
    Mutant(
        "audit: an effect of any size is a finding",
        "evaluation/audit/findings.py",
        "if test.is_large:",
        "if True:",
        (f"{PLANTED}::test_a_fault_that_is_hardly_there_is_no_finding",),
    ),
    Mutant(
        "audit: a text that was not changed looks fixed",
        "evaluation/audit/counts.py",
        "count(*) FILTER (unchanged OR still) AS nothing",
        "count(*) FILTER (still) AS nothing",
        (f"{FIGURES}::test_a_revision_that_changes_nothing_did_nothing",),
    ),
    Mutant(
        "audit: a draft that was condemned once is what a second question is held against",
        "evaluation/audit/counts.py",
        "violates - (last = 'violates')::INT = n - 1",
        "violates > 0",
        (LOOPS,),
    ),
    Mutant(
        "audit: a final text breaks what its draft broke already",
        "evaluation/audit/counts.py",
        "FROM cases WHERE kept AND still) b",
        "FROM cases WHERE still) b",
        (LOOPS,),
    ),
    Mutant(
        "audit: what is lost elsewhere counts where the principle was mended, too",
        "evaluation/audit/across.py",
        "for x in (lost & ~revised, ~revised)",
        "for x in (lost | revised & lost, revised | ~revised)",
        (f"{FIGURES}::test_conflicts_are_counted_over_chains_that_kept_the_other",),
    ),
    Mutant(
        "audit: a reply that could not be read counts beside the one drawn again",
        "evaluation/audit/facts.py",
        "AND NOT (verdict = 'unparsed' AND next IS NOT DISTINCT FROM ('recheck ' || principle))",
        "",
        (f"{FACTS}::test_every_verdict_of_a_run_is_there_once_in_either_form",),
    ),
    Mutant(
        "audit: a recheck is about the draft",
        "evaluation/audit/facts.py",
        "SELECT chain, text, kind, principle, verdict, NULL,",
        "SELECT chain, 0, kind, principle, verdict, NULL,",
        (f"{FACTS}::test_a_verdict_knows_its_text_and_what_followed",),
    ),
    Mutant(
        "audit: a pair that became a reject counts twice",
        "evaluation/audit/facts.py",
        "new = [id not in self._seen for id in ids]",
        "new = [True for id in ids]",
        (f"{FACTS}::test_an_id_in_both_folders_is_a_reject",),
    ),
    Mutant(
        "audit: a refusal of a harmful prompt is held against a principle",
        "evaluation/audit/counts.py",
        "benign IS DISTINCT FROM FALSE) AS fixed_benign",
        "TRUE) AS fixed_benign",
        (f"{FIGURES}::test_a_refusal_of_a_harmful_prompt_is_not_held_against_a_principle",),
    ),
)
