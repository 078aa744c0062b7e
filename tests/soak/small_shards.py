"""`constitute` and its stage processes with five rows in a shard, so that a small run rolls many; all else is real.

`python -m tests.soak.small_shards cli ARGUMENTS...` is the command; stages are `... stage ARGUMENTS...`.
`SOAK_CRASH_STAGE_AT` is `CONSTITUTE_CRASH_AT` for the stages alone.
"""

from __future__ import annotations

import os
import sys


def stage(arguments: list[str]) -> int:
    from loop.stage import main
    from records.store import RowStore

    RowStore.__init__.__kwdefaults__["rows_per_shard"] = 5
    if point := os.environ.get("SOAK_CRASH_STAGE_AT"):
        os.environ["CONSTITUTE_CRASH_AT"] = point
    return main(arguments)


def cli(arguments: list[str]) -> None:
    import loop.processes
    from loop.cli import main

    loop.processes.STAGE_COMMAND = (sys.executable, "-m", "tests.soak.small_shards", "stage")
    sys.argv = ["constitute", *arguments]
    main()


if __name__ == "__mp_main__":  # as loop/stage.py does for the processes that vLLM spawns
    from loop.orphans import die_with_parent

    die_with_parent()
if __name__ == "__main__":
    sys.exit({"stage": stage, "cli": cli}[sys.argv[1]](sys.argv[2:]))
