"""The verb `estimate`: what a run will take, from some of its chains run for real beforehand."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from records.errors import ConfigError, StageError, StageFailed

if TYPE_CHECKING:
    from generator.calibrate import Calibration
    from loop.estimate import Price
    from loop.inputs import Run


def estimate(
    config: Annotated[Path, typer.Argument(help="Run file (YAML).")],
    overrides: Annotated[list[str] | None, typer.Argument(metavar="KEY=VALUE", help="Settings to change.")] = None,
    prompts: Annotated[int, typer.Option(help="Prompts whose chains are followed.", min=2)] = 32,
    chains: Annotated[int, typer.Option(help="Chains of each of them.", min=1)] = 4,
    seconds: Annotated[float, typer.Option(help="Most seconds of full load.", min=1)] = 300.0,
    price_in: Annotated[float | None, typer.Option(help="Of a million prompt tokens, at the endpoint.", min=0)] = None,
    price_out: Annotated[float | None, typer.Option(help="Of a million output tokens, at it.", min=0)] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Run some chains with the run's own engines, and say what to expect of the whole run. Nothing is kept."""
    from loop.config import load_run_config
    from loop.estimate_text import estimate_text
    from loop.folder import RunFolder
    from loop.inputs import open_run

    settings = load_run_config(config, overrides or [])
    price = _price(settings.critic_model, price_in, price_out)
    with own_folder("estimate") as folder:
        run = open_run(settings, RunFolder(folder))
        calibration = _calibrate(run, {"prompts": prompts, "chains": chains, "seconds": seconds})
        told = expect(run, calibration, price)
    typer.echo(json.dumps({"config": str(config), **told}) if as_json else estimate_text(str(config), told))


@contextmanager
def own_folder(verb: str) -> Iterator[Path]:
    """A folder for this verb alone, gone at the end; but where a stage of it failed, it stays for its log."""
    folder = Path(tempfile.mkdtemp(prefix=f"constitute-{verb}-"))
    failed = False
    try:
        yield folder
    except (StageError, StageFailed):
        failed = (folder / "logs").exists()
        raise
    finally:
        if failed:
            typer.echo(f"The log of it is in {folder / 'logs'}.", err=True)
        else:
            shutil.rmtree(folder, ignore_errors=True)


def _price(critic: Any, price_in: float | None, price_out: float | None) -> Price | None:
    from loop.estimate import Price

    if price_in is None and price_out is None:
        return None
    if critic is None or critic.endpoint is None:
        raise ConfigError(
            "--price-in and --price-out are those of an endpoint; expected critic_model.endpoint in the run file."
        )
    return Price(price_in or 0.0, price_out or 0.0)


def _calibrate(run: Run, amounts: dict[str, Any]) -> Calibration:
    """Run the chains in a process of its own, as a stage does; its folder goes with this command."""
    from generator.calibrate import Calibration
    from loop.calibrate_stage import JOB, RESULT
    from loop.processes import Job, StageProcesses
    from records.atomic import write_json_atomic

    folder = run.folder.path
    # The base drafts, as nothing has been trained; of a warm-up there is no adapter yet.
    train = run.config.train.model_copy(update={"warm_up": "none"})
    config = run.config.model_copy(update={"train": train})
    write_json_atomic(folder / "config.json", config.model_dump(mode="json"))
    write_json_atomic(folder / JOB, amounts)
    with StageProcesses(run.folder) as processes:
        processes.run(Job(0, ("calibrate",)))
    return Calibration.model_validate(json.loads((folder / RESULT).read_text(encoding="utf-8")))


def expect(run: Run, calibration: Calibration, price: Price | None = None) -> dict[str, Any]:
    """What a run will take.

    Returns:
        `calibration`, what was run; `generation` of one round, by the policy that the run begins with; `rounds` of
        those, a warm-up counted; `evaluation` of one policy; `training` of one round; and, with a price, `cost`.
    """
    from loop import estimate as arithmetic

    prompts = run.prompts_of(0)
    # A warm-up revises, whatever the rounds do; where those choose among drafts nothing like it was followed.
    has_warm_up = run.config.train.warm_up != "none"
    rounds = run.config.rounds + (has_warm_up and run.config.generate.strategy == "revision")
    each = run.config.generate.chains_per_prompt
    in_train = each * sum(prompt.split == "train" for prompt in prompts)
    generation = arithmetic.generation(calibration, chains=each * len(prompts), train_chains=in_train)
    told = {
        "calibration": {
            "prompts": calibration.prompts,
            "chains": len(calibration.chains),
            "chains_timed": len(calibration.ends),
            "in_flight": calibration.in_flight,
            "start_seconds": round(calibration.start_seconds, 2),
            "seconds": round(calibration.ends[-1], 2),
        },
        "rounds": rounds,
        "warm_up_left_out": has_warm_up and run.config.generate.strategy != "revision",
        "generation": generation,
        "all_rounds": {name: arithmetic.times(generation[name], rounds) for name in arithmetic.ADD_UP},
        "evaluation": _evaluation(run, calibration) | {"policies": run.config.rounds + 1},
        "training": _training(run, generation["train_pairs"]["estimate"]),
    }
    if price is not None:
        free = {"draft", "revision"} if run.config.generate.reviser == "policy" else {"draft"}
        paid = arithmetic.cost(calibration, price, frozenset(free), each * len(prompts))
        told["cost"] = {"round": paid, "all_rounds": arithmetic.times(paid, rounds)}
    return told


def _evaluation(run: Run, calibration: Calibration) -> dict[str, Any]:
    from evaluation.measure import choose_prompts
    from loop import estimate as arithmetic

    settings = run.config.evaluate
    prompts = len(choose_prompts(run.prompts.of("test"), settings))
    judged = prompts * min(settings.critic_drafts, settings.drafts)
    asked = len(run.constitution.principles) + (settings.answered_by == "judge")
    return arithmetic.evaluation(calibration, drafts=prompts * settings.drafts, questions=judged * asked)


def _training(run: Run, pairs: float) -> dict[str, Any]:
    """Optimizer steps by round; how long one takes is not known before one was taken."""
    from trainer.dpo import optimizer_steps

    config = run.config.train
    seen = [pairs * (number if config.uses_all_rounds else 1) for number in range(1, run.config.rounds + 1)]
    return {
        "pairs": [round(count) for count in seen],
        "optimizer_steps": [optimizer_steps(config, max(1, round(count))) for count in seen],
        "seconds": None,
    }
