"""Constitutions of other projects, read by what their files hold and written as this project's YAML.

Known layouts, all JSON: the critique/revision instructions of the Constitutional AI paper (a mapping of id to
`prompt` and `edit_request`), its few-shots (a list of flat transcripts), the open-model layout (`constitutions`
of `critic` and `revision`, `system_chat` of few-shot conversations), and role-play traits (a list of `trait` and
`questions`). Wording is kept to the letter, mistakes included. These layouts hold requests, not norms, so a
principle's `text` is derived from its requests and quotes them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from constitution.transcripts import FewShot, chat_few_shot, transcript_few_shots
from records.digest import digest_text
from records.errors import DataError, Problem, problems_error


@dataclass
class _Import:
    """What the files read so far came to: principles by id in order, few-shots, and what is wrong."""

    principles: dict[str, dict[str, Any]] = field(default_factory=dict)
    few_shots: list[FewShot] = field(default_factory=list)
    questions: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)


def import_constitution(paths: Path | Sequence[Path], name: str | None = None) -> str:
    """YAML of a constitution that `load_constitution` reads, from one file or several merged.

    A few-shot joins the principle that asks for the same critique; where none does, it brings its own.

    Args:
        paths: files of any of the known layouts.
        name: the constitution's name; the first file's name without its ending, if not given.

    Raises:
        DataError: a file cannot be read, has none of the known layouts, or an entry of it makes no sense.
    """
    sources = [paths] if isinstance(paths, Path) else list(paths)
    found = _read_all(sources)
    for few_shot in found.few_shots:
        _attach(found, few_shot)
    if not found.principles:
        raise DataError(f"{', '.join(map(str, sources))}: found no principle; expected at least one")
    content = {
        "name": name or sources[0].stem,
        "version": 1,
        "description": f"Imported from {', '.join(path.name for path in sources)}.",
        "principles": list(found.principles.values()),
    }
    header = "".join(f"# {_comment(note)}\n" for note in dict.fromkeys(found.notes))
    return header + yaml.safe_dump(content, allow_unicode=True, sort_keys=False, width=110)


def _comment(note: str) -> str:
    return " ".join("".join(mark if mark.isprintable() else " " for mark in note).split())


def import_questions(paths: Path | Sequence[Path]) -> list[str]:
    """The prompts that come with role-play traits, in file order; empty for other layouts.

    Raises:
        DataError: as `import_constitution`.
    """
    return _read_all([paths] if isinstance(paths, Path) else list(paths)).questions


def _read_all(sources: Sequence[Path]) -> _Import:
    found = _Import()
    for path in sources:
        content = _read_json(path)
        reader = _reader(content)
        if reader is None:
            raise DataError(
                f"{path}: found none of the known layouts; expected a mapping of id to prompt and edit_request, a list "
                'of transcripts with "CritiqueRequest:", a mapping with `constitutions`, or a list of traits'
            )
        reader(path, content, found)
    if found.problems:
        listed = str(problems_error(", ".join(map(str, sources)), found.problems, "Mend the entries and import again."))
        raise DataError(listed)
    return found


def _read_json(path: Path) -> Any:
    try:
        text = path.read_text(encoding="utf-8-sig")
        content = json.loads(text)
        json.dumps(content, ensure_ascii=False).encode("utf-8")
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); expected a JSON file") from None
    except UnicodeError as error:
        raise DataError(f"{path}: found text that is not valid Unicode ({error}); expected UTF-8") from None
    except json.JSONDecodeError as error:
        raise DataError(f"{path}, line {error.lineno}: found malformed JSON ({error.msg}); expected JSON") from None
    except RecursionError:
        raise DataError(f"{path}: found JSON nested too deeply; expected one of the known layouts") from None
    return content


def _reader(content: Any) -> Callable[[Path, Any, _Import], None] | None:
    """Which layout this is, told by content alone."""
    if isinstance(content, dict) and "constitutions" in content:
        return _read_open_layout
    if isinstance(content, dict) and content:
        entries = [entry for entry in content.values() if isinstance(entry, dict)]
        return _read_instructions if any({"prompt", "edit_request"} & entry.keys() for entry in entries) else None
    if isinstance(content, list) and any(isinstance(entry, dict) and "trait" in entry for entry in content):
        return _read_traits
    if isinstance(content, list) and any(isinstance(entry, str) and "CritiqueRequest:" in entry for entry in content):
        return _read_transcripts
    return None


def _read_instructions(path: Path, content: dict[str, Any], found: _Import) -> None:
    for key, entry in content.items():
        where = f"{path}, key {key!r}"
        prompts = entry.get("prompt", []) if isinstance(entry, dict) else None
        prompts = [prompts] if isinstance(prompts, str) else prompts
        edit = entry.get("edit_request") if isinstance(entry, dict) else None
        if not isinstance(prompts, list) or not all(isinstance(prompt, str) for prompt in prompts):
            found.problems.append(Problem(where, "found no text in prompt; expected a string or a list of strings"))
        elif edit is not None and not isinstance(edit, str):
            found.problems.append(Problem(where, "found an edit_request that is no text; expected a string"))
        else:
            revise = _unframed(edit or "", "RevisionRequest:", "Revision:")
            # Several wordings of one request become a principle each, so that none is lost.
            for number, prompt in enumerate(prompts or [""]):
                id = _safe_id(key) if number == 0 else f"{_safe_id(key)[:58]}-{number + 1}"
                _add(found, where, id, _unframed(prompt, "CritiqueRequest:", "Critique:"), revise)


def _unframed(text: str, prefix: str, suffix: str) -> str:
    return text.strip().removeprefix(prefix).removesuffix(suffix).strip()


def _read_transcripts(path: Path, content: list[Any], found: _Import) -> None:
    for index, entry in enumerate(content):
        few_shots = transcript_few_shots(entry) if isinstance(entry, str) else []
        if not few_shots:
            found.notes.append(f"{path.name}, entry {index + 1}: left out, it holds no critique of an answer.")
        found.few_shots += few_shots


def _read_open_layout(path: Path, content: dict[str, Any], found: _Import) -> None:
    entries = content["constitutions"]
    for index, entry in enumerate(entries if isinstance(entries, list) else [entries]):
        where = f"{path}, constitutions {index + 1}"
        critique, revise = (entry.get(key, "") if isinstance(entry, dict) else None for key in ("critic", "revision"))
        if not isinstance(critique, str) or not isinstance(revise, str):
            found.problems.append(Problem(where, "found no critic and revision; expected two strings"))
        else:
            critique, revise = critique.strip(), revise.strip()
            _add(found, where, derived_id(critique, revise), critique, revise)
    chats = content.get("system_chat") or []
    for index, chat in enumerate(chats if isinstance(chats, list) else [chats]):
        few_shot = chat_few_shot(chat, {entry.get("critique", "") for entry in found.principles.values()})
        if few_shot is None:
            found.notes.append(f"{path.name}, system_chat {index + 1}: left out, it holds no critique of an answer.")
        else:
            found.few_shots.append(few_shot)


def _read_traits(path: Path, content: list[Any], found: _Import) -> None:
    for index, entry in enumerate(content):
        trait = entry.get("trait") if isinstance(entry, dict) else None
        questions = entry.get("questions", []) if isinstance(entry, dict) else []
        if not isinstance(trait, str) or not trait.strip():
            message = "found no trait; expected a mapping with trait and questions"
            found.problems.append(Problem(f"{path}, entry {index + 1}", message))
            continue
        id = derived_id(trait.strip())
        found.principles.setdefault(id, {"id": id, "text": trait.strip(), "category": "character"})
        wanted = [questions] if isinstance(questions, str) else questions
        found.questions += [question for question in wanted if isinstance(question, str)]


def _add(found: _Import, where: str, id: str, critique: str, revise: str) -> None:
    """Add a principle with these requests; one that is there already, word for word, is only noted."""
    if not critique and not revise:
        found.problems.append(Problem(where, "found neither a critique nor a revision request; expected one at least"))
        return
    entry = {"id": id, "text": _norm(critique, revise)}
    entry |= {"critique": critique} if critique else {}
    entry |= {"revise": revise} if revise else {}
    if id in found.principles and found.principles[id] != entry:
        entry["id"] = id = f"{id[:55]}-{digest_text(critique + revise)[:8]}"
    if id in found.principles:
        found.notes.append(f"{where} says the same as another entry and is left out.")
    found.principles.setdefault(id, entry)


def _norm(critique: str, revise: str) -> str:
    """The norm behind the requests, as a statement about the answer that quotes one of them."""
    if revise:
        return f"The answer gives no reason for this request: {revise}"
    return f"The answer stands up to this request, with nothing found: {critique}"


def _safe_id(key: str) -> str:
    """The key itself where it can be an id; else the nearest that can."""
    id = re.sub(r"[^a-z0-9._-]+", "-", key.lower()).strip("-._")[:64]
    if id == key:
        return id
    return f"{id[:55]}-{digest_text(key)[:8]}" if id else f"principle-{digest_text(key)[:8]}"


def derived_id(critique: str, revise: str = "") -> str:
    """An id made of the wording alone: its telling words and a digest, whatever its place in a file."""
    words = re.findall(r"[a-z]{4,}", critique.lower())[:4] or ["principle"]
    return f"{'-'.join(words)[:55]}-{digest_text(f'{critique}|{revise}')[:8]}"


def _attach(found: _Import, few_shot: FewShot) -> None:
    same = [entry for entry in found.principles.values() if entry.get("critique") == few_shot.critique_request]
    exact = [entry for entry in same if entry.get("revise", "") == few_shot.revision_request]
    if not same:
        id = derived_id(few_shot.critique_request, few_shot.revision_request)
        _add(found, "a few-shot", id, few_shot.critique_request, few_shot.revision_request)
        exact = [found.principles[id]]
    entry = (exact or same)[0]
    if not exact and few_shot.revision_request:
        found.notes.append(f"An example of {entry['id']} had the revision request: {few_shot.revision_request}")
    if few_shot.violates is None:
        found.notes.append(f"A few-shot of {entry['id']} is left out, it has no revision: {few_shot.critique}")
        return
    if few_shot.says_nothing_wrong and not few_shot.is_unchanged:
        found.notes.append(f"An example of {entry['id']} is complying by its critique: {few_shot.critique}")
    entry.setdefault("examples", []).append(few_shot.example())
