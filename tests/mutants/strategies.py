"""Bugs in the ways to make a pair: groups of drafts, the judge, who drafts, and several passes."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

GROUPS, JUDGE, PASSES = (f"tests/generator/test_{name}.py" for name in ("groups", "judge", "passes"))
DRAFTS_FROM = "tests/loop/test_drafts_from.py"

STRATEGY_MUTANTS = (
    Mutant(
        "the judge is asked in one order twice",
        "generator/judge.py",
        "together([ask(one, two), ask(two, one)])",
        "together([ask(one, two), ask(one, two)])",
        (JUDGE,),
    ),
    Mutant(
        "a judge's letter taken for the other text",
        "records/rows.py",
        '{"A": self.a, "B": self.b}',
        '{"A": self.b, "B": self.a}',
        (JUDGE, GROUPS),
    ),
    Mutant(
        "a judge that contradicts itself believed",
        "generator/decide.py",
        "any(len(found) > 1 for found in answers.values()) or len(preferred) > 1",
        "len(preferred) > 1",
        (JUDGE,),
    ),
    Mutant(
        "the probability of B stored as that of A",
        "generator/judge.py",
        "return mass_a / (mass_a + mass_b)",
        "return mass_b / (mass_a + mass_b)",
        (JUDGE,),
    ),
    Mutant(
        "best and worst draft exchanged",
        "generator/decide.py",
        "best, worst = min(burdens",
        "worst, best = min(burdens",
        (GROUPS,),
    ),
    Mutant(
        "best of n: what is chosen not verified",
        "generator/best_of_n.py",
        "    await verify(story, principles, method)\n",
        "",
        (f"{GROUPS}::test_best_of_n_gives_no_pair_without_evidence",),
    ),
    Mutant(
        "an unreadable rating read as the lowest",
        "generator/rating.py",
        "        if rating is None:",
        "        if False:",
        (f"{GROUPS}::test_an_unreadable_rating_never_becomes_a_label",),
    ),
    Mutant(
        "equal ratings become a pair",
        "generator/decide.py",
        "if ratings[best] - ratings[worst] < margin:",
        "if ratings[best] - ratings[worst] < margin - 1:",
        (GROUPS,),
    ),
    Mutant(
        "the gate lets the more helpful text be rejected",
        "generator/decide.py",
        "    if opinion.preferred == rejected:",
        "    if opinion.preferred == chosen:",
        (GROUPS,),
    ),
    Mutant(
        "a draft is signed by another policy",
        "generator/drafts.py",
        "story.add_draft(completion, drafter)",
        "story.add_draft(completion, method.policy)",
        ("tests/generator/test_drafters.py",),
    ),
    Mutant(
        "drafters drawn anew when a stage goes on",
        "generator/method.py",
        'random.Random(digest_json(["drafter", self.seed, self.provenance.round, prompt_id, number]))',
        "random.Random()",
        ("tests/generator/test_drafters.py",),
    ),
    Mutant(
        "the policy of round 0 drafts unproven",
        "loop/draft_stage.py",
        "    if initial is None or index <= 0:",
        "    if True:",
        (f"{DRAFTS_FROM}::test_no_draft_is_made_by_a_policy_of_round_0_that_is_not_the_trained_one",),
    ),
    Mutant(
        "another policy's drafts gone on with",
        "loop/inputs.py",
        'name: policy.digest if policy else ""',
        "name: None",
        (f"{DRAFTS_FROM}::test_what_is_drafted_from_is_what_a_stage_is_made_from",),
    ),
    Mutant(
        "the draft judged on the first pass alone",
        "generator/chain.py",
        "await judge_draft(story, drawn, method)",
        "await judge_draft(story, passes[0], method)",
        (PASSES,),
    ),
    Mutant(
        "the same principles in every pass",
        "generator/principles.py",
        "drawn = order[start : start + draw]",
        "drawn = order[:draw]",
        ("tests/generator/test_principles.py", PASSES),
    ),
)
