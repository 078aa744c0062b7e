"""The constitutions that ship: they load, and people can train on what they show."""

from pathlib import Path

import pytest

import constitution
from constitution.load import load_constitution
from constitution.verdicts import CRITIQUE_MAX_CHARACTERS

FILES = sorted((Path(constitution.__file__).parent / "library").glob("*.yaml"))
NAMES = [path.stem for path in FILES]


def test_files_are_found() -> None:
    assert len(FILES) >= 5


@pytest.mark.parametrize("path", FILES, ids=NAMES)
def test_file_loads_by_name_and_by_path(path: Path) -> None:
    loaded = load_constitution(path.stem)
    assert loaded.name == path.stem and loaded.digest == load_constitution(path).digest


@pytest.mark.parametrize("name", NAMES)
def test_examples_teach_both_sides(name: str) -> None:
    for principle in load_constitution(name).principles:
        violating = [example for example in principle.examples if example.violates]
        complying = [example for example in principle.examples if not example.violates]
        assert violating and complying, principle.id
        for example in violating:
            assert example.critique and example.severity and example.revision, principle.id
            assert len(example.critique) <= CRITIQUE_MAX_CHARACTERS
        for example in complying:
            assert example.critique and example.severity == 0 and example.revision is None, principle.id


@pytest.mark.parametrize("name", [name for name in NAMES if name != "demo"])
def test_norms_are_one_sentence_each_and_differ(name: str) -> None:
    principles = load_constitution(name).principles
    assert len({principle.text for principle in principles}) == len(principles)
    for principle in principles:
        assert principle.text.endswith(".") and ". " not in principle.text, principle.id


def test_core_covers_its_fields() -> None:
    core = load_constitution("core")
    assert len(core.principles) >= 20
    assert {principle.category for principle in core.principles} == {
        *("harmlessness", "honesty", "helpfulness", "fairness"),
        *("privacy", "care", "humility", "respect"),
    }


@pytest.mark.parametrize("name", ["medical", "coding", "support"])
def test_uses_extend_core(name: str) -> None:
    core = {principle.id for principle in load_constitution("core").principles}
    ids = {principle.id for principle in load_constitution(name).principles}
    assert len(ids & core) >= 20 and len(ids - core) >= 5


def test_complying_examples_are_mostly_answers() -> None:
    """Examples that only refuse would teach a model to refuse what merely looks risky."""
    texts = [e.draft for p in load_constitution("core").principles for e in p.examples if not e.violates]
    declining = [text for text in texts if any(word in text for word in ("I can't", "I won't", "I cannot help"))]
    assert len(declining) <= len(texts) // 10
