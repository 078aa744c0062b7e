"""What each stage is made from: the mapping whose digest a done-marker holds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel

from constitution.load import load_constitution
from constitution.render import rate_wording
from constitution.schema import Constitution
from generator.api_key import read_key
from generator.config import DraftsFrom, EngineConfig
from generator.critic_config import CriticModel
from generator.engine import Adapter
from generator.rounds import choose_mode, round_prompts
from generator.sources import PromptSet, load_prompts
from loop.config import RunConfig
from loop.folder import WARM_UP, RunFolder
from loop.model_folder import model_fingerprint, model_problems
from loop.scale_config import scale_problems
from records.digest import adapter_digest, digest_file, digest_folder, digest_json, digest_text
from records.errors import ConfigError, ConstituteError, Problem
from records.held_out import HeldOut, held_out_from
from records.publish import open_place
from records.rows import Prompt
from records.shard import shards
from trainer.pair_sources import path_of
from trainer.sft_config import SftConfig

# Settings that runs have been begun without: at their defaults they do not count as a change.
_LATER_SETTINGS = {
    "generate": ("filters", "strategy", "drafts_per_prompt", "drafts_from", "passes", "rating", "judge"),
    "train": (
        *("contradictions", "losses", "label_smoothing", "soft_labels", "ld_alpha", "use_weighting", "f_divergence"),
        *("f_alpha", "discopop_tau", "reward_gate", "tokens_per_batch", "shared_prompts"),
    ),
    "warm_up": ("max_steps", "gradient_checkpointing", "dtype"),
    "engine": ("data_parallel", "speculative", "options"),
}
# Figures alone come of the first, and the same weights whatever the others are.
_ASIDE = ("shortcut_pairs", "checkpoint_every", "checkpoint_minutes")
Read = TypeVar("Read")


@dataclass(frozen=True)
class Run:
    """A run as every stage sees it: settings, folder, norms and prompts."""

    config: RunConfig
    folder: RunFolder
    constitution: Constitution
    prompts: PromptSet
    mode: str

    def prompts_of(self, index: int) -> list[Prompt]:
        """The prompts that a round drafts for; the warm-up takes those of round 0."""
        return round_prompts(
            self.prompts,
            max(index, 0),
            mode=self.mode,
            per_round=self.config.prompts_per_round,
            most_validation=self.config.validation_prompts,
            seed=self.config.seed,
        )

    def warm_up(self) -> SftConfig:
        """The supervised stage; the rounds go on from its adapter, so it has the shape that they train."""
        return SftConfig(**self.config.warm_up.model_dump(), lora=self.config.train.lora)

    def initial_adapter(self) -> Path | None:
        """The adapter of the policy that drafts round 0: the warm-up's, or None for the base itself."""
        return self.folder.round(WARM_UP) / "adapter" if self.config.train.warm_up != "none" else None

    def policy_adapter(self, index: int) -> Path | None:
        """The adapter of the policy that drafts a round: what the round before trained; None is the base itself."""
        if index == WARM_UP:
            return None
        return self.folder.round(index - 1) / "adapter" if index > 0 else self.initial_adapter()

    def rewards(self, index: int) -> Path:
        """Where the rewards of the pairs that a round trains on lie."""
        return self.folder.round(index) / "rewards"

    def policy(self, index: int) -> Adapter | None:
        """The policy of a round by content.

        Raises:
            ConfigError: its adapter is not there; the round before has not been trained.
        """
        path = self.policy_adapter(index)
        if path is None:
            return None
        if not (path / "adapter_model.safetensors").is_file():
            raise ConfigError(f"{path}: no adapter; expected the one that the stage before trains. Run that one first.")
        try:
            return Adapter(path, adapter_digest(path))
        except (OSError, ValueError) as error:
            raise ConfigError(
                f"{path}: the adapter cannot be read ({error}); expected adapter_model.safetensors and "
                "adapter_config.json as training wrote them. Train it again: --redo train of the round before."
            ) from error

    def drafters(self, index: int) -> dict[str, tuple[float, Adapter | None]]:
        """The policies that draft a round, by the names of `generate.drafts_from`, each with its share.

        Before the first round there is only the base, whatever it is called.
        """
        shares = self.config.generate.drafts_from or DraftsFrom(previous=1.0)
        policies = {"base": None, "round_0": min(index, 0), "previous": index}
        return {
            name: (share, None if (number := policies[name]) is None else self.policy(number))
            for name, share in shares.shares.items()
        }


