from __future__ import annotations

import json

import pytest

from records.errors import DataError
from tests.trainer.tiny import row
from trainer.preferences import read_preferences


def plain(prompt="Q?", chosen="yes", rejected="no", **more):
    return {"prompt": prompt, "chosen": chosen, "rejected": rejected, **more}


def sides(preference):
    return tuple(
        side if isinstance(side, str) else [(message.role, message.content) for message in side]
        for side in (preference.prompt, preference.chosen, preference.rejected)
    )


def test_standard_rows_keep_orientation(write_rows):
    (preference,) = read_preferences([write_rows([plain("Q?", "good", "bad")])])
    assert sides(preference) == ("Q?", "good", "bad")
    assert preference.split == "train"
    assert preference.id == "pairs.jsonl:1"


def test_conversational_rows_keep_orientation_and_turns(write_rows):
    prompt = [("system", "Be kind."), ("user", "a"), ("assistant", "b"), ("user", "c")]
    turns = [{"role": role, "content": content} for role, content in prompt]
    rows = [{**row("", "good", "bad"), "prompt": turns, "id": "x"}]
    (preference,) = read_preferences([write_rows(rows)])
    assert sides(preference) == (prompt, [("assistant", "good")], [("assistant", "bad")])
    assert preference.id == "x"


def test_a_prompt_that_both_sides_begin_with_is_split_off(write_rows):
    whole = row("hi", "good", "bad")
    messages = {"chosen": whole["prompt"] + whole["chosen"], "rejected": whole["prompt"] + whole["rejected"]}
    texts = {"chosen": "Q: hi\n\nA: It is good", "rejected": "Q: hi\n\nA: I do not know"}
    first, second = read_preferences([write_rows([messages, texts])])
    assert sides(first) == ([("user", "hi")], [("assistant", "good")], [("assistant", "bad")])
    # "I" is common to both answers and part of neither prompt nor a word.
    assert sides(second) == ("Q: hi\n\nA:", " It is good", " I do not know")


def test_every_file_kind_gives_the_same_pairs(tmp_path, write_rows):
    import pyarrow
    from datasets import Dataset
    from pyarrow.parquet import write_table

    rows = [row("a", "good", "bad"), row("b", "fine", "poor")]
    paths = [write_rows(rows), tmp_path / "pairs.json", tmp_path / "pairs.parquet", tmp_path / "saved"]
    paths[1].write_text(json.dumps(rows))
    write_table(pyarrow.Table.from_pylist(rows), paths[2])
    Dataset.from_list(rows).save_to_disk(str(paths[3]))
    found = [[sides(preference) for preference in read_preferences([path])] for path in paths]
    assert found[0] == found[1] == found[2] == found[3]
    assert len(found[0]) == 2


def test_a_folder_of_files_is_read_with_the_split_of_their_names(write_rows, tmp_path):
    write_rows([plain("a")], "data/train-00000.jsonl")
    write_rows([plain("b")], "data/validation-00000.jsonl")
    found = read_preferences([tmp_path / "data"])
    assert [(preference.prompt, preference.split) for preference in found] == [("a", "train"), ("b", "validation")]
    write_rows([plain("c")], "data/test-00000.jsonl")
    with pytest.raises(DataError, match="held out for evaluation"):
        read_preferences([tmp_path / "data"])


def test_own_shards_pass_over_a_torn_last_line_and_refuse_an_id_twice(tmp_path):
    lines = [json.dumps(row("a", "good", "bad", id=id, provenance={})) + "\n" for id in ("one", "two")]
    (tmp_path / "part-00000.jsonl").write_text("".join(lines) + lines[0][:20])
    assert [preference.id for preference in read_preferences([tmp_path])] == ["one", "two"]
    (tmp_path / "part-00000.jsonl").write_text("".join([*lines, lines[0]]))
    with pytest.raises(DataError, match="row 3: id one is also that of row 1"):
        read_preferences([tmp_path])


