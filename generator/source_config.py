"""One entry of `sources:` in a run file: the path of a prompt file, or a mapping with the keys of `PromptSource`."""

from __future__ import annotations

import math
from typing import Annotated, Any

from pydantic import Discriminator, Field, Tag, model_validator

from records.sources.layouts import PROMPT_COLUMNS
from records.sources.origin import Origin

_MOST_COMBINATIONS = 1_000_000
Value = str | int | float | bool


class PromptSource(Origin):
    """Where prompts come from, how their rows are read, and how many of them are taken."""

    template: str | None = Field(None, min_length=1)
    """Jinja2 text of the prompt, filled in from each row's columns, from `variables`, or from both."""
    variables: dict[str, tuple[Value, ...]] = Field(default_factory=dict)
    """Values by name; the template is filled in with every combination of them."""
    weight: float | None = Field(None, gt=0.0, allow_inf_nan=False)
    """Share of this source in the mixture, against the others' weights; either all sources have one or none has."""
    skip_bad_rows: bool = False
    """Leave out rows that are no prompts, with a count; else one of them stops the run before it begins."""

    def check_place(self) -> None:
        """Raise ValueError unless there is one place, or a template with variables and no place."""
        if self.template is None or not self.variables or self.has_place:
            super().check_place()

    @property
    def has_place(self) -> bool:
        """Whether rows are read at all."""
        return any(place is not None for place in (self.path, self.hub, self.sql))

    @property
    def name(self) -> str:
        """What messages, rows and counts call this source."""
        return super().name or "template"

    @model_validator(mode="after")
    def _can_be_read(self) -> PromptSource:
        if self.template is None:
            unknown = [name for name in self.columns if name not in PROMPT_COLUMNS]
            if unknown:
                raise ValueError(f"columns: found {', '.join(unknown)}; expected some of {', '.join(PROMPT_COLUMNS)}")
            if self.variables:
                raise ValueError("found variables without a template; expected a template that shows them")
        else:
            _check_template(self.template, self.variables, alone=not self.has_place)
            if self.preset is not None:
                raise ValueError("found template and preset; expected one of them, since both say what the prompt is")
        return self


def _check_template(template: str, variables: dict[str, tuple[Value, ...]], *, alone: bool) -> None:
    # Here and not above: a run file without templates is read without Jinja2.
    from constitution.render import prompt_template_problems, prompt_template_values

    problems = prompt_template_problems(template)
    if not problems:
        shown = prompt_template_values(template)
        problems += [f"shows {name}, which variables lacks" for name in sorted(shown - variables.keys()) if alone]
        problems += [f"does not show {name} of variables" for name in variables if name not in shown]
    problems += [f"has no value for {name}; expected at least one" for name, values in variables.items() if not values]
    count = math.prod(len(values) for values in variables.values())
    if count > _MOST_COMBINATIONS:
        problems.append(f"has {count} combinations of variables; expected at most {_MOST_COMBINATIONS}")
    if problems:
        raise ValueError("; ".join(f"the template {problem}" for problem in problems))


def _kind(value: Any) -> str:
    return "path" if isinstance(value, str) else "mapping"


SourceEntry = Annotated[Annotated[str, Tag("path")] | Annotated[PromptSource, Tag("mapping")], Discriminator(_kind)]


def as_source(entry: str | PromptSource) -> PromptSource:
    """An entry as a source; a path alone is a file in this project's own columns."""
    return PromptSource(path=entry) if isinstance(entry, str) else entry