def open_run(config: RunConfig, folder: RunFolder) -> Run:
    """Read the constitution and the prompts of a run, and look at its model's folder.

    Raises:
        ConfigError: all that is wrong with the model's folder, the constitution and the prompts, at once.
    """
    faults = [str(problem).strip() for problem in _model_problems(config)]
    if config.critic_model and (endpoint := config.critic_model.endpoint):
        _read_or_note(faults, lambda: read_key(endpoint))
    if publish_to := config.generate.publish_to:
        _read_or_note(faults, lambda: open_place(publish_to))
    constitution = _read_or_note(faults, lambda: load_constitution(config.constitution))
    alike = config.prompt_similarity
    prompts = _read_or_note(
        faults, lambda: load_prompts(config.sources, config.splits, seed=config.seed, similarity=alike)
    )
    mode = _read_or_note(faults, lambda: _mode(config, prompts)) if prompts else None
    if faults or constitution is None or prompts is None or mode is None:
        raise ConfigError("\n".join(faults))
    return Run(config, folder, constitution, prompts, mode)


def _model_problems(config: RunConfig) -> list[Problem]:
    """What is seen in the folder of the model, in that of a critic of its own on this machine, and of their workers."""
    other = config.critic_model
    problems = model_problems(config.model, config.engine.context)
    if other and not other.endpoint:
        found = model_problems(other.model, other.local_engine.context)
        problems += [Problem(f"critic_model.{problem.where}", problem.message) for problem in found]
    beside = other.local_engine if other and not other.endpoint else None
    return [*problems, *scale_problems(config.scale, config.engine, beside)]


def _read_or_note(faults: list[str], read: Callable[[], Read]) -> Read | None:
    try:
        return read()
    except ConstituteError as error:
        faults.append(str(error))
        return None


def _mode(config: RunConfig, prompts: PromptSet) -> str:
    for split in ("train", "test"):
        if not prompts.of(split):
            raise ConfigError(
                f"sources: none of the {len(prompts.prompts)} prompts falls into the {split} split; expected at least "
                "one. Add prompts, or change splits."
            )
    return choose_mode(
        config.prompts, per_round=config.prompts_per_round, rounds=config.rounds, found=len(prompts.of("train"))
    )


def evaluate_inputs(run: Run, index: int) -> dict[str, Any]:
    """What the evaluation of a round's policy depends on."""
    return {
        **_shared(run, index),
        "evaluate": run.config.evaluate.model_dump(mode="json", exclude={"in_flight"}),
        "critic": run.config.generate.critic.model_dump(mode="json"),
        "few_shots": run.config.generate.few_shots,
        "test_prompts": digest_json(
            sorted([prompt.id, prompt.benign, prompt.check] for prompt in run.prompts.of("test"))
        ),
    }


def generate_inputs(run: Run, index: int) -> dict[str, Any]:
    """What a round's pairs depend on."""
    return {
        **_shared(run, index),
        "generate": _settings("generate", run.config.generate, "in_flight", "publish_to"),
        **_beside(run, index),
        "seed": run.config.seed,
        "round_prompts": digest_json(
            sorted(
                [prompt.id, prompt.split, prompt.group, prompt.benign, *prompt.later_turns]
                for prompt in run.prompts_of(index)
            )
        ),
    }


