"""Near-duplicates: rows whose texts are about the same in nearly the same words.

Two texts are as alike as the share of content words (records/splits.py) that they have in common, each occurrence
counted (Jaccard similarity); equal ones are 1, whatever the order and the function words. Rows of several texts are
near-duplicates when each text is alike enough, so a long answer never outweighs a short question.

One of n content words replaced leaves (n - 1) / (n + 1). Short texts can therefore reach a high similarity only by
being equal, and questions that differ in one word stay apart: up to 38 content words at 0.95. Longer texts are found by
MinHash (Broder 1997) in bands and then compared as they are, so nothing is a near-duplicate by estimate; one that is
just alike enough is missed once in a thousand at most.
"""

from __future__ import annotations

import math
import zlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, NamedTuple

from records.splits import content_words

if TYPE_CHECKING:
    import numpy as np

Texts = Sequence[str]
Features = tuple["np.ndarray[Any, Any]", ...]

# MinHash values in a band, divided among the texts of a row that are compared by them; most rows have 1 to 4 of those.
_ROWS = 12
_MISSED = 1e-3
# Rows of one band that a row is compared with. Only data made of one long template has more that are no duplicates.
_MOST_COMPARED = 50


class Sketch(NamedTuple):
    """What is kept of a row to find its near-duplicates: 16 bytes that equal rows share, and 8 for each band."""

    exact: bytes
    bands: bytes


def sketch(texts: Texts, similarity: float, *, alone: bool = False) -> Sketch:
    """The sketch of a row.

    Args:
        texts: what is compared, in the same order in every row.
        similarity: from 0.8 to 1; the share of content words that near-duplicates have in common.
        alone: no other row has this `company`, so there is nothing to compare but equal rows.
    """
    bags = [content_words(text) for text in texts]
    keys = [_key(bag) for bag in bags]
    long = _long(bags, similarity)
    exact = blake2b(b"".join(keys), digest_size=16).digest()
    if alone or not long:
        return Sketch(exact, b"")
    return Sketch(exact, _bands(bags, keys, long, n_bands(similarity)))


def company(texts: Texts, similarity: float) -> bytes:
    """Its short texts as they are, and which ones are long: what any near-duplicate of a row has in common with it."""
    bags = [content_words(text) for text in texts]
    long = _long(bags, similarity)
    return b"".join(bytes([index]) if index in long else _key(bag) for index, bag in enumerate(bags))


def _long(bags: Sequence[Sequence[str]], similarity: float) -> list[int]:
    """Which texts may be alike without being equal; with fewer words they are alike enough to their equals only."""
    least = math.inf if similarity == 1.0 else similarity / (1.0 - similarity) - 1e-9
    return [index for index, bag in enumerate(bags) if len(bag) >= least]


def _key(bag: Sequence[str]) -> bytes:
    return _digest(" ".join(sorted(bag)), 16)


def n_bands(similarity: float) -> int:
    """Bands, of which two rows of this similarity share one, but for one such couple of rows in a thousand."""
    return math.ceil(math.log(_MISSED) / math.log1p(-(similarity**_ROWS)))


def may_be_near(sketches: Sequence[tuple[str, Sketch]]) -> frozenset[str]:
    """The rows that are equal to another one, or may be near it; no other row has a near-duplicate."""
    counts = Counter(one.exact for _, one in sketches)
    banded = [(id, one.bands) for id, one in sketches if one.bands]
    equal = (id for id, one in sketches if counts[one.exact] > 1)
    return frozenset(equal) | {banded[index][0] for index in _sharing(banded)}


