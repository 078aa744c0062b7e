"""A critic behind a real HTTP server: what it is sent, how its replies are read, and the rows of its chains."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace

import pytest

from constitution.verdicts import CRITIQUE_MAX_CHARACTERS, reply_schema
from generator.chain import run_chain
from generator.endpoint import EndpointEngine
from generator.engine import ChatCall, Sampling
from generator.seat import Seat, ask_verdict
from records.errors import ConfigError
from records.rows import Message, Pair, Reject
from tests.generator.http_endpoint import KEY, KEY_ENV, Raw, ask, asked_first, completion, say, serving, well_begun
from tests.generator.toy import ADAPTER, CONSTITUTION, DRAFT_TEXT, FINAL_TEXT, method_of, principle_in, prompt, reply_of

KIND = CONSTITUTION.principle("kind")


def critic(body):
    """Finds every principle broken in the draft and in no other text; rewrites where no schema is given."""
    turn = body["messages"][-1]["content"]
    if "response_format" not in body:
        return FINAL_TEXT
    if not asked_first(body):
        principle_in(turn)
    return reply_of("violates" if DRAFT_TEXT in turn else "complies")


def judged(config, *, model="far", **settings):
    """The row of one chain whose draft is written on this machine and judged and rewritten at the endpoint."""

    async def work():
        engine = EndpointEngine(model, config, Sampling(max_tokens=400))
        await engine.start()
        try:
            seat = Seat(engine, Sampling(temperature=0.0, max_tokens=400))
            method = method_of(lambda *_: DRAFT_TEXT)
            method = replace(method, critic=seat, reviser=seat, verifier=seat, **settings)
            return await run_chain(prompt(), method), method
        finally:
            await engine.close()

    return asyncio.run(work())


def test_a_call_is_sent_as_the_protocol_has_it_and_its_reply_is_counted(monkeypatch):
    monkeypatch.setenv(KEY_ENV, f" {KEY}\n")
    details = {"prompt_tokens_details": {"cached_tokens": 7}}
    turns = tuple(Message(role=role, content=role) for role in ("system", "user", "assistant", "user"))
    call = ChatCall(turns, Sampling(temperature=0.25, top_p=0.5, max_tokens=9), schema=reply_schema(KIND))
    with serving(lambda body: completion("It is.", **details)) as served:
        (found,), engine = ask(served.config(api_key_env=KEY_ENV), call)
    sent, headers = served.bodies[-1], served.headers[-1]
    assert headers["path"] == "/v1/chat/completions"
    assert headers["authorization"] == f"Bearer {KEY}"
    assert [(turn["role"], turn["content"]) for turn in sent["messages"]] == [(t.role, t.content) for t in turns]
    assert (sent["model"], sent["temperature"], sent["top_p"], sent["max_tokens"]) == ("far", 0.25, 0.5, 9)
    form = sent["response_format"]
    assert (form["type"], form["json_schema"]["schema"]) == ("json_schema", reply_schema(KIND))
    assert (found.text, found.finish_reason, found.logprob) == ("It is.", "stop", None)
    assert (found.prompt_tokens, found.output_tokens, found.cached_tokens) == (11, 3, 7)
    assert engine.endpoint == f"127.0.0.1:{served.port}"


def test_without_a_key_no_header_is_sent_and_the_environment_adds_none(monkeypatch, tmp_path):
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login me password hidden\n")
    for name, value in {"NETRC": str(tmp_path / ".netrc"), "HOME": str(tmp_path), "http_proxy": "http://127.0.0.1:9",
                        "HTTP_PROXY": "http://127.0.0.1:9", "ALL_PROXY": "http://127.0.0.1:9"}.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    with serving(lambda body: "ok") as served:
        assert ask(served.config(), say("a"))[0][0].text == "ok"
    assert all("authorization" not in headers for headers in served.headers)


@pytest.mark.parametrize(
    ("refuses", "structured"),
    [
        (lambda form: False, "json_schema"),
        (lambda form: "maxLength" in json.dumps(form), "json_schema without lengths"),
        (lambda form: form is not None, "none"),
    ],
)
def test_the_form_in_which_a_schema_is_taken_is_found_out_by_asking(refuses, structured):
    def answer(body):
        return (
            Raw(status=400, body=b'{"error": {"message": "no such option"}}')
            if refuses(body.get("response_format"))
            else "ok"
        )

    with serving(answer) as served:
        (found,), engine = ask(served.config(), say("a", schema=reply_schema(KIND)))
    assert found.text == "ok"
    assert engine.structured == engine.figures["structured_output"] == structured
    sent = json.dumps(served.bodies[-1].get("response_format"))
    assert (str(CRITIQUE_MAX_CHARACTERS) in sent) == (structured == "json_schema")
    assert ("severity" in sent) == (structured != "none")


def test_an_endpoint_that_refuses_the_first_question_in_every_form_is_told_before_anything_runs():
    with (
        serving(lambda body: Raw(status=422, body=b'{"error": "temperature must be 1"}')) as served,
        pytest.raises(ConfigError, match=r"critic_model.endpoint http.*status 422: temperature must be 1.*Mend"),
    ):
        ask(served.config(), say("a"))
    assert len(served.bodies) == 3


def test_a_pair_judged_elsewhere_says_so_on_its_row_and_counts_the_tokens_it_was_told():
    with serving(critic) as served:
        row, _ = judged(served.config())
    assert isinstance(row, Pair), row
    assert (row.rejected[0].content, row.chosen[0].content) == (DRAFT_TEXT, FINAL_TEXT)
    kinds = [entry.kind for entry in row.trail]
    assert {"draft", "critique", "revision", "verification"} <= set(kinds)
    assert {entry.output_tokens for entry in row.trail if entry.kind != "draft"} == {3}
    assert {entry.prompt_tokens for entry in row.trail if entry.kind != "draft"} == {11}
    revision = next(body for body in served.bodies if "response_format" not in body)
    assert [turn["role"] for turn in revision["messages"][-3:]] == ["user", "assistant", "user"]


def test_rows_name_the_model_and_host_of_a_critic_elsewhere_and_how_it_was_drawn():
    with serving(critic) as served:
        _, method = judged(served.config(), model="org/judge")
    author = method.critic.author
    assert (author.model, author.endpoint) == ("org/judge", f"127.0.0.1:{served.port}")
    assert (author.temperature, author.max_tokens, author.adapter_digest) == (0.0, 400, "")
    assert (method.policy.author.endpoint, method.policy.author.adapter_digest) == ("", ADAPTER.digest)


def test_what_is_no_verdict_stays_unparsed_where_no_schema_is_held_to():
    """Many models put JSON into a fence when nothing keeps them from it; nothing is mended."""

    def answer(body):
        return Raw(status=400, body=b"{}") if "response_format" in body else f"```json\n{reply_of('violates')}\n```"

    with serving(answer) as served:
        row, _ = judged(served.config())
    assert isinstance(row, Reject)
    assert row.reason == "unparsed"
    assert all(verdict.critique.startswith("```json") for verdict in row.draft_verdicts)


@pytest.mark.parametrize("reason", ["length", "content_filter", "tool_calls", None])
def test_a_reply_that_is_not_ended_by_the_model_is_never_a_verdict(reason):
    async def work(config):
        engine = EndpointEngine("far", config, Sampling(max_tokens=50))
        await engine.start()
        seat = Seat(engine, Sampling(temperature=0.0, max_tokens=50))
        try:
            return await ask_verdict(seat, KIND, [Message(role="user", content="Kind?")], stage=1)
        finally:
            await engine.close()

    with serving(lambda body: completion(reply_of("complies"), reason)) as served:
        verdict, replies = asyncio.run(work(served.config()))
    assert verdict.verdict == "unparsed"
    assert [reply.finish_reason for reply in replies] == ["length", "length"]
    assert [body["temperature"] for body in served.bodies[1:]] == [0.0, 0.7]


def test_a_text_no_utf8_can_hold_is_sent_with_the_replacement_character():
    with serving(well_begun(lambda body: body["messages"][0]["content"])) as served:
        (found,), _ = ask(served.config(), say("lone \ud83d, null \x00, right-to-left \u05d0, emoji \U0001f600"))
    assert found.text == "lone \ufffd, null \x00, right-to-left \u05d0, emoji \U0001f600"


def test_a_conversation_that_does_not_fit_is_the_rows_fault():
    words = b'{"error": {"message": "This model\'s maximum context length is 64 tokens.", "code": 400}}'
    with serving(lambda body: Raw(400, words) if DRAFT_TEXT in body["messages"][-1]["content"] else critic(body)) as on:
        row, _ = judged(on.config())
    assert (row.reason, "maximum context length is 64" in row.detail) == ("too_long", True)