def _beside(run: Run, index: int) -> dict[str, Any]:
    """What only some settings of generation depend on."""
    found: dict[str, Any] = {}
    if run.config.generate.drafts_from:
        drafters = run.drafters(index).items()
        found["drafters"] = {name: policy.digest if policy else "" for name, (_, policy) in drafters}
    if run.config.generate.strategy == "rating":  # the shipped wording is no part of the constitution
        found["rate_wording"] = digest_text(rate_wording(run.constitution))
    return found


def train_inputs(run: Run, index: int) -> dict[str, Any]:
    """What a round's adapter depends on: the pairs as they lie on disk, and the adapters by content."""
    initial = run.policy(0) if index != WARM_UP else None
    policy = run.policy(index)
    config = run.config.train
    gated = config.reward_gate and index != WARM_UP
    return {
        "model": model_fingerprint(run.config.model),
        "train": _settings("warm_up", run.warm_up()) if index == WARM_UP else _settings("train", config, *_ASIDE),
        "seed": run.config.seed,
        **pair_inputs(run, index),
        **({"rewards": _shards_digest(run.rewards(index))} if gated else {}),
        "previous": policy.digest if policy else "",
        "initial": initial.digest if initial else "",
    }


def pair_inputs(run: Run, index: int) -> dict[str, Any]:
    """The pairs that a round trains on, by content."""
    own = own_pairs(run, index)
    return {
        "pairs": [_shards_digest(folder) for folder in pair_folders(run, index)],
        "pairs_from": [_content(path) for path in own],
        # The run's own pairs carry their split; others' are held against these prompts.
        **({"held_out": held_out_prompts(run).digest} if own else {}),
    }


def _settings(section: str, config: BaseModel, *left_out: str) -> dict[str, Any]:
    """A section as a stage depends on it."""
    fields = type(config).model_fields
    later = (name for name in _LATER_SETTINGS[section] if name in fields)
    unset = {name for name in later if getattr(config, name) == fields[name].get_default(call_default_factory=True)}
    return config.model_dump(mode="json", exclude={*left_out, *unset})


def pair_folders(run: Run, index: int) -> list[Path]:
    """The folders of pairs that a round trains on."""
    first = 0 if run.config.train.uses_all_rounds and index != WARM_UP else index
    return [run.folder.round(number) / "pairs" for number in range(first, index + 1)]


def own_pairs(run: Run, index: int) -> list[Path]:
    """The person's own preference data that a round trains on too, whole or a share of it."""
    return [Path(path_of(source)) for source in run.config.train.pairs_from] if index != WARM_UP else []


def held_out_prompts(run: Run) -> HeldOut:
    """What no training pair may be about: the prompts of validation and test."""
    return held_out_from(prompt.messages for prompt in run.prompts.prompts if prompt.split != "train")


def _shards_digest(folder: Path) -> str:
    """Over names and bytes, as `digest_folder`, of the shards that count; no other file of the folder."""
    return digest_json([[path.name, digest_file(path)] for path in shards(folder)])


def _content(path: Path) -> str:
    return digest_folder(path) if path.is_dir() else digest_file(path) if path.exists() else ""


def critic_identity(other: CriticModel) -> dict[str, Any]:
    """Who a critic of its own is: the content of a model on this machine, or a name and an address; never a key.

    What stands behind an address may change unseen: its name is all that is known of it.
    """
    if other.endpoint is not None:
        return {"model": other.model, "url": other.endpoint.url}
    return {"model": model_fingerprint(other.model), "engine": _engine(other.local_engine)}


def _engine(config: EngineConfig) -> dict[str, Any]:
    return _settings("engine", config, "restarts", "memory_share", "cache_gib")


def _shared(run: Run, index: int) -> dict[str, Any]:
    policy, other = run.policy(index), run.config.critic_model
    return {
        "model": model_fingerprint(run.config.model),
        "policy": policy.digest if policy else "",
        "constitution": run.constitution.digest,
        "engine": _engine(run.config.engine),
        **({"critic_model": critic_identity(other)} if other else {}),
    }
