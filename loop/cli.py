"""The command line. Parameters live in the run file; the verbs take a file, a run name, and `key=value` overrides."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

# Looking for plugins reads the metadata of every installed package, a tenth of a start.
os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")

import typer

from loop import data_verbs
from loop.arguments import OUTPUTS, Outputs, run_path
from loop.audit_verb import audit
from loop.critic_check_verb import critic_check
from loop.estimate_verb import estimate
from loop.import_verb import import_pairs
from loop.stopping import INTERRUPTED, TERMINATED, Terminated, raise_on_sigterm
from loop.streams import take_any_text
from records.errors import ConfigError, ConstituteError, StageFailed

if TYPE_CHECKING:
    from loop.config import RunConfig
    from loop.folder import RunFolder
    from loop.inputs import Run

app = typer.Typer(
    help="Verified preference pairs from a YAML constitution, and the DPO rounds that train on them.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)

ConfigFile = Annotated[Path, typer.Argument(help="Run file (YAML).")]
Overrides = Annotated[list[str] | None, typer.Argument(metavar="KEY=VALUE", help="Settings to change.")]
RunName = Annotated[str | None, typer.Option("--run", help="Name of the run; the file's name when left out.")]
Round = Annotated[int, typer.Option("--round", min=0, help="Which round; counts from 0.")]
# Typer carries its own click, whose usage errors are reached through the one that typer exports.
_UsageError: Any = typer.BadParameter.__base__


@app.command()
def run(
    config: ConfigFile,
    overrides: Overrides = None,
    run: RunName = None,
    outputs: Outputs = OUTPUTS,
    redo: Annotated[str | None, typer.Option(help="STAGE@ROUND to do anew, with all after it.")] = None,
) -> None:
    """Do all rounds: draft, critique, revise, verify, train, evaluate. The same command again goes on."""
    from loop.report import write_report
    from loop.rounds import prepare, run_rounds

    opened = _open(config, overrides, run, outputs)
    folder = opened.folder
    with folder.locked():
        if redo:
            _redo(folder, redo)
        prepare(opened)
        status = run_rounds(opened)
        _show(write_report(folder.path), folder)
        if status == "too_few_pairs":
            least = opened.config.min_pairs
            print(f"The loop ended early: a round gave fewer than min_pairs ({least}) train pairs.")


def _stage_verb(stage: str, words: str) -> None:
    """A command that does one stage of one round."""

    @app.command(stage, help=words)
    def do_stage(
        config: ConfigFile,
        overrides: Overrides = None,
        run: RunName = None,
        outputs: Outputs = OUTPUTS,
        round: Round = 0,
    ) -> None:
        from loop.processes import Job, StageProcesses
        from loop.report import write_report
        from loop.rounds import prepare, run_stages

        opened = _open(config, overrides, run, outputs)
        # A reward model on somebody's preference data is a training like any other.
        done = "reward" if stage == "train" and opened.config.train.method == "reward" else stage
        with opened.folder.locked():
            prepare(opened)
            with StageProcesses(opened.folder) as processes:
                run_stages(opened, Job(round, (done,)), processes)
            write_report(opened.folder.path)
            print(f"{done} of round {round} is done: {opened.folder.round(round)}")


_stage_verb("generate", "Make the pairs of one round.")
_stage_verb("reward", "Train a reward model on the pairs of one round, and score them with it.")
_stage_verb("train", "Train on the pairs of one round.")
_stage_verb("evaluate", "Evaluate the policy that drafts one round, on the test prompts.")


@app.command()
def report(
    run: Annotated[str, typer.Argument(help="Name of a run, or its folder.")], outputs: Outputs = OUTPUTS
) -> None:
    """Build the report of a run again from its folder."""
    from loop.folder import RunFolder
    from loop.report import write_report

    folder = RunFolder(run_path(run, outputs))
    if not (folder.path / "config.json").is_file():
        raise ConfigError(f"{folder.path}: no config.json; expected the folder of a run. Runs lie in {outputs}/.")
    _show(write_report(folder.path), folder)


@app.command()
def check(
    file: Annotated[str, typer.Argument(help="A constitution (name or file) or a run file.")],
    overrides: Overrides = None,
) -> None:
    """Say what a constitution or a run file holds, or all of its problems."""
    from constitution.describe import describe
    from constitution.load import load_constitution

    path = Path(file)
    if path.is_file() and _is_run_file(path):
        from loop.config import load_run_config

        print(_run_summary(load_run_config(path, overrides or [])))
    else:
        print(describe(load_constitution(file)))


@app.command("import-constitution")
def import_constitution(
    files: Annotated[list[Path], typer.Argument(help="Files of the Constitutional AI paper or of the open layout.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The YAML file to write.")],
) -> None:
    """Turn published critique and revision instructions into a constitution."""
    from constitution.describe import describe
    from constitution.importers import import_constitution as read
    from constitution.load import load_constitution
    from records.atomic import write_text_atomic

    if output.exists():
        raise ConfigError(f"{output}: there is such a file already; expected a new name. Nothing was written.")
    write_text_atomic(output, read(files))
    print(describe(load_constitution(output)))


app.command("import-pairs")(import_pairs)


@app.command()
def config(
    schema: Annotated[bool, typer.Option("--schema", help="Print the JSON schema of run files.")] = False,
) -> None:
    """Describe the settings of a run file."""
    import json

    os.environ["CONSTITUTE_DESCRIBE"] = "1"  # records/strict.py: descriptions are read where they are shown
    from loop.config import RunConfig

    described: dict[str, Any] = RunConfig.model_json_schema()
    if schema:
        print(json.dumps(described, indent=2))
        return
    for name, field in RunConfig.model_fields.items():
        print(f"{name}: {' '.join((field.description or 'a section of its own; see --schema').split())}")


app.command()(data_verbs.export)
app.command()(estimate)
app.command("critic-check")(critic_check)
app.command()(audit)


def _open(config: Path, overrides: list[str] | None, run: str | None, outputs: Path) -> Run:
    """Read and check all inputs; nothing is written."""
    from loop.config import load_run_config
    from loop.folder import RunFolder
    from loop.inputs import open_run

    settings = load_run_config(config, overrides or [])
    return open_run(settings, RunFolder(run_path(config.stem if run is None else run, outputs)))


def _is_run_file(path: Path) -> bool:
    """Whether a YAML file is a run file rather than a constitution; told by its keys."""
    from constitution.yaml_file import read_yaml

    value = read_yaml(path).value
    return isinstance(value, dict) and "principles" not in value and bool({"model", "rounds", "sources"} & set(value))


def _redo(folder: RunFolder, redo_text: str) -> None:
    from loop.folder import STAGES, WARM_UP, redo

    stage, _, number = redo_text.partition("@")
    number = str(WARM_UP) if number == "warm_up" else number
    if stage not in STAGES or not (number.isdecimal() or number == str(WARM_UP)):
        raise ConfigError(f"--redo {redo_text}: expected STAGE@ROUND, STAGE one of {', '.join(STAGES)}; e.g. train@1.")
    removed = redo(folder, stage, int(number))
    print(f"--redo {redo_text}: took out {len(removed)} files and folders under {folder.path}")


def _run_summary(settings: RunConfig) -> str:
    from loop.folder import RunFolder
    from loop.inputs import open_run

    run = open_run(settings, RunFolder(Path("unused")))
    splits = ", ".join(f"{len(run.prompts.of(split))} {split}" for split in ("train", "validation", "test"))
    return "\n".join(
        [
            f"run file: {settings.rounds} rounds of {settings.model} under constitution {run.constitution.name}",
            *_critic(settings),
            *_workers(settings),
            f"prompts: {splits}; {run.mode}, {settings.prompts_per_round or 'all'} a round",
            *(f"source {source.line()}" for source in run.prompts.sources),
            f"left out: {run.prompts.duplicates} duplicates, {run.prompts.near_duplicates} near-duplicates of "
            f"held-out, {run.prompts.alike} other near-duplicates",
            f"principles: {len(run.constitution.principles)}, asked: {settings.generate.principles.draw or 'all'}",
            f"training: {_training(settings)}",
        ]
    )


def _training(settings: RunConfig) -> str:
    train = settings.train
    if train.method == "reward":
        return f"a reward model alone, lr {settings.reward.learning_rate}, folds {settings.reward.folds}"
    against = f"reference {train.reference}, beta {train.beta}, " if train.method == "dpo" else ""
    return f"{train.method}, start_from {train.start_from}, {against}lr {train.learning_rate}"


def _critic(settings: RunConfig) -> list[str]:
    other = settings.critic_model
    if other is None:
        return []
    return [f"critic: {other.model} {f'at {other.endpoint.host}' if other.endpoint else 'in an engine of its own'}"]


def _workers(settings: RunConfig) -> list[str]:
    scale = settings.scale
    where = f"on the cluster at {scale.address}" if scale.address else "on this machine"
    return [f"workers: {scale.workers}, {scale.gpus_per_worker} GPUs each, {where}"] if scale.spread else []


def _show(built: dict[str, Any], folder: RunFolder) -> None:
    from rich.console import Console

    from loop.rounds_table import rounds_table

    Console().print(rounds_table(built))
    for alarm in built["alarms"]:
        print(f"alarm: {alarm['message']}")
    beside = "report.json and rounds.png" if built["rounds"] else "report.json"
    print(f"report: {folder.path / 'report.md'}  ({beside} beside it)")


def main() -> None:
    """The console script: 0 done, 2 a mendable problem in words, 130 or 143 stopped, 1 a bug with its traceback."""
    from loop.shadowing import refuse_shadowed_packages

    raise_on_sigterm()
    take_any_text()
    try:
        refuse_shadowed_packages()
        # Typer turns Ctrl-C into a returned status.
        if app(standalone_mode=False) == INTERRUPTED:
            raise KeyboardInterrupt
    except StageFailed as error:
        sys.exit(error.status)
    except ConstituteError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
    except _UsageError as error:
        error.show()
        sys.exit(2)
    except OSError as error:
        from loop.system_errors import told_plainly

        plainly = told_plainly(error)
        if plainly is None:
            raise
        print(plainly, file=sys.stderr)
        sys.exit(2)
    except (KeyboardInterrupt, typer.Abort, Terminated) as stopped:
        print("\nStopped. Finished rows are on disk; run the same command again to go on.", file=sys.stderr)
        sys.exit(TERMINATED if isinstance(stopped, Terminated) else INTERRUPTED)


if __name__ == "__main__":
    main()
