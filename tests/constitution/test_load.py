"""Loading: what comes out of good files, and what is said about bad ones."""

import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from constitution.describe import describe
from constitution.load import library_names, load_constitution
from constitution.render import default_templates
from records.errors import ConfigError

DATA = Path(__file__).parents[1] / "data"
BAD = DATA / "bad" / "constitution"

# Per file: the lines of its problems, and words of what was found and expected.
RULES: dict[str, tuple[list[int], list[str]]] = {
    "bad_id": ([3], ["'Be Kind!'", "lower-case letters"]),
    "bad_regex": ([8], ["'(unclosed'", "RE2"]),
    "blank_text": ([4], ["blank text", "a sentence"]),
    "check_limits_contradict": ([6], ["found 9", "max_words, 3"]),
    "context_ends_with_user": ([6], ["ends with a user turn"]),
    "context_role": ([7], ["'robot'", "'system', 'user' or 'assistant'"]),
    "duplicate_id": ([5], ["'kind' twice, lines 3 and 5", "ids that differ"]),
    "duplicate_key": ([5], ["'text' twice, lines 4 and 5", "once"]),
    "empty_check": ([5], ["tests nothing", "forbid, require"]),
    "empty_file": ([1], ["an empty file", "a mapping"]),
    "empty_principles": ([2], ["no principle", "at least one"]),
    "example_against_check": ([9], ["violates: false", "the draft violates", "mend the check or the example"]),
    "example_missed_by_check": ([9], ["violates: true", "the draft complies"]),
    "extends_conflict": ([2], ["'kind' with different content", "Override it here"]),
    "extends_itself": ([2], ["a circle, extends_itself.yaml -> extends_itself.yaml"]),
    "extends_missing_path": ([3], ["nowhere/else.yaml", "core"]),
    "extends_unknown_name": ([2], ["'coer'", "coding, core", "Did you mean 'core'?"]),
    "key_not_text": ([2], ["found 1 as a key", "text"]),
    "lookahead_regex": ([5], ["'(?=x)'", "RE2"]),
    "malformed_yaml": ([3], ["malformed YAML"]),
    "missing_draft": ([6], ["no examples.1.draft", "the key draft"]),
    "missing_name": ([1], ["no name", "the key name"]),
    "missing_text": ([3], ["no text", "the key text"]),
    "not_a_mapping": ([1], ["a list", "a mapping with the keys name and principles"]),
    "off_false": ([4], ["off: false", "off: true"]),
    "off_unknown_id": ([4], ["'polit'", "Did you mean 'polite'?"]),
    "off_with_more_keys": ([4], ["'weight'", "one of id, off"]),
    "override_unknown_id": ([4], ["'polit'", "Did you mean 'polite'?"]),
    "principle_not_a_mapping": ([3], ["'The answer is kind.'", "a mapping with id and text"]),
    "revision_against_check": ([10], ["violates the exact check", "complies"]),
    "revision_is_draft": ([9], ["the draft again", "a text that differs"]),
    "second_document": ([3], ["a second document", "one per file"]),
    "severity_against_violates": ([9], ["severity 0 with violates: true", "1, 2 or 3"]),
    "severity_out_of_range": ([7], ["found 9", "at most 3"]),
    "tag": ([4, 4], ["python/object", "plain values"]),
    "template_bare_answer": ([3], ["answer bare", "{{ answer | fenced }}"]),
    "template_constant_bomb": ([3, 3], ["uses Pow", "the filter center"]),
    "template_escape": ([3], ["uses Getattr", "only text, {{ values }}, filters and if"]),
    "template_invents_variable": ([3], ["uses tone, which nothing fills in", "principle, prompt, request"]),
    "template_lacks_variable": ([3], ["lacks answer", "answer, prompt, request"]),
    "template_loop": ([3, 3], ["uses For"]),
    "template_shows_variable_at_times": ([3], ["lacks principle", "in every case"]),
    "template_syntax": ([3], ["malformed at line 1 of the template"]),
    "unknown_check_key": ([6], ["'check.forbit'", "Did you mean 'forbid'?"]),
    "unknown_example_key": ([9], ["'examples.1.rewrite'", "revision"]),
    "unknown_key": ([2], ["'principels'", "Did you mean 'principles'?"]),
    "unknown_principle_key": ([5], ["'wieght'", "Did you mean 'weight'?"]),
    "unknown_template": ([3], ["'critic'", "Did you mean 'critique'?"]),
    "weight_infinite": ([5], ["found inf", "a finite number"]),
    "weight_zero": ([5], ["found 0", "a number greater than 0"]),
    "wrong_type_principles": ([2], ["a mapping", "a list"]),
    "wrong_type_text": ([4], ["found 5", "text (in quotes"]),
    "wrong_type_violates": ([8], ["'yes'", "true or false"]),
}


