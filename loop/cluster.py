"""Workers as actors of a Ray cluster. The one place that knows Ray.

A cluster of this machine alone listens on the loopback address, asks every caller for a token that lives in this
process, and ends with it, however that ends. An existing cluster is used as it is: whoever can reach it can run code
on it, and that is its owner's to guard.
"""

from __future__ import annotations

import asyncio
import importlib.util
import math
import os
import secrets
import shutil
import signal
import sys
import tempfile
from collections.abc import Awaitable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, TypeVar

from generator.generate import Chain
from loop.scale_config import ScaleConfig
from loop.spread import WorkerDiedError
from loop.worker import Job, Report, Worker
from records.errors import ConfigError, ConstituteError, StageError

OBJECT_STORE_BYTES = 100 << 20  # leases and reports are small; Ray would take a third of the memory
Answer = TypeVar("Answer")
_FOLDER = "constitute-ray-"


def set_environment(scale: ScaleConfig) -> None:
    """What Ray reads once, when it is first imported: by whoever does that, and vLLM may."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    if not scale.address and "RAY_AUTH_TOKEN" not in os.environ:
        os.environ |= {
            "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # the switch that keeps all of Ray on the loopback address
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": secrets.token_hex(32),
        }


class Cluster:
    """Ray, connected to when the first worker is hired; `close` disconnects, and ends what was started for it."""

    def __init__(self, scale: ScaleConfig, logs: Path) -> None:
        self.scale, self.logs = scale, logs
        self._folder = ""
        self._connected = False

    def open(self) -> None:
        """Start or reach the cluster."""
        scale = self.scale
        set_environment(scale)
        if not scale.address:
            self._folder = _make_folder()
        handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            self._connected = True
            self._connect()
        except Exception as error:
            self.close()
            if isinstance(error, ConstituteError):
                raise
            words = str(error).strip().splitlines() or [type(error).__name__]
            where = f"at {scale.address}" if scale.address else "on this machine"
            raise StageError(
                f"scale: no Ray cluster {where} ({words[0]}). Expected one that runs this Ray and Python. Mend "
                "scale.address, or leave it out for this machine alone; then run the same command again."
            ) from error
        finally:
            for number, handler in handlers.items():  # Ray puts its own in their place
                signal.signal(number, handler)

    def _connect(self) -> None:
        import ray

        scale = self.scale
        if scale.address:
            ray.init(address=scale.address, log_to_driver=False, configure_logging=False)
            return
        ray.init(
            address="local",
            num_cpus=max(1, math.ceil(scale.workers * scale.cpus_per_worker)),
            num_gpus=None if scale.gpus_per_worker else 0,
            include_dashboard=False,
            object_store_memory=OBJECT_STORE_BYTES,
            log_to_driver=False,
            configure_logging=False,
            _temp_dir=self._folder,
        )
        found, wanted = int(ray.cluster_resources().get("GPU", 0)), scale.workers * scale.gpus_per_worker
        if found < wanted:
            raise ConfigError(
                f"scale: {scale.workers} workers with {scale.gpus_per_worker} GPUs each want {wanted}; found {found} "
                "on this machine. Lower scale.workers, set scale.gpus_per_worker: 0 for the CPU, or name a cluster "
                "(scale.address)."
            )

    def hire(self, job: Job) -> RayHand:
        """Begin a worker; it waits until the cluster has room for it.

        To be called in the main thread, with whose end a cluster of this machine alone ends.

        Raises:
            ConfigError: this machine has fewer GPUs than the workers want.
            StageError: the cluster cannot be started or reached.
        """
        if not self._connected:
            self.open()
        import ray

        scale, log = self.scale, self.logs / f"worker_{job.round:02d}_{job.name}.log"
        options: dict[str, Any] = {"num_cpus": scale.cpus_per_worker, "num_gpus": scale.gpus_per_worker}
        actor = ray.remote(**options, max_restarts=0, max_task_retries=0)(_Actor)
        return RayHand(actor.remote(job, str(log)), log)

    def close(self) -> None:
        """Disconnect; a cluster of this machine alone ends."""
        if self._connected:
            import ray

            ray.shutdown()
        if self._folder:
            shutil.rmtree(self._folder, ignore_errors=True)


def _make_folder() -> str:
    """A folder for Ray's own files, and away with those of stages that were killed."""
    place = Path("/tmp")  # a short path: Ray's sockets lie in it, whose names the kernel holds to 107 bytes
    for left in place.glob(f"{_FOLDER}[0-9]*-*"):
        if not Path("/proc", left.name.split("-")[2]).exists():
            shutil.rmtree(left, ignore_errors=True)
    return tempfile.mkdtemp(prefix=f"{_FOLDER}{os.getpid()}-", dir=place)


class RayHand:
    """One actor; see `loop.spread.Hand`."""

    def __init__(self, actor: Any, log: Path) -> None:
        self._actor, self.log = actor, log

    async def start(self) -> tuple[dict[str, Any], int]:
        """See `Hand.start`."""
        return await _answer(self._actor.start.remote())

    async def exchange(self, lease: Sequence[Chain]) -> Report:
        """See `Hand.exchange`."""
        return await _answer(self._actor.exchange.remote(lease))

    async def stop(self, *, free: bool) -> dict[str, Any]:
        """See `Hand.stop`."""
        return await _answer(self._actor.stop.remote(free))

    def kill(self) -> None:
        """See `Hand.kill`."""
        import ray

        ray.kill(self._actor)


async def _answer(reference: Awaitable[Answer]) -> Answer:
    """What an actor's method returned, or this project's own error that it raised.

    Raises:
        WorkerDiedError: there will be no answer.
    """
    from ray.exceptions import RayError, RayTaskError

    try:
        return await reference
    except RayTaskError as error:
        if isinstance(error.cause, ConstituteError):
            raise error.cause from error
        raise
    except RayError as error:
        raise WorkerDiedError(str(error)) from error


class _Actor:
    """A worker in a process of Ray's."""

    def __init__(self, job: Job, log: str) -> None:
        self._job, self._log = job, Path(log)
        self._worker: Worker | None = None

    async def start(self) -> tuple[dict[str, Any], int]:
        from loop.stage import send_chatter_to

        stream: IO[str] = send_chatter_to(self._log, keep=False)
        # What vLLM spawns loads this process's main module, and this one asks to die with its parent (loop/orphans.py).
        sys.modules["__main__"].__spec__ = importlib.util.find_spec("loop.stage")
        if not self._job.config["scale"]["gpus_per_worker"]:
            # vLLM would bind the threads of every worker of a machine to the same cores.
            os.environ.setdefault("VLLM_CPU_OMP_THREADS_BIND", "nobind")
        with suppress(OSError):  # another machine may know none of it; a path that is then wrong is told as such
            os.chdir(self._job.cwd)
        self._worker = await asyncio.to_thread(Worker.of, self._job, stream)
        proof = await self._worker.start(stream)
        return proof, self._worker.wants

    async def exchange(self, lease: Sequence[Chain]) -> Report:
        assert self._worker is not None
        return await self._worker.exchange(lease)

    async def stop(self, free: bool) -> dict[str, Any]:
        assert self._worker is not None
        return await self._worker.stop(free=free)
