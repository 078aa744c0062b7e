"""The verb `critic-check`: how right a run's critic is on labelled cases, before it is trusted with a run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from records.errors import ConfigError

if TYPE_CHECKING:
    from evaluation.critic_cases import Cases
    from loop.critic_check_stage import Result
    from loop.inputs import Run
    from records.sources.origin import Origin

_QUESTION = "Which answer is more helpful, honest and harmless?"


def critic_check(  # noqa: PLR0913 - every option of a verb is a parameter
    config: Annotated[Path, typer.Argument(help="Run file (YAML); its critic is checked.")],
    overrides: Annotated[list[str] | None, typer.Argument(metavar="KEY=VALUE", help="Settings to change.")] = None,
    drafts: Annotated[str | None, typer.Option(help="File of labelled drafts, beside the constitution's own.")] = None,
    drafts_columns: Annotated[
        str | None, typer.Option(help="OURS=THEIRS, ...; of prompt, draft, principle, violates.")
    ] = None,
    comparisons: Annotated[str | None, typer.Option(help="Preference data: file, folder or hub:OWNER/NAME.")] = None,
    preset: Annotated[str | None, typer.Option(help="Public layout of the comparisons, for example hhh.")] = None,
    columns: Annotated[str | None, typer.Option(help="Of the comparisons: OURS=THEIRS, ...")] = None,
    question: Annotated[str, typer.Option(help="What is asked about two answers.")] = _QUESTION,
    most: Annotated[int, typer.Option(help="Most comparisons.", min=1)] = 500,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Ask a run's critic about cases whose answer is known: accuracy, order-consistency, intervals. Nothing is kept."""
    from loop.config import load_run_config
    from loop.critic_check_stage import Job
    from loop.critic_check_text import critic_check_text
    from loop.estimate_verb import own_folder
    from loop.folder import RunFolder
    from loop.inputs import open_run

    settings = load_run_config(config, overrides or [])
    with own_folder("critic-check") as folder:
        run = open_run(settings, RunFolder(folder))
        cases = _cases(run, (drafts, drafts_columns), (comparisons, preset, columns), most)
        # The verification's second wording too, so that errors that repeat are seen whatever `asks` is.
        asks = max(2, settings.generate.verify.asks)
        result = _ask(run, Job(cases=cases, asks=asks, question=question))
    told = {"config": str(config), **_figures(result, cases)}
    typer.echo(json.dumps(told) if as_json else critic_check_text(told))


def _cases(
    run: Run, drafts: tuple[str | None, str | None], comparisons: tuple[str | None, str | None, str | None], most: int
) -> Cases:
    from evaluation.critic_cases import example_cases, read_comparison_cases, read_verdict_cases
    from generator.principles import shown_examples
    from loop.import_verb import named_columns

    shown = [example for _, example in shown_examples(run.constitution, run.config.generate.few_shots)]
    cases = example_cases(run.constitution, shown)
    source, named = drafts
    if source is not None:
        cases = cases.joined(read_verdict_cases(_origin(source, columns=named_columns(named)), run.constitution))
    elif named:
        raise ConfigError("--drafts-columns: names columns of labelled drafts; expected --drafts FILE with it.")
    source, preset, named = comparisons
    if source is not None:
        origin = _origin(source, preset=preset, columns=named_columns(named))
        cases = cases.joined(read_comparison_cases(origin, most))
    elif preset or named:
        raise ConfigError("--preset or --columns: say how comparisons lie; expected --comparisons SOURCE with them.")
    if not cases.verdicts and not cases.comparisons:
        raise ConfigError(
            f"constitution {run.constitution.name}: no example is left to ask the critic about, and no --drafts or "
            "--comparisons is given; expected one of them."
        )
    return cases


def _origin(source: str, **more: Any) -> Origin:
    from pydantic import ValidationError

    from loop.import_verb import origin_error, origin_of

    try:
        return origin_of(source, **more)
    except ValidationError as error:
        raise origin_error(f"critic-check {source}", error, "Nothing was asked.") from None


def _ask(run: Run, job: Any) -> Result:
    """Ask in a process of its own, as a stage does; its folder goes with this command."""
    from loop.critic_check_stage import JOB, RESULT, Result
    from loop.processes import Job, StageProcesses
    from records.atomic import write_json_atomic

    folder = run.folder.path
    # Of a warm-up there is no adapter yet, and the critic has none.
    train = run.config.train.model_copy(update={"warm_up": "none"})
    write_json_atomic(folder / "config.json", run.config.model_copy(update={"train": train}).model_dump(mode="json"))
    write_json_atomic(folder / JOB, job.model_dump(mode="json"))
    with StageProcesses(run.folder) as processes:
        processes.run(Job(0, ("critic-check",)))
    return Result.model_validate(json.loads((folder / RESULT).read_text(encoding="utf-8")))


def _figures(result: Result, cases: Cases) -> dict[str, Any]:
    from evaluation.critic_check import comparison_figures, verdict_figures

    return {
        "critic": result.critic,
        "verdicts": verdict_figures(result.verdicts) if result.verdicts else None,
        "comparisons": comparison_figures(result.comparisons) if result.comparisons else None,
        "left_out": cases.left_out,
        "left_out_places": list(cases.places),
    }
