"""One table of every verdict that a run's chains came to, in an in-memory DuckDB that every figure is counted from.

`chains`: chain, id, prompt, prompt_id, prompt_group, round, split, strategy, benign, reason (empty for a pair).
`drawn`: chain, principle. `revisions`: chain, principle, number (from 1, in order).
`texts`: chain, text, chars, refusal, final. Text 0 is the draft and text k what the k-th revision made of it; of a
group of drafts, the number of the candidate. `final` is what would be chosen.
`facts`: chain, prompt, principle, text, kind, ask (from 0), verdict, severity, drawn, applicable, chars, refusal,
revised (a revision for this principle followed), truth (violates | complies | not_applicable, by an exact check or a
person) and truth_by. A `recheck` looks at a text between revisions; only answers that were the last word of their
question are here, so an unreadable reply that was drawn again is not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from constitution.schema import Constitution
from evaluation.audit.rows import row_tables
from evaluation.audit.texts import check_verdicts, refuses
from records.errors import DataError
from records.shard import DamagedShardError

Label = tuple[str, str, bool]
"""What a person says of a draft: the chain's id, the principle, whether the draft violates it."""

_MEMORY = "1GB"
_CLOSED: dict[str, str | bool | int | float | list[str]] = {
    "enable_external_access": "false",
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
    "python_enable_replacements": "false",
    "memory_limit": _MEMORY,
}
_TABLES = """
CREATE TYPE verdict AS ENUM ('violates', 'complies', 'not_applicable', 'unparsed');
CREATE TYPE kind AS ENUM ('draft', 'recheck', 'verification');
CREATE TABLE principles (principle USMALLINT, id VARCHAR, checked BOOLEAN);
CREATE TABLE chains (chain INTEGER, id VARCHAR, prompt_id VARCHAR, prompt_group VARCHAR, round INTEGER NOT NULL,
    split VARCHAR, strategy VARCHAR, benign BOOLEAN, reason VARCHAR, digest VARCHAR NOT NULL);
CREATE TABLE drawn (chain INTEGER, principle USMALLINT);
CREATE TABLE revisions (chain INTEGER, principle USMALLINT, number SMALLINT);
CREATE TABLE texts (chain INTEGER, text SMALLINT, chars INTEGER, refusal BOOLEAN, final BOOLEAN);
CREATE TABLE answers (chain INTEGER, principle USMALLINT, text SMALLINT, kind kind, ask SMALLINT,
    verdict verdict NOT NULL, severity TINYINT, truth verdict);
CREATE TABLE unknown (principle VARCHAR, verdicts BIGINT);
"""
# What one table of rows, registered as `batch` with its chains' numbers, comes to. A chain whose candidates are empty
# has one draft, which revisions follow.
_TRAIL = """
CREATE OR REPLACE TEMP TABLE steps AS
SELECT chain, place, e.kind AS kind, e.principle AS principle, e.verdict AS verdict, coalesce(e.text, '') AS words,
    sum(CASE WHEN e.kind = 'revision' THEN 1 ELSE 0 END) OVER trail AS text,
    lead(e.kind || ' ' || e.principle) OVER trail AS next
FROM (SELECT chain, unnest(list_filter(trail, lambda e: e.kind IN ('revision', 'recheck'))) AS e,
        generate_subscripts(list_filter(trail, lambda e: e.kind IN ('revision', 'recheck')), 1) AS place FROM batch)
WINDOW trail AS (PARTITION BY chain ORDER BY place)
"""
_CANDIDATES = """
CREATE OR REPLACE TEMP TABLE group_drafts AS
SELECT chain, unnest(candidates) AS c, unnest(range(len(candidates))) AS text FROM batch
"""
_TEXTS = """
CREATE OR REPLACE TEMP TABLE words AS
SELECT chain, 0 AS text, draft.text AS words FROM batch
    WHERE draft.text IS NOT NULL AND coalesce(len(candidates), 0) = 0
UNION ALL SELECT chain, text, words FROM steps WHERE kind = 'revision'
UNION ALL SELECT chain, text, c.draft.text FROM group_drafts WHERE c.draft.text IS NOT NULL
"""
_FINAL = """
CREATE OR REPLACE TEMP TABLE finals AS
SELECT chain, max(text) AS text FROM words WHERE chain NOT IN (SELECT chain FROM group_drafts) GROUP BY chain
UNION ALL SELECT chain, text FROM group_drafts WHERE c.side = 'chosen'
"""
_ANSWERS = """
CREATE OR REPLACE TEMP TABLE found AS
SELECT chain, text, kind, v.principle AS id, v.verdict AS verdict, v.severity AS severity,
    row_number() OVER (PARTITION BY chain, text, kind, v.principle ORDER BY place) - 1 AS ask
FROM (
    SELECT chain, 0 AS text, 'draft' AS kind, unnest(draft_verdicts) AS v, unnest(range(len(draft_verdicts))) AS place
        FROM batch WHERE coalesce(len(candidates), 0) = 0
    UNION ALL SELECT chain, text, 'draft', unnest(c.verdicts), unnest(range(len(c.verdicts))) FROM group_drafts
    UNION ALL SELECT chain, text, 'verification', unnest(final_verdicts), unnest(range(len(final_verdicts)))
        FROM batch JOIN finals USING (chain)
)
UNION ALL
SELECT chain, text, kind, principle, verdict, NULL,
    row_number() OVER (PARTITION BY chain, text, principle ORDER BY place) - 1
FROM steps WHERE kind = 'recheck' AND verdict IS NOT NULL
    AND NOT (verdict = 'unparsed' AND next IS NOT DISTINCT FROM ('recheck ' || principle))
"""
_ASKED = """
SELECT DISTINCT found.chain, found.text, p.principle FROM found JOIN principles p USING (id) WHERE p.checked
ORDER BY found.chain, found.text, p.principle
"""
_LAST_TURN = """
SELECT chain, list_filter(prompt, lambda m: m.role = 'user')[-1].content AS turn FROM batch ORDER BY chain
"""
_KEEP = """
INSERT INTO chains SELECT chain, id, prompt_id, "group", provenance.round, split, coalesce(strategy, 'revision'),
    benign, coalesce(reason, ''), provenance.constitution_digest FROM batch;
INSERT INTO drawn SELECT chain, p.principle FROM (SELECT chain, unnest(principles) AS id FROM batch) b
    JOIN principles p USING (id);
INSERT INTO revisions SELECT s.chain, p.principle, s.text FROM steps s JOIN principles p ON p.id = s.principle
    WHERE s.kind = 'revision';
INSERT INTO texts SELECT l.chain, l.text, l.chars, l.refusal, l.text IS NOT DISTINCT FROM f.text
    FROM looked l LEFT JOIN finals f USING (chain);
INSERT INTO answers SELECT a.chain, p.principle, a.text, a.kind, a.ask, a.verdict, a.severity, c.truth
    FROM found a JOIN principles p USING (id)
    LEFT JOIN checked c ON c.chain = a.chain AND c.text = a.text AND c.principle = p.principle;
INSERT INTO unknown SELECT id, count(*) FROM found ANTI JOIN principles USING (id) GROUP BY id;
"""
_FACTS = """
CREATE OR REPLACE TABLE prompts AS SELECT prompt_id, (row_number() OVER (ORDER BY prompt_id) - 1)::INTEGER AS prompt
    FROM (SELECT DISTINCT prompt_id FROM chains);
CREATE OR REPLACE TABLE chains AS SELECT c.*, p.prompt FROM chains c JOIN prompts p USING (prompt_id);
CREATE TABLE facts AS
SELECT a.chain, c.prompt, a.principle, a.text, a.kind, a.ask, a.verdict, a.severity,
    d.chain IS NOT NULL AS drawn, a.verdict IN ('violates', 'complies') AS applicable, t.chars, t.refusal,
    coalesce(CASE a.kind WHEN 'draft' THEN r.chain IS NOT NULL WHEN 'recheck' THEN n.chain IS NOT NULL END, FALSE)
        AS revised,
    coalesce(l.truth, a.truth) AS truth,
    CASE WHEN l.truth IS NOT NULL THEN 'person' WHEN a.truth IS NOT NULL THEN 'check' END AS truth_by
FROM answers a JOIN chains c USING (chain)
LEFT JOIN texts t ON t.chain = a.chain AND t.text = a.text
LEFT JOIN drawn d ON d.chain = a.chain AND d.principle = a.principle
LEFT JOIN (SELECT DISTINCT chain, principle FROM revisions) r ON r.chain = a.chain AND r.principle = a.principle
LEFT JOIN revisions n ON n.chain = a.chain AND n.principle = a.principle AND n.number = a.text + 1
LEFT JOIN labels l ON l.id = c.id AND l.principle = a.principle AND a.text = 0 AND c.strategy = 'revision';
DROP TABLE answers;
"""


