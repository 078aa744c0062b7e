"""Endpoints that misbehave, over real connections: which row pays, and what ends the run."""

from __future__ import annotations

import json
import time

import pytest

from generator.engine import Completion, EngineFailedError, PromptTooLongError
from records.errors import ConfigError, StageError
from tests.generator.http_endpoint import (
    Raw,
    ask,
    asked_first,
    completion,
    say,
    serving,
    well_begun,
)

pytestmark = pytest.mark.usefixtures("soon")


def reply(**changed):
    return Raw(body=json.dumps(json.loads(completion("x").body) | changed).encode())


def choices(message, **more):
    return reply(choices=[{"message": message, "finish_reason": "stop", **more}])


def closes_mid_body(handler):
    handler.send_response(200)
    handler.send_header("Content-Type", "application/json")
    handler.send_header("Content-Length", "5000")
    handler.end_headers()
    handler.wfile.write(b'{"choices": [{"mess')


def drips(served):
    def answer(handler):
        handler.send_response(200)
        handler.send_header("Content-Type", "application/json")
        handler.end_headers()
        while not served.over.wait(0.05):
            handler.wfile.write(b" ")

    return answer


def floods(handler):
    handler.send_response(200)
    handler.send_header("Content-Type", "application/json")
    handler.end_headers()
    for _ in range(10_000):
        handler.wfile.write(b'{"choices": [' + b" " * 65_536)
    raise AssertionError("all 650 MB were read")


GARBAGE = {
    "not JSON": Raw(body=b"hello"),
    "cut JSON": Raw(body=completion("x").body[:-9]),
    "a page instead": Raw(body=b"<html><body>Sign in</body></html>", content_type="text/html; charset=utf-8"),
    "JSON under another type": Raw(body=completion("x").body, content_type="text/plain"),
    "nothing": Raw(body=b""),
    "no UTF-8": Raw(body=b'{"choices": [{"message": {"content": "\xff\xfe"}}]}'),
    "lone surrogate": Raw(body=b'{"choices": [{"message": {"content": "\\ud83d"}, "finish_reason": "stop"}]}'),
    "nested for ever": Raw(body=b"[" * 50_000),
    "a list": Raw(body=b"[]"),
    "an error with status 200": Raw(body=b'{"error": {"message": "overloaded"}}'),
    "empty choices": reply(choices=[]),
    "null choices": reply(choices=None),
    "no message": reply(choices=[{"finish_reason": "stop"}]),
    "content that is no text": choices({"content": 5}),
    "content in parts": choices({"content": [{"type": "text", "text": "x"}]}),
    "tokens that are no count": reply(usage={"prompt_tokens": "many"}),
    "fewer tokens than none": reply(usage={"prompt_tokens": -1}),
    "more tokens than can be stored": reply(usage={"completion_tokens": 10**30}),
    "closes mid-body": closes_mid_body,
    "closes without a word": lambda handler: None,
    "no HTTP": lambda handler: handler.wfile.write(b"SSH-2.0-OpenSSH_9.9\r\n"),
    "endless body": floods,
    "status 500": Raw(status=500, body=b"Internal Server Error"),
    "status 504": Raw(status=504, body=b"<html>Gateway Time-out</html>", content_type="text/html"),
}  # fmt: skip


@pytest.mark.parametrize("kind", GARBAGE)
def test_a_call_that_gets_garbage_is_sent_again_and_then_given_up_alone(kind):
    def answer(body):
        return GARBAGE[kind] if body["messages"][0]["content"] == "bad" else "fine"

    with serving(answer) as served:
        (bad, *others), engine = ask(served.config(), say("bad"), *(say(f"good {n}") for n in range(6)))
    assert isinstance(bad, EngineFailedError), bad
    assert "in 2 attempts" in str(bad)
    assert [other.text for other in others] == ["fine"] * 6
    # As often again once a question of the engine's own was answered.
    assert sum(body["messages"][0]["content"] == "bad" for body in served.bodies) == 4
    assert sum(asked_first(body) for body in served.bodies) >= 2
    assert engine.figures["sent_again"] == 2


def test_garbage_once_costs_nothing_but_another_attempt():
    kinds = iter([*GARBAGE.values()][:3])
    with serving(well_begun(lambda body: next(kinds, "at last"))) as served:
        (found,), _ = ask(served.config(retries=3), say("a"))
    assert found.text == "at last"


def test_a_huge_body_is_read_up_to_a_bound_that_follows_from_what_was_asked_for():
    with serving(lambda body: floods if body["messages"][0]["content"] == "bad" else "fine") as served:
        found, _ = ask(served.config(retries=0), say("bad", max_tokens=64), say("good"))
        most = (1 << 16) + 64 * (1 << 10)
    assert f"a reply of more than {most} bytes" in str(found[0])
    with serving(lambda body: completion("x" * 60_000)) as served:
        assert len(ask(served.config(), say("a"))[0][0].text) == 60_000


