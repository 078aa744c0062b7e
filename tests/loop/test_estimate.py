"""The arithmetic of an estimate, held against runs that are known."""

from __future__ import annotations

import heapq
import json
import random
from typing import Any

import pytest

from generator.calibrate import Calibration, ChainCost, Usage
from loop.estimate import Price, cost, evaluation, generation, per_chain, round_seconds, times
from loop.estimate_text import figure


def chain(prompt: int, calls: int, outcome: str = "pair") -> ChainCost:
    usage = {
        "draft": Usage(calls=1, prompt_tokens=20, output_tokens=10),
        "critique": Usage(calls=calls - 1, prompt_tokens=100 * (calls - 1), output_tokens=30 * (calls - 1)),
    }
    return ChainCost(prompt_id=str(prompt), outcome=outcome, usage=usage)


def calibration(**changes: Any) -> Calibration:
    known = {
        "start_seconds": 10.0,
        "in_flight": 4,
        "prompts": 4,
        "chains": tuple(chain(number, 5 + number) for number in range(4)),
        "ends": tuple(5.0 + number for number in range(12)),
        "loaded": True,
    }
    return Calibration(**(known | changes))


def flow(chains: int, in_flight: int, seed: int) -> list[float]:
    """When the chains of a round end: an engine that shares itself among those at work, whatever they each need."""
    source = random.Random(seed)
    clock, work, ends = 0.0, [], []
    needed = [source.gauss(10, 3) + 2 for _ in range(chains)]
    waiting = iter(needed)
    for need in [next(waiting) for _ in range(min(in_flight, chains))]:
        heapq.heappush(work, need)
    done = 0.0  # what each chain at work has been given so far
    while work:
        least = heapq.heappop(work)
        clock += (least - done) * (len(work) + 1) / 40
        done = least
        ends.append(clock)
        following = next(waiting, None)
        if following is not None:
            heapq.heappush(work, done + following)
    return ends


@pytest.mark.parametrize("in_flight", [8, 32, 128])
def test_the_time_of_a_round_that_is_known(in_flight: int) -> None:
    for seed in range(5):
        whole = flow(2000, in_flight, seed)
        timed = max(2 * in_flight, 32 * 4)
        seen = tuple(flow(timed + in_flight, in_flight, seed + 100)[:timed])
        found = round_seconds(calibration(in_flight=in_flight, ends=seen), 2000)
        assert found["estimate"] == pytest.approx(10 + whole[-1], rel=0.15)
        assert found["low"] < found["estimate"] < found["high"]


def test_a_round_that_was_run_whole_took_what_it_took() -> None:
    assert round_seconds(calibration(), 12) == {"estimate": 26.0, "low": 26.0, "high": 26.0}
    assert round_seconds(calibration(), 3)["estimate"] == 17.0


def test_beyond_what_was_run_the_mean_between_two_ends_goes_on() -> None:
    found = round_seconds(calibration(), 104)
    assert found["estimate"] == found["low"] == found["high"] == pytest.approx(10 + 8 + 100)


def test_without_a_full_load_only_bounds_are_told() -> None:
    found = round_seconds(calibration(loaded=False, in_flight=64), 120)
    assert found["estimate"] is None
    assert found["high"] == pytest.approx(10 + 120 * 16 / 12)
    assert found["low"] == pytest.approx(10 + 120 * 16 / 12 / 16)
    assert figure(found, 60.0, 1) == "between 0.3 and 2.8"


def test_calls_tokens_and_pairs_are_those_of_a_mean_chain_times_the_chains() -> None:
    chains = tuple(chain(number, 5 + number, "pair" if number else "complies") for number in range(4))
    found = generation(calibration(chains=chains), chains=200, train_chains=100)
    assert found["calls"]["estimate"] == pytest.approx(200 * 6.5)
    assert found["prompt_tokens"]["estimate"] == pytest.approx(200 * (20 + 550))
    assert found["output_tokens"]["estimate"] == pytest.approx(200 * (10 + 165))
    assert found["pairs"]["estimate"] == 150 and found["train_pairs"]["estimate"] == 75
    assert found["rejects"]["complies"]["estimate"] == 50
    for name in ("calls", "prompt_tokens", "output_tokens", "pairs"):
        assert found[name]["low"] < found[name]["estimate"] < found[name]["high"]
    assert json.loads(json.dumps(found)) == found


def test_more_chains_of_one_prompt_say_less_than_more_prompts() -> None:
    source = random.Random(0)
    own = [source.gauss(10, 3) for _ in range(200)]

    def width(prompts: int, chains: int) -> float:
        seen = tuple(chain(number, 2) for number in range(prompts) for _ in range(chains))
        found = per_chain(calibration(chains=seen), lambda one: own[int(one.prompt_id)])
        return float(found["high"] or 0) - float(found["low"] or 0)

    assert width(10, 20) == pytest.approx(width(10, 1))
    assert width(200, 1) < 0.5 * width(10, 20)


def test_the_interval_holds_the_truth_about_as_often_as_it_says() -> None:
    source = random.Random(1)
    held = 0
    for _ in range(300):
        values = {str(number): [source.expovariate(1) + source.random() for _ in range(4)] for number in range(32)}
        seen = tuple(chain(int(prompt), 2) for prompt in values for _ in range(4))
        left = {prompt: iter(drawn) for prompt, drawn in values.items()}
        found = per_chain(calibration(chains=seen), lambda one, left=left: next(left[one.prompt_id]), 1000)
        held += (found["low"] or 0) <= 1500 <= (found["high"] or 0)
    assert 0.87 < held / 300 < 0.99


def test_one_value_for_all_has_no_width() -> None:
    assert per_chain(calibration(), lambda one: 3, 10) == {"estimate": 30, "low": 30, "high": 30}


def test_where_nothing_is_criticised_a_question_costs_what_a_rating_does() -> None:
    rated = chain(0, 5)
    rated = rated.model_copy(update={"usage": {"draft": rated.usage["draft"], "rating": rated.usage["critique"]}})
    known = evaluation(calibration(), drafts=10, questions=20)
    assert evaluation(calibration(chains=(rated, rated)), drafts=10, questions=20) == known
    assert known["prompt_tokens"] == 10 * 20 + 20 * 100


def test_a_price_is_that_of_the_calls_the_policy_does_not_answer() -> None:
    seen = calibration(chains=(chain(0, 11), chain(1, 11)))
    paid = cost(seen, Price(prompt=3.0, output=15.0), frozenset({"draft"}), 1000)
    assert paid["estimate"] == pytest.approx(1000 * (3.0 * 1000 + 15.0 * 300) / 1e6)
    assert times(paid, 3)["estimate"] == pytest.approx(3 * float(paid["estimate"] or 0))


def test_an_evaluation_is_counted_in_drafts_and_questions() -> None:
    found = evaluation(calibration(), drafts=100, questions=40)
    assert found == {"drafts": 100, "calls": 140, "prompt_tokens": 2000 + 4000, "output_tokens": 1000 + 1200}
