"""A stage as a process of its own: `python -m loop.stage RUN_FOLDER ROUND STAGE...`, and a line on standard input.

vLLM and the trainer each own the accelerator in turn; the end of the process frees it. What the libraries print goes to
`logs/`; progress and errors go to the standard error that the process was started with.
"""

from __future__ import annotations

import asyncio
import json
import os
import select
import signal
import sys
import time
import traceback
from contextlib import suppress
from pathlib import Path
from typing import IO, NoReturn

from loop.config import RunConfig
from loop.folder import RunFolder
from loop.inputs import Run, open_run
from loop.orphans import die_with_parent
from loop.stopping import INTERRUPTED, TERMINATED
from loop.streams import take_any_text
from loop.system_errors import told_plainly
from records.errors import ConstituteError

_signals: list[int] = []
"""The requests to stop that came, by number."""


def main(arguments: list[str]) -> int:
    """Run stages of one round once a line on standard input says to go (loop/processes.py).

    Returns:
        The exit status: 0 done or never told to go, 2 a mendable problem, 130 or 143 stopped, 1 a bug.
    """
    path, index, *stages = arguments
    die_with_parent()
    take_any_text()
    folder = RunFolder(Path(path))
    stream = send_chatter_to(folder.path / "logs" / f"{'_'.join(stages)}_{int(index):02d}.log")
    try:
        if not _told_to_go(folder, tuple(stages)):
            return 0
        began = time.monotonic()
        config = RunConfig.model_validate(json.loads((folder.path / "config.json").read_text(encoding="utf-8")))
        run = open_run(config, folder)
        _do(run, int(index), tuple(stages), stream, began)
    except (KeyboardInterrupt, asyncio.CancelledError):
        return TERMINATED if signal.SIGTERM in _signals else INTERRUPTED
    except ConstituteError as error:
        traceback.print_exc()  # to the log: what an error was made from says more to whoever looks for its cause
        stream.write(f"{error}\n")
        return 2
    except Exception as error:
        plainly = told_plainly(error)
        stream.write(f"{plainly}\n" if plainly else traceback.format_exc())
        return 2 if plainly else 1
    return 0


def _told_to_go(folder: RunFolder, stages: tuple[str, ...]) -> bool:
    """Import what the stages need, unless the time has come already, and wait for it."""
    if not select.select([sys.stdin], [], [], 0.0)[0]:
        # What cannot be imported is told by the stage itself, where it needs it.
        with suppress(Exception):
            load_libraries(folder, stages)
    return sys.stdin.readline() != ""


def load_libraries(folder: RunFolder, stages: tuple[str, ...]) -> None:
    """Import what takes long to import."""
    if stages in (("train",), ("reward",)):
        from trainer.model import prepare_environment

        prepare_environment(json.loads((folder.path / "config.json").read_text(encoding="utf-8"))["model"])
        if stages == ("train",):
            import loop.train_stage
            import trainer.pair_trainer
        else:
            import loop.reward_stage
            import trainer.reward_trainer  # noqa: F401
    else:
        import loop.draft_stage  # noqa: F401
        from generator.vllm_engine import load_vllm

        load_vllm()


def _do(run: Run, index: int, stages: tuple[str, ...], stream: IO[str], began: float) -> None:
    if stages in (("train",), ("reward",)):
        signal.signal(signal.SIGTERM, _interrupt)
        if stages == ("train",):
            from loop.train_stage import train_stage as trains
        else:
            from loop.reward_stage import reward_stage as trains
        trains(run, index, stream, began)
        return

    async def work() -> None:
        task = asyncio.current_task()
        assert task is not None
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, _cancel, task, number)
        if stages == ("calibrate",):
            from loop.calibrate_stage import calibrate_stage

            await calibrate_stage(run, index, stream, began)
        elif stages == ("critic-check",):
            from loop.critic_check_stage import critic_check_stage

            await critic_check_stage(run, stream)
        else:
            from loop.draft_stage import draft_stage

            await draft_stage(run, index, stages, stream, began)

    asyncio.run(work())


def _cancel(task: asyncio.Task[None], number: int) -> None:
    _signals.append(number)
    task.cancel()


def _interrupt(number: int, frame: object) -> NoReturn:
    _signals.append(number)
    raise KeyboardInterrupt


def send_chatter_to(path: Path, *, keep: bool = True) -> IO[str]:
    """Point standard output and error at a log, for this process and its children.

    Args:
        path: the log; it is appended to.
        keep: return the old standard error; else the log itself.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    stream = os.fdopen(os.dup(2), "w", buffering=1, encoding="utf-8", errors="replace")
    log = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    for number in (1, 2):
        os.dup2(log, number)
    if keep:
        os.close(log)
        return stream
    stream.close()
    return os.fdopen(log, "w", buffering=1, encoding="utf-8", errors="replace")


if __name__ == "__mp_main__":  # how a process that vLLM spawns loads this module
    die_with_parent()
if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
