"""Hostile names in Markdown: shown as they are, and nothing else happens."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from records.markdown import bullets, escaped, one_line, table

HOSTILE = [
    "a | b |",
    "<script>alert(1)</script>",
    "<!-- gone",
    "&lt;b&gt; &#124;",
    "[x](javascript:alert(1)) ![p](http://example.com/p.png)",
    "**bold** _it_ `code` ~~no~~ \\| \\",
    "line\n---\nlicense: mit\n---\n# heading",
    "\u2028---\u2028 \x00 \x1b[31m \u202e",
    "``` fence",
    "- item",
    "1. item",
    "https://example.com www.example.com",
    "ö, 漢字, \U0001f680",
]


def rendered(text):
    return MarkdownIt("commonmark").enable(["table", "strikethrough"]).parse(text)


def shown(inline):
    """The text of an inline token; fails where it is more than text."""
    assert {child.type for child in inline.children} <= {"text", "text_special"}, inline.content
    return "".join(child.content for child in inline.children)


def check(text):
    tokens = rendered(f"Name: {escaped(text)}")
    assert [token.type for token in tokens] == ["paragraph_open", "inline", "paragraph_close"]
    assert shown(tokens[1]) == f"Name: {one_line(text)}".strip()
    cells = rendered(table(["principle", "n"], [[f"x {escaped(text)}", "7"], ["y", "8"]]))
    inline = [shown(token) for token in cells if token.type == "inline"]
    assert inline == ["principle", "n", f"x {one_line(text)}".strip(), "7", "y", "8"]


@pytest.mark.parametrize("text", HOSTILE)
def test_a_hostile_text_is_shown_and_does_nothing(text):
    check(text)


@given(st.text(alphabet="ab |\\`*_[]()<>#&;~!:/-.\n\t'\"{}=+@$^,%0١é", max_size=30))
def test_any_text_is_shown_and_does_nothing(text):
    check(text)


def test_a_text_stays_in_its_line():
    assert one_line(" a\r\n\tb\u2028c\x00d\u202ee ") == "a b c d e"
    assert not re.search(r"[\n<>|]", escaped("a\n<b>|"))
    assert escaped("Plain words, 50 %; (not) 'odd'.") == "Plain words, 50 %; (not) 'odd'."


def test_bars_in_a_table_are_escaped():
    assert table(["a", "b"], [["x|y", "1"]]) == "| a | b |\n| --- | ---: |\n| x\\|y | 1 |"
    assert bullets(["one", "two"]) == "- one\n- two"
