"""The sign of training through the real stack: TRL trains on made pairs, and vLLM, serving the adapter, must agree."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from generator.config import EngineConfig
from generator.engine import Adapter
from generator.vllm_engine import VllmEngine
from loop.hand_off import prove_hand_off
from records.digest import adapter_digest
from records.errors import StageError
from records.rows import Message
from tests.tracked import ROOT

pytestmark = [pytest.mark.model, pytest.mark.timeout(600)]

MODEL = str(ROOT / "demo" / "model")
BETTER = "Thanks for asking. To clean it, rinse it with warm water, then scrub it with mild soap."
WORSE = "Listen well, you fool. To clean it, throw it out of the window, then stamp on the pieces."
QUESTIONS = [f"How do I clean my {thing}?" for thing in ("kettle", "fence", "piano", "lamp", "shelf", "boots")]


def write_pairs(path: Path, better: str, worse: str) -> Path:
    def turns(role: str, text: str) -> list[dict[str, str]]:
        return [{"role": role, "content": text}]

    rows = [
        {
            "id": f"{number}-{index}",
            "split": "validation" if index == 0 else "train",
            "prompt": turns("user", question + " Please tell me." * number),
            "chosen": turns("assistant", better),
            "rejected": turns("assistant", worse),
        }
        for number in range(6)
        for index, question in enumerate(QUESTIONS)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def train(folder: Path, better: str, worse: str) -> Adapter:
    from trainer.config import TrainConfig
    from trainer.dpo import TrainJob, train_dpo

    folder.mkdir()
    config = TrainConfig(learning_rate=1e-3, epochs=3, pairs_per_step=6, pairs_per_micro_batch=6, max_tokens=256)
    pairs = write_pairs(folder / "pairs.jsonl", better, worse)
    train_dpo(TrainJob(model=MODEL, pairs=(pairs,), round_folder=folder, config=config))
    return Adapter(folder / "adapter", adapter_digest(folder / "adapter"))


def preference(engine: VllmEngine, adapter: Adapter | None, loop: asyncio.AbstractEventLoop) -> float:
    """How many nats more the policy gives to the one answer than to the other, over all questions."""
    from records.chat import encode_pair

    total = 0.0
    for question in QUESTIONS:
        for sign, text in ((1, BETTER), (-1, WORSE)):
            prompt, answer = encode_pair(
                engine.tokenizer,
                (Message(role="user", content=question),),
                (Message(role="assistant", content=text),),
            )
            scores = loop.run_until_complete(engine.score(tuple(prompt + answer), adapter))
            total += sign * sum(scores[len(prompt) - 1 :])
    return total


def test_pairs_that_prefer_a_text_raise_it_in_the_engine_and_swapped_pairs_lower_it(tmp_path: Path) -> None:
    up = train(tmp_path / "up", BETTER, WORSE)
    down = train(tmp_path / "down", WORSE, BETTER)
    assert up.digest != down.digest
    loop = asyncio.new_event_loop()
    engine = VllmEngine(MODEL, EngineConfig(context=512, eager=True, cache_gib=0.1), [up, down])
    try:
        loop.run_until_complete(engine.start())
        base = preference(engine, None, loop)
        raised, lowered = preference(engine, up, loop), preference(engine, down, loop)
        assert raised > base + len(QUESTIONS)
        assert lowered < base - len(QUESTIONS)
        assert preference(engine, None, loop) == pytest.approx(base, abs=0.5), "the base is served without an adapter"

        # The same engine, serving the wrong weights under the right name, fails the proof of the hand-off.
        proof = loop.run_until_complete(prove_hand_off(engine, up, tmp_path / "up" / "probe.json"))
        assert proof["outcome"] == "proven"
        engine.adapters[up.digest] = (3, Adapter(down.path, up.digest))
        with pytest.raises(StageError, match="speaks like the previous policy"):
            loop.run_until_complete(prove_hand_off(engine, up, tmp_path / "up" / "probe.json"))
    finally:
        loop.run_until_complete(engine.close())
        loop.close()
