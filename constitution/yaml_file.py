"""YAML read from a file that nobody vouches for, with the line of every value, and every fault of its layout.

Plain values only: no tags that build objects, no merge keys, text keys, each key once in a mapping. Unquoted words mean
what YAML 1.2 says: `yes`, `off` and dates are text, `5e-6` is a number. Anchors and aliases are allowed, but what they
expand to is bounded, as are size and depth. Sequences become tuples, as records hold them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from records.errors import Problem

Place = tuple[str | int, ...]

MAX_BYTES = 4 << 20
MAX_DEPTH = 40
MAX_VALUES = 200_000
"""Most values of a file once its aliases are expanded."""
_PARSER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_EXPONENT = re.compile(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+")
_KINDS = {yaml.MappingStartEvent: "mapping", yaml.SequenceStartEvent: "list", yaml.ScalarEvent: "scalar"}


@dataclass
class _Node:
    kind: str
    line: int
    value: Any = None
    children: list[_Node] = field(default_factory=list)


@dataclass
class Document:
    """A file's content: `value` (None where it could not be read), the line of each place, and its problems."""

    path: Path
    value: Any = None
    lines: dict[Place, int] = field(default_factory=dict)
    faults: list[tuple[int, str]] = field(default_factory=list)
    """Line (0: the file as a whole) and message of each problem, in the order they were found."""

    @property
    def problems(self) -> list[Problem]:
        """All problems, in file order."""
        ordered = sorted(self.faults, key=lambda fault: fault[0])
        return [Problem(f"{self.path}, line {line}" if line else str(self.path), text) for line, text in ordered]

    def line(self, place: Place) -> int:
        """Line of a place, counted from 1, or of the nearest place around it."""
        while place and place not in self.lines:
            place = place[:-1]
        return self.lines.get(place, 1)

    def add(self, place: Place, message: str) -> None:
        """Note a problem at a place."""
        self.note(self.line(place), message)

    def note(self, line: int, message: str) -> None:
        """Note a problem at a line."""
        if (line, message) not in self.faults:
            self.faults.append((line, message))


def read_yaml(path: Path) -> Document:
    """What a YAML file holds; faults are in `problems`, never raised."""
    document = Document(path)
    text = _read_text(document)
    if text is None:
        return document
    try:
        root = _Reader(document).read(text)
    except yaml.MarkedYAMLError as error:
        mark: Any = error.problem_mark or error.context_mark
        reason = ", ".join(part for part in (error.context, error.problem) if part)
        document.note(mark.line + 1 if mark else 1, f"found malformed YAML ({reason}); expected a mapping of keys")
        return document
    except yaml.YAMLError as error:
        document.note(1, f"found malformed YAML ({str(error).splitlines()[0]}); expected UTF-8 text")
        return document
    if root is None:
        document.note(1, "found an empty file; expected a mapping of keys")
        return document
    document.value = _Builder(document).build(root, (), 0)
    return document


def _read_text(document: Document) -> str | None:
    try:
        if not document.path.is_file():
            found = "a folder or a special file" if document.path.exists() else "no such file"
            document.note(0, f"found {found}; expected a YAML file")
            return None
        size = document.path.stat().st_size
        if size > MAX_BYTES:
            document.note(1, f"found {size} bytes; expected at most {MAX_BYTES}")
            return None
        return document.path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        document.note(1, f"found bytes that are not UTF-8 (at byte {error.start}); expected UTF-8 text")
    except OSError as error:
        document.note(0, f"found a file that cannot be read: {error.strerror}; expected a readable one")
    return None


