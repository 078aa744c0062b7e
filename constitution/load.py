"""From a YAML file to a constitution: reading, `extends`, overriding by id, validation, every problem at once.

A principle whose id is inherited overrides: the fields it gives replace the inherited ones. `{id: x, off: true}`
switches one off. The file the user named may extend any path; a file reached through `extends` may name library
constitutions and files in its own folder or below, so a constitution from elsewhere cannot open other files.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError

from constitution.faults import add_faults, describe_value, suggestion
from constitution.principles import add_principles
from constitution.render import VARIABLES, default_templates, template_problems
from constitution.schema import Constitution, Principle, Templates
from constitution.yaml_file import Document, read_yaml
from records.errors import ConfigError, Problem, problems_error
from records.strict import Strict

MAX_FILES = 20
"""Most files one constitution is made of."""
_LIBRARY_NAME = re.compile(r"[A-Za-z0-9_-]+")


class _Header(Strict):
    """A file as written, but for what is looked at entry by entry."""

    name: str = Field(min_length=1)
    version: int | str = 1
    description: str = ""
    extends: str | tuple[str, ...] = ()
    templates: dict[str, Any] = Field({})
    principles: tuple[Any, ...] = ()


@dataclass
class _Resolved:
    """What a file and those it extends come to."""

    header: _Header
    principles: dict[str, Principle] = field(default_factory=dict)
    templates: dict[str, Any] = field(default_factory=dict)


@dataclass
class _Loading:
    """One load: every file opened, in order, and what those that could be read came to."""

    documents: dict[Path, Document] = field(default_factory=dict)
    resolved: dict[Path, _Resolved | None] = field(default_factory=dict)

    @property
    def problems(self) -> list[Problem]:
        return [problem for document in self.documents.values() for problem in document.problems]


def library_names() -> list[str]:
    """The names of the constitutions that ship."""
    return sorted(path.stem for path in _library().glob("*.yaml"))


def _library() -> Path:
    return Path(__file__).parent / "library"


def load_constitution(source: str | Path) -> Constitution:
    """The constitution of a YAML file, with everything it extends.

    Args:
        source: a name in the library, or the path of a YAML file.

    Raises:
        ConfigError: there is no such file, or it has problems; all of them are listed.
    """
    loading = _Loading()
    resolved = _resolve(loading, _source_path(source), ())
    if loading.problems or resolved is None:
        raise problems_error(str(source), loading.problems, f"Mend them, then: constitute check {source}")
    return Constitution(
        name=resolved.header.name,
        version=resolved.header.version,
        description=resolved.header.description,
        principles=tuple(resolved.principles.values()),
        templates=Templates(**{**default_templates().model_dump(), **resolved.templates}),
    )


def _source_path(source: str | Path) -> Path:
    if isinstance(source, str) and source in library_names():
        return _library() / f"{source}.yaml"
    path = Path(source)
    if _LIBRARY_NAME.fullmatch(str(source)) and not path.exists():
        raise ConfigError(f"{source}: found {_neither(str(source))}")
    return path


def _neither(name: str) -> str:
    known = library_names()
    return (
        f"neither a file nor a library constitution called {name!r}; expected a path or one of {', '.join(known)}."
        f"{suggestion(name, known)}"
    )


def _resolve(loading: _Loading, path: Path, above: tuple[Path, ...]) -> _Resolved | None:
    """A file with all it extends, or None where it cannot be read at all; problems stay with the documents."""
    key = path.resolve()
    if key in loading.resolved:
        return loading.resolved[key]
    document = loading.documents[key] = read_yaml(path)
    header = _read_header(document)
    if header is None:
        loading.resolved[key] = None
        return None
    resolved = _Resolved(header)
    parents = _parents(loading, document, header, (*above, key))
    _inherit(document, header, resolved, parents)
    _add_templates(document, header, resolved)
    # Where a file below has problems, what it would have brought is not known, and nothing is said about it.
    known = all(not other.faults for other in loading.documents.values() if other is not document)
    add_principles(document, header.principles, resolved.principles, inherited_known=known and None not in parents)
    if not resolved.principles and not document.faults and known:
        document.add(("principles",), "found no principle; expected at least one under `principles`")
    loading.resolved[key] = resolved
    return resolved


def _read_header(document: Document) -> _Header | None:
    value = document.value
    if value is None:
        return None
    if not isinstance(value, dict):
        document.note(1, f"found {describe_value(value)}; expected a mapping with the keys name and principles")
        return None
    try:
        return _Header.model_validate(value, strict=True)
    except ValidationError as error:
        add_faults(document, (), "", _Header, error)
        # The rest is read all the same, so that its problems are told at once.
        broken = {fault["loc"][0] for fault in error.errors()}
    rest = {name: part for name, part in value.items() if name not in broken}
    return _Header.model_validate({"name": "unnamed", **rest}, strict=True)


def _parents(loading: _Loading, document: Document, header: _Header, above: tuple[Path, ...]) -> list[_Resolved | None]:
    names = (header.extends,) if isinstance(header.extends, str) else header.extends
    parents: list[_Resolved | None] = []
    for index, name in enumerate(names):
        place = ("extends", index)
        path = _extended_path(document, name, is_top=len(above) == 1)
        if isinstance(path, str):
            document.add(place, f"extends: found {path}")
            parents.append(None)
        elif path.resolve() in above:
            circle = " -> ".join(step.name for step in (*above[above.index(path.resolve()) :], path))
            document.add(place, f"extends: found a circle, {circle}; expected files that do not extend each other")
            parents.append(None)
        elif len(loading.documents) >= MAX_FILES:
            document.add(place, f"extends: found more than {MAX_FILES} files in all; expected fewer")
            parents.append(None)
        else:
            parents.append(_resolve(loading, path, above))
    return parents


def _extended_path(document: Document, name: str, *, is_top: bool) -> Path | str:
    """The file that `extends` names, or what is wrong with the name."""
    if name in library_names():
        return _library() / f"{name}.yaml"
    folder = document.path.parent
    path = folder / name
    if not is_top and not path.resolve().is_relative_to(folder.resolve()):
        return (
            f"the path {name!r} out of the folder of a file that is itself extended; expected a library name or a path "
            f"below that folder. Extend it from the file you named instead"
        )
    if not path.is_file():
        return _neither(name)
    return path


def _inherit(document: Document, header: _Header, resolved: _Resolved, parents: list[_Resolved | None]) -> None:
    """Take over the principles and templates of the extended files, the later ones before the earlier."""
    own = {entry.get("id") for entry in header.principles if isinstance(entry, dict)}
    for index, parent in enumerate(parents):
        for id, principle in parent.principles.items() if parent else ():
            if id in resolved.principles and resolved.principles[id] != principle and id not in own:
                document.add(
                    ("extends", index),
                    f"extends: found the id {id!r} with different content in two of the extended files; expected one. "
                    f"Override it here, or switch it off: {{id: {id}, off: true}}",
                )
            resolved.principles[id] = principle
        resolved.templates.update(parent.templates if parent else {})


def _add_templates(document: Document, header: _Header, resolved: _Resolved) -> None:
    for kind, given in header.templates.items():
        place = ("templates", kind)
        wordings = given if isinstance(given, tuple) else (given,)
        if kind not in VARIABLES:
            known = ", ".join(VARIABLES)
            found = f"templates: found the unknown template {kind!r}; expected one of {known}."
            document.add(place, found + suggestion(kind, VARIABLES))
        elif not all(isinstance(wording, str) and wording.strip() for wording in wordings) or not wordings:
            document.add(place, f"template {kind}: found {describe_value(given)}; expected the text of a template")
        elif isinstance(given, tuple) and kind != "verify":
            document.add(place, f"template {kind}: found a list; expected one text (only verify takes several)")
        else:
            for index, wording in enumerate(wordings):
                for problem in template_problems(kind, wording):
                    document.add((*place, index), f"template {kind}: found a fault: it {problem}")
            resolved.templates[kind] = wordings if kind == "verify" else given
