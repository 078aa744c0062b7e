"""The verb `import-pairs`: anybody's preference data as a folder of pairs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from records.errors import ConfigError

if TYPE_CHECKING:
    from pydantic import ValidationError

    from records.sources.origin import Origin

_HUB = "hub:"


def import_pairs(  # noqa: PLR0913 - every option of a verb is a parameter
    source: Annotated[str, typer.Argument(help="File, folder, hub:OWNER/NAME, or a database file with --query.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The folder to write.")],
    preset: Annotated[str | None, typer.Option(help="Public layout of the rows, for example hh-rlhf.")] = None,
    columns: Annotated[str | None, typer.Option(help="OURS=THEIRS, ...; for example prompt=question.")] = None,
    split: Annotated[str | None, typer.Option(help="Split of a hub or saved data set, or of a folder.")] = None,
    subset: Annotated[str | None, typer.Option(help="Configuration of a hub data set.")] = None,
    revision: Annotated[str | None, typer.Option(help="Commit, tag or branch of a hub data set.")] = None,
    query: Annotated[str | None, typer.Option(help="A SELECT on a DuckDB or SQLite database.")] = None,
    template: Annotated[str | None, typer.Option(help="Chat template that rendered the texts: file or model.")] = None,
    validation: Annotated[float, typer.Option(help="Share of validation prompts; a run's splits.validation.")] = 0.1,
    test: Annotated[float, typer.Option(help="Share of held-out prompts; a run's splits.test.")] = 0.15,
) -> None:
    """Turn preference data of other projects into a folder of pairs, and count what was no pair."""
    from pydantic import ValidationError

    from records.sources.import_pairs import import_pairs as read
    from records.sources.rendered import Unrender, refuse_rendered
    from records.splits import SplitShares

    try:
        named = named_columns(columns)
        origin = origin_of(source, query, preset=preset, columns=named, split=split, subset=subset, revision=revision)
        shares = SplitShares(validation=validation, test=test)
    except ValidationError as error:
        raise origin_error(f"import-pairs {source}", error, "Nothing was written.") from None
    unrender = refuse_rendered
    if template is not None:
        from records.chat_template import open_template

        if preset is not None:
            raise ConfigError(f"--template {template}: found with --preset {preset}; expected one of them.")
        unrender = Unrender(open_template(template))
    counts = read(origin, output, shares, unrender=unrender)
    typer.echo("\n".join([f"{output}: pairs from {origin.name}", *counts.lines()]))
    if counts.faults:
        typer.echo(f"every bad row with its reason: {output / 'rejects'}")


def origin_error(where: str, error: ValidationError, way_out: str) -> ConfigError:
    """What is wrong with a source that was named, in words."""
    faults = [f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors()]
    told = "\n".join(f"  {fault.removeprefix(': ').removeprefix('Value error, ')}" for fault in faults)
    return ConfigError(f"{where}:\n{told}\n{way_out}")


def origin_of(source: str, query: str | None = None, **more: object) -> Origin:
    """A source as its argument names it: `hub:OWNER/NAME`, a database with a query, or a path."""
    from records.sources.origin import Origin

    if query is not None:
        place: dict[str, object] = {"sql": {"connect": source, "query": query}}
    elif source.startswith(_HUB):
        place = {"hub": source.removeprefix(_HUB)}
    else:
        place = {"path": source}
    return Origin.model_validate(place | more)


def named_columns(columns: str | None) -> dict[str, str]:
    """The argument `OURS=THEIRS, ...` as a mapping."""
    named = {}
    for part in columns.split(",") if columns else []:
        ours, equals, theirs = (piece.strip() for piece in part.partition("="))
        if not (ours and equals and theirs):
            raise ConfigError(f"--columns {columns}: found {part!r}; expected OURS=THEIRS, such as prompt=question.")
        named[ours] = theirs
    return named
