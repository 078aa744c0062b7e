"""What an audit costs: `python benchmarks/audit.py [--verdicts N] [--principles P]` prints one line of JSON.

Chains of a simulated world (`benchmarks/simulated/planted.py`), as Parquet shards of pairs and rejects on disk, as a
run leaves them: a million verdicts on 30 principles, ten of them with an exact check, drafts of about 800 characters,
critiques of 20 words. Another process writes them; `seconds` and `peak_rss_mib` are of reading, counting and testing,
imports included.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import resource
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

BARS = {"seconds": 60, "peak_rss_mib": 2048}
_SEED, _CHAINS_PER_SHARD = 7, 5000


def write_shards(folder: Path, verdicts: int, principles: int) -> None:
    """Rows until there are so many verdicts, as Parquet."""
    import numpy as np
    import pyarrow as pa
    from pyarrow import parquet

    from benchmarks.simulated.planted import build_world, rows

    world = build_world(_SEED, principles=principles)
    words = np.random.default_rng(0).choice([f"word{n}" for n in range(2000)], (5000, 20))
    critiques = pa.array([" ".join(row) for row in words])
    made = shard = 0
    for name in ("pairs", "rejects"):
        (folder / name).mkdir(parents=True)
    while made < verdicts:
        chains = min(_CHAINS_PER_SHARD, max(1, (verdicts - made) // (2 * principles)))
        table = rows(world, chains, first=shard * _CHAINS_PER_SHARD)
        for name in ("draft_verdicts", "final_verdicts"):
            place = table.schema.get_field_index(name)
            column = _worded(table.column(name).combine_chunks(), critiques)
            made += len(column.flatten())
            table = table.set_column(place, table.schema.field(name), column)
        is_pair = pa.compute.equal(table.column("reason"), "")
        for name, chosen in (("pairs", table.filter(is_pair)), ("rejects", table.filter(pa.compute.invert(is_pair)))):
            if chosen.num_rows:
                path = folder / name / f"part-{shard:05d}.parquet"
                parquet.write_table(chosen, path, compression="zstd", row_group_size=1000, write_page_checksum=True)
        shard += 1


def _worded(lists: Any, critiques: Any) -> Any:
    """The verdicts with a critique each, as critics write them."""
    import numpy as np
    import pyarrow as pa

    values = lists.flatten()
    fields = values.flatten()
    names = [values.type.field(n).name for n in range(len(fields))]
    drawn = critiques.take(pa.array(np.random.default_rng(1).integers(0, len(critiques), len(values))))
    fields[names.index("critique")] = drawn
    return pa.ListArray.from_arrays(lists.offsets, pa.StructArray.from_arrays(fields, names)).cast(lists.type)


def measure(folder: Path, principles: int) -> dict[str, Any]:
    """Audit what lies there."""
    from benchmarks.simulated.planted import build_world

    constitution = build_world(_SEED, principles=principles).constitution
    began = time.perf_counter()
    from evaluation.audit.audit import audit
    from evaluation.audit.facts import read_facts

    facts = read_facts([folder], constitution)
    read = time.perf_counter() - began
    told = audit(facts)
    seconds = time.perf_counter() - began
    return {
        "verdicts": told["counted"]["verdicts"],
        "chains": told["counted"]["chains"],
        "principles": principles,
        "findings": len(told["findings"]),
        "tests": told["tests"]["made"],
        "seconds": round(seconds, 1),
        "seconds_reading": round(read, 1),
        "peak_rss_mib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        "bars": BARS,
    }


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--verdicts", type=int, default=1_000_000)
    parser.add_argument("--principles", type=int, default=30, help="at least 12")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "round_00"
        # Not forked, so that nothing of the making is in the memory of the measuring.
        maker = multiprocessing.get_context("spawn").Process(
            target=write_shards, args=(folder, given.verdicts, given.principles)
        )
        maker.start()
        maker.join()
        if maker.exitcode:
            sys.exit(maker.exitcode)
        print(json.dumps(measure(folder, given.principles)))


if __name__ == "__main__":
    main()