def test_a_rounds_pairs_are_the_same_as_lines_as_parquet_and_as_both(tmp_path):
    from records.compact import compact_round
    from records.store import RowStore, shards
    from tests.generator.toy import outcome_of, script
    from tests.loop.toy_export import outcomes, talk, write_rows

    write_rows(tmp_path, outcomes())
    before = read_preferences([tmp_path / "pairs"])
    compact_round(tmp_path)
    after = read_preferences([tmp_path / "pairs"])
    assert after == before and len(after) == 10
    store = RowStore(tmp_path / "pairs")
    store.append(outcome_of(script(), talk("Later?")))
    store.close()
    assert {path.suffix for path in shards(tmp_path / "pairs")} == {".jsonl", ".parquet"}
    both = read_preferences([tmp_path / "pairs"])
    assert both[:10] == before and both[10].prompt[0].content == "Later?"


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (
            {"prompt": "a", "chosen": "b"},
            "no column rejected (found prompt, chosen); expected prompt, chosen, rejected",
        ),
        ({"question": "a", "answer": "b"}, "no column chosen and no column rejected (found question, answer)"),
        (plain(chosen=""), "chosen is empty"),
        (plain(rejected=" \n"), "rejected is empty"),
        (plain(prompt=""), "prompt is empty"),
        (plain(chosen="same", rejected="same"), "chosen equals rejected"),
        (row("a", "same", "same"), "chosen equals rejected"),
        (row("a", " ", "bad"), "chosen is empty"),
        (plain(split="test"), "split is 'test', which is held out for evaluation"),
        (plain(split="dev"), "split is 'dev'; expected train or validation"),
        ({**row("a", "b", "c"), "prompt": "a"}, "prompt is str, chosen is list, rejected is list; expected three"),
        (plain(chosen=3), "prompt is str, chosen is int, rejected is str; expected three"),
        ({**row("a", "b", "c"), "chosen": []}, "turns of chosen are none; expected one assistant turn"),
        ({**row("a", "b", "c"), "rejected": [{"role": "user", "content": "c"}]}, "turns of rejected are user"),
        ({**row("a", "b", "c"), "prompt": []}, "turns of prompt are none"),
        ({**row("a", "b", "c"), "prompt": [{"role": "assistant", "content": "a"}]}, "turns of prompt are assistant"),
        ({**row("a", "b", "c"), "prompt": [{"role": "user", "content": "a"}] * 2}, "turns of prompt are user, user"),
        ({**row("a", "b", "c"), "prompt": [{"role": "tool", "content": "a"}]}, "a turn of prompt has role 'tool'"),
        ({**row("a", "b", "c"), "prompt": [{"from": "user", "value": "a"}]}, "a turn of prompt holds from, value"),
        ({**row("a", "b", "c"), "prompt": [{"role": "user", "content": None}]}, "a turn of prompt holds role"),
        ({"chosen": "Good.", "rejected": "Bad."}, "no prompt, and chosen and rejected share no beginning"),
        ([1, 2], "is list; expected an object"),
    ],
)
def test_a_row_that_cannot_be_used_is_named(write_rows, wrong, words):
    with pytest.raises(DataError) as error:
        read_preferences([write_rows([plain(), wrong])])
    assert f"row 2: {words}" in str(error.value)
    assert "1 problem in the pairs; nothing was trained." in str(error.value)


def test_all_problems_of_all_files_come_at_once(write_rows):
    first = write_rows([plain(), plain(chosen=""), plain(chosen="")], "first.jsonl")
    second = write_rows([plain(split="test"), {"prompt": "a"}], "second.jsonl")
    second.write_text(second.read_text() + "{torn\n")
    with pytest.raises(DataError) as error:
        read_preferences([first, second])
    message = str(error.value)
    assert f"{first}: rows 2, 3: chosen is empty" in message
    assert f"{second}: row 1: split is 'test'" in message
    assert f"{second}: row 2: no column chosen" in message
    assert f"{second}: row 3: not JSON" in message
    assert "4 problems in the pairs" in message


def test_a_long_list_of_problems_is_cut_with_its_count(write_rows):
    rows = [plain(split=f"s{index}") for index in range(30)]
    with pytest.raises(DataError, match="and 10 more\n30 problems"):
        read_preferences([write_rows(rows)])


def test_columns_that_a_columnar_file_fills_with_nothing_are_no_problem(write_rows):
    rows = [row("a", "good", "bad")]
    rows[0]["prompt"][0]["name"] = None
    assert len(read_preferences([write_rows(rows)])) == 1


def test_a_path_without_pairs_is_named(tmp_path, write_rows):
    from datasets import Dataset, DatasetDict

    (tmp_path / "empty").mkdir()
    (tmp_path / "notes.txt").write_text("hello")
    one = Dataset.from_list([plain()])
    DatasetDict({"train": one, "test": one}).save_to_disk(str(tmp_path / "both"))
    cases = {
        "nowhere": "there are no pairs here",
        "empty": "the folder holds no pairs",
        "notes.txt": "cannot be read from a .txt file",
        "both": r"several splits \(train, test\); give one of them",
    }
    for name, words in cases.items():
        with pytest.raises(DataError, match=words):
            read_preferences([tmp_path / name])
    with pytest.raises(DataError, match="there is no row"):
        read_preferences([write_rows([])])
