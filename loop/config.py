"""A run file: YAML, then `key=value` overrides, then one frozen record; every problem at once, before anything runs."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, Self, get_args

from pydantic import BaseModel, Field, ValidationError, model_validator

from constitution.faults import describe_value, suggestion
from constitution.yaml_file import Document, read_yaml
from evaluation.config import EvaluateConfig
from generator.config import EngineConfig, GenerateConfig, VerifyConfig
from generator.critic_config import SECRET, CriticModel
from generator.source_config import SourceEntry
from loop.scale_config import ScaleConfig
from records.errors import Problem, problems_error
from records.splits import SplitShares
from records.strict import Settings
from trainer.config import TrainConfig
from trainer.reward_config import RewardSettings
from trainer.sft_config import SftSettings


class RunConfig(Settings):
    """Everything a run needs; `outputs/<run>/config.json` holds it resolved."""

    model: str = Field(min_length=1)
    """Folder or Hugging Face id of the model that is the base of the policy, and the critic with its adapter off."""
    critic_model: CriticModel | None = None
    """Another model as critic and verifier, in generation and evaluation alike, and as reviser where
    `generate.reviser` is `critic`."""
    constitution: str = Field(min_length=1)
    """Name in the library, or path of a YAML file."""
    sources: tuple[SourceEntry, ...] = Field(min_length=1)
    """Where the prompts come from: paths of files with `prompt` or `messages`, or mappings that say more: a preset or
    columns of other layouts, the hub, a database, a template, a weight."""
    rounds: int = Field(1, ge=1, le=99)
    """How often the policy drafts and is trained."""
    seed: int = 0
    """Of the splits' order, the draw of principles, sampling and training."""
    prompts_per_round: int | None = Field(None, ge=1)
    """Train prompts a round; empty takes all of them every round."""
    prompts: Literal["fresh", "repeat"] | None = None
    """`fresh`: every round its own slice; `repeat`: the same prompts. Empty: fresh where there are enough."""
    near_duplicate_prompts: Literal["drop", "keep"] = "drop"
    """Of prompts as alike as `generate.filters.similarity`, `drop` keeps one: a held-out one, else the smallest id."""
    validation_prompts: int | None = Field(None, ge=0)
    """Most validation prompts that pairs are made on each round, for eval loss and eval rewards; empty takes all."""
    min_pairs: int = Field(16, ge=1)
    """Fewer train pairs than this in a round end the loop with status `too_few_pairs`."""
    splits: SplitShares = SplitShares()
    engine: EngineConfig = EngineConfig()
    scale: ScaleConfig = ScaleConfig()
    """Several workers for generation, on Ray. Left out: this machine, without Ray."""
    generate: GenerateConfig = GenerateConfig()
    train: TrainConfig = TrainConfig()
    warm_up: SftSettings = SftSettings()
    """Settings of the supervised warm-up, where `train.warm_up` asks for one; its adapter is as `train.lora` says."""
    reward: RewardSettings = RewardSettings()
    """Settings of the reward model that `constitute reward`, and rounds with `train.reward_gate`, train on pairs."""
    evaluate: EvaluateConfig = EvaluateConfig()

    @model_validator(mode="after")
    def _settings_agree(self) -> Self:
        generate = self.generate
        if generate.verifies_nothing and self.train.warm_up == "none" and generate.verify != VerifyConfig():
            raise ValueError(
                f"generate.verify is given, and strategy {generate.strategy} takes the judge's word and verifies "
                "nothing; expected no verify, or strategy best_of_n, whose choice is verified"
            )
        return self

    @property
    def prompt_similarity(self) -> float | None:
        """From where on prompts are so alike that one of them stays; None keeps all but exact duplicates."""
        return self.generate.filters.similarity if self.near_duplicate_prompts == "drop" else None


