"""The settings of a stage whose chains are run by several workers, each with engines of its own."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from urllib.parse import urlsplit

from pydantic import Field, field_validator

from generator.config import EngineConfig
from records.errors import Problem
from records.strict import Settings


class ScaleConfig(Settings):
    """Generation on several workers, actors of a Ray cluster, each with engines of its own.

    Evaluation and training stay with the command. It says who does the work, not what is made: a run that was stopped
    may go on under other figures, or on this machine alone.
    """

    workers: int = Field(1, ge=1, le=4096)
    """Workers at once. One is the same as no `scale:` at all: this machine, without Ray."""
    gpus_per_worker: int = Field(1, ge=0)
    """GPUs that each worker gets: what `engine` spans (`tensor_parallel` times `data_parallel`), the larger one where
    the critic has an engine of its own. 0: workers compute on the CPU."""
    cpus_per_worker: float = Field(1.0, ge=0.0)
    """Processor cores that Ray sets aside for each worker."""
    address: str | None = Field(None, min_length=1)
    """An existing Ray cluster (`host:port`, or `auto`). Empty: a cluster on this machine alone, which listens on its
    loopback address and ends with the stage."""
    lease: int = Field(16, ge=1)
    """Chains handed to a worker beyond those that it has in flight, and finished ones that make it report."""
    deaths: int = Field(3, ge=0)
    """Times in a row that a worker may die, without finishing a chain between, and be started again."""
    silence_s: float = Field(900.0, gt=0.0)
    """Seconds without a report after which a worker is thought dead, counted once its engines are up."""
    rows: str | None = None
    """Where workers put their rows until the stage collects them: an fsspec URL such as s3://bucket/run. Empty: the
    run folder, which then must be on a file system that all machines share."""

    @field_validator("rows")
    @classmethod
    def _is_a_url(cls, url: str | None) -> str | None:
        if url is not None and not urlsplit(url).scheme:
            raise ValueError("expected a URL with its kind in front, such as s3://bucket/run or file:///shared/run")
        return url

    @property
    def spread(self) -> bool:
        """Whether there are workers at all."""
        return self.workers > 1


def scale_problems(scale: ScaleConfig, engine: EngineConfig, critic: EngineConfig | None) -> Iterator[Problem]:
    """What keeps these workers from being started: engines that do not fit their GPUs, or Ray not installed."""
    if not scale.spread:
        return
    sizes = {"engine": engine.parts}
    if critic:
        sizes["critic_model.engine"] = critic.parts
    gpus, largest = scale.gpus_per_worker, max(sizes.values())
    if gpus and gpus != largest:
        yield Problem(
            "scale.gpus_per_worker",
            f"found {gpus}, but the largest engine of a worker spans {largest}; expected {largest}, since a GPU beyond "
            "that would idle and one short of it cannot start",
        )
    for name, size in sizes.items():
        if not gpus and size > 1:
            yield Problem(name, f"computes in {size} parts with scale.gpus_per_worker 0; expected 1 on the CPU")
        elif gpus and gpus % size:
            yield Problem(name, f"spans {size} GPUs; expected a divisor of scale.gpus_per_worker ({gpus})")
    if importlib.util.find_spec("ray") is None:
        yield Problem("scale", "Ray is not installed; expected the extra `scale`: pip install 'constitute[scale]'")
