"""The verb `audit`; loop/cli.py registers it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from loop.arguments import OUTPUTS, Outputs, run_path


def audit(
    run: Annotated[str, typer.Argument(help="Name of a run, or its folder.")],
    rounds: Annotated[str | None, typer.Option(help="Such as 0,1; all when left out.")] = None,
    labels: Annotated[
        Path | None, typer.Option(help="What people say of drafts: JSON lines {id, principle, violates}.")
    ] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Folder for the audit; the run's own.")] = None,
    outputs: Outputs = OUTPUTS,
) -> None:
    """Say which principles of a run's constitution fire, mend, repeat or contradict each other."""
    from loop.audit_run import audit_run
    from loop.export_source import parse_rounds

    chosen = None if rounds is None else parse_rounds(rounds)
    told, place = audit_run(run_path(run, outputs), rounds=chosen, labels=labels, output=output)
    counted = told["counted"]
    print(f"{counted['verdicts']} verdicts of {counted['chains']} chains on {len(told['principles'])} principles")
    for finding in told["findings"]:
        print(f"- {finding['words']}")
    if not told["findings"]:
        print("Nothing was found that is both large enough and more than chance.")
    print(f"audit: {place / 'audit.md'}  (audit.json and audit.png beside it)")