def write(folder: Path, text: str, name: str = "c.yaml") -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def problem_of(source: str | Path) -> str:
    with pytest.raises(ConfigError) as caught:
        load_constitution(source)
    return str(caught.value)


def test_every_bad_file_has_a_rule() -> None:
    assert {path.stem for path in BAD.glob("*.yaml")} == set(RULES) and len(RULES) > 50


@pytest.mark.parametrize("name", sorted(RULES))
def test_bad_file(name: str) -> None:
    path = BAD / f"{name}.yaml"
    lines, words = RULES[name]
    message = problem_of(path)
    assert [int(line) for line in re.findall(re.escape(f"{path}, line ") + r"(\d+):", message)] == lines
    for word in [*words, "nothing was run", f"constitute check {path}"]:
        assert word in message
    if name != "empty_check":
        assert "found" in message and "expected" in message


def test_all_problems_of_all_files_at_once(tmp_path: Path) -> None:
    below = write(tmp_path, "name: b\nprinciples:\n  - {id: x, text: X is so., weight: -1}\n", "below.yaml")
    path = write(
        tmp_path,
        "name: 7\nextends: below.yaml\nprinciples:\n  - {id: a, text: 5, weigth: 1}\n"
        "  - {id: B, text: Kind.}\ntemplates: {revise: '{{ x }}'}\n",
    )
    message = problem_of(path)
    found = [f"{name} {line}" for name, line in re.findall(r"(\w+)\.yaml, line (\d+)", message)]
    assert found == ["c 1", "c 4", "c 4", "c 5", "c 6", "c 6", "below 3"]
    assert "7 problems" in message and str(below) in message


def test_extends_overrides_and_switches_off(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        f"name: own\nextends: ['{DATA / 'good' / 'kind.yaml'}']\nprinciples:\n"
        "  - {id: kind, weight: 0.5, applies_when: Somebody asks.}\n  - {id: brief, off: true}\n"
        "  - {id: new, text: The answer is new.}\ntemplates: {verify: '{{ prompt | transcript }}"
        "{{ answer | fenced }}{{ principle }}'}\n",
    )
    loaded = load_constitution(path)
    kind, new = loaded.principles
    assert (kind.id, kind.text, kind.category, kind.weight) == ("kind", "The answer is kind.", "respect", 0.5)
    assert kind.applies_when == "Somebody asks." and new.id == "new"
    assert loaded.templates.verify == ("{{ prompt | transcript }}{{ answer | fenced }}{{ principle }}",)
    assert loaded.templates.critique == default_templates().critique


def test_override_is_checked_with_what_it_inherits(tmp_path: Path) -> None:
    base = "name: b\nprinciples:\n  - id: x\n    text: It never says no.\n    examples:\n"
    write(tmp_path, base + "      - {prompt: Eh?, draft: 'no', violates: false}\n", "b.yaml")
    path = write(tmp_path, "name: c\nextends: b.yaml\nprinciples:\n  - {id: x, check: {forbid: ['no']}}\n")
    assert "c.yaml, line 4" in problem_of(path)


def test_diamond_is_no_conflict_and_conflict_is_settled_by_the_file(tmp_path: Path) -> None:
    assert len(load_constitution(write(tmp_path, "name: m\nextends: [core, core]\n")).principles) >= 20
    good = DATA / "good"
    path = write(
        tmp_path,
        f"name: m\nextends: ['{good / 'kind.yaml'}', '{good / 'kind_otherwise.yaml'}']\n"
        "principles: [{id: kind, weight: 3}]\n",
    )
    kind = load_constitution(path).principles[0]
    assert (kind.id, kind.text, kind.weight) == ("kind", "The answer is friendly.", 3)


