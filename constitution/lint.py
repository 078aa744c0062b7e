"""What is wrong with one principle that is well formed: checks, examples and their contradictions."""

from __future__ import annotations

from collections.abc import Iterator

from constitution.checks import placed_problems, run_check
from constitution.schema import Check, Example, Principle
from constitution.yaml_file import Place


def principle_problems(principle: Principle) -> Iterator[tuple[Place, str]]:
    """Each problem of a principle, with its place inside it (`("examples", 0, "revision")`)."""
    for field in ("text", "category", "applies_when", "critique", "revise", "compare"):
        value = getattr(principle, field)
        if value is not None and not value.strip():
            yield (field,), f"found blank text in {field}; expected a sentence, or leave the key out"
    faults = list(placed_problems(principle.check)) if principle.check else []
    for place, message in faults:
        yield ("check", *place), f"check{' ' if place else ''}{place[0] if place else ''}: {message}"
    usable = principle.check if principle.check and not faults else None
    for index, example in enumerate(principle.examples):
        for field, message in _example_problems(example, usable):
            yield ("examples", index, field), f"example {index + 1}: {message}"


def _example_problems(example: Example, check: Check | None) -> Iterator[tuple[str, str]]:
    for field in ("prompt", "draft"):
        if not getattr(example, field).strip():
            yield field, f"found blank text in {field}; expected a {field}"
    if example.context and example.context[-1].role == "user":
        yield (
            "context",
            "found a context that ends with a user turn; expected it to end before the user's turn `prompt`",
        )
    yield from _severity_problems(example)
    if example.violates and example.revision is not None and example.revision.strip() == example.draft.strip():
        yield "revision", "found the draft again as revision of a violating draft; expected a text that differs"
    if example.revision is not None and not example.revision.strip():
        yield "revision", "found blank text in revision; expected a rewrite, or leave the key out"
    if check:
        yield from _check_contradictions(example, check)


def _severity_problems(example: Example) -> Iterator[tuple[str, str]]:
    if example.violates and example.severity == 0:
        yield "severity", "found severity 0 with violates: true; expected 1, 2 or 3, or violates: false"
    if not example.violates and example.severity:
        yield "severity", f"found severity {example.severity} with violates: false; expected 0 or none"


def _check_contradictions(example: Example, check: Check) -> Iterator[tuple[str, str]]:
    verdict = run_check(check, example.conversation, example.draft)
    if (verdict == "violates") != example.violates:
        wanted = "violates" if example.violates else "complies or not_applicable"
        yield (
            "violates",
            f"found violates: {str(example.violates).lower()}, but the exact check finds that the draft "
            f"{_phrase(verdict)}; expected a draft that {wanted} by the check; mend the check or the example",
        )
    if example.revision is not None and run_check(check, example.conversation, example.revision) == "violates":
        yield "revision", "found a revision that violates the exact check; expected one that complies"


def _phrase(verdict: str) -> str:
    return "lies outside it (if_prompt)" if verdict == "not_applicable" else verdict
