"""The reference's figures are computed once: taken from disk after a kill, never where what they come of changed."""

from __future__ import annotations

import json
import os
import signal

import pytest

from tests.trainer.tiny import rows_preferring
from tests.trainer.training import step_figures, train
from trainer.data import EncodedPair
from trainer.stored_reference import StoredReference

PAIRS = [EncodedPair("a", [1, 2], [3], [4, 5]), EncodedPair("b", [1], [6], [7])]
INPUTS = {"base": "b" * 64, "adapter": "", "device": "cpu", "dtype": "float32"}


def figures(stored, pairs, values):
    """What is got, and whether it was computed for that."""
    computed = []

    def compute():
        computed.append(True)
        return values

    return stored.get(pairs, compute), bool(computed)


def test_what_was_computed_is_found_again(tmp_path):
    values = [(-1.25, -2.000000001), (-3e-9, -40.0)]
    path = tmp_path / "round_00" / "reference.json"
    path.parent.mkdir()
    assert figures(StoredReference(path, INPUTS), PAIRS, values) == (values, True)
    assert figures(StoredReference(path, INPUTS), PAIRS, []) == (values, False)


@pytest.mark.parametrize(
    ("inputs", "pairs"),
    [
        *(({**INPUTS, name: "other"}, PAIRS) for name in INPUTS),
        (INPUTS, PAIRS[::-1]),
        (INPUTS, PAIRS[:1]),
        (INPUTS, [PAIRS[0], EncodedPair("b", [1], [6], [8])]),
        (INPUTS, [PAIRS[0], EncodedPair("b", [1, 6], [], [7])]),
        (INPUTS, [PAIRS[0], EncodedPair("c", [1], [6], [7])]),
    ],
)
def test_nothing_stale_is_used(tmp_path, inputs, pairs):
    path = tmp_path / "reference.json"
    figures(StoredReference(path, INPUTS), PAIRS, [(-1.0, -2.0), (-3.0, -4.0)])
    fresh = [(-5.0, -6.0)] * len(pairs)
    assert figures(StoredReference(path, inputs), pairs, fresh) == (fresh, True)
    assert figures(StoredReference(path, inputs), pairs, []) == (fresh, False)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"inputs": {}, "logps": 3}', b"\xff\x00", None])
def test_a_file_that_cannot_be_read_is_as_good_as_none(tmp_path, content):
    path = tmp_path / "reference.json"
    values = [(-1.0, -2.0), (-3.0, -4.0)]
    figures(StoredReference(path, INPUTS), PAIRS, values)
    if content is None:
        content = json.dumps({**json.loads(path.read_text()), "logps": [[-1.0, -2.0]]}).encode()
    path.write_bytes(content)
    assert figures(StoredReference(path, INPUTS), PAIRS, values) == (values, True)


@pytest.mark.model
def test_a_training_that_was_killed_does_not_compute_it_again(tiny, tmp_path, monkeypatch):
    """Killed (-9) at its first optimizer step; the same training again then needs no pass of the reference."""
    from trainer import pair_trainer

    rows = rows_preferring("a", "b", count=12, validation=3)
    child = os.fork()
    if child == 0:
        monkeypatch.setattr(pair_trainer.PairTrainer, "training_step", lambda *_: os.kill(os.getpid(), signal.SIGKILL))
        train(tiny, tmp_path / "round_00", rows)
        os._exit(5)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    asked, compute = [], pair_trainer.reference_logps
    monkeypatch.setattr(
        pair_trainer,
        "reference_logps",
        lambda trainer, pairs, policy: asked.append(1) or compute(trainer, pairs, policy),
    )
    (tmp_path / "round_00").rename(tmp_path / "killed")
    train(tiny, tmp_path / "whole", rows)
    assert asked == [1]
    stored = json.loads((tmp_path / "killed" / "reference.json").read_text())
    assert stored == json.loads((tmp_path / "whole" / "reference.json").read_text())
    train(tiny, tmp_path / "killed", rows)
    assert asked == [1]
    assert step_figures(tmp_path / "killed") == pytest.approx(step_figures(tmp_path / "whole"), abs=1e-3)