class Facts:
    """The tables above of one run; `add` rows, `finish`, then `query`."""

    def __init__(self, constitution: Constitution) -> None:
        import duckdb

        self.constitution = constitution
        self.principles = tuple(principle.id for principle in constitution.principles)
        self._connection = duckdb.connect(":memory:", config=_CLOSED)
        self._connection.execute(_TABLES)
        self._seen: set[str] = set()
        rows = [(number, one.id, one.check is not None) for number, one in enumerate(constitution.principles)]
        self._connection.executemany("INSERT INTO principles VALUES (?, ?, ?)", rows)

    def add(self, table: Any) -> None:
        """Take a table of rows (`evaluation.audit.rows.row_schema`); a row whose id was there before is passed over."""
        import pyarrow

        ids = table.column("id").to_pylist()
        new = [id not in self._seen for id in ids]
        if not all(new):
            table = table.filter(pyarrow.array(new))
        first, count = len(self._seen), table.num_rows
        self._seen.update(ids)
        if not count:
            return
        numbers = pyarrow.array(range(first, first + count), pyarrow.int32())
        self._connection.register("batch", table.append_column("chain", numbers))
        for statement in (_CANDIDATES, _TRAIL, _TEXTS, _FINAL, _ANSWERS):
            self._connection.execute(statement)
        self._look()
        self._connection.execute(_KEEP)
        for name in ("batch", "looked", "checked"):
            self._connection.unregister(name)

    def _look(self) -> None:
        """Tell of each text of the batch what can be told without a model."""
        import pyarrow

        chains, numbers, words = self.query("SELECT chain, text, words FROM words")
        # Rows hold a draft as it was sampled; what is judged and trained on has no white space at its ends.
        texts = [text.strip() for text in words.tolist()]
        looked = {"chain": chains, "text": numbers, "chars": [len(text) for text in texts]}
        self._connection.register("looked", pyarrow.table(looked | {"refusal": [refuses(text) for text in texts]}))
        by_place = dict(zip(zip(chains.tolist(), numbers.tolist(), strict=True), texts, strict=True))
        turns = dict(zip(*(column.tolist() for column in self.query(_LAST_TURN)), strict=True))
        asked = [
            place for place in zip(*(c.tolist() for c in self.query(_ASKED)), strict=True) if place[:2] in by_place
        ]
        found = check_verdicts(
            self.constitution.principles,
            ((principle, turns[chain] or "", by_place[chain, text]) for chain, text, principle in asked),
        )
        columns = list(zip(*asked, strict=True)) or [(), (), ()]
        types = (pyarrow.int32(), pyarrow.int32(), pyarrow.int32())
        arrays = [pyarrow.array(column, type) for column, type in zip(columns, types, strict=True)]
        names = ["chain", "text", "principle", "truth"]
        self._connection.register("checked", pyarrow.table([*arrays, pyarrow.array(found, pyarrow.string())], names))

    def finish(self, labels: Iterable[Label] = ()) -> None:
        """Put the table of facts together; nothing is added after.

        Args:
            labels: what people say of drafts of the strategy `revision`; they count before an exact check.
        """
        self._connection.execute("CREATE TABLE labels (id VARCHAR, principle USMALLINT, truth verdict)")
        number = {id: index for index, id in enumerate(self.principles)}
        rows = {(id, number[name]): "violates" if violates else "complies" for id, name, violates in labels}
        if rows:
            self._connection.executemany("INSERT INTO labels VALUES (?, ?, ?)", [(*key, rows[key]) for key in rows])
        self._connection.execute(_FACTS)

    def run(self, statement: str) -> None:
        """Make a table of the facts."""
        self._connection.execute(statement)

    def named(self, statement: str) -> dict[str, Any]:
        """The columns of a query as numpy arrays by name; nothing may be null in those of numbers."""
        found: dict[str, Any] = self._connection.execute(statement).fetchnumpy()
        return found

    def query(self, statement: str) -> list[Any]:
        """The columns of a query, in its order."""
        return list(self.named(statement).values())

    def table(self) -> Any:
        """The facts as an Arrow table, principles by id."""
        return self._connection.sql(
            "SELECT f.* REPLACE (p.id AS principle) FROM facts f JOIN principles p ON p.principle = f.principle "
            "ORDER BY chain, text, kind, f.principle, ask"
        ).to_arrow_table()

    def close(self) -> None:
        """Let go of the memory."""
        self._connection.close()


