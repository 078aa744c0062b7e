"""The files of an export while they are written: lines of JSON, or one JSON document around an array."""

from __future__ import annotations

import os
from contextlib import ExitStack
from pathlib import Path
from typing import IO


class Files:
    """The files of an export, opened when their first row comes; a split without rows has none."""

    def __init__(self, folder: Path, opened: ExitStack, head: bytes = b"") -> None:
        self.splits: dict[str, str] = {}
        """The split of each file by name."""
        self._folder, self._opened, self._head = folder, opened, head
        self._files: dict[str, IO[bytes]] = {}

    def add(self, split: str, name: str, record: bytes) -> None:
        """Write one record: a line of its own, or an entry of the array that the head of a `.json` file opens."""
        in_array = name.endswith(".json")
        if name not in self._files:
            self._open(split, name, in_array)
        elif in_array:
            self._files[name].write(b",\n")
        self._files[name].write(record if in_array else record.rstrip(b"\n") + b"\n")

    def _open(self, split: str, name: str, in_array: bool) -> None:
        path = self._folder / name
        path.parent.mkdir(exist_ok=True)
        file = self._opened.enter_context(open(path, "wb"))  # noqa: SIM115
        self._opened.callback(self._finish, file, in_array)
        if in_array:
            file.write(self._head)
        self._files[name], self.splits[name] = file, split

    @staticmethod
    def _finish(file: IO[bytes], in_array: bool) -> None:
        if in_array:
            file.write(b"\n]}\n")
        file.flush()
        os.fsync(file.fileno())
