"""How well the demo model plays each role on questions it has never seen, by plain transformers generation.

`python -m demo.measure [FOLDER] [--drafts N]` prints JSON. Drafts are drawn at temperature 1 on the test prompts; all
other roles are greedy, without a grammar for the JSON, and are compared with what demo/grammar.py knows to be true.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from typing import Any

from constitution.checks import run_check
from constitution.render import compare_request, critique_request, revise_request, verify_request
from constitution.schema import Check
from constitution.verdicts import parse_verdict
from demo.build import MODEL_PATH
from demo.grammar import HARM, PRINCIPLES, Answer, Question, draft_answer, faults_of, mend, text_of
from demo.prompts import build_questions, check_of
from demo.recipe import compare_reply, comparison_wording, critic_reply, demo_constitution
from records.chat import encode_chat
from records.rows import Message
from records.splits import SplitShares, split_of

Conversation = Sequence[Message]
Complete = Callable[[Sequence[Conversation], float], list[str]]
_BATCH, _MAX_NEW_TOKENS = 64, 96


def questions_of_test() -> list[Question]:
    """The questions of the test prompts."""
    return [asked for asked in build_questions() if split_of(asked.messages, None, SplitShares()) == "test"]


def completer(folder: Path) -> Complete:
    """A function from conversations and a temperature (0 is greedy) to replies; one that never ends is empty."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder, padding_side="left")
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    torch.manual_seed(0)

    def complete_batch(batch: Sequence[Conversation], temperature: float) -> list[str]:
        ids = [encode_chat(tokenizer, turns, add_generation_prompt=True) for turns in batch]
        inputs = tokenizer.pad({"input_ids": ids}, return_tensors="pt")
        drawing = {"do_sample": True, "temperature": temperature, "top_k": 0} if temperature else {"do_sample": False}
        with torch.inference_mode():
            output = model.generate(**inputs, max_new_tokens=_MAX_NEW_TOKENS, **drawing)
        replies = output[:, inputs["input_ids"].shape[1] :]
        ended = (replies == tokenizer.eos_token_id).any(dim=1)
        texts = tokenizer.batch_decode(replies, skip_special_tokens=True)
        return [text if whole else "" for text, whole in zip(texts, ended, strict=True)]

    def complete(conversations: Sequence[Conversation], temperature: float) -> list[str]:
        batches = [conversations[start : start + _BATCH] for start in range(0, len(conversations), _BATCH)]
        return [text for batch in batches for text in complete_batch(batch, temperature)]

    return complete


def measure_drafts(complete: Complete, n_drafts: int) -> dict[str, Any]:
    """Violation, answered and refusal rates of drafts on the test prompts, by the exact checks."""
    asked = [question for question in questions_of_test() for _ in range(n_drafts)]
    drafts = complete([question.messages for question in asked], 1.0)
    broken: dict[str, list[bool]] = {id: [] for id in PRINCIPLES}
    violating, answered, refused = [], [], []
    for question, draft in zip(asked, drafts, strict=True):
        faults = checked_faults(question, draft)
        for id in PRINCIPLES:
            broken[id].append(id in faults)
        violating.append(bool(faults))
        does = run_check(Check.model_validate(check_of(question)), question.messages, draft) == "complies"
        (refused if question.act.harmful else answered).append(does)
    return {
        "drafts": len(drafts),
        "distinct": len(set(drafts)),
        "unended": drafts.count(""),
        "violation_rate": share(violating),
        **{id: share(marks) for id, marks in broken.items()},
        "answered_rate": share(answered),
        "refused_harmful_rate": share(refused),
        "words": round(sum(len(draft.split()) for draft in drafts) / len(drafts), 1),
    }


def checked_faults(asked: Question, text: str) -> set[str]:
    """Ids of the principles whose exact check the text fails."""
    constitution = demo_constitution()
    checks = {id: constitution.principle(id).check for id in PRINCIPLES}
    return {id for id, check in checks.items() if check and run_check(check, asked.messages, text) == "violates"}


def _judged(random: Random, asked: Question) -> list[Answer]:
    """A draft, and the same with every fault mended."""
    draft = draft_answer(random, asked)
    mended = draft
    for principle in sorted(faults_of(draft)):
        mended = mend(random, asked, mended, principle)
    return [draft, mended]


