"""What the system refuses is told with its way out; what a person cannot mend is left a bug."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from loop.system_errors import told_plainly


def test_a_full_disk_is_told_with_place_and_way_out() -> None:
    told = told_plainly(OSError(errno.ENOSPC, "No space left on device", "/data/run/x.json"))
    assert told is not None
    assert told.startswith("/data/run/x.json: the system refused it (No space left on device)")
    assert "make room, then run the same command again" in told


def test_an_error_that_wraps_a_refusal_is_told_too() -> None:
    with pytest.raises(RuntimeError) as caught:
        try:
            raise OSError(errno.EACCES, "Permission denied", "x")
        except OSError as error:
            raise RuntimeError("could not save") from error
    assert "permissions" in (told_plainly(caught.value) or "")


def test_libraries_that_only_spell_the_number_are_understood(tmp_path: Path) -> None:
    """Safetensors raises an error of its own with the system's words in it."""
    assert "make room" in (told_plainly(Exception("I/O error: No space left on device (os error 28)")) or "")


@pytest.mark.parametrize(
    "error", [ValueError("x"), OSError("x"), FileNotFoundError(errno.ENOENT, "no", "x"), KeyError(28)]
)
def test_other_errors_are_not_told_as_the_systems(error: Exception) -> None:
    assert told_plainly(error) is None
