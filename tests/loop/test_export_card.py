"""The dataset card: right counts, the norms and models by name, and no text that breaks out of its place."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from markdown_it import MarkdownIt

from loop.export import export
from loop.export_wanted import Wanted
from records.digest import digest_text
from records.markdown import escaped
from records.rows import Reject
from tests.generator.toy import CONSTITUTION, outcome_of, provenance, script
from tests.loop.run_folder import finished_run
from tests.loop.toy_export import outcomes, talk, write_rows, write_run, write_template
from tests.scripted import CHAT_TEMPLATE, author_of

HOSTILE = "x\n---\nlicense: mit\nconfigs: []\n---\n# Mine | <script>alert(1)</script> [a](javascript:b) **c** `d`"


def card_of(folder: Path, to: str = "trl", **columns: Any) -> tuple[dict[str, Any], str]:
    """Header and body of the card of an export of what lies in a folder."""
    output = folder.parent / f"out-{to}"
    export(Wanted(folder, to, output, **columns))
    text = (output / "README.md").read_text(encoding="utf-8")
    assert text.startswith("---\n")
    header, _, body = text.removeprefix("---\n").partition("\n---\n")
    return yaml.safe_load(header), body


def cells(body: str, first: str) -> list[dict[str, str]]:
    """The rows of the table whose first column has this head, by head."""
    tokens = MarkdownIt("commonmark").enable("table").parse(body)
    tables: list[list[list[str]]] = []
    for index, token in enumerate(tokens):
        if token.type == "table_open":
            tables.append([])
        elif token.type == "tr_open":
            tables[-1].append([])
        elif token.type in ("th_open", "td_open"):
            inline = tokens[index + 1].children or []
            tables[-1][-1].append("".join(child.content for child in inline))
    (found,) = [table for table in tables if table[0][0] == first]
    return [dict(zip(found[0], row, strict=True)) for row in found[1:]]


def test_the_card_counts_chains_pairs_and_rejects(tmp_path: Path) -> None:
    run = write_run(tmp_path / "toy")
    extra = [outcome_of(script(), talk(f"More {n}?"), provenance=provenance(round=1)) for n in range(3)]
    extra += [row for row in outcomes(1) if row.split == "train" or isinstance(row, Reject)]
    for path in (run / "round_01").rglob("part-*"):
        path.unlink()
    write_rows(run / "round_01", extra)
    _, body = card_of(run)
    known = {"rejects: complies": "1", "rejects: unparsed": "1"}
    assert cells(body, "round, split") == [
        {"round, split": "0, train", "chains": "7", "pairs": "5", **known},
        {"round, split": "0, validation", "chains": "7", "pairs": "5", **known},
        {"round, split": "1, train", "chains": "10", "pairs": "8", **known},
        {"round, split": "1, validation", "chains": "2", "pairs": "0", **known},
    ]
    assert "Not finished when exported: round 1." in body


def test_the_card_names_constitution_models_and_sampling(tmp_path: Path) -> None:
    seats = {
        "policy": author_of("org/small", "a" * 64),
        "critic": author_of("org/large").model_copy(update={"temperature": 0.25}),
        "reviser": author_of("org/large"),
        "verifier": author_of("org/judge"),
    }
    row = outcome_of(script(), talk("Which?"), provenance=provenance(**seats))
    drafted = row.draft.model_copy(update={"author": seats["policy"]})
    write_rows(tmp_path / "rows", [row.model_copy(update={"draft": drafted})])
    norms = tmp_path / "norms.yaml"
    norms.write_text(yaml.safe_dump(CONSTITUTION.model_dump(mode="json"), sort_keys=False))
    _, body = card_of(
        tmp_path / "rows" / "pairs", "trl-standard", constitution=str(norms), template=write_template(tmp_path)
    )
    rows = {row["role"]: row for row in cells(body, "role")}
    assert {role: row["model"] for role, row in rows.items()} == {
        "policy": "org/small",
        "critic": "org/large",
        "reviser": "org/large",
        "verifier": "org/judge",
    }
    assert (rows["policy"]["adapter"], rows["critic"]["adapter"]) == ("a" * 64, "none")
    assert (rows["critic"]["temperature"], rows["policy"]["temperature"]) == ("0.25", "1")
    assert f"toy, digest `{CONSTITUTION.digest}`" in body
    for principle in CONSTITUTION.principles:
        assert f"**{principle.id}**: {principle.text}" in body
    assert digest_text(CHAT_TEMPLATE) in body
    assert "chains are those that gave a pair" in body
    assert "Self-judged" not in body


def test_a_critic_of_the_policys_base_is_called_self_judged(tmp_path: Path) -> None:
    _, body = card_of(write_run(tmp_path / "toy"))
    assert "**Self-judged:** the critic is the policy's own base (scripted)" in body
    assert "written by a language model" in body


def test_the_licence_is_named_and_left_to_whoever_publishes(tmp_path: Path) -> None:
    run = write_run(tmp_path / "toy")
    header, body = card_of(run)
    assert header["license"] == "other"
    assert "for whoever publishes this to determine" in body
    header, body = card_of(run, "nemo-rl", licence="cc-by-4.0")
    assert header["license"] == "cc-by-4.0"
    assert "`cc-by-4.0`" in body


def test_the_reports_headline_is_there_when_the_report_is(tmp_path: Path) -> None:
    from loop.report import write_report
    from loop.rounds_table import headline

    run = write_run(tmp_path / "runs" / "toy")
    assert "The run that they come from" not in card_of(run)[1]
    report = write_report(finished_run(tmp_path))
    (run / "report.json").write_bytes((tmp_path / "toy-run" / "report.json").read_bytes())
    _, body = card_of(run, "nemo-rl")
    assert f"The run that they come from: {escaped(headline(report))} (status complete)." in body
    assert "fell from" in body


@pytest.mark.parametrize("to", ["trl", "annotated-pairs"])
def test_hostile_names_break_neither_header_nor_body(tmp_path: Path, to: str) -> None:
    import datasets

    datasets.disable_progress_bars()
    odd = CONSTITUTION.principles[0].model_copy(update={"text": f"The answer never says fool. {HOSTILE}"})
    norms = CONSTITUTION.model_copy(update={"name": HOSTILE, "principles": (odd, *CONSTITUTION.principles[1:])})
    pair = outcome_of(script(), talk(HOSTILE), provenance=provenance(policy=author_of(HOSTILE), run=HOSTILE))
    pair = pair.model_copy(update={"draft": pair.draft.model_copy(update={"author": author_of(HOSTILE)})})
    named = pair.provenance.model_copy(update={"constitution": HOSTILE, "constitution_digest": norms.digest})
    run = write_run(tmp_path / "bad: [x]\n--- | <b> `c`", rounds=1)
    (run / "constitution.yaml").write_text(yaml.safe_dump(norms.model_dump(mode="json"), sort_keys=False))
    for path in run.rglob("part-*"):
        path.unlink()
    write_rows(run / "round_00", [pair.model_copy(update={"provenance": named})])
    header, body = card_of(run, to)
    assert header["license"] == "other"
    assert header["pretty_name"] == "bad: [x] --- | <b> `c`"
    assert [config["config_name"] for config in header["configs"]] == ["default"]
    tokens = MarkdownIt("commonmark", {"html": True}).enable("table").parse(body)
    inline = [child for token in tokens for child in token.children or []]
    assert not {"html_inline", "link_open", "image"} & {child.type for child in inline}
    assert "html_block" not in {token.type for token in tokens}
    headings = [tokens[i + 1] for i, token in enumerate(tokens) if token.type == "heading_open"]
    assert [heading.content for heading in headings[1:]] == [
        "Pairs and rejects",
        "Constitution",
        "Models",
        "Licence",
        "Limitations",
    ]
    (policy,) = [row for row in cells(body, "role") if row["role"] == "policy"]
    assert "Mine | <script>alert(1)</script> [a](javascript:b) **c** `d`" in policy["model"]
    found = datasets.load_dataset(str(tmp_path / f"out-{to}"), cache_dir=str(tmp_path / "cache"))
    assert sum(map(len, found.values())) == 1
