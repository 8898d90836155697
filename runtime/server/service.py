"""What every dialect calls: check a request, queue its texts, and wait for the answers as long as the client does."""

from __future__ import annotations

import asyncio
import hmac
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

import anyio.to_thread
from starlette.requests import ClientDisconnect, Request

from ftx.errors import FtxError
from ftx.runtime.heads import Prediction
from ftx.runtime.inputs import checked_texts
from ftx.runtime.server.batcher import ExpiredError, OverloadedError, Ticket
from ftx.runtime.server.engine import Answer
from ftx.runtime.server.failures import RequestError
from ftx.runtime.server.hosts import foreign_page, host_allowed
from ftx.runtime.server.metrics import Metrics
from ftx.runtime.server.models import Loaded, Model
from ftx.runtime.server.settings import ServeSettings
from ftx.text import Text

__all__ = ["TIMEOUT_HEADER", "Answered", "Service"]

log = logging.getLogger("ftx.server")
TIMEOUT_HEADER = "x-request-timeout-ms"
# A client that leaves is noticed after this.
PATIENT_SEC = 0.1


@dataclass(frozen=True)
class Answered:
    """The texts of a request with their answers.

    Attributes:
        texts: As they were asked.
        answers: One a text.
        loaded: The model that answered.
    """

    texts: Sequence[Text]
    answers: Sequence[Answer]
    loaded: Loaded

    def predictions(self) -> list[Prediction]:
        """Decode the answers."""
        return [self.loaded.engine.prediction(*pair) for pair in zip(self.texts, self.answers, strict=True)]


