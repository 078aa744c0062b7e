"""The user turns that are sent to a model, written by sandboxed Jinja2 from a constitution's templates.

Model text goes in as a value and is never rendered itself. `fenced` puts a text between marks longer than any run of
the same marks inside it, so the text cannot close its own slot; `transcript` does so for every turn of a conversation.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from jinja2 import StrictUndefined, Template, TemplateError, TemplateSyntaxError, nodes
from jinja2.sandbox import ImmutableSandboxedEnvironment

from constitution.schema import Constitution, Principle, Templates
from constitution.template_rules import MAX_CHARACTERS, structure_problems
from records.rows import Message

# Per template: the variables it must use, and the ones it may use besides.
VARIABLES: dict[str, tuple[frozenset[str], frozenset[str]]] = {
    "critique": (frozenset({"prompt", "answer", "request"}), frozenset({"principle", "applies_when"})),
    "revise": (frozenset({"request"}), frozenset({"principle", "prompt", "answer"})),
    "verify": (frozenset({"prompt", "answer", "principle"}), frozenset({"applies_when"})),
    "compare": (frozenset({"prompt", "first", "second", "request"}), frozenset()),
    "rate": (frozenset({"prompt", "answer", "rubric"}), frozenset()),
}


def fenced(text: str) -> str:
    """The text between `<<<` and `>>>`, with more marks where the text itself holds such runs."""
    width = 3
    # Most texts hold no such run, and looking for two fixed strings is a tenth of the work.
    if "<<<" in text or ">>>" in text:
        width = 1 + max(len(run) for run in re.findall(r"<{3,}|>{3,}", text))
    return f"{'<' * width}\n{text}\n{'>' * width}"


def transcript(messages: Sequence[Message]) -> str:
    """A conversation as fenced turns; a lone user turn needs no label."""
    if len(messages) == 1 and messages[0].role == "user":
        return fenced(messages[0].content)
    return "\n".join(f"[{message.role}]\n{fenced(message.content)}" for message in messages)


def _environment() -> ImmutableSandboxedEnvironment:
    environment = ImmutableSandboxedEnvironment(
        undefined=StrictUndefined, autoescape=False, keep_trailing_newline=False
    )
    environment.filters["fenced"] = fenced
    environment.filters["transcript"] = transcript
    # A template needs values and the two filters; range() over a large number is only a way to hang.
    environment.globals.clear()
    return environment


_ENVIRONMENT = _environment()


def template_problems(kind: str, source: str) -> list[str]:
    """What is wrong with a template of this kind, each as the end of a sentence that begins with "it".

    Bad syntax, anything outside `template_rules`, a variable it lacks or shows only at times, one that nobody fills in.
    A template that breaks the rules is neither compiled (Jinja2 computes constants then) nor run.

    Args:
        kind: a key of `VARIABLES`.
        source: the Jinja2 text.
    """
    return _guarded(source, lambda: _problems(kind, source))


def prompt_template_problems(source: str) -> list[str]:
    """What is wrong with a template of prompts, under the same rules; any value may stand bare in it.

    Args:
        source: the Jinja2 text.
    """
    return _guarded(source, lambda: list(dict.fromkeys(structure_problems(_ENVIRONMENT.parse(source), slots={}))))


def prompt_template_values(source: str) -> set[str]:
    """The values that a template without problems names."""
    return {name.name for name in _ENVIRONMENT.parse(source).find_all(nodes.Name)}


def render_prompt(source: str, values: Mapping[str, Any]) -> str:
    """A template's prompt; the values are never rendered themselves.

    Raises:
        UndefinedError: a value is missing that the template uses.
    """
    # As one argument: a column may be called self.
    return _compiled(source).render(dict(values))


def _guarded(source: str, look: Callable[[], list[str]]) -> list[str]:
    if len(source) > MAX_CHARACTERS:
        return [f"is {len(source)} characters long; expected at most {MAX_CHARACTERS}"]
    try:
        return look()
    except TemplateSyntaxError as error:
        return [f"is malformed at line {error.lineno} of the template: {error.message}"]
    except (RecursionError, MemoryError, SyntaxError):
        return ["is malformed: it is nested too deeply"]
    except (TypeError, TemplateError) as error:
        return [f"cannot be rendered: {error}"]


def _problems(kind: str, source: str) -> list[str]:
    tree = _ENVIRONMENT.parse(source)
    used = {name.name for name in tree.find_all(nodes.Name)}
    required, optional = VARIABLES[kind]
    problems = list(dict.fromkeys(structure_problems(tree)))
    if used - required - optional:
        problems.append(
            f"uses {_names(used - required - optional)}, which nothing fills in; "
            f"expected only {_names(required | optional)} in a {kind} template"
        )
    lacking = required - used if problems else _not_shown(kind, source)
    if lacking:
        problems.append(
            f"lacks {_names(lacking)}; expected a {kind} template that shows {_names(required)} in every case"
        )
    return problems


def _not_shown(kind: str, source: str) -> set[str]:
    """The required variables that do not come through in a trial with stand-ins (digits, which no filter changes)."""
    required, optional = VARIABLES[kind]
    stand_ins = {name: f"{index}0246813579{index}" for index, name in enumerate(sorted(required | optional))}
    lacking = set()
    for applies_when in (stand_ins.get("applies_when", ""), ""):
        prompt = [Message(role="user", content=stand_ins.get("prompt", ""))]
        shown = _compiled(source).render({**stand_ins, "prompt": prompt, "applies_when": applies_when})
        lacking |= {name for name in required if stand_ins[name] not in shown}
    return lacking


def _names(names: frozenset[str] | set[str]) -> str:
    return ", ".join(sorted(names))


def default_templates() -> Templates:
    """The shipped wording, written for instruction-tuned models; that of `rate` stays empty, see `rate_wording`."""
    return Templates(
        critique=_shipped("critique"),
        revise=_shipped("revise"),
        verify=(_shipped("verify_1"), _shipped("verify_2"), _shipped("verify_3")),
        compare=_shipped("compare"),
    )


@lru_cache(maxsize=16)
def _shipped(name: str) -> str:
    path = Path(__file__).parent / "templates" / f"{name}.j2"
    return path.read_text(encoding="utf-8").rstrip("\n")


@lru_cache(maxsize=256)
def _compiled(source: str) -> Template:
    return _ENVIRONMENT.from_string(source)


def critique_request(constitution: Constitution, principle: Principle, prompt: Sequence[Message], answer: str) -> str:
    """The user turn that asks the critic about one answer on one principle."""
    return _compiled(constitution.templates.critique).render(
        prompt=prompt,
        answer=answer,
        request=principle.critique or f"Does the answer break this principle? {principle.text}",
        principle=principle.text,
        applies_when=principle.applies_when or "",
    )


def revise_request(constitution: Constitution, principle: Principle, prompt: Sequence[Message], answer: str) -> str:
    """The user turn that asks for a rewrite; it follows the critique of the same answer."""
    return _compiled(constitution.templates.revise).render(
        request=principle.revise or f"Rewrite the answer so that it keeps to the principle: {principle.text}",
        principle=principle.text,
        prompt=prompt,
        answer=answer,
    )


def verify_request(
    constitution: Constitution, principle: Principle, prompt: Sequence[Message], answer: str, *, ask: int
) -> str:
    """The user turn of a fresh conversation about one answer on one principle.

    Args:
        constitution: whose wordings are used.
        principle: the norm; its own critique request is left out, so that the question is a reworded one.
        prompt: the conversation that was answered.
        answer: the text to judge, with no hint of where it came from.
        ask: 0 for the first question about this text, 1 for the second, ...; each takes the next wording.
    """
    wordings = constitution.templates.verify
    return _compiled(wordings[ask % len(wordings)]).render(
        prompt=prompt, answer=answer, principle=principle.text, applies_when=principle.applies_when or ""
    )


def compare_request(
    constitution: Constitution, request: str, prompt: Sequence[Message], first: str, second: str
) -> str:
    """The user turn that asks which of two answers is better; `first` is shown as A."""
    return _compiled(constitution.templates.compare).render(prompt=prompt, first=first, second=second, request=request)


def comparison_question(principle: Principle) -> str:
    """What is asked about two answers on one principle."""
    return principle.compare or f"Which is better? {principle.text}"


def rate_wording(constitution: Constitution) -> str:
    """The template that ratings are asked for with: the constitution's own, or the shipped one."""
    return constitution.templates.rate or _shipped("rate")


def rate_request(
    constitution: Constitution, principles: Sequence[Principle], prompt: Sequence[Message], answer: str
) -> str:
    """The user turn that asks for one rating of one answer, on all these principles taken together."""
    conditions = [f" (Only where: {one.applies_when})" if one.applies_when else "" for one in principles]
    rubric = "\n".join(f"- {one.text}{condition}" for one, condition in zip(principles, conditions, strict=True))
    return _compiled(rate_wording(constitution)).render(prompt=prompt, answer=answer, rubric=rubric)
