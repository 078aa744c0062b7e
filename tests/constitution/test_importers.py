"""Imports: wording to the letter, stable ids, few-shots as examples; on own small files and on the real ones."""

import json
from pathlib import Path
from typing import Any

import pytest

from constitution.importers import derived_id, import_constitution, import_questions
from constitution.load import load_constitution
from constitution.schema import Constitution, Principle
from records.errors import DataError

OWN = Path(__file__).parents[1] / "data" / "import"
REAL = Path(__file__).parents[3] / "shared" / "data"
CAI = REAL / "anthropic_cai"
needs_real = pytest.mark.skipif(not REAL.is_dir(), reason="the public files are not here")


def imported(folder: Path, *paths: Path) -> Constitution:
    out = folder / "out.yaml"
    out.write_text(import_constitution(list(paths)), encoding="utf-8")
    return load_constitution(out)


def write(folder: Path, content: Any) -> Path:
    path = folder / "in.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


def by_critique(loaded: Constitution, critique: str) -> Principle:
    return next(principle for principle in loaded.principles if principle.critique == critique)


def test_instructions_keep_ids_and_wording(tmp_path: Path) -> None:
    loaded = imported(tmp_path, OWN / "instructions.json")
    first, second, third, fourth, edit, prompt = loaded.principles
    assert (first.id, second.id, edit.id, prompt.id) == ("rude0", "rude3", "only_edit", "only_prompt")
    assert first.critique == "Identify ways in which the assistants last reply is rude."
    assert first.revise == "Please rewrite the reply so that its not rude."
    assert first.revise in first.text
    assert second.critique == 'Say wether the reply: was it "kind"?\nTwo lines.'
    assert second.revise == "Make it kinder # please."
    assert third.id.startswith("other-key-") and fourth.id == f"{third.id}-2"
    assert (third.critique, fourth.critique) == ("Discuss the tone.", "Discuss the tone again.")
    assert (edit.critique, edit.revise) == (None, "Shorten it.")
    assert (prompt.critique, prompt.revise) == ("Name what is unclear.", None)


def test_few_shots_become_examples(tmp_path: Path) -> None:
    text = import_constitution(OWN / "few_shots.json")
    assert "entry 5: left out" in text and "complying by its critique" in text
    rude, patient = imported(tmp_path, OWN / "few_shots.json").principles
    first, second, third = rude.examples
    asked, answered = first.context
    assert (asked.role, asked.content) == ("user", "Hi, who are you?")
    assert (answered.role, answered.content) == ("assistant", "A helper.")
    assert (first.prompt, first.draft) == ("Can you count to three?", "Any fool can.  Even you.")
    assert (first.violates, first.critique, first.revision) == (
        True,
        "It calls the person a fool.",
        "Yes: one, two, three.",
    )
    assert (second.violates, second.revision) == (False, None)
    assert (third.violates, third.revision) == (False, "That makes six.")
    # A second critique is about the revision of the first.
    assert patient.examples[1].draft == patient.examples[0].revision


def test_instructions_and_few_shots_merge(tmp_path: Path) -> None:
    loaded = imported(tmp_path, OWN / "instructions.json", OWN / "few_shots.json")
    assert [len(principle.examples) for principle in loaded.principles] == [3, 0, 0, 0, 0, 0, 2]


def test_open_layout(tmp_path: Path) -> None:
    text = import_constitution(OWN / "open_layout.json")
    assert "constitutions 3 says the same" in text and "system_chat 5: left out" in text
    assert "is left out, it has no revision: It says yes twice." in text
    rude, long = imported(tmp_path, OWN / "open_layout.json").principles
    assert rude.id == derived_id("Was the response rude?", "Rewrite it politely.")
    assert [(e.prompt, len(e.context), e.violates) for e in rude.examples] == [
        ("Hello?", 0, True),
        ("Where is it?", 2, True),
        ("Tell me a fact.", 0, False),
    ]
    assert long.revise == "Cut it short." and long.examples == ()


def test_derived_ids_do_not_depend_on_the_order(tmp_path: Path) -> None:
    content = json.loads((OWN / "open_layout.json").read_text())
    ids = {principle.id for principle in imported(tmp_path, OWN / "open_layout.json").principles}
    content["constitutions"].reverse()
    assert {principle.id for principle in imported(tmp_path, write(tmp_path, content)).principles} == ids


