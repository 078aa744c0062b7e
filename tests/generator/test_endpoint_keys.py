"""Endpoints that refuse key or address, over real connections: told in words, and the key goes nowhere else."""

from __future__ import annotations

import json
import shutil
import ssl
import subprocess

import pytest

from records.errors import ConfigError
from tests.generator.http_endpoint import KEY, KEY_ENV, Raw, ask, say, serving, well_begun

pytestmark = pytest.mark.usefixtures("soon")


@pytest.mark.parametrize(
    ("status", "told"),
    [(401, "api_key_env"), (402, "account"), (404, "Mend url"), (405, "no OpenAI-compatible chat endpoint")],
)
@pytest.mark.parametrize("from_the_start", [True, False])
def test_a_wrong_key_or_address_ends_the_run_in_words(monkeypatch, status, told, from_the_start):
    monkeypatch.setenv(KEY_ENV, KEY)
    words = f"Incorrect API key provided: {KEY}"
    hidden = f"Incorrect API key provided: {KEY[:9]}\u200b{KEY[9:]}"
    bodies = iter([json.dumps({"error": {"message": words}}), *_spellings(words), hidden, "<p>" + words])

    def answer(body):
        return Raw(status=status, body=next(bodies, words).encode())

    with serving(answer if from_the_start else well_begun(answer)) as served:
        config = served.config(api_key_env=KEY_ENV)
        if from_the_start:
            with pytest.raises(ConfigError) as caught:
                ask(config, say("a"))
            errors = [caught.value]
        else:
            errors, _ = ask(config, *(say(str(n)) for n in range(8)))
    assert len(served.bodies) == (1 if from_the_start else 9)
    for error in errors:
        assert isinstance(error, ConfigError)
        assert f"{served.url}, model far: status {status}" in str(error)
        assert told in str(error)
        assert KEY not in str(error) and "provided: [key]" in str(error)


def _spellings(words):
    """Bodies that say this in JSON of other layouts, cut short, and with every stroke escaped."""
    slashed = json.dumps(words).replace("/", "\\/")
    return [words, json.dumps(words), json.dumps({"detail": [words]}), slashed, slashed[:-1]]


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_no_key_follows_a_redirect(monkeypatch, status):
    monkeypatch.setenv(KEY_ENV, KEY)
    with serving(lambda body: "mine now") as other:
        target = f"http://user:hidden@localhost:{other.port}/v1/chat/completions"
        with (
            serving(lambda body: Raw(status, headers={"Location": target})) as served,
            pytest.raises(ConfigError, match=r"sends its callers on to localhost \(status 30") as caught,
        ):
            ask(served.config(api_key_env=KEY_ENV), say("a"))
    assert not other.bodies
    assert "hidden" not in str(caught.value)


def test_a_key_in_a_reply_never_comes_through(monkeypatch):
    monkeypatch.setenv(KEY_ENV, KEY)
    with serving(lambda body: f"Your key is {KEY}, is it not?") as served:
        (found,), _ = ask(served.config(api_key_env=KEY_ENV), say("a"))
    assert found.text == "Your key is [key], is it not?"


@pytest.mark.parametrize(
    "held", [None, "", "  ", "short", "two words here", "line\nbreak-in-the-key", "k\u00e4y-of-mine"]
)
def test_what_cannot_be_a_key_is_told_without_showing_it(monkeypatch, held):
    monkeypatch.delenv(KEY_ENV, raising=False)
    if held is not None:
        monkeypatch.setenv(KEY_ENV, held)
    with serving(lambda body: "ok") as served, pytest.raises(ConfigError) as caught:
        ask(served.config(api_key_env=KEY_ENV), say("a"))
    assert KEY_ENV in str(caught.value) and "api_key_env" in str(caught.value)
    assert not (held or "").strip() or held not in str(caught.value)
    assert not served.bodies


@pytest.mark.skipif(shutil.which("openssl") is None, reason="no openssl to make a certificate with")
def test_a_certificate_nobody_vouches_for_is_refused_and_a_named_authority_is_enough(tmp_path, monkeypatch):
    monkeypatch.setenv(KEY_ENV, KEY)
    command = "openssl req -x509 -newkey rsa:2048 -nodes -keyout key.pem -out cert.pem -days 2 -subj /CN=localhost "
    command += "-addext subjectAltName=DNS:localhost -addext basicConstraints=critical,CA:TRUE"
    subprocess.run(command.split(), cwd=tmp_path, check=True, capture_output=True)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "cert.pem"))  # not taken from the environment
    with serving(lambda body: "ok") as served:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(tmp_path / "cert.pem", tmp_path / "key.pem")
        served.server.socket = context.wrap_socket(served.server.socket, server_side=True)
        settings = {"url": f"https://localhost:{served.port}/v1", "api_key_env": KEY_ENV}
        with pytest.raises(ConfigError, match="its certificate cannot be verified"):
            ask(served.config(**settings), say("a"))
        assert not served.bodies
        found, _ = ask(served.config(**settings, ca_file=str(tmp_path / "cert.pem")), say("a"))
        assert found[0].text == "ok"
    with pytest.raises(ConfigError, match=r"ca_file: nosuch\.pem cannot be read"):
        ask(served.config(**settings, ca_file="nosuch.pem"), say("a"))
