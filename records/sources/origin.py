"""Where rows come from: the keys of a source in a run file, and of `constitute import-pairs`."""

from __future__ import annotations

import re

from pydantic import Field, model_validator

from records.strict import Settings

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(?:/[A-Za-z0-9][\w.-]*)?", re.ASCII)


class Query(Settings):
    """Rows of a DuckDB or SQLite database, read-only."""

    connect: str = Field(min_length=1)
    """Path of a DuckDB or SQLite database file. It is opened read-only, and the query reaches nothing outside it."""
    query: str = Field(min_length=1)
    """One SELECT; its columns are the columns of the rows."""


class Origin(Settings):
    """Rows of one file, folder, data set of the hub, or database."""

    path: str | None = None
    """A .jsonl, .json, .csv or .parquet file, a folder of such files, or a data set saved with `save_to_disk`."""
    hub: str | None = None
    """Id of a data set of the Hugging Face hub; its code is never run."""
    subset: str | None = None
    """The hub data set's configuration, where it has several."""
    split: str | None = None
    """Which split of a hub data set (train when empty), of a saved data set that has several, or of a folder whose
    files are named after their splits. Pairs of a split that is called test are never trained on."""
    revision: str | None = None
    """Commit, tag or branch of the hub data set; name a commit to read the same rows next year."""
    sql: Query | None = None
    preset: str | None = None
    """The public layout that the rows have, for example hh-rlhf."""
    columns: dict[str, str] = Field(default_factory=dict)
    """This project's column name to theirs (`a.b` reaches into a mapping); what is named here wins over the preset."""

    @model_validator(mode="after")
    def _is_one_place(self) -> Origin:
        self.check_place()
        if self.hub is None and (self.subset or self.revision):
            raise ValueError("found subset or revision without hub; expected them beside a hub data set only")
        if self.split and self.hub is None and self.path is None:
            raise ValueError("found split; expected it beside hub, or beside the path of a saved data set")
        if self.hub is not None and not _HUB_ID.fullmatch(self.hub):
            raise ValueError(f"found hub {self.hub!r}; expected OWNER/NAME")
        if self.preset is not None:
            # Here and not above: most run files name none.
            from records.sources.presets import preset_named

            preset_named(self.preset)
        return self

    def check_place(self) -> None:
        """Raise ValueError unless exactly one place is named."""
        if sum(place is not None for place in (self.path, self.hub, self.sql)) != 1:
            raise ValueError("expected one of path, hub or sql")

    @property
    def name(self) -> str:
        """What messages and rows call this source."""
        if self.sql is not None:
            return f"{self.sql.connect} (sql)"
        if self.hub is not None:
            named = f"hub:{self.hub}" + (f"/{self.subset}" if self.subset else "")
            return f"{named}@{self.revision}" if self.revision else named
        return self.path or ""
