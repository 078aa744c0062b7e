"""One HTTP exchange with an endpoint: sent, read up to a bound, and every refusal told apart by what it calls for."""

from __future__ import annotations

import re
import socket
import ssl
from collections.abc import Iterator
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

from generator.chat_reply import read_reply, said
from generator.critic_config import Endpoint
from generator.endpoint_faults import CallRefused, Hopeless, NoReply, NotNow
from generator.engine import Completion, PromptTooLongError
from records.errors import ConfigError

_CONNECT_S = 10.0
_BYTES_ALWAYS, _BYTES_A_TOKEN, _BYTES_AN_ALTERNATIVE = 1 << 16, 1 << 10, 1 << 9
"""Bound of a reply's body: so much, and so much for each token that was asked for and each alternative to it."""
_FOR_LOAD = {429, 503, 529}
_NOT_NOW = {*_FOR_LOAD, 425, 502}
_THIS_ATTEMPT = {408, 409, 500, 504}
_THIS_CALL = {400, 403, 422}
_MAY_BE_LENGTH = {400, 422}
_TOO_LONG = re.compile(
    r"(?i)\bcontext.{0,20}(length|window|size|limit)"
    r"|\b(prompt|inputs?|messages?|conversation)\b.{0,80}(too (long|large|many tokens)|exceeds?\b|must be <=)"
)
# What the settings ask of every reply, whichever call it was.
_NO_SUCH_REPLY = re.compile(
    r"(?i)at most \d+ (completion|output|new) tokens|max_(completion_|new_|output_)?tokens.{0,60}"
    r"(too (large|high|big)|exceeds?\b|at most|maximum|less than|<=)"
)
_WAYS_OUT = {
    401: "The key is wrong or missing: put the right one into the variable that api_key_env names.",
    402: "The account cannot pay for the call: see to it, then run the same command again.",
    404: "Mend url (it ends before /chat/completions, often with /v1) or model (its name there).",
}


def open_client(config: Endpoint, key: str) -> Any:
    """An HTTP client that sends the key to the endpoint's address and nowhere else.

    Raises:
        ConfigError: `ca_file` cannot be read.
    """
    import httpx

    try:
        verify = ssl.create_default_context(cafile=config.ca_file) if config.ca_file else True
    except OSError as error:
        raise ConfigError(
            f"critic_model.endpoint.ca_file: {config.ca_file} cannot be read ({error}); expected certificates as PEM."
        ) from error
    most = config.most_in_flight
    return httpx.AsyncClient(
        # No encoding: what a compressed body unpacks to is not bounded by what is read of it.
        headers={"Accept-Encoding": "identity"} | ({"Authorization": f"Bearer {key}"} if key else {}),
        # The deadline of an attempt is kept around all of it; a connection alone is not worth so long.
        timeout=httpx.Timeout(None, connect=min(_CONNECT_S, config.deadline_s)),
        limits=httpx.Limits(max_connections=most, max_keepalive_connections=most),
        follow_redirects=False,
        # Neither proxies nor .netrc nor certificates from the environment.
        trust_env=False,
        verify=verify,
    )


async def exchange(client: Any, url: str, body: dict[str, Any], secret: str) -> Completion:
    """Send one request and read its reply; no time limit but that of the connection.

    Args:
        client: as `open_client` gives it.
        url: the whole address.
        body: see `chat_reply.request_body`.
        secret: the key, which no word that comes back may hold.

    Raises:
        Hopeless, NotNow, NoReply, CallRefused: see there.
        PromptTooLongError: the server says that the conversation does not fit.
    """
    import httpx

    a_token = _BYTES_A_TOKEN + _BYTES_AN_ALTERNATIVE * int(body.get("top_logprobs", 0))
    most = _BYTES_ALWAYS + a_token * int(body["max_tokens"])
    try:
        async with client.stream("POST", url, json=body) as response:
            content = await _bounded(response, most)
    except (httpx.ConnectError, httpx.ConnectTimeout) as error:
        _refuse_hopeless(error)
        raise NotNow(f"no connection ({str(error) or type(error).__name__})") from error
    except httpx.TransportError as error:
        raise NoReply(f"the connection broke ({str(error) or type(error).__name__})") from error
    if response.status_code != 200:
        raise _fault(response, said(content, secret))
    return read_reply(response.headers.get("content-type", ""), content, secret)


async def _bounded(response: Any, most: int) -> bytes:
    content = bytearray()
    async for chunk in response.aiter_raw():
        content += chunk
        if len(content) > most:
            raise NoReply(f"a reply of more than {most} bytes")
    return bytes(content)


def _refuse_hopeless(error: Exception) -> None:
    """Raise where no later connection will succeed either."""
    for cause in _causes(error):
        if isinstance(cause, ssl.SSLCertVerificationError):
            raise Hopeless(
                f"its certificate cannot be verified ({cause.verify_message}). Mend url, or name the authority as "
                "ca_file."
            ) from error
        if isinstance(cause, socket.gaierror) and cause.errno in (socket.EAI_NONAME, socket.EAI_NODATA):
            raise Hopeless("there is no host of that name. Mend url.") from error


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _fault(response: Any, words: str) -> Exception:
    """What a status other than 200 comes to."""
    status = response.status_code
    found = f"status {status}: {words}"
    if 300 <= status < 400:
        return Hopeless(
            f"it sends its callers on to {_redirect_host(response)} (status {status}), and no key follows there. Give "
            "the address that answers by itself as url."
        )
    if status in _NOT_NOW:
        return NotNow(found, for_load=status in _FOR_LOAD, wait=_asked_wait(response))
    if status in _THIS_ATTEMPT or status > 504:
        return NoReply(found)
    if status == 413 or (status in _MAY_BE_LENGTH and _TOO_LONG.search(words)):
        return PromptTooLongError(found)
    if status in _MAY_BE_LENGTH and _NO_SUCH_REPLY.search(words):
        return Hopeless(f"{found}. Lower max_tokens of generate.critic or generate.revision.")
    if status in _THIS_CALL:
        return CallRefused(found)
    return Hopeless(f"{found}. {_WAYS_OUT.get(status, 'Mend url: this is no OpenAI-compatible chat endpoint.')}")


def _redirect_host(response: Any) -> str:
    try:
        return urlsplit(response.headers.get("location", "")).hostname or "another path"
    except ValueError:
        return "nowhere"


def _asked_wait(response: Any) -> float | None:
    """Seconds in `Retry-After`, a number or a date (RFC 9110, 10.2.3); a date is taken by the server's own clock."""
    asked = response.headers.get("retry-after", "").strip()
    if re.fullmatch(r"\d{1,9}(\.\d+)?", asked):
        return float(asked)
    until, now = _date(asked), _date(response.headers.get("date", ""))
    return max(0.0, (until - now).total_seconds()) if until and now else None


def _date(text: str) -> datetime | None:
    try:
        found = parsedate_to_datetime(text)
    except ValueError:
        return None
    return found if found.tzinfo else None
