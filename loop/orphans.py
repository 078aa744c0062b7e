"""No process of a run outlives the one that started it, however that one ended.

A stage has children of its own (vLLM's engine and its workers). Killed by `kill -9`, a parent can tell nobody, so the
kernel is asked to: each process begins by asking Linux to kill it when its parent dies. A process that is forked asks
anew, since the kernel forgets the request; one that is spawned loads its parent's main module as `__mp_main__`, which
asks for it (loop/stage.py). Elsewhere than on Linux nothing is asked, and a killed stage may leave its engine behind.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading

PARENT = "CONSTITUTE_PARENT"
_PR_SET_PDEATHSIG = 1
_forking: int | None = None


def die_with_parent() -> None:
    """Die, as by kill -9, when the parent does; and so will every process that is forked from here.

    The environment variable `CONSTITUTE_PARENT` may name the parent, for one that died before this could be asked.
    """
    expected = int(os.environ.pop(PARENT, os.getppid()))
    _ask_kernel(expected)
    os.register_at_fork(before=_note_fork, after_in_child=_ask_after_fork)


def _ask_kernel(parent: int) -> None:
    if sys.platform != "linux":
        return
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def _note_fork() -> None:
    # The kernel takes the end of the forking *thread* for the parent's death, so only the main thread's forks count.
    global _forking
    _forking = os.getpid() if threading.current_thread() is threading.main_thread() else None


def _ask_after_fork() -> None:
    if _forking is not None:
        _ask_kernel(_forking)
