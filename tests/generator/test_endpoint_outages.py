"""Endpoints that are away or too busy, over real connections: what is waited for, what is sent at once, what ends."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest

from generator.endpoint import EndpointEngine
from generator.engine import Completion, EngineFailedError, Sampling
from records.errors import ConfigError, StageError
from tests.generator.http_endpoint import (
    Raw,
    ask,
    asked_first,
    completion,
    say,
    send,
    serving,
    well_begun,
)

pytestmark = pytest.mark.usefixtures("soon")


def test_a_server_that_is_killed_and_comes_back_costs_no_call():
    with serving(lambda body: "ok") as served:
        port, calls = served.port, []

        def answer(body):
            if asked_first(body):
                return "ok"
            calls.append(body)
            if len(calls) == 3:
                served.server.shutdown()
                served.server.server_close()
                threading.Timer(1.0, served.open, [port]).start()
                return lambda handler: None
            return "ok"

        served.answer = answer
        found, engine = ask(served.config(retries=2, patience_s=20), *(say(str(n)) for n in range(40)))
    assert [one.text for one in found] == ["ok"] * 40
    assert engine.figures["sent_again"] > 0
    assert any("asking again for up to 20 s" in line for line in engine.told)


def test_a_server_that_stays_away_ends_the_stage_after_the_patience():
    with serving(lambda body: "ok") as served:
        config = served.config(patience_s=1.0, retries=0)
    began = time.monotonic()
    with pytest.raises(
        StageError, match=r"it takes no call \(no connection .*expected it back within patience_s \(1 s"
    ):
        ask(config, say("a"))
    assert 0.5 < time.monotonic() - began < 10


def test_a_host_that_does_not_exist_is_a_wrong_address():
    with serving(lambda body: "ok") as served:
        config = served.config(url="https://no-such-host.invalid/v1")
    with pytest.raises((ConfigError, StageError)) as caught:  # without a name server, nobody can say
        ask(config, say("a"))
    assert "no-such-host.invalid" in str(caught.value)


def test_a_refusal_for_load_is_waited_out_as_long_as_it_asks_and_halves_what_is_sent():
    lock, busy = threading.Lock(), {"left": 3, "until": 0.0, "early": 0}

    def answer(body):
        if asked_first(body):
            return "ok"
        with lock:
            if busy["left"]:
                busy["left"] -= 1
                busy["until"] = time.monotonic() + 1.0
                return Raw(status=429, body=b"{}", headers={"Retry-After": "1"})
            busy["early"] += time.monotonic() < busy["until"] - 0.05
        return "ok"

    with serving(answer) as served:
        found, engine = ask(served.config(patience_s=20, retries=0), *(say(str(n)) for n in range(30)))
    assert [one.text for one in found] == ["ok"] * 30
    assert engine.figures["refusals_for_load"] >= 1
    # Calls already under way when the first refusal came may still arrive before the second was asked for.
    assert busy["early"] <= 8


def test_what_is_sent_at_once_settles_at_what_the_server_takes():
    def answer(body):
        if served.at_once > 12:
            return Raw(status=429, body=b"{}")
        return lambda handler: (served.over.wait(0.02), send(handler, completion("ok")))

    with serving(lambda body: "Hello.") as served:
        ask(served.config(), say("a"))
        served.answer = well_begun(answer)
        found, engine = ask(served.config(patience_s=30, most_in_flight=64), *(say(str(n)) for n in range(600)))
    assert [one.text for one in found] == ["ok"] * 600
    refused = len(served.bodies) - 603
    assert 0 < refused < 150
    assert 4 <= engine.figures["places"] <= 26


def test_what_is_sent_at_once_grows_to_the_bound_where_nothing_is_refused():
    slow = lambda handler: (served.over.wait(0.3), send(handler, completion("ok")))  # noqa: E731
    with serving(well_begun(lambda body: slow)) as served:
        found, engine = ask(served.config(most_in_flight=40), *(say(str(n)) for n in range(240)))
    assert [one.text for one in found] == ["ok"] * 240
    assert 30 <= served.most_at_once <= 40
    assert engine.figures["places"] == 40


def test_a_wait_longer_than_the_patience_ends_the_stage_at_once():
    date, later = "Sat, 21 Nov 2026 10:00:00 GMT", "Sat, 21 Nov 2026 11:00:00 GMT"
    for asked in ({"Retry-After": "3600"}, {"Retry-After": later, "Date": date}):
        raw = Raw(status=503, body=b"{}", headers=asked)

        def answer(body, raw=raw):
            return lambda handler: (handler.send_response_only(503), send_headers(handler, raw))

        with serving(answer) as served, pytest.raises(StageError, match="asks to wait 3600 s"):
            ask(served.config(patience_s=100), say("a"))


def send_headers(handler, raw):
    for name, value in {"Content-Length": "2", **raw.headers}.items():
        handler.send_header(name, value)
    handler.end_headers()
    handler.wfile.write(raw.body)


def test_an_endpoint_that_refuses_a_call_between_two_busy_moments_is_not_away():
    def answer(body):
        text = body["messages"][-1]["content"]
        if len(served.bodies) in (2, 4):
            return Raw(status=429, body=b"{}")
        return Raw(status=400, body=b'{"error": "no"}') if text == "bad" else "ok"

    async def work():
        engine = EndpointEngine("far", served.config(patience_s=1.0), Sampling(max_tokens=50))
        await engine.start()
        try:
            with pytest.raises(EngineFailedError):
                await engine.chat(say("bad"))
            await asyncio.sleep(1.5)  # longer than the patience
            return await engine.chat(say("good"))
        finally:
            await engine.close()

    with serving(lambda body: "ok") as served:
        served.answer = answer
        assert asyncio.run(work()).text == "ok"
    assert len(served.bodies) == 5


def test_a_call_always_passed_over_is_given_up_while_others_are_answered(monkeypatch):
    monkeypatch.setattr("generator.endpoint._PASSED_OVER", 2)

    def answer(body):
        return Raw(status=503, body=b"{}") if body["messages"][0]["content"] == "bad" else "fine"

    with serving(answer) as served:
        slow = lambda handler: (served.over.wait(0.05), send(handler, completion("fine")))  # noqa: E731
        served.answer = lambda body: slow if answer(body) == "fine" else answer(body)
        found, _ = ask(served.config(patience_s=60), say("bad", stage=3), *(say(str(n)) for n in range(200)))
    assert isinstance(found[0], EngineFailedError)
    assert sum(isinstance(one, Completion) for one in found) == 200
