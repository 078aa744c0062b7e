"""A judge elsewhere: its log-probabilities where the server gives them, and the verdict alone where it does not."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace

import pytest

from generator.endpoint import EndpointEngine
from generator.engine import EngineFailedError, Sampling
from generator.judge import compare
from generator.method import JUDGEMENT
from generator.seat import Seat
from records.rows import Message
from tests.generator.http_endpoint import Raw, completion, say, serving, well_begun
from tests.generator.toy import CONSTITUTION, judged_texts, judgement_reply

TEXTS = {"0": "Yes.", "1": "No."}
PROMPT = (Message(role="user", content="Really?"),)


def answer_of(body):
    """Prefers `Yes.`, wherever it stands."""
    return "A" if judged_texts(body["messages"][-1]["content"])[0] == "Yes." else "B"


def with_logprobs(body, content):
    reply = json.loads(completion(judgement_reply(answer_of(body))).body)
    reply["choices"][0]["logprobs"] = {"content": content, "refusal": None}
    return Raw(body=json.dumps(reply).encode())


def spelled(body):
    """The reply's tokens as a server lists them, sure of its answer to nine parts in ten."""
    other = {"A": "B", "B": "A"}[answer_of(body)]
    head, tail = judgement_reply(answer_of(body)).rsplit(answer_of(body), 1)
    spread = [{"token": answer_of(body), "logprob": -0.10536, "bytes": [65]}, {"token": other, "logprob": -2.302585}]
    return [
        {"token": head, "logprob": -0.5, "bytes": None, "top_logprobs": []},
        {"token": answer_of(body), "logprob": -0.10536, "bytes": [65], "top_logprobs": spread},
        {"token": tail, "logprob": 0.0, "bytes": None, "top_logprobs": []},
    ]


def judged(answer, times=1):
    """The judgements, and all that the server was sent but for the engine's own first question."""
    with serving(well_begun(answer)) as served:

        async def work():
            engine = EndpointEngine("far", served.config(), Sampling(max_tokens=50))
            try:
                await engine.start()
                seat = Seat(engine, Sampling(temperature=0.0, max_tokens=50))
                return [
                    await compare(seat, CONSTITUTION, "Which?", PROMPT, TEXTS, stage=JUDGEMENT) for _ in range(times)
                ]
            finally:
                await engine.close()

        found = asyncio.run(work())
        return [judgement for both in found for judgement, _ in both], served.bodies[1:]


def test_the_probability_is_read_from_what_the_server_says():
    found, bodies = judged(lambda body: with_logprobs(body, spelled(body)))
    assert [judgement.preferred for judgement in found] == ["0", "0"]
    assert [judgement.probability for judgement in found] == [
        pytest.approx(0.9, abs=1e-3),
        pytest.approx(0.1, abs=1e-3),
    ]
    assert [(body["logprobs"], body["top_logprobs"]) for body in bodies] == [(True, 20)] * 2


@pytest.mark.parametrize(
    "content",
    [
        None,
        [],
        "x",
        [{"token": "A"}],
        [{"token": "A", "logprob": "0", "top_logprobs": []}],
        [{"token": "A", "logprob": 0.0, "top_logprobs": [{"token": 3, "logprob": 0.0}]}],
    ],
)
def test_log_probabilities_in_no_known_shape_are_none_and_the_verdict_stands(content):
    found, _ = judged(lambda body: with_logprobs(body, content))
    assert [(one.preferred, one.probability) for one in found] == [("0", None)] * 2


@pytest.mark.parametrize("status", [400, 422])
def test_a_server_that_takes_no_such_call_is_asked_without_and_not_so_again(status):
    def answer(body):
        if "logprobs" in body:
            return Raw(status, b'{"error": {"message": "logprobs is not supported by this model"}}')
        return judgement_reply(answer_of(body))

    found, bodies = judged(answer, times=3)
    assert [(one.preferred, one.probability) for one in found] == [("0", None)] * 6
    assert sum("logprobs" in body for body in bodies) <= 2, "the two calls that were out together"


def test_a_call_that_is_refused_with_and_without_says_nothing_of_the_server():
    def answer(body):
        if "a bad word" in body["messages"][-1]["content"]:
            return Raw(400, b'{"error": {"message": "the content was filtered"}}')
        return "fine"

    with serving(well_begun(answer)) as served:

        async def work():
            engine = EndpointEngine("far", served.config(), Sampling(max_tokens=50))
            await engine.start()
            bad, good = (replace(say(text), alternatives=5) for text in ("a bad word", "a good one"))
            with pytest.raises(EngineFailedError, match="the content was filtered"):
                await engine.chat(bad)
            await engine.chat(good)
            await engine.close()

        asyncio.run(work())
        assert ["logprobs" in body for body in served.bodies[1:]] == [True, False, True]


def test_a_long_list_of_alternatives_fits_the_bound_of_a_reply():
    def answer(body):
        wide = [{"token": f"{n}" * 8, "logprob": -9.0, "bytes": [200] * 24} for n in range(20)]
        places = spelled(body)
        filler = {"token": "", "logprob": -1.0, "top_logprobs": wide}
        return with_logprobs(body, [places[0], *([filler] * 45), *places[1:]])

    found, _ = judged(answer)
    assert found[0].probability == pytest.approx(0.9, abs=1e-3)