def test_extended_file_stays_in_its_folder(tmp_path: Path) -> None:
    write(tmp_path, "name: s\nprinciples: [{id: s, text: A secret.}]\n", "secret.yaml")
    write(tmp_path, "name: m\nextends: ../secret.yaml\n", "shared/middle.yaml")
    top = write(tmp_path, "name: t\nextends: shared/middle.yaml\n")
    message = problem_of(top)
    assert "out of the folder" in message and "middle.yaml, line 2" in message
    write(tmp_path, f"name: m\nextends: '{tmp_path / 'secret.yaml'}'\n", "shared/middle.yaml")
    assert "out of the folder" in problem_of(top)
    write(tmp_path, "name: m\nextends: link.yaml\n", "shared/middle.yaml")
    (tmp_path / "shared" / "link.yaml").symlink_to(tmp_path / "secret.yaml")
    assert "out of the folder" in problem_of(top)
    # The file the user named may reach anywhere.
    named = write(tmp_path, "name: n\nextends: ../secret.yaml\n", "shared/named.yaml")
    assert load_constitution(named).principles[0].id == "s"


def test_circle_over_two_files(tmp_path: Path) -> None:
    write(tmp_path, "name: a\nextends: b.yaml\n", "a.yaml")
    write(tmp_path, "name: b\nextends: a.yaml\n", "b.yaml")
    assert "a circle, a.yaml -> b.yaml -> a.yaml" in problem_of(tmp_path / "a.yaml")


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("name: &a [*a]\n", "unknown alias"),
        ("[" * 5000, "nested deeper"),
        ("a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n", "expand too far"),
        ("# " + "x" * (5 << 20), "bytes"),
    ],
)
def test_hostile_yaml_is_refused_quickly(tmp_path: Path, text: str, word: str) -> None:
    if word == "expand too far":
        text += "".join(f"a{n}: &a{n} [{','.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 12))
    started = time.monotonic()
    assert word in problem_of(write(tmp_path, text))
    assert time.monotonic() - started < 5


def test_anchors_are_fine(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        "name: c\nprinciples:\n  - {id: a, text: A., check: &k {forbid: [x]}}\n  - {id: b, text: B., check: *k}\n",
    )
    first, second = load_constitution(path).principles
    assert first.check == second.check and first.check is not None


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    assert "no such file" in problem_of(tmp_path / "gone.yaml")
    assert "a folder" in problem_of(tmp_path)
    (tmp_path / "latin.yaml").write_bytes("name: Käthe".encode("latin-1"))
    assert "not UTF-8" in problem_of(tmp_path / "latin.yaml")
    (tmp_path / "bell.yaml").write_bytes(b"name: \x07")
    assert "malformed" in problem_of(tmp_path / "bell.yaml")
    message = problem_of("coer")
    assert "Did you mean 'core'?" in message and "medical" in message


def test_words_of_yaml_1_1_stay_text(tmp_path: Path) -> None:
    path = write(tmp_path, "name: no\nversion: 2024-01-05\nprinciples: [{id: on, text: yes, weight: 5e-1}]\n")
    loaded = load_constitution(path)
    assert (loaded.name, loaded.version, loaded.principles[0].text) == ("no", "2024-01-05", "yes")
    assert loaded.principles[0].weight == 0.5


def test_describe_names_everything(tmp_path: Path) -> None:
    loaded = load_constitution("support")
    text = describe(loaded)
    assert loaded.digest in text and "care 3" in text and "1 of" in text
    for principle in loaded.principles:
        assert sum(line.startswith(f"{principle.id} ") for line in text.splitlines()) == 1
    hostile = 'name: "c\\e[2J"\ndescription: "d\\e]0;x\\a"\nprinciples: [{id: a, text: "A.\\nb  1\\e[2J"}]\n'
    odd = load_constitution(write(tmp_path, hostile))
    assert not {"\x1b", "\a"} & set(describe(odd)) and describe(odd).splitlines()[-1].startswith("a ")


def test_what_a_file_says_moves_no_cursor_when_its_problems_are_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load_constitution(write(tmp_path, 'name: c\nprinciples: [{id: "a\\e[2J", text: A, weight: "\\e[2J"}]\n'))
    assert "\x1b" not in str(caught.value) and r"\x1b[2J" in str(caught.value)


def test_loading_is_quick_and_imports_no_model_library() -> None:
    code = (
        "import sys, time\nfrom constitution.load import load_constitution\n"
        "from constitution.describe import describe\n"
        "load_constitution('demo')\nstart = time.perf_counter()\ndescribe(load_constitution('core'))\n"
        "assert time.perf_counter() - start < 1\n"
        "assert not {'torch', 'vllm', 'transformers', 'trl'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_library_names_are_the_files() -> None:
    assert {"core", "demo", "medical", "coding", "support"} <= set(library_names())
