"""The verbs about data rather than rounds; loop/cli.py registers them."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Annotated

import typer

from loop.arguments import OUTPUTS, Outputs, run_path
from records.errors import ConfigError

if TYPE_CHECKING:
    from loop.export_source import Tally
    from loop.export_wanted import Wanted


def export(
    run: Annotated[str, typer.Argument(help="Name of a run, its folder, or a folder of pairs (a path).")],
    to: Annotated[str, typer.Option("--to", help="trl, trl-standard, nemo-rl, open-cai or annotated-pairs.")],
    output: Annotated[
        str, typer.Option("--output", "--out", "-o", help="New folder, .jsonl or .json file, or s3://bucket/folder.")
    ],
    rounds: Annotated[str | None, typer.Option(help="Such as 0,1; all when left out.")] = None,
    splits: Annotated[str, typer.Option(help="train, validation, or both.")] = "train,validation",
    include_rejects: Annotated[bool, typer.Option("--include-rejects", help="Rejects too, as a second table.")] = False,
    template: Annotated[str | None, typer.Option(help="For trl-standard: a Jinja file or a model's folder.")] = None,
    constitution: Annotated[str | None, typer.Option(help="Of a folder of pairs; a run has its own.")] = None,
    licence: Annotated[str, typer.Option(help="Licence named in the card.")] = "other",
    push: Annotated[str | None, typer.Option(metavar="OWNER/NAME", help="Upload it; the token is HF_TOKEN.")] = None,
    public: Annotated[bool, typer.Option("--public", help="Upload where everybody can read.")] = False,
    outputs: Outputs = OUTPUTS,
) -> None:
    """Write the pairs of a run for another trainer or tool, with a dataset card."""
    from loop.export_source import parse_rounds
    from loop.export_wanted import Wanted
    from records.publish import is_address

    wanted = Wanted(
        source=run_path(run, outputs),
        to=to,
        output=Path(output),
        rounds=None if rounds is None else parse_rounds(rounds),
        splits=tuple(dict.fromkeys(name.strip() for name in splits.split(",") if name.strip())),
        include_rejects=include_rejects,
        template=template,
        constitution=constitution,
        licence=licence,
    )
    _check_push(push, public, wanted)
    if is_address(output):
        _export_elsewhere(wanted, output, push)
        return
    from loop.export import export as write_export
    from loop.push import open_push, upload

    opened = open_push(push, private=not public) if push else None
    _show(write_export(wanted), to, output)
    if opened:
        print(f"uploaded: {upload(opened, wanted.output)}")


def _show(tally: Tally, to: str, output: str) -> None:
    print(f"{tally.pairs.total()} pairs as {to}: {output}")
    for (_, _, reason), count in sorted(tally.left_out.items()):
        print(f"left out, {reason}: {count}")
    if tally.other_rounds:
        print(f"left out, of another round: {tally.other_rounds}")


def _export_elsewhere(wanted: Wanted, address: str, push: str | None) -> None:
    """Write the export here first, whole, and copy it then."""
    import tempfile
    from dataclasses import replace

    from loop.export import export as write_export
    from records.publish import open_place, require_new, send_folder

    if push:
        raise ConfigError(f"--push {push}: uploads a folder of this machine; expected -o FOLDER, not {address}.")
    place = open_place(address)
    require_new(place)
    with tempfile.TemporaryDirectory() as folder:
        here = replace(wanted, output=Path(folder) / "export" / (PurePosixPath(place.root).name or "export"))
        tally = write_export(here)
        if here.is_file:  # its card goes beside it
            send_folder(here.output.parent, open_place(address.rpartition("/")[0]))
        else:
            send_folder(here.output, place)
    _show(tally, wanted.to, address)


def _check_push(push: str | None, public: bool, wanted: Wanted) -> None:
    if push and wanted.is_file:
        raise ConfigError(f"--push {push}: uploads a folder with its card; expected -o FOLDER, not {wanted.output}.")
    if public and not push:
        raise ConfigError("--public: says how --push uploads; expected --push OWNER/NAME with it.")