class Service:
    """The models, their limits and their metrics.

    Args:
        models: By name; the first is the one that a request without a name gets.
        settings: Limits.
    """

    def __init__(self, models: dict[str, Model], settings: ServeSettings) -> None:
        self.models, self.settings = models, settings
        self.metrics = Metrics(models)
        self.draining = False
        self._told: set[str] = set()
        for model in models.values():
            model.observer = self.metrics.observer(model.name)

    def model(self, name: str | None = None) -> Model:
        """Give a model by its name; without one the only one, or the first.

        Raises:
            RequestError: There is none of that name.
        """
        if name is None:
            return next(iter(self.models.values()))
        if name not in self.models:
            raise RequestError(404, "not_found", f"no model {name!r:.80}; this server has {', '.join(self.models)}")
        return self.models[name]

    def loaded(self, model: Model) -> Loaded:
        """Return the file of a model that is served now.

        Raises:
            RequestError: None is loaded yet.
        """
        if model.loaded is None:
            raise RequestError(503, "unavailable", "the model is not loaded", retry_after_sec=1.0)
        return model.loaded

    async def check_ready(self, models: Sequence[Model]) -> None:
        """Run the golden probes of models.

        Raises:
            RequestError: The server is shutting down, or a probe fails. The reason goes to the log only, since health
                checks need no token.
        """
        if self.draining:
            raise RequestError(503, "unavailable", "the server is shutting down")
        for model in models:
            if (why := await anyio.to_thread.run_sync(model.ready)) is not None:
                log.warning("%s is not ready: %s", model.name, why)
                raise RequestError(503, "unavailable", "a model is not ready")

    def check_host(self, request: Request) -> None:
        """Check the Host header, and that no page of another origin makes a browser send the request.

        Raises:
            RequestError: The host is not allowed, or the page.
        """
        allowed = self.settings.allowed_hosts
        if allowed and not host_allowed(request.headers, allowed):
            raise RequestError(
                400, "validation",
                "the Host header names a host that is not allowed: start ftx serve with --allowed-host for it",
            )  # fmt: skip
        if self.settings.own_pages_only and request.method == "POST" and foreign_page(request.headers):
            raise RequestError(
                403, "validation",
                "a page of another origin sent this: start ftx serve with --token, or with --allowed-host",
            )  # fmt: skip

    def check_token(self, request: Request) -> None:
        """Check the token.

        Raises:
            RequestError: The token is missing or wrong.
        """
        if self.settings.token is None:
            return
        given = request.headers.get("authorization", "").encode("latin-1")
        if not hmac.compare_digest(given, f"Bearer {self.settings.token}".encode()):
            raise RequestError(401, "unauthorized", "send the header Authorization: Bearer TOKEN")

    async def body(self, request: Request) -> bytes:
        """Read a request's body, unless there is no room for any request.

        Raises:
            RequestError: It is too large, or does not come; or it would be refused whatever it holds.
        """
        self.check_room()
        most = self.settings.max_body_bytes
        too_large = RequestError(413, "too_large", f"the body has more than {most} bytes")
        length = request.headers.get("content-length", "0")
        if length.isdigit() and int(length[:20]) > most:
            raise too_large
        if request.headers.get("content-encoding", "identity").lower() != "identity":
            raise RequestError(415, "validation", "compressed request bodies are not supported")
        parts, size = [], 0
        try:
            async with asyncio.timeout(self.settings.body_sec):
                async for part in request.stream():
                    size += len(part)
                    if size > most:
                        raise too_large
                    parts.append(part)
        except TimeoutError:
            raise RequestError(408, "timeout", f"the body did not arrive within {self.settings.body_sec:g} s") from None
        except ClientDisconnect:
            raise RequestError(400, "validation", "the client disconnected before the body was complete") from None
        return b"".join(parts)

    @property
    def full(self) -> bool:
        """Whether no model would accept a request, however short."""
        batchers = [model.loaded.batcher for model in self.models.values() if model.loaded is not None]
        return bool(batchers) and all(one.full for one in batchers)

    def check_room(self) -> None:
        """Refuse a request before it is read, where every queue is full: at four times the load most are refused.

        Raises:
            RequestError: No model would accept it.
        """
        if self.full:
            batchers = [model.loaded.batcher for model in self.models.values() if model.loaded is not None]
            self.metrics.shed.labels("predicted wait").inc()
            raise overloaded(OverloadedError(min(one.predicted_wait_sec for one in batchers)))

    async def answer(
        self, texts: list[Any], request: Request, *, model: str | None = None, timeout_sec: float | None = None
    ) -> Answered:
        """Queue texts, and wait for their answers.

        Args:
            texts: Strings, or pairs of them as tuples.
            request: Where they come from: its body was read.
            model: The model's name.
            timeout_sec: Seconds that the client waits; its header says it, too.

        Raises:
            RequestError: They get no answers.
        """
        which = self.model(model)
        checked = self._checked(texts, self.loaded(which))
        limit = self._timeout(request, timeout_sec)
        ticket, loaded = self._submit(which, checked, time.monotonic() + limit)
        try:
            found = await self._ended(ticket, request, limit)
        except OverloadedError as error:
            self.metrics.shed.labels("waited too long").inc()
            raise overloaded(error) from None
        except (ExpiredError, TimeoutError) as error:
            if self.draining and isinstance(error, ExpiredError):
                self.metrics.shed.labels("shut down").inc()
                raise RequestError(503, "unavailable", "the server is shutting down", retry_after_sec=1.0) from None
            self.metrics.shed.labels("deadline").inc()
            raise RequestError(504, "timeout", f"no answer within {limit:g} s") from None
        for place, one in enumerate(found):
            if not isinstance(one, Answer):
                text = f": {checked[place]!r:.500}" if self.settings.log_texts else ""
                log.error("text %d of a request failed: %s: %s%s", place, type(one).__name__, one, text)
                raise RequestError(500, "backend", f"the model failed on text {place}: {reason(one)}")
        self._count(which.name, loaded, found)
        return Answered(checked, found, loaded)

    async def _ended(self, ticket: Ticket, request: Request, limit: float) -> list[Any]:
        """Wait for the end of a request in the queue, as long as its client does.

        Raises:
            OverloadedError: It waited too long.
            ExpiredError: Its deadline passed in the queue, or the server ends.
            TimeoutError: The time is over.
            RequestError: The client has left.
        """
        future = asyncio.wrap_future(ticket.future)
        left = None
        try:
            # Most are answered so soon that it is not worth a task to see whether their clients leave.
            await asyncio.wait((future,), timeout=min(limit, PATIENT_SEC))
            if not future.done() and limit > PATIENT_SEC:
                left = asyncio.ensure_future(gone(request.receive))
                await asyncio.wait((future, left), timeout=limit - PATIENT_SEC, return_when=asyncio.FIRST_COMPLETED)
            if future.done():
                return future.result()
            ticket.cancel()
            if left is not None and left.done():
                self.metrics.shed.labels("client left").inc()
                raise RequestError(499, "timeout", "the client disconnected")
            raise TimeoutError
        finally:
            if left is not None:
                left.cancel()
            future.cancel()  # else asyncio would log what it ends with later

    def _checked(self, texts: list[Any], loaded: Loaded) -> list[Text]:
        """Check how many texts there are, how long they are, and that the model reads their kind."""
        if len(texts) > self.settings.max_texts:
            raise RequestError(413, "too_large", f"{len(texts)} texts, expected at most {self.settings.max_texts}")
        try:
            checked = checked_texts(texts, loaded.manifest.text_pair)
        except TypeError as error:
            raise RequestError(422, "validation", str(error)) from None
        most = self.settings.max_text_chars
        for place, text in enumerate(checked):
            size = max(map(len, text)) if isinstance(text, tuple) else len(text)
            if size > most:
                raise RequestError(413, "too_large", f"text {place} has {size} characters, expected at most {most}")
        if loaded.engine.predictor.windows and any(isinstance(text, tuple) for text in checked):
            raise RequestError(422, "validation", "this server reads long texts in windows, which pairs do not support")
        return checked

    def _timeout(self, request: Request, timeout_sec: float | None) -> float:
        """Give the seconds that a request may take: the fewest that anybody named."""
        named = [self.settings.request_sec]
        if timeout_sec is not None:
            named.append(timeout_sec)
        if (header := request.headers.get(TIMEOUT_HEADER)) is not None:
            try:
                named.append(float(header) / 1000)
            except ValueError:
                raise RequestError(422, "validation", f"{TIMEOUT_HEADER}: expected milliseconds") from None
        if not all(0 < sec < 1e9 for sec in named):
            raise RequestError(422, "validation", "a timeout must be greater than 0")
        return min(named)

    def _submit(self, model: Model, texts: list[Text], deadline: float) -> tuple[Ticket, Loaded]:
        """Queue texts with the model as it is now; it may just be replaced."""
        while True:
            loaded = model.loaded
            assert loaded is not None, "a model that was loaded once stays so"
            try:
                return loaded.batcher.submit(texts, deadline=deadline), loaded
            except OverloadedError as error:
                self.metrics.shed.labels("predicted wait").inc()
                raise overloaded(error) from None
            except RuntimeError:
                if model.loaded is loaded:
                    raise RequestError(503, "unavailable", "the server is shutting down", retry_after_sec=1.0) from None

    def _count(self, name: str, loaded: Loaded, answers: Sequence[Answer]) -> None:
        """Count predictions by label, and long texts."""
        if long := sum(one.truncated or one.windows > 1 for one in answers):
            self.metrics.truncated.labels(name).inc(long)
        if doubtful := sum(one.fallback for one in answers):
            self.metrics.fallback.labels(name).inc(doubtful)
        if beyond := sum(map(loaded.engine.beyond_calibration, answers)):
            self.metrics.beyond.labels(name).inc(beyond)
            self._tell_beyond(name, loaded)
        if loaded.manifest.problem_type == "single_label_classification":
            for one in answers:
                self.metrics.predicted(name, loaded.manifest.labels[int(one.probabilities.argmax())]).inc()

    def _tell_beyond(self, name: str, loaded: Loaded) -> None:
        """Say once of each file that texts are longer than it was calibrated on."""
        if loaded.sha256 not in self._told:
            self._told.add(loaded.sha256)
            log.warning(
                "%s gets texts of more than the %d tokens that its int8 was calibrated on, so its activations may be "
                "clipped: ftx_beyond_calibration_texts counts them", name, loaded.manifest.calibrated_tokens,
            )  # fmt: skip


async def gone(receive: Callable[[], Awaitable[Any]]) -> None:
    """Wait until the client has left."""
    while (await receive())["type"] != "http.disconnect":
        pass


def overloaded(error: OverloadedError) -> RequestError:
    """Say when there will be room."""
    wait = error.retry_after_sec
    return RequestError(429, "overloaded", f"the queue is {wait:.1f} s long; try again later", retry_after_sec=wait)


def reason(error: object) -> str:
    """Say why a text failed, without paths and other inner matters."""
    if isinstance(error, MemoryError):
        return "not enough memory"
    if isinstance(error, FtxError) and "not finite" in str(error):
        return "its logits are not finite"
    return "an internal error, which the server's log names"
