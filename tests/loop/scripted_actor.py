"""A worker's process on a real Ray, with a scripted engine in vLLM's place; all else is real."""

from __future__ import annotations

from typing import Any

from loop.cluster import _Actor


class ScriptedActor(_Actor):
    """What a stage begun by tests/loop/scripted_process.py hires."""

    async def start(self) -> tuple[dict[str, Any], int]:
        import loop.engines
        from tests.loop.scripted_process import ScriptedVllm

        loop.engines.VllmEngine = ScriptedVllm  # type: ignore[assignment,misc]
        return await super().start()
