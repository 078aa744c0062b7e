"""The engines of one stage process: the policy's, and the critic's, which is the same unless `critic_model` is set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import IO, Any

from generator.endpoint import EndpointEngine
from generator.vllm_engine import VllmEngine
from loop.config import RunConfig
from loop.inputs import Run
from records.errors import ConstituteError, StageError


@dataclass(frozen=True)
class Engines:
    """Who speaks in a stage. The policy's engine is always on this machine; the critic may be elsewhere."""

    policy: VllmEngine
    critic: VllmEngine | EndpointEngine

    @property
    def chains_in_flight(self) -> int:
        """Chains that keep both full: 1.25 times what they take at once."""
        sequences = self.policy.sequences
        if isinstance(self.critic, EndpointEngine):
            sequences += self.critic.config.most_in_flight
        elif self.critic is not self.policy:
            sequences += self.critic.sequences
        return max(1, sequences * 5 // 4)

    @property
    def figures(self) -> dict[str, Any]:
        """What the marker of a stage says of them."""
        if isinstance(self.critic, EndpointEngine):
            return {"engine_restarts": self.policy.deaths, "critic_endpoint": self.critic.figures}
        critic = self.critic.deaths if self.critic is not self.policy else 0
        return {"engine_restarts": self.policy.deaths + critic}

    async def start(self, stream: IO[str]) -> None:
        """Bring all up, the quickest to find fault with first.

        Raises:
            ConfigError: a model is not there, or an endpoint refuses key, address or model.
            StageError: vLLM cannot be started, or an endpoint stayed away.
        """
        if isinstance(self.critic, EndpointEngine):
            await _reach(self.critic, stream)
        await _start(self.policy, "engine", stream)
        if isinstance(self.critic, VllmEngine) and self.critic is not self.policy:
            await _start(self.critic, "critic_model.engine", stream)

    async def close(self) -> None:
        """Free what they hold."""
        try:
            await self.policy.close()
        finally:
            await self.critic.close()


def open_engines(run: Run, index: int, stages: Sequence[str], stream: IO[str], *, start: int = 0) -> Engines:
    """The engines of a round's policy, of all that draft in it, and of the critic, not yet started.

    Args:
        run: the run.
        index: the round.
        stages: what is done with them; only "generate" needs those that draft beside the policy.
        stream: where it is told what is being started.
        start: number of this start among those of a stage's workers, so that no two draw alike.
    """
    config = run.config
    drafters = [policy for _, policy in run.drafters(index).values()] if "generate" in stages else []
    adapters = {adapter.digest: adapter for adapter in (run.policy(index), *drafters) if adapter}
    seed = config.seed * 100 + index + 1 + start * 100_003
    policy = VllmEngine(config.model, config.engine, [*adapters.values()], seed=seed)
    return Engines(policy, _other_critic(config, stream, seed) or policy)


def _other_critic(config: RunConfig, stream: IO[str], seed: int) -> VllmEngine | EndpointEngine | None:
    other = config.critic_model
    if other is None:
        return None
    if other.endpoint is None:
        return VllmEngine(other.model, other.local_engine, [], seed=seed)
    critic = config.generate.critic
    return EndpointEngine(other.model, other.endpoint, critic, tell=lambda line: _tell(stream, line))


async def start_critic(config: RunConfig, stream: IO[str]) -> VllmEngine | EndpointEngine:
    """The critic of a run, by itself and up; where none is named, the run's model without any adapter.

    Raises:
        ConfigError, StageError: as `Engines.start`.
    """
    critic = _other_critic(config, stream, config.seed) or VllmEngine(config.model, config.engine, [], seed=config.seed)
    if isinstance(critic, EndpointEngine):
        await _reach(critic, stream)
    else:
        await _start(critic, "critic_model.engine" if config.critic_model else "engine", stream)
    return critic


async def _reach(critic: EndpointEngine, stream: IO[str]) -> None:
    await critic.start()
    _tell(stream, f"critic: {critic.model} at {critic.endpoint} ({critic.structured})")


async def _start(engine: VllmEngine, setting: str, stream: IO[str]) -> None:
    _tell(stream, f"starting vLLM for {engine.model}")
    try:
        await engine.start()
    except ConstituteError:
        raise
    except Exception as error:  # vLLM raises whatever its parts raise: a wrong setting, no memory, an unknown model
        words = str(error).strip().splitlines() or [type(error).__name__]
        beside = " (memory_share of engine and of critic_model.engine together below 1)" if "critic" in setting else ""
        raise StageError(
            f"vLLM could not be started with {engine.model}: {words[0]}. Expected a model and engine settings that it "
            f"takes{beside}; the stage's log under logs/ has its own words. Mend its model: or {setting}:, then run "
            "the same command again."
        ) from error


def _tell(stream: IO[str], line: str) -> None:
    stream.write(f"{line}\n")
    stream.flush()
