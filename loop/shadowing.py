"""Refuses to start when another distribution's package or module takes the place of one of this project's.

The import names are generic, and distributions named alike exist. Uses the standard library alone, since any of the
project's other packages may be the one that is shadowed.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

PACKAGES = ("records", "constitution", "generator", "trainer", "evaluation", "loop")
_HOME = Path(__file__).resolve().parent.parent


def shadowed_packages() -> dict[str, Path]:
    """Name of each package that would be imported from elsewhere, with the place it would come from."""
    places = {name: _place(name) for name in PACKAGES}
    return {name: place for name, place in places.items() if place is not None and place != _HOME / name}


def _place(name: str) -> Path | None:
    spec = importlib.util.find_spec(name)
    if spec is None:
        return None  # not there at all: its import says so
    if spec.submodule_search_locations is None:
        return Path(spec.origin or "").resolve()  # a single file, such as records.py
    return Path(next(iter(spec.submodule_search_locations))).resolve()


def refuse_shadowed_packages() -> None:
    """Exit with 2 and name what is shadowed and by whom; cheap when nothing is."""
    shadowed = shadowed_packages()
    if not shadowed:
        return
    # Reads the records of every distribution, a tenth of a second; only the error needs it.
    from importlib.metadata import packages_distributions

    owners = packages_distributions()
    lines = [f"constitute cannot start: {len(shadowed)} of its packages would be imported from elsewhere"]
    for name, place in shadowed.items():
        others = [owner for owner in owners.get(name, ()) if owner != "constitute"]
        owner = f", of the distribution {' or '.join(sorted(set(others)))}" if others else ""
        lines.append(f"  {name}: found {place}{owner}; expected {_HOME / name}")
    lines.append(
        "Uninstall or move what was found, or give constitute a virtual environment of its own (make setup); "
        "PYTHONPATH may name a folder that holds it."
    )
    sys.stderr.write("\n".join(lines) + "\n")
    raise SystemExit(2)
