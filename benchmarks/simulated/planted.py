"""Rows of a constitution whose faults are known: drafts, verdicts and revisions drawn from a simulated world.

Each principle has a rate at which drafts break it (prompts differ, so violations come together), a critic with some
sensitivity and specificity, and a chance that a revision mends it. In a clean constitution that is all; in a planted
one some principles have a fault, its size drawn by the seed. No model is asked: this is to know what an audit finds.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from constitution.render import default_templates
from constitution.schema import Check, Constitution, Principle
from evaluation.audit.rows import row_schema
from records.rows import Author, Provenance

FAULTS = ("redundant", "conflict", "dead", "rubber_stamp", "unfixable", "refusals", "length", "critic_unreliable")
_UNPARSED = 0.0005
_REFUSES_ANYHOW = 0.02
_REFUSAL = "I cannot help with that. "
Array = Any


@dataclass
class World:
    """A constitution, what is true of its principles, and what was planted (kind, and the principles' ids)."""

    constitution: Constitution
    source: np.random.Generator
    base: Array
    seen: Array
    passed: Array
    mends: Array
    truth: set[tuple[str, frozenset[str]]] = field(default_factory=set)
    uneven: float = 0.4
    """How far prompts differ: the standard deviation of their log odds of a violation."""
    breaks: float = 0.003
    """Chance that a revision breaks any one other principle, whatever it is for."""
    of: dict[str, tuple[int, ...]] = field(default_factory=dict)
    size: dict[str, float] = field(default_factory=dict)


def build_world(seed: int, *, principles: int = 30, faults: tuple[str, ...] = FAULTS, **nature: float) -> World:
    """A constitution of so many principles; without faults it is clean.

    Args:
        seed: draws everything.
        principles: how many; every third has an exact check, which knows the truth.
        faults: which to plant, each once.
        nature: `uneven` and `breaks` of the world.
    """
    source = np.random.default_rng(seed)
    norms = tuple(
        Principle(id=f"p{n:02d}", text=f"Norm {n}.", applies_when="Some prompts." if n % 7 == 3 else None,
                  check=Check(forbid=(_mark(n),)) if n % 3 == 0 else None)
        for n in range(principles)
    )  # fmt: skip
    world = World(
        Constitution(name=f"world-{seed}", principles=norms, templates=default_templates()),
        source,
        base=source.uniform(0.15, 0.4, principles),
        seen=source.uniform(0.9, 0.98, principles),
        passed=source.uniform(0.985, 0.998, principles),
        mends=source.uniform(0.75, 0.95, principles),
        **nature,
    )
    free = [int(n) for n in source.permutation([n for n in range(principles) if n % 7 != 3])]
    for fault in faults:
        _plant(world, fault, free)
    return world


_SIZES = {
    "redundant": (0.05, 0.2),  # share of verdicts on the second that do not follow the first
    "conflict": (0.4, 0.9),  # chance that mending one breaks the other
    "dead": (0.0, 0.002),  # rate at which it is found broken
    "rubber_stamp": (0.97, 1.0),  # the same
    "unfixable": (0.0, 0.12),  # chance that a revision mends it
    "refusals": (0.4, 0.9),  # chance that a revision refuses
    "length": (1.4, 2.0),  # factor on the text
    "critic_unreliable": (0.25, 0.55),  # share of violations that the critic sees
}


def _plant(world: World, fault: str, free: list[int]) -> None:
    if fault == "critic_unreliable":  # only where there is a check can it be told
        free.sort(key=lambda n: n % 3 != 0, reverse=True)
    chosen = tuple(free.pop() for _ in range(2 if fault in ("redundant", "conflict") else 1))
    size = float(world.source.uniform(*_SIZES[fault]))
    world.of[fault], world.size[fault] = chosen, size
    world.truth.add((fault, frozenset(world.constitution.principles[n].id for n in chosen)))
    world.base[list(chosen)] = world.source.uniform(0.2, 0.4)
    if fault == "dead":
        world.base[chosen[0]], world.passed[chosen[0]] = size, 1.0
    elif fault == "rubber_stamp" and world.constitution.principles[chosen[0]].check:
        # The check knows better than a critic that always says the same.
        world.truth.add(("critic_unreliable", frozenset({world.constitution.principles[chosen[0]].id})))
    elif fault == "unfixable":
        world.mends[chosen[0]] = size
    elif fault == "critic_unreliable":
        world.seen[chosen[0]] = size


def rows(world: World, prompts: int = 500, drafts: int = 1, *, asks: int = 1, first: int = 0) -> Any:
    """The rows of so many chains, as an Arrow table of `evaluation.audit.rows.row_schema`.

    Args:
        world: draws go on where they were.
        prompts: how many.
        drafts: of each prompt, a chain each.
        asks: as `generate.verify.asks`: drafts found violating are asked about again, final texts so many times.
        first: the number of the first prompt.
    """
    chains = prompts * drafts
    harder = np.repeat(world.source.normal(0, world.uneven, prompts), drafts)[:, None]
    broken = _chance(world, chains) < 1 / (1 + np.exp(-np.log(world.base / (1 - world.base + 1e-9) + 1e-9) - harder))
    if "redundant" in world.of:
        a, b = world.of["redundant"]
        same = world.source.random(chains) > world.size["redundant"]
        broken[:, b] = np.where(same, broken[:, a], broken[:, b])
    applies = _applies(world, prompts).repeat(drafts, axis=0)
    broken &= applies
    told = [_verdicts(world, broken, applies)]
    told += [np.where(told[0] == "violates", _verdicts(world, broken, applies), "") for _ in range(asks - 1)]
    stood = np.logical_and.reduce([found == "violates" for found in told])
    stood[(told[0] == "unparsed").any(1)] = False
    after, revised, longer, refuses = _revise(world, broken, stood)
    after &= applies
    final = [np.where(revised.any(1)[:, None], _verdicts(world, after, applies), "") for _ in range(asks)]
    return _table(world, Told(told, final, broken, after, revised, longer, refuses), drafts, first)


def _chance(world: World, chains: int) -> Array:
    return world.source.random((chains, len(world.base)))


def _applies(world: World, prompts: int) -> Array:
    conditional = np.array([one.applies_when is not None for one in world.constitution.principles])
    return ~conditional | (_chance(world, prompts) < 0.6)


def _verdicts(world: World, broken: Array, applies: Array) -> Array:
    """What the critic says of texts of which the truth is known."""
    chances = _chance(world, len(broken))
    violates = np.where(broken, chances < world.seen, chances > world.passed)
    if "redundant" in world.of:
        a, b = world.of["redundant"]
        follows = world.source.random(len(broken)) > world.size["redundant"]
        violates[:, b] = np.where(follows, violates[:, a], violates[:, b])
    if "rubber_stamp" in world.of:
        (stamp,) = world.of["rubber_stamp"]
        violates[:, stamp] = world.source.random(len(broken)) < world.size["rubber_stamp"]
    told = np.where(violates, "violates", "complies").astype("U14")
    told[~applies] = "not_applicable"
    told[_chance(world, len(broken)) < _UNPARSED] = "unparsed"
    return told


def _revise(world: World, broken: Array, stood: Array) -> tuple[Array, Array, Array, Array]:
    """The truth about the final texts, which principles were revised, the factor on their length, who refuses."""
    now, revised = broken.copy(), np.zeros(broken.shape, bool)
    longer, refuses = np.zeros(len(broken)), np.zeros(len(broken), bool)
    source = world.source
    for one in range(broken.shape[1]):
        # A violation that another revision has mended meanwhile is found mended; a false alarm is raised again.
        todo = stood[:, one] & (now[:, one] | ~broken[:, one])
        revised[:, one] = todo
        breaks = (_chance(world, len(broken)) < world.breaks) & (world.base > 0.01)
        now |= breaks & todo[:, None]
        now[todo, one] = broken[todo, one] & (source.random(todo.sum()) > world.mends[one])
        for fault, partners in world.of.items():
            if one in partners:
                other = partners[1 - partners.index(one)] if len(partners) == 2 else one
                hit = todo & (source.random(len(broken)) < world.size[fault])
                if fault == "conflict":
                    now[hit & ~now[:, one], other] = True
                elif fault == "redundant":
                    now[todo, other] = now[todo, one]
                elif fault == "refusals":
                    refuses |= hit
                elif fault == "length":
                    longer[todo] += np.log(world.size[fault])
        longer[todo] += source.normal(0, 0.03, todo.sum())
    return now, revised, longer, refuses


@dataclass(frozen=True)
class Told:
    """Everything about some chains; matrices are (chains, principles)."""

    draft: list[Array]
    final: list[Array]
    broken: Array
    after: Array
    revised: Array
    longer: Array
    refuses: Array


def _mark(number: int) -> str:
    return f"<m{number}>"


def _table(world: World, told: Told, drafts: int, first: int) -> Any:
    import pyarrow

    schema, chains = row_schema(), len(told.broken)
    source, ids = world.source, [f"{first + n // drafts:08d}-00-{n % drafts}" for n in range(chains)]
    length = np.exp(source.normal(6.6, 0.3, chains))
    refused = source.random(chains) < _REFUSES_ANYHOW
    before = _texts(told.broken, length, refused)
    after = _texts(told.after, length * np.exp(told.longer), refused | told.refuses)
    names = [one.id for one in world.constitution.principles]
    columns = {
        "id": ids,
        "prompt_id": [id.partition("-")[0] for id in ids],
        "strategy": ["revision"] * chains,
        "split": ["train"] * chains,
        "prompt": [[{"role": "user", "content": f"Question {id}?"}] for id in ids],
        "principles": [names] * chains,
        "draft": [{"text": text} for text in before],
        "provenance": [_provenance(world)] * chains,
        "reason": _reasons(told),
    }
    arrays = {name: pyarrow.array(values, schema.field(name).type) for name, values in columns.items()}
    arrays["draft_verdicts"] = _verdict_lists(told.draft, names, schema.field("draft_verdicts").type)
    arrays["final_verdicts"] = _verdict_lists(told.final, names, schema.field("final_verdicts").type)
    arrays["trail"] = pyarrow.array(
        [_trail(names, row, text) for row, text in zip(told.revised, after, strict=True)], schema.field("trail").type
    )
    empty = (pyarrow.nulls(chains, schema.field(name).type) for name in schema.names if name not in arrays)
    arrays |= zip((name for name in schema.names if name not in arrays), list(empty), strict=True)
    return pyarrow.Table.from_arrays([arrays[name] for name in schema.names], schema=schema)


def _texts(broken: Array, length: Array, refuses: Array) -> list[str]:
    marks = [" ".join(_mark(number) for number in np.flatnonzero(row)) for row in broken]
    fill = "It is best to begin slowly. " * 400
    return [
        f"{_REFUSAL if refusing else ''}{fill[: int(size)]} {mark}".strip()
        for size, refusing, mark in zip(length, refuses, marks, strict=True)
    ]


def _reasons(told: Told) -> list[str]:
    unread = (told.draft[0] == "unparsed").any(1)
    bad = np.logical_or.reduce([((found == "violates") | (found == "unparsed")).any(1) for found in told.final])
    reasons = np.where(unread, "unparsed", np.where(~told.revised.any(1), "complies", np.where(bad, "not_fixed", "")))
    return [str(reason) for reason in reasons]


def _provenance(world: World) -> dict[str, Any]:
    author = Author(model="simulated", temperature=1.0, top_p=1.0, max_tokens=1)
    known = dict.fromkeys(("policy", "critic", "reviser", "verifier"), author)
    digest = world.constitution.digest
    return Provenance(
        run="planted", round=0, constitution=world.constitution.name, constitution_digest=digest,
        template_digest=world.constitution.template_digest, asks=1, **known,
    ).model_dump()  # fmt: skip


def _trail(names: list[str], revised: Array, after: str) -> list[dict[str, Any]]:
    steps = [names[number] for number in np.flatnonzero(revised)]
    texts = ["On the way."] * (len(steps) - 1) + [after]
    return [
        {"kind": "revision", "principle": name, "text": text}
        for name, text in zip(steps, texts[: len(steps)], strict=True)
    ]


def _verdict_lists(asked: list[Array], names: list[str], type: Any) -> Any:
    """Lists of verdicts in the order of asking; an empty name was not asked."""
    import pyarrow

    together = np.concatenate(asked, axis=1)
    there = together != ""
    offsets = np.r_[0, there.sum(1).cumsum()].astype(np.int32)
    principle = np.tile(np.array(names), len(asked))[np.nonzero(there)[1]]
    verdicts = pyarrow.array(together[there].astype(object), pyarrow.string())
    violating = pyarrow.array(np.where(together[there] == "violates", 2, 0), pyarrow.int64())
    critiques = pyarrow.array([""] * len(verdicts), pyarrow.string())
    arrays = [pyarrow.array(principle.astype(object), pyarrow.string()), verdicts, violating, critiques]
    values = pyarrow.StructArray.from_arrays(arrays, [type.value_type.field(n).name for n in range(4)])
    return pyarrow.ListArray.from_arrays(pyarrow.array(offsets), values).cast(type)