def test_a_refused_call_is_not_sent_again():
    def answer(body):
        return Raw(status=403, body=b'{"error": {"message": "flagged"}}') if "bad" in str(body["messages"]) else "fine"

    with serving(answer) as served:
        (bad, good), _ = ask(served.config(retries=5), say("bad"), say("good"))
    assert isinstance(bad, EngineFailedError) and "status 403: flagged" in str(bad)
    assert isinstance(good, Completion)
    assert len(served.bodies) == 3


TOO_MUCH_WANTED = (
    "max_tokens is too large: 10000. This model supports at most 4096 completion tokens, whereas you provided 10000.",
    "max_completion_tokens must be less than or equal to 8192, the maximum value for this model",
)
TOO_LONG = (
    "This model's maximum context length is 64 tokens.",
    "'max_tokens' is too large: 500. This model's maximum context length is 64 tokens and your request has 40.",
    "prompt is too long: 200001 tokens > 200000 maximum",
    "The input token count (1200000) exceeds the maximum number of tokens allowed (1048576).",
    "`inputs` tokens + `max_new_tokens` must be <= 2048",
)
OTHER_REFUSALS = (
    "the word list is too long to be safe",
    "frequency_penalty: input should be a number",
    "maximum of 3 images, tokens invalid",
)


@pytest.mark.parametrize("words", TOO_MUCH_WANTED)
def test_a_reply_longer_than_the_model_gives_is_the_settings_fault(words):
    with serving(well_begun(lambda body: Raw(400, json.dumps({"error": words}).encode()))) as served:
        (found,), _ = ask(served.config(), say("a"))
    assert isinstance(found, ConfigError) and "Lower max_tokens of generate.critic or generate.revision" in str(found)


@pytest.mark.parametrize(
    ("status", "words", "kind"),
    [
        *((400, words, PromptTooLongError) for words in TOO_LONG),
        *((400, words, EngineFailedError) for words in OTHER_REFUSALS),
        (403, TOO_LONG[0], EngineFailedError),
        (413, "Payload", PromptTooLongError),
    ],
)
def test_only_what_speaks_of_the_conversations_length_is_too_long(status, words, kind):
    with serving(well_begun(lambda body: Raw(status, json.dumps({"error": words}).encode()))) as served:
        (found,), _ = ask(served.config(), say("a"))
    assert type(found) is kind


def test_the_deadline_ends_a_reply_that_never_ends_and_one_that_drips():
    with serving(lambda body: "fine") as served:
        drip = drips(served)
        hang = lambda handler: served.over.wait()  # noqa: E731
        served.answer = lambda body: {"hang": hang, "drip": drip}.get(body["messages"][0]["content"], "fine")
        began = time.monotonic()
        found, _ = ask(served.config(deadline_s=0.5, retries=1), say("hang"), say("drip"), say("good"))
        assert time.monotonic() - began < 4
    assert [type(one) for one in found] == [EngineFailedError, EngineFailedError, Completion]
    assert "no whole reply within 0.5 s" in str(found[0])


@pytest.mark.parametrize("kind", ["a page instead", "status 500"])
def test_an_endpoint_that_gives_nobody_a_reply_ends_the_stage_and_no_row_pays(kind):
    first = iter(["Hello."])
    with serving(lambda body: next(first, GARBAGE[kind])) as served:
        found, _ = ask(served.config(patience_s=2), *(say(str(n)) for n in range(5)))
    assert [type(one) for one in found] == [StageError] * 5
    assert "no usable reply to any call" in str(found[0])
    assert "run the same command again" in str(found[0])


def test_an_endpoint_that_gives_nobody_a_reply_for_a_while_costs_no_call():
    """A page instead of replies, as a proxy gives while the server behind it starts again."""
    until = []

    def answer(body):
        until.append(time.monotonic() + 3) if not until else None
        return "Hello." if len(served.bodies) == 1 or time.monotonic() > until[0] else GARBAGE["a page instead"]

    with serving(answer) as served:
        found, engine = ask(served.config(patience_s=20, retries=0), *(say(str(n)) for n in range(5)))
    assert [one.text for one in found] == ["Hello."] * 5
    assert "no usable reply to any call" in engine.told[0]


def test_garbage_from_the_start_is_told_at_once():
    with serving(lambda body: GARBAGE["a page instead"]) as served, pytest.raises(ConfigError, match="Sign in"):
        ask(served.config(patience_s=600, retries=0), say("a"))
    assert len(served.bodies) == 1


def test_many_calls_refused_in_a_row_are_the_endpoints_fault():
    with serving(well_begun(lambda body: Raw(status=400, body=b'{"error": "no"}'))) as served:
        found, _ = ask(served.config(), *(say(str(n)) for n in range(30)))
    assert [type(one) for one in found].count(EngineFailedError) == 19
    assert [type(one) for one in found].count(StageError) == 11
    assert any("no usable reply to 20 calls in a row" in str(one) for one in found)