def load_run_config(path: Path, overrides: Sequence[str] = ()) -> RunConfig:
    """Read and validate a run file.

    Args:
        path: the YAML file.
        overrides: `dotted.key=value`, the value read as YAML.

    Raises:
        ConfigError: every problem of the file and the overrides, with line, found and expected.
    """
    document = read_yaml(path)
    if document.problems:
        raise problems_error(str(path), document.problems, f"Check again: constitute check {path}")
    if not isinstance(document.value, dict):
        raise problems_error(str(path), [Problem("line 1", "expected a mapping of settings")])
    value, problems = _overridden(document.value, overrides)
    try:
        config = RunConfig.model_validate(_over_defaults(value))
    except ValidationError as error:
        problems += list(_problems(document, error, overrides))
    if problems:
        raise problems_error(str(path), problems, f"Check again: constitute check {path}")
    return config


def _overridden(value: dict[str, Any], overrides: Sequence[str]) -> tuple[dict[str, Any], list[Problem]]:
    import yaml

    result, problems = _copied(value), []
    for override in overrides:
        key, equals, text = override.partition("=")
        if not equals or not key:
            problems.append(Problem(override, "found no key=value; expected for example rounds=2"))
            continue
        *sections, last = key.split(".")
        place = result
        for section in sections:
            place = place.setdefault(section, {})
            if not isinstance(place, dict):
                problems.append(Problem(override, f"{section} is not a section"))
                break
        else:
            try:
                place[last] = yaml.safe_load(text)
            except yaml.YAMLError:
                place[last] = text
    return result, problems


def _over_defaults(value: dict[str, Any]) -> dict[str, Any]:
    """The sections' settings over their own defaults: `critic: {max_tokens: 200}` leaves the critic's temperature."""
    defaults = {name: field.default for name, field in RunConfig.model_fields.items()}
    return {key: _over(inner, defaults.get(key)) for key, inner in value.items()}


def _over(value: Any, default: Any) -> Any:
    if not isinstance(value, dict) or not isinstance(default, BaseModel):
        return value
    changed = {key: _over(inner, getattr(default, key, None)) for key, inner in value.items()}
    return default.model_dump() | changed


def _copied(value: Any) -> Any:
    return {key: _copied(inner) for key, inner in value.items()} if isinstance(value, dict) else value


def _problems(document: Document, error: ValidationError, overrides: Sequence[str]) -> Iterator[Problem]:
    changed = {override.partition("=")[0]: _shown(override) for override in overrides}
    for fault in error.errors(include_url=False):
        place = _place(fault["loc"])
        name = ".".join(str(part) for part in place) or "the file"
        where = _override_of(name, changed) or f"line {document.line(place)}"
        if fault["type"] == "extra_forbidden":
            known = _known_keys(place[:-1])
            listed = f"expected one of {', '.join(known)}."
            yield Problem(where, f"found the unknown key {name!r}; {listed}" + suggestion(str(place[-1]), known))
        elif fault["type"] == "missing":
            yield Problem(where, f"found no {name}; expected this key")
        else:
            message = fault["msg"].removeprefix("Value error, ")
            # What may be a secret in the wrong place is told without showing it.
            found = "" if fault["type"] == SECRET else f"found {describe_value(fault['input'])}; "
            yield Problem(where, f"{name}: {found}{message}")


def _shown(override: str) -> str:
    """The override as messages show it: without its value where that may be a key typed into the wrong place."""
    key, _, value = override.partition("=")
    return f"{key}=..." if re.search("(?i)key|token|secret|password|@", f"{key} {value}") else override


def _place(loc: Sequence[int | str]) -> tuple[int | str, ...]:
    """Pydantic's location without the kind of a source entry, which it names after the index and no file holds."""
    return (*loc[:2], *loc[3:]) if loc[0:1] == ("sources",) else tuple(loc)


def _override_of(name: str, changed: dict[str, str]) -> str | None:
    """The override that set this key, or a section around it."""
    while name and name not in changed:
        name = name.rpartition(".")[0]
    return changed.get(name) if name else None


def _known_keys(place: Sequence[int | str]) -> list[str]:
    model: type[BaseModel] = RunConfig
    for part in place:
        if isinstance(part, int):
            continue
        annotation = model.model_fields[str(part)].annotation if str(part) in model.model_fields else None
        found = next(_models_in(annotation), None)
        if found is None:
            break
        model = found
    return list(model.model_fields)


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    """The records that a field can hold, however deep its annotation names them."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in get_args(annotation):
        yield from _models_in(inner)