def test_traits(tmp_path: Path) -> None:
    loaded = imported(tmp_path, OWN / "traits.json")
    assert [principle.text for principle in loaded.principles] == [
        "I ask back when a request is unclear.",
        "I admit what I don't know.",
    ]
    assert import_questions(OWN / "traits.json") == ["Can you fix it?", 'Do the thing: "now"']


@pytest.mark.parametrize(
    ("content", "word"),
    [
        ("{", "malformed JSON"),
        ({}, "none of the known layouts"),
        ([], "none of the known layouts"),
        ([1, 2], "none of the known layouts"),
        ({"a": 1}, "none of the known layouts"),
        ({"a": {"prompt": 5}}, "key 'a'"),
        ({"a": {"prompt": "p", "edit_request": 5}}, "edit_request"),
        ({"a": {"prompt": "", "edit_request": ""}}, "neither a critique"),
        ({"a": {"prompt": "p"}, "b": 3}, "key 'b'"),
        ({"constitutions": [{"critic": 5}]}, "constitutions 1"),
        ({"constitutions": []}, "no principle"),
        ({"constitutions": 5}, "constitutions 1"),
        ([{"trait": ""}], "entry 1"),
        ('{"a": {"prompt": "\\ud800"}}', "not valid Unicode"),
        ("[" * 100_000, "nested"),
    ],
)
def test_what_cannot_be_imported_is_named(tmp_path: Path, content: Any, word: str) -> None:
    path = write(tmp_path, content)
    with pytest.raises(DataError) as caught:
        import_constitution(path)
    assert word in str(caught.value) and str(path) in str(caught.value)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read"):
        import_constitution(tmp_path / "gone.json")


@pytest.mark.parametrize("chat", [None, 5, [], [1], [{"role": "user"}], [{"role": "user", "content": "x"}] * 7])
def test_odd_chats_do_not_crash(tmp_path: Path, chat: Any) -> None:
    content = {"constitutions": [{"critic": "a", "revision": "b"}], "system_chat": [chat]}
    assert imported(tmp_path, write(tmp_path, content)).principles[0].examples == ()


def test_wording_survives_whatever_it_holds(tmp_path: Path) -> None:
    odd = "a: b # c\n\n  'd' \"e\" {{ f }} *g &h %i\t… \U0001f600 \x85 \u2028 end -"
    loaded = imported(tmp_path, write(tmp_path, {"k": {"prompt": odd, "edit_request": f"x{odd}"}}))
    assert (loaded.principles[0].critique, loaded.principles[0].revise) == (odd, f"x{odd}")


@needs_real
def test_real_instructions(tmp_path: Path) -> None:
    path = CAI / "CritiqueRevisionInstructions.json"
    loaded = imported(tmp_path, path)
    raw = json.loads(path.read_text())
    assert [principle.id for principle in loaded.principles] == [f"harmful{number}" for number in range(16)]
    for principle in loaded.principles:
        entry = raw[principle.id]
        assert f"\n\nCritiqueRequest: {principle.critique}\n\nCritique:" == entry["prompt"][0]
        assert f"\n\nRevisionRequest: {principle.revise}\n\nRevision:" == entry["edit_request"]


@needs_real
def test_real_few_shots(tmp_path: Path) -> None:
    path = CAI / "CritiqueRevisionFewShotPrompts.json"
    transcripts = json.loads(path.read_text())
    loaded = imported(tmp_path, path)
    examples = [example for principle in loaded.principles for example in principle.examples]
    assert len(examples) == len(transcripts) == 5
    assert [example.violates for example in examples] == [True, True, False, False, True]
    assert [len(example.context) for example in examples] == [2, 0, 0, 2, 2]
    for example, text in zip(examples, transcripts, strict=True):
        assert all(part in text for part in (example.prompt, example.draft, example.critique, example.revision or ""))
    merged = imported(tmp_path, CAI / "CritiqueRevisionInstructions.json", path)
    assert next(p.id for p in merged.principles if p.examples) == "harmful3" and len(merged.principles) == 17


@needs_real
def test_real_open_layout(tmp_path: Path) -> None:
    path = REAL / "hf_cai" / "constitution_anthropic.json"
    raw = json.loads(path.read_text())
    loaded = imported(tmp_path, path)
    assert [(p.critique, p.revise) for p in loaded.principles] == [
        (entry["critic"], entry["revision"]) for entry in raw["constitutions"]
    ]
    attached = [example for principle in loaded.principles for example in principle.examples]
    assert len(attached) == len(raw["system_chat"]) == 4
    assert [example.violates for example in attached] == [True, True, True, False]