def measure_judging(complete: Complete, every: int = 1) -> dict[str, Any]:
    """Share of right verdicts per wording, and of replies equal to the true one (severity and critique too).

    `every` 2 asks about every second question.
    """
    random, constitution, figures = Random(1), demo_constitution(), {}
    cases = [(q, a, id) for q in questions_of_test()[::every] for a in _judged(random, q) for id in PRINCIPLES]
    truths = [critic_reply(*case) for case in cases]
    for wording in range(-1, len(constitution.templates.verify)):
        requests = []
        for asked, answer, id in cases:
            principle, text = constitution.principle(id), text_of(answer)
            requests.append(
                critique_request(constitution, principle, asked.messages, text)
                if wording < 0
                else verify_request(constitution, principle, asked.messages, text, ask=wording)
            )
        replies = complete([(Message(role="user", content=request),) for request in requests], 0.0)
        right, unparsed = [], 0
        for (_, _, id), reply, truth in zip(cases, replies, truths, strict=True):
            principle = constitution.principle(id)
            verdict = parse_verdict(principle, reply, finish_reason="stop").verdict
            unparsed += verdict == "unparsed"
            right.append(verdict == json.loads(truth)["verdict"])
        exact = [reply == truth for reply, truth in zip(replies, truths, strict=True)]
        name = "critique" if wording < 0 else f"verify_{wording}"
        figures[name] = {"n": len(cases), "right": share(right), "exact": share(exact), "unparsed": unparsed}
    return figures


def measure_revising(complete: Complete) -> dict[str, Any]:
    """Share of revisions that mend the named fault, that break nothing else, and that equal the smallest mending."""
    random, constitution, requests, cases = Random(2), demo_constitution(), [], []
    for asked in questions_of_test():
        answer = draft_answer(random, asked)
        for id in sorted(faults_of(answer)):
            principle, text = constitution.principle(id), text_of(answer)
            turns = [
                ("user", critique_request(constitution, principle, asked.messages, text)),
                ("assistant", critic_reply(asked, answer, id)),
                ("user", revise_request(constitution, principle, asked.messages, text)),
            ]
            requests.append([Message(role=role, content=content) for role, content in turns])
            cases.append((asked, answer, id))
    texts = complete(requests, 0.0)
    fixed, kept, exact = [], [], []
    for (asked, answer, id), text in zip(cases, texts, strict=True):
        fixed.append(id not in checked_faults(asked, text))
        done = run_check(Check.model_validate(check_of(asked)), asked.messages, text) == "complies"
        kept.append(checked_faults(asked, text) <= faults_of(answer) and (done or (asked.act.harmful and id != HARM)))
        exact.append(id == HARM or text == text_of(mend(random, asked, answer, id)))
    return {"n": len(cases), "fixed": share(fixed), "kept": share(kept), "exact": share(exact)}


def measure_comparing(complete: Complete) -> dict[str, Any]:
    """Share of right comparisons over both orders."""
    random, constitution, requests, truths = Random(3), demo_constitution(), [], []
    for asked in questions_of_test():
        first, second = draft_answer(random, asked), draft_answer(random, asked)
        for principle in (None, random.choice(PRINCIPLES)):
            for a, b in ((first, second), (second, first)):
                wording = comparison_wording(constitution, principle)
                request = compare_request(constitution, wording, asked.messages, text_of(a), text_of(b))
                requests.append((Message(role="user", content=request),))
                truths.append(json.loads(compare_reply(a, b, principle))["better"])
    replies = complete(requests, 0.0)
    right = [f'"better":"{truth}"' in reply for truth, reply in zip(truths, replies, strict=True)]
    return {"n": len(right), "right": share(right)}


def share(marks: list[bool]) -> float:
    """The share of true marks, to four digits."""
    return round(sum(marks) / len(marks), 4)


def main() -> None:
    """Measure a model folder and print the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path, default=MODEL_PATH)
    parser.add_argument("--drafts", type=int, default=4, help="drafts per test prompt")
    options = parser.parse_args()
    complete = completer(options.folder)
    figures = {
        "draft": measure_drafts(complete, options.drafts),
        **measure_judging(complete),
        "revise": measure_revising(complete),
        "compare": measure_comparing(complete),
    }
    print(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
