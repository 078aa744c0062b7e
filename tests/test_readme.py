"""Every command that README.md and docs/ show can be typed: verbs, options and make targets exist."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import typer

from loop.cli import app

ROOT = Path(__file__).resolve().parent.parent
# Typer carries its own copy of click; this is that copy's class.
UsageError: type[Exception] = typer.BadParameter.__mro__[1]
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]


def shown_commands(text: str) -> list[str]:
    """Command lines of a page: the lines of shell blocks, and code within a line that begins with a command's name."""
    blocks = re.findall(r"^ *```(?:sh|bash|console)\n(.*?)^ *```", text, flags=re.MULTILINE | re.DOTALL)
    lines = [line.removeprefix("$ ") for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    prose = re.sub(r"^ *```.*?^ *```", "", text, flags=re.MULTILINE | re.DOTALL)
    lines += [" ".join(span.split()) for span in re.findall(r"`([^`]+)`", prose)]
    return [line for line in map(str.strip, lines) if re.match(r"(\.venv/bin/)?(constitute|make) ", line)]


def cases(name: str) -> list[tuple[str, str]]:
    found = [
        (page.relative_to(ROOT).as_posix(), command.removeprefix(".venv/bin/"))
        for page in PAGES
        for command in shown_commands(page.read_text(encoding="utf-8"))
    ]
    return sorted({(page, command) for page, command in found if command.startswith(name + " ")})


def make_targets() -> set[str]:
    return set(re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))


def parse(command: str) -> None:
    """Parse a `constitute` command line without running it; UsageError where it cannot be typed so."""
    group = typer.main.get_group(app)
    # Usage lines mark optional parts by brackets and values by capitals; a file that is there stands for any value.
    usage = re.sub(r"[\[\]]|\.\.\.", "", command)
    _, *arguments = [str(ROOT / "README.md") if word.isupper() else word for word in shlex.split(usage, comments=True)]
    if "--help" in arguments:
        return
    context = group.make_context("constitute", list(arguments))
    verb, found, rest = group.resolve_command(context, list(arguments))
    assert verb is not None and found is not None
    found.make_context(verb, rest, parent=context)


def test_the_readme_begins_with_the_two_commands() -> None:
    shown = shown_commands((ROOT / "README.md").read_text(encoding="utf-8"))
    assert [line.split("#")[0].strip() for line in shown[:2]] == ["make demo", "make test"]
    assert (ROOT / "README.md").read_text(encoding="utf-8").index("make demo") < 60


@pytest.mark.parametrize(("page", "command"), cases("make"))
def test_each_make_command_exists(page: str, command: str) -> None:
    words = shlex.split(command, comments=True)[1:]
    targets = [word for word in words if "=" not in word]
    assert set(targets) <= make_targets(), f"{page}: {command}"


@pytest.mark.parametrize(("page", "command"), cases("constitute"))
def test_each_constitute_command_parses(page: str, command: str) -> None:
    try:
        parse(command)
    except UsageError as error:
        pytest.fail(f"{page}: {command}: {error}")
    for word in shlex.split(command, comments=True):
        if word.startswith("configs/"):
            assert (ROOT / word).is_file(), f"{page}: {command}: no file {word}"


def test_pages_show_commands_of_both_kinds() -> None:
    assert len(cases("make")) >= 4 and len(cases("constitute")) >= 3


@pytest.mark.parametrize("command", ["constitute dance", "constitute run --no-such-option configs/demo.yaml"])
def test_a_command_that_cannot_be_typed_is_noticed(command: str) -> None:
    with pytest.raises(UsageError):
        parse(command)


def test_links_and_pictures_of_the_pages_are_there() -> None:
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8")):
            if "://" not in target:
                assert (page.parent / target).exists(), f"{page.name} shows {target}"
