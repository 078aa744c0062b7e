"""A model behind an OpenAI-compatible endpoint, asked patiently: adaptive concurrency, retries, deadlines.

Two kinds of trouble are kept apart. An endpoint that takes no call (down, restarting, too busy) is waited for, whatever
the number of attempts, and if it stays away the stage ends and the same command goes on later: no row pays for it. A
call that gets no usable reply, while the endpoint answers others, is sent again a few times, and then its own chain
alone is a reject.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from constitution.schema import Principle
from constitution.verdicts import reply_schema
from generator.adaptive import AdaptiveLimit
from generator.api_key import read_key
from generator.chat_reply import SCHEMA_FORMS, SchemaForm, request_body
from generator.critic_config import Endpoint
from generator.endpoint_faults import CallRefused, Hopeless, NoReply, NotNow
from generator.engine import ChatCall, Completion, EngineFailedError, PromptTooLongError, Sampling
from generator.exchange import exchange, open_client
from records.errors import ConfigError, StageError
from records.rows import Message

_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.5, 10.0
_GIVEN_UP_IN_A_ROW = 20
"""Calls given up with no good reply between, after which the endpoint and not the calls is to blame."""
_PASSED_OVER = 50
"""Times a call is told to come later while others are answered, after which it is given up."""
_QUESTION = Principle(id="first", text="The answer is a greeting.", applies_when="Somebody greets.")
_PROBE = Message(role="user", content="Is this a greeting: Hello! Reply in JSON: critique, verdict, severity.")


class EndpointEngine:
    """A model elsewhere; see `generator.engine.ChatEngine` for what it promises."""

    def __init__(
        self, model: str, config: Endpoint, sampling: Sampling, *, tell: Callable[[str], None] = lambda _: None
    ) -> None:
        """Prepare an engine; `start` opens it.

        Args:
            model: its name at the endpoint.
            config: where that is, and how patiently it is asked.
            sampling: how most replies will be drawn; the first question is asked so.
            tell: shows a line to whoever waits for the run.
        """
        self.model = model
        self.config = config
        self.endpoint = config.host
        self.structured = ""
        self.sent_again = 0
        self._probe = ChatCall((_PROBE,), sampling, schema=reply_schema(_QUESTION))
        self._tell = tell
        self._key = ""
        self._client: Any = None
        self._limit = AdaptiveLimit(config.most_in_flight)
        self._form: SchemaForm = lambda schema: schema
        self._gives_alternatives = True
        self._away_since: float | None = None
        self._told = False
        self._answered = 0
        self._given_up = 0
        self._probing = asyncio.Lock()

    async def start(self) -> None:
        """Open the connections and ask one question, which finds out in what form the endpoint takes a schema.

        Raises:
            ConfigError: no key, or the endpoint refuses address, key or model, or gives no usable reply.
            StageError: it stayed away for longer than the patience.
        """
        self._key = read_key(self.config)
        self._client = open_client(self.config, self._key)
        found = ""
        for name, form in SCHEMA_FORMS.items():
            self.structured, self._form = name, form
            try:
                await self._ask(self._probe)
            except CallRefused as error:
                found = str(error)
            except (PromptTooLongError, EngineFailedError) as error:
                found = str(error)
                break
            else:
                return
        raise ConfigError(
            f"{self._where}: a first short question got no usable reply ({found}); expected a chat completion. Mend "
            "url, model or generate.critic, or see to the server, then run the same command again."
        )

    @property
    def figures(self) -> dict[str, Any]:
        """How the asking went, for the marker of the stage."""
        return {
            "structured_output": self.structured,
            "sent_again": self.sent_again,
            "refusals_for_load": self._limit.refusals,
            "places": int(self._limit.allowed),
        }

    async def chat(self, call: ChatCall) -> Completion:
        """See `ChatEngine.chat`.

        Raises:
            ConfigError: the endpoint refuses address, key or model.
            StageError: it stayed away for longer than the patience, or gives no call a usable reply any more.
            PromptTooLongError, EngineFailedError: as promised there.
        """
        well, asked = False, call
        while True:
            call = asked if self._gives_alternatives else replace(asked, alternatives=0)
            try:
                completion = await self._ask(call)
            except CallRefused as error:
                if not call.alternatives:
                    raise self._give_up(error) from error
                return await self._without_alternatives(call)
            except EngineFailedError as error:
                # Attempts that fell into an outage say nothing of the call: only those made while all was well count.
                was_well, well = well, await self._answers()
                if was_well and well:
                    raise self._give_up(error) from error
                if not well:
                    self._wait_for_it(NotNow(f"no usable reply to any call; to this one: {error}"))
                    await asyncio.sleep(_jittered(4))
            else:
                self._given_up = 0
                return completion

    async def _without_alternatives(self, call: ChatCall) -> Completion:
        """Some servers refuse to be asked for log-probabilities; one that then takes the call is not asked again."""
        completion = await self.chat(replace(call, alternatives=0))
        self._gives_alternatives = False
        return completion

    async def close(self) -> None:
        """Close the connections."""
        if self._client is not None:
            await self._client.aclose()
            self._client = None

    async def _ask(self, call: ChatCall) -> Completion:
        """One call, sent until it is answered, refused, or given up."""
        body = request_body(self.model, call, self._form(call.schema) if call.schema else None)
        failures = waits = passed_over = 0
        answered = self._answered
        why: Exception
        while True:
            async with self._limit.place(call.stage) as epoch:
                try:
                    return await self._attempt(body)
                except NotNow as fault:
                    if fault.for_load:
                        self._limit.shrink(epoch)
                    waits += 1
                    wait = max(self._wait_for_it(fault), _jittered(waits))
                    passed_over += self._answered > answered
                    answered, why = self._answered, fault
                except NoReply as fault:
                    failures += 1
                    wait, why = _jittered(failures), fault
            if failures > self.config.retries or passed_over > _PASSED_OVER:
                raise EngineFailedError(f"no usable reply in {failures + waits} attempts ({why})")
            self.sent_again += 1
            await asyncio.sleep(wait)

    async def _attempt(self, body: dict[str, Any]) -> Completion:
        try:
            async with asyncio.timeout(self.config.deadline_s):
                completion = await exchange(self._client, f"{self.config.url}/chat/completions", body, self._key)
        except TimeoutError as error:
            raise NoReply(f"no whole reply within {self.config.deadline_s:g} s") from error
        except Hopeless as error:
            raise ConfigError(f"{self._where}: {error} Finished rows are safe.") from error
        except (CallRefused, PromptTooLongError):
            self._away_since = None  # It took the call, and said no.
            raise
        self._limit.grow()
        self._answered += 1
        self._away_since = None
        return completion

    def _wait_for_it(self, fault: NotNow) -> float:
        """Seconds the endpoint wants to be left alone for, which holds for all calls.

        Raises:
            StageError: nobody was answered for longer than the patience.
        """
        now, patience, asked = asyncio.get_running_loop().time(), self.config.patience_s, fault.wait or 0.0
        if self._away_since is None:
            self._away_since, self._told = now, False
        # Being too busy for a moment is how the load is found out, and no news.
        if not self._told and (not fault.for_load or now - self._away_since > _LONGEST_WAIT_S):
            self._told = True
            self._tell(f"{self._where}: {fault}; asking again for up to {patience:g} s")
        if now + asked - self._away_since > patience:
            wants = f" and asks to wait {asked:g} s" if asked else ""
            raise StageError(
                f"{self._where}: it takes no call ({fault}){wants}; expected it back within patience_s "
                f"({patience:g} s). Finished rows are safe. See to the server, then run the same command again."
            )
        if asked:
            self._limit.hold(asked)
        return asked

    def _give_up(self, error: Exception) -> Exception:
        """What a call that was refused, or never got a usable reply, comes to."""
        self._given_up += 1
        if self._given_up < _GIVEN_UP_IN_A_ROW:
            return EngineFailedError(f"{self.endpoint}: {error}")
        return StageError(
            f"{self._where}: no usable reply to {self._given_up} calls in a row ({error}). Finished rows are safe. "
            "See to the server, or mend generate.critic, then run the same command again."
        )

    async def _answers(self) -> bool:
        """Whether the endpoint answers just now: another call, or else a question of our own."""
        before = self._answered
        async with self._probing:
            if self._answered > before:
                return True
            try:
                await self._attempt(request_body(self.model, self._probe, self._form(self._probe.schema or {})))
            except (NotNow, NoReply, CallRefused, PromptTooLongError):
                return False
            return True

    @property
    def _where(self) -> str:
        return f"critic_model.endpoint {self.config.url}, model {self.model}"


def _jittered(times: int) -> float:
    """Seconds before the next attempt: doubled each time, and drawn, so that many callers do not come back at once."""
    return min(_LONGEST_WAIT_S, _FIRST_WAIT_S * 2 ** min(times - 1, 10)) * random.uniform(0.5, 1.0)
