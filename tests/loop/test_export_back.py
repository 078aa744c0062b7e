"""What an export writes is read back by `import-pairs`: the same prompt, chosen and rejected, to the letter."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from records.sources.import_pairs import ImportCounts, import_pairs
from records.sources.origin import Origin
from records.sources.rendered import Unrender
from records.splits import SplitShares
from records.store import read_rows
from tests.loop.test_cli import Command, command, refused
from tests.loop.toy_export import EARLIER, HOSTILE, SYSTEM, stored, write_run, write_template
from tests.scripted import byte_tokenizer

__all__ = ["command"]
ALL_TRAIN = SplitShares(validation=0, test=0)
Sides = dict[Any, tuple[str, str]]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_run(tmp_path_factory.mktemp("outputs") / "toy")


def exported(run: Path, to: str, output: Path, **more: Any) -> None:
    from loop.export import export
    from loop.export_wanted import Wanted

    export(Wanted(run, to, output, **more))


def sides(row: Any) -> tuple[Any, Any, Any]:
    found = row if isinstance(row, dict) else row.model_dump()
    return tuple(
        tuple((turn["role"], turn["content"]) for turn in found[name]) for name in ("prompt", "chosen", "rejected")
    )  # type: ignore[return-value]


def expect_all_back(run: Path, folder: Path, counts: ImportCounts) -> None:
    pairs = stored(run, 0, 1)
    assert counts.faults == {} and counts.ties == 0
    back = {sides(row): row["split"] for row in read_rows(folder)}
    assert back == {sides(pair): pair.split for pair in pairs}
    assert len(back) == len(pairs) == 20
    # The run holds what is easily lost: system lines, earlier turns, paragraphs, colons, marks and odd characters.
    contents = {turn for prompt, *_ in back for turn in prompt}
    assert {("system", SYSTEM.content), ("assistant", EARLIER[1].content)} <= contents
    assert any(content.startswith(HOSTILE) for _, content in contents)


@pytest.mark.parametrize(
    ("to", "preset"),
    [("trl", None), ("open-cai", None), ("nemo-rl", "nemo-rl"), ("annotated-pairs", "annotated-pairs")],
)
def test_a_layout_is_read_back_to_the_letter(run: Path, to: str, preset: str | None, tmp_path: Path) -> None:
    exported(run, to, tmp_path / "out")
    counts = import_pairs(Origin(path=str(tmp_path / "out"), preset=preset), tmp_path / "back", ALL_TRAIN)
    expect_all_back(run, tmp_path / "back", counts)
    # The open layout has every pair in two splits.
    assert counts.duplicates == (20 if to == "open-cai" else 0)


def test_strings_are_read_back_through_the_template_that_rendered_them(
    run: Path, command: Command, tmp_path: Path
) -> None:
    template = write_template(tmp_path)
    byte_tokenizer().save_pretrained(tmp_path / "model")
    exported(run, "trl-standard", tmp_path / "out", template=template)
    for number, name in enumerate((template, str(tmp_path / "model"))):
        options = ["--template", name, "--test", "0", "--validation", "0"]
        status, told = command("import-pairs", str(tmp_path / "out"), "-o", f"back{number}", *options)
        assert (status, "bad rows: 0" in told) == (0, True), told
        back = {sides(row): row["split"] for row in read_rows(tmp_path / f"back{number}")}
        assert back == {sides(pair): pair.split for pair in stored(run, 0, 1)}


def test_rendered_strings_are_never_taken_for_a_users_turn(run: Path, command: Command, tmp_path: Path) -> None:
    exported(run, "trl-standard", tmp_path / "out", template=write_template(tmp_path))
    told = refused(command, "import-pairs", str(tmp_path / "out"), "-o", "back")
    assert "prompt has been rendered by a chat template; expected turns, or the template by --template" in told
    other = tmp_path / "other.jinja"
    other.write_text(
        "{% for message in messages %}<|{{ message.role }}|>{{ message.content }}</s>{% endfor %}"
        "{% if add_generation_prompt %}<|assistant|>{% endif %}"
    )
    told = refused(command, "import-pairs", str(tmp_path / "out"), "-o", "back", "--template", str(other))
    assert "the template does not make chosen of the turns in it" in told
    assert "expected one of them" in refused(
        command, "import-pairs", "x", "-o", "back", "--template", str(other), "--preset", "hh-rlhf"
    )


def test_a_text_that_spells_a_marker_is_no_turn(tmp_path: Path) -> None:
    from records.chat_template import open_template
    from records.sources.sides import RowProblem

    unrender = Unrender(open_template(write_template(tmp_path)))
    turn = "<|im_start|>user\n{}<|im_end|>\n<|im_start|>assistant\n"
    row = {"prompt": turn.format("q"), "chosen": "a<|im_end|>\n", "rejected": "b<|im_end|>\n"}
    read = unrender(row)
    assert [message.content for name in ("prompt", "chosen", "rejected") for message in read[name]] == ["q", "a", "b"]
    for name, text in (("prompt", turn.format("q<|im_end|>")), ("chosen", "a<|im_start|><|im_end|>\n")):
        with pytest.raises(RowProblem, match="the template does not make"):
            unrender(row | {name: text})


def test_turns_count_only_where_the_template_makes_the_same_text_of_them(tmp_path: Path) -> None:
    """A template that trims wrote another text than the one that stands here."""
    from records.chat_template import open_template
    from records.sources.sides import RowProblem

    trimming = "{% for m in messages %}<|{{ m.role }}|>{{ m.content | trim }}<|end|>{% endfor %}"
    (tmp_path / "trims.jinja").write_text(trimming + "{% if add_generation_prompt %}<|assistant|>{% endif %}")
    unrender = Unrender(open_template(str(tmp_path / "trims.jinja")))
    row = {"prompt": "<|user|>q<|end|><|assistant|>", "chosen": "a<|end|>", "rejected": "b<|end|>"}
    assert unrender(row)["prompt"][0].content == "q"
    for name, text in (("prompt", "<|user|> q<|end|><|assistant|>"), ("rejected", "b <|end|>")):
        with pytest.raises(RowProblem, match="the template does not make"):
            unrender(row | {name: text})


def test_a_template_that_does_not_write_turns_as_they_are_is_refused(command: Command, tmp_path: Path) -> None:
    (tmp_path / "last.jinja").write_text("<|user|>{{ messages[-1].content }}")
    told = refused(command, "import-pairs", "x.jsonl", "-o", "back", "--template", "last.jinja")
    assert "--template last.jinja: " in told and "Export the pairs as trl instead" in told


def test_what_an_annotator_does_not_say_is_no_label(tmp_path: Path) -> None:
    import json

    def comparison(**annotations: Any) -> dict[str, Any]:
        texts = {f"response_{side}": {"text": side, "model": "m"} for side in "ab"}
        return {"id": "x", "prompt": "q", **texts, "annotations": annotations, "metadata": {}}

    said = [comparison(me={"pref": "b"}), comparison(me={"pref": None}), comparison(you={"pref": "a"})]
    metadata = {"version": "2.0", "default_annotator": "me"}
    (tmp_path / "a.json").write_text(json.dumps({"metadata": metadata, "annotators": {}, "comparisons": said}))
    source = Origin(path=str(tmp_path / "a.json"), preset="annotated_pairs")
    counts = import_pairs(source, tmp_path / "back", ALL_TRAIN)
    assert (counts.pairs.total(), counts.ties, counts.faults) == (1, 1, {"rating": 1})
    (pair,) = read_rows(tmp_path / "back")
    assert sides(pair) == ((("user", "q"),), (("assistant", "b"),), (("assistant", "a"),))
