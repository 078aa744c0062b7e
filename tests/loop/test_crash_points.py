"""Every point at which a test may kill the process is passed by a write, and a crash at each is tried somewhere."""

from __future__ import annotations

import ast

from records.atomic import CRASH_POINTS
from tests.test_architecture import package_files


def points_in_code() -> list[str]:
    """The names that `crash_point` is called with, anywhere in the packages."""
    return [
        node.args[0].value
        for path in package_files()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
        and ast.unparse(node.func).endswith("crash_point")
        and isinstance(node.args[0], ast.Constant)
        and isinstance(node.args[0].value, str)
    ]


def test_every_point_is_passed_by_a_write_and_every_write_has_its_point() -> None:
    found = points_in_code()
    assert set(found) == set(CRASH_POINTS)
    assert len(CRASH_POINTS) == len(set(CRASH_POINTS)) >= 10


def test_each_kind_of_write_has_a_point_on_either_side() -> None:
    for kind in ("file", "adapter", "checkpoint"):
        assert {f"{kind}-before-rename", f"{kind}-after-rename"} <= set(CRASH_POINTS)
    assert {"row-before", "row-torn", "row-after", "shard-roll", "marker-before", "marker-after"} <= set(CRASH_POINTS)