def near_duplicates(
    sketches: Sequence[tuple[str, Sketch]],
    texts_of: Callable[[frozenset[str]], Iterable[tuple[str, Texts]]],
    similarity: float,
    *,
    groups: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """Each row that is a near-duplicate of an earlier one that stays, with that one.

    Args:
        sketches: id and sketch of every row, in order of precedence.
        texts_of: gives the texts of the rows with these ids once more; asked for those alone that may be
            near-duplicates without being equal.
        similarity: what the sketches were made with.
        groups: of some rows, by id. Rows of one group are meant to be alike: only equal ones are duplicates.
    """
    first: dict[bytes, str] = {}
    same = {id: first[one.exact] for id, one in sketches if first.setdefault(one.exact, id) != id}
    found = _near(
        [(id, one.bands) for id, one in sketches if one.bands and id not in same], texts_of, similarity, groups or {}
    )
    return found | {id: found.get(kept, kept) for id, kept in same.items()}


def _near(
    rows: Sequence[tuple[str, bytes]],
    texts_of: Callable[[frozenset[str]], Iterable[tuple[str, Texts]]],
    similarity: float,
    groups: Mapping[str, str],
) -> dict[str, str]:
    sharing = _sharing(rows)
    wanted = frozenset(rows[index][0] for index in sharing)
    features = {id: _features(texts) for id, texts in texts_of(wanted)} if wanted else {}
    found: dict[str, str] = {}
    kept: dict[tuple[int, int], list[int]] = defaultdict(list)
    for index, bands in sharing.items():
        id = rows[index][0]
        rivals = (rows[rival][0] for rival in sorted({rival for band in bands for rival in kept[band]}))
        match = next(
            (
                rival
                for rival in rivals
                if _alike(features[id], features[rival], similarity) and not _kin(id, rival, groups)
            ),
            None,
        )
        if match is not None:
            found[id] = match
            continue
        for band in bands:
            if len(kept[band]) < _MOST_COMPARED:
                kept[band].append(index)
    return found


def _sharing(rows: Sequence[tuple[str, bytes]]) -> dict[int, list[tuple[int, int]]]:
    """The rows that share a band with another one, by place, each with those bands."""
    if not rows:
        return {}
    import numpy as np

    bands = np.frombuffer(b"".join(found for _, found in rows), dtype=np.uint64).reshape(len(rows), -1)
    shared = np.zeros(bands.shape, dtype=bool)
    for column in range(bands.shape[1]):
        _, inverse, counts = np.unique(bands[:, column], return_inverse=True, return_counts=True)
        shared[:, column] = counts[inverse] > 1
    return {
        int(index): [(int(column), int(bands[index, column])) for column in np.flatnonzero(shared[index])]
        for index in np.flatnonzero(shared.any(axis=1))
    }


def _kin(id: str, other: str, groups: Mapping[str, str]) -> bool:
    return id in groups and groups[id] == groups.get(other)


def _alike(left: Features, right: Features, similarity: float) -> bool:
    import numpy as np

    for mine, other in zip(left, right, strict=True):
        if min(len(mine), len(other)) < similarity * max(len(mine), len(other)) - 1e-9:
            return False
        common = len(np.intersect1d(mine, other, assume_unique=True))
        if common < similarity * (len(mine) + len(other) - common) - 1e-9:
            return False
    return True


def _features(texts: Texts) -> Features:
    """The content words of each text as sorted numbers, each occurrence another one."""
    import numpy as np

    return tuple(np.unique(np.array(_numbers(content_words(text)), dtype=np.uint32)) for text in texts)


def _numbers(words: Sequence[str]) -> list[int]:
    """A number for each word, and another one for each time it comes again."""
    counts = Counter(words)
    again = ((word, time) for word, count in counts.items() if count > 1 for time in range(1, count))
    return [_number(word, 0) for word in counts] + [_number(word, time) for word, time in again]


def _number(word: str, time: int) -> int:
    return zlib.crc32(word.encode("utf-8", "surrogatepass"), time)


def _bands(bags: Sequence[Sequence[str]], keys: Sequence[bytes], long: Sequence[int], count: int) -> bytes:
    """A number for each band, of the short texts as they are and of the long ones' MinHash values."""
    import numpy as np

    each = max(1, _ROWS // len(long))
    fixed = b"".join(b"" if index in long else key for index, key in enumerate(keys)) + bytes(long)
    values = []
    for index in long:
        minhash = _minhash(count * each)
        minhash.clear()
        minhash.update_batch(_numbers(bags[index]))
        values.append(minhash.hashvalues.reshape(count, each))
    return b"".join(_digest_bytes(fixed + band.tobytes()) for band in np.concatenate(values, axis=1))


@cache
def _minhash(permutations: int) -> Any:
    from datasketch import MinHash

    return MinHash(num_perm=permutations, seed=1, hashfunc=int, scheme="affine32")


def _digest(text: str, size: int) -> bytes:
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=size).digest()


def _digest_bytes(value: bytes) -> bytes:
    return blake2b(value, digest_size=8).digest()