def read_facts(
    folders: Iterable[Path],
    constitution: Constitution,
    labels: Iterable[Label] = (),
    advance: Callable[[int], object] = lambda rows: None,
) -> Facts:
    """The facts of some rounds.

    Args:
        folders: those of rounds, each with `pairs/` and `rejects/`. Where both hold an id, the reject counts.
        constitution: the one that the rows were made under.
        labels: see `Facts.finish`.
        advance: called with the number of rows that were read since.

    Raises:
        DamagedShardError: a shard holds something that is no row.
        DataError: rows were made under another constitution.
    """
    facts = Facts(constitution)
    for folder in folders:
        for name in ("rejects", "pairs"):
            for path, table in row_tables(folder / name):
                _add(facts, path, table)
                advance(table.num_rows)
    _require_digest(facts)
    facts.finish(labels)
    return facts


def _add(facts: Facts, path: Path, table: Any) -> None:
    import duckdb

    try:
        facts.add(table)
    except duckdb.Error as error:
        found = str(error).replace("\n", " ")[:200]
        raise DamagedShardError(path, f"a row is none of pairs and rejects ({found})") from None


def _require_digest(facts: Facts) -> None:
    digests = facts.query("SELECT digest, count(*) FROM chains GROUP BY digest ORDER BY count(*) DESC")
    others = {digest: int(n) for digest, n in zip(*digests, strict=True) if digest != facts.constitution.digest}
    if others:
        told = ", ".join(f"{n} rows of digest {str(digest)[:12]}" for digest, n in others.items())
        raise DataError(
            f"{told}; expected {facts.constitution.name!r} of digest {facts.constitution.digest[:12]}, under which an "
            "audit could tell which principle is meant. Give the constitution that the rows were made under."
        )
