"""A real HTTP server in a thread that speaks as an OpenAI-compatible endpoint does, or misbehaves as it is told.

`answer(body)` gives what a request gets: a text (a completion of it), a `Raw` (status, headers and body as they are),
or a function that is handed the open handler and does what it likes with the connection.
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from generator.critic_config import Endpoint
from generator.endpoint import EndpointEngine
from generator.engine import ChatCall, Sampling
from records.rows import Message

KEY = "sk-Test/0123456789abcdef"
KEY_ENV = "CONSTITUTE_TEST_KEY"


@dataclass(frozen=True)
class Raw:
    """A response as it goes over the wire."""

    status: int = 200
    body: bytes = b""
    content_type: str = "application/json"
    headers: dict[str, str] = field(default_factory=dict)


Answer = Callable[[dict[str, Any]], "str | Raw | Callable[[BaseHTTPRequestHandler], None]"]


def completion(text: str, finish_reason: str = "stop", **usage: Any) -> Raw:
    """The reply of a server that all is well with."""
    counted = {"prompt_tokens": 11, "completion_tokens": 3, "total_tokens": 14, **usage}
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": finish_reason}
    reply = {"id": "x", "object": "chat.completion", "choices": [choice], "usage": counted, "system_fingerprint": None}
    return Raw(body=json.dumps(reply).encode())


class Served:
    """A server under way; `bodies` and `headers` are what it was sent, `most_at_once` its calls at one time."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self.bodies: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.at_once = self.most_at_once = 0
        self.lock = threading.Lock()
        self.over = threading.Event()
        self.server: Any = None

    @property
    def port(self) -> int:
        return self.server.server_address[1]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def config(self, **settings: Any) -> Endpoint:
        """How tests ask it: impatiently."""
        return Endpoint(**{"url": self.url, "deadline_s": 5, "retries": 1, "patience_s": 3, **settings})

    def open(self, port: int = 0) -> None:
        served = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                with served.lock:
                    served.bodies.append(body)
                    served.headers.append({"path": self.path, **{k.lower(): v for k, v in self.headers.items()}})
                    served.at_once += 1
                    served.most_at_once = max(served.most_at_once, served.at_once)
                try:
                    found = served.answer(body)
                    if callable(found):
                        self.close_connection = True
                        found(self)
                    else:
                        send(self, completion(found) if isinstance(found, str) else found)
                except (BrokenPipeError, ConnectionResetError):
                    self.close_connection = True
                finally:
                    with served.lock:
                        served.at_once -= 1

            def log_message(self, *_: Any) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 128

        self.server = Server(("127.0.0.1", port), Handler)
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def close(self) -> None:
        self.over.set()
        self.server.shutdown()
        self.server.server_close()


def send(handler: BaseHTTPRequestHandler, raw: Raw) -> None:
    handler.send_response(raw.status)
    for name, value in {"Content-Type": raw.content_type, "Content-Length": str(len(raw.body)), **raw.headers}.items():
        handler.send_header(name, value)
    handler.end_headers()
    handler.wfile.write(raw.body)


@contextmanager
def serving(answer: Answer) -> Iterator[Served]:
    served = Served(answer)
    served.open()
    try:
        yield served
    finally:
        served.close()


def asked_first(body: dict[str, Any]) -> bool:
    """Whether this is the question that an engine asks by itself."""
    return "Is this a greeting" in body["messages"][-1]["content"]


def well_begun(answer: Answer) -> Answer:
    """A server that answers the first question, whatever becomes of the others."""
    return lambda body: "Hello." if asked_first(body) else answer(body)


def say(text: str, *, stage: int = 0, schema: dict[str, Any] | None = None, max_tokens: int = 50) -> ChatCall:
    """A call of one user turn."""
    sampling = Sampling(temperature=0.25, top_p=0.5, max_tokens=max_tokens)
    return ChatCall((Message(role="user", content=text),), sampling, schema=schema, stage=stage)


def ask(config: Endpoint, *calls: ChatCall, model: str = "far") -> tuple[list[Any], EndpointEngine]:
    """What became of calls made at once, errors among them, and the engine that made them."""

    async def work() -> tuple[list[Any], EndpointEngine]:
        engine = EndpointEngine(model, config, Sampling(max_tokens=50), tell=told.append)
        try:
            await engine.start()
            return await asyncio.gather(*(engine.chat(call) for call in calls), return_exceptions=True), engine
        finally:
            await engine.close()

    told: list[str] = []
    found, engine = asyncio.run(work())
    engine.told = told  # type: ignore[attr-defined]
    return found, engine