class _Reader:
    """Parser events to a tree. An anchor is known once its value is complete, so no value can hold itself."""

    def __init__(self, document: Document) -> None:
        self.document = document
        self.anchors: dict[str, _Node] = {}
        self.scalars = yaml.SafeLoader("")

    def read(self, text: str) -> _Node | None:
        events: Iterator[Any] = iter(yaml.parse(text, Loader=_PARSER))
        root: _Node | None = None
        for event in events:
            if isinstance(event, yaml.DocumentStartEvent) and root is not None:
                mark: Any = event.start_mark
                self.document.note(mark.line + 1, "found a second document; expected one per file")
                break
            if isinstance(event, yaml.NodeEvent):
                root = self._node(event, events, 0)
        return root

    def _node(self, event: Any, events: Iterator[Any], depth: int) -> _Node:
        mark: Any = event.start_mark
        if depth > MAX_DEPTH:
            raise yaml.MarkedYAMLError(problem=f"nested deeper than {MAX_DEPTH}", problem_mark=mark)
        line = mark.line + 1
        if isinstance(event, yaml.AliasEvent):
            if event.anchor not in self.anchors:
                raise yaml.MarkedYAMLError(problem=f"unknown alias *{event.anchor}", problem_mark=mark)
            return self.anchors[event.anchor]
        node = _Node(_KINDS[type(event)], line)
        if isinstance(event, yaml.ScalarEvent):
            node.value = self._scalar(event, line)
        else:
            self._check_tag(event.tag, ("map", "seq"), line)
            while not isinstance(child := next(events), yaml.CollectionEndEvent):
                node.children.append(self._node(child, events, depth + 1))
        if event.anchor:
            self.anchors[event.anchor] = node
        return node

    def _check_tag(self, tag: str | None, known: tuple[str, ...], line: int) -> None:
        if tag not in (None, "!", *(f"tag:yaml.org,2002:{name}" for name in known)):
            self.document.note(line, f"found the tag {tag!r}; expected plain values (text, numbers, lists, mappings)")

    def _scalar(self, event: Any, line: int) -> Any:
        self._check_tag(event.tag, ("str", "int", "float", "bool", "null"), line)
        tag = event.tag
        if tag in (None, "!"):
            tag = f"tag:yaml.org,2002:{_plain_type(self.scalars, event)}"
        try:
            return self.scalars.construct_object(yaml.ScalarNode(tag, event.value, event.start_mark, event.end_mark))
        except (ValueError, IndexError, yaml.YAMLError):
            return event.value  # such as the date 2024-13-45, or a tag noted above


def _plain_type(scalars: Any, event: Any) -> str:
    """The type of a scalar without a tag, by the core schema of YAML 1.2 where that differs from YAML 1.1."""
    kind = scalars.resolve(yaml.ScalarNode, event.value, event.implicit).rpartition(":")[2]
    if event.implicit[0] and _EXPONENT.fullmatch(event.value):
        return "float"
    is_old = kind == "bool" and event.value.lower() not in ("true", "false")
    is_old |= kind in ("int", "float") and ":" in event.value
    return "str" if is_old or kind not in ("bool", "int", "float", "null") else kind


class _Builder:
    """A tree to values and the line of each, with a bound on what aliases expand to."""

    def __init__(self, document: Document) -> None:
        self.document = document
        self.values = 0

    def build(self, node: _Node, place: Place, depth: int) -> Any:
        self.values += 1
        if self.values > MAX_VALUES or depth > MAX_DEPTH:
            if self.values <= MAX_VALUES + 1:
                limit = f"{MAX_VALUES} values, {MAX_DEPTH} levels"
                self.document.note(node.line, f"found aliases that expand too far; expected at most {limit}")
                self.values = MAX_VALUES + 2
            return None
        self.document.lines.setdefault(place, node.line)
        if node.kind == "scalar":
            return node.value
        if node.kind == "list":
            return tuple(self.build(child, (*place, index), depth + 1) for index, child in enumerate(node.children))
        return self._mapping(node, place, depth)

    def _mapping(self, node: _Node, place: Place, depth: int) -> dict[str, Any]:
        mapping: dict[str, Any] = {}
        first: dict[str, int] = {}
        for key, child in zip(node.children[::2], node.children[1::2], strict=True):
            if key.kind != "scalar" or not isinstance(key.value, str):
                found = repr(key.value) if key.kind == "scalar" else f"a {key.kind}"
                self.document.note(key.line, f"found {found} as a key; expected text, in quotes if need be")
            elif key.value in mapping:
                lines = f"lines {first[key.value]} and {key.line}"
                self.document.note(key.line, f"found the key {key.value!r} twice, {lines}; expected it once")
            else:
                first[key.value] = key.line
                self.document.lines[(*place, key.value)] = key.line
                mapping[key.value] = self.build(child, (*place, key.value), depth + 1)
        return mapping
