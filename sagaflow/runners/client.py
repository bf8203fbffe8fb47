"""Starting sagas over the broker, for services that have no access to the coordinator's database."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Final, Self
from uuid import UUID

import msgspec

from sagaflow.core.state import SETTLED, SagaStatus
from sagaflow.definitions import ids, payloads
from sagaflow.definitions.limits import MESSAGE_BYTES_MAX
from sagaflow.definitions.messages import (
    Answer,
    CancelRequest,
    Notice,
    OutcomeRequest,
    Request,
    StartRequest,
    write,
)
from sagaflow.definitions.observing import NOBODY, Observer
from sagaflow.definitions.ports import Address, Letter, QueueKind, Transport
from sagaflow.errors import PayloadError
from sagaflow.runners.batches import until_available
from sagaflow.runners.intake import Intake
from sagaflow.runners.receipts import Receipt
from sagaflow.runners.requests import ANSWER_ERRORS
from sagaflow.runners.telling import Guarded

ERRORS: Final = {answer_error: error for error, answer_error in ANSWER_ERRORS.items()}

PREFETCH = 20
ASK_AGAIN_SECONDS = 5.0
"""An answer may be lost with a connection; a question is asked again in this interval."""


class SagaClient:
    """Asks the coordinators of one name. An async context manager.

    Args:
        transport: how they are reached. It is entered and left with the client.
        coordinator: their name.
        observer: says which span the running task is in; a saga that it starts is in the same trace.

    All methods wait until a coordinator answers; bound them with `asyncio.timeout` or `timeout`. Asking
    again is safe: a start counts once for each key.

    Example:
        async with SagaClient(RabbitTransport(url), coordinator="checkout") as sagas:
            saga_id = await sagas.start("checkout", order, key=order.order_id)
            status = await sagas.outcome(saga_id, timeout=10)
    """

    def __init__(self, transport: Transport, *, coordinator: str, observer: Observer = NOBODY) -> None:
        self._observer = Guarded(observer)
        self._transport = transport
        self._requests = Address(QueueKind.REQUESTS, coordinator)
        self._name = str(ids.new_id())
        self._answered: dict[UUID, asyncio.Future[Answer]] = {}
        self._settled: dict[UUID, list[asyncio.Future[SagaStatus]]] = {}
        self._answers: Intake[Answer | Notice] = Intake(
            Answer | Notice,
            Address(QueueKind.ANSWERS, self._name),
            take=self._take,
            keep=_drop,
            transport=transport,
        )
        self._closing = AsyncExitStack()

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(self._transport)
            await self._answers.open(PREFETCH)
            stack.push_async_callback(self._answers.close)
            stack.push_async_callback(self._answers.stop)
            self._closing = stack.pop_all()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self._closing.aclose()

    async def start(self, saga: str, saga_input: object, *, key: str, traceparent: str | None = None) -> UUID:
        """Start a saga by its name; returns its id. Like `Coordinator.start`, idempotent on (saga, key).

        Raises:
            ConflictError: the key was used with other input.
            PayloadError: the input is not what the saga takes, or is over the limit.
            SagaNotFound: the coordinator has no saga of this name.
        """
        encoded = msgspec.Raw(payloads.encode(saga_input))
        caller = traceparent if traceparent is not None else self._observer.current_traceparent()
        answer = await self._ask(
            lambda request_id: StartRequest(
                request_id=request_id,
                reply_to=self._name,
                saga=saga,
                key=key,
                input=encoded,
                traceparent=caller,
            )
        )
        assert answer.saga_id is not None, "a start that is granted is answered with the id"
        return answer.saga_id

    async def outcome(self, saga_id: UUID, *, timeout: float | None = None) -> SagaStatus:
        """Wait until a saga has ended or is stuck.

        Raises:
            TimeoutError: it is still on its way after `timeout` seconds.
            SagaNotFound: there is no such saga.
        """
        settled: asyncio.Future[SagaStatus] = asyncio.get_running_loop().create_future()
        self._settled.setdefault(saga_id, []).append(settled)
        try:
            async with asyncio.timeout(timeout):
                while not settled.done():
                    answer = await self._ask(
                        lambda request_id: OutcomeRequest(request_id=request_id, reply_to=self._name, saga_id=saga_id)
                    )
                    if answer.status in SETTLED:
                        return answer.status
                    await asyncio.wait([settled], timeout=ASK_AGAIN_SECONDS)
                return settled.result()
        finally:
            self._settled[saga_id].remove(settled)
            if not self._settled[saga_id]:
                del self._settled[saga_id]

    async def cancel(self, saga_id: UUID, *, reason: str, actor: str = "program") -> SagaStatus:
        """Have a saga undone; see `Operator.cancel`."""
        answer = await self._ask(
            lambda request_id: CancelRequest(
                request_id=request_id, reply_to=self._name, saga_id=saga_id, reason=reason, actor=actor
            )
        )
        assert answer.status is not None, "a cancel that is granted is answered with the status"
        return answer.status

    async def _ask(self, make: Callable[[UUID], Request]) -> Answer:
        request = make(ids.new_id())
        answered: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._answered[request.request_id] = answered
        try:
            letters = [Letter(self._requests, _bounded(request))]
            while not answered.done():
                await until_available("publishing", lambda: self._transport.publish(letters))
                await asyncio.wait([answered], timeout=ASK_AGAIN_SECONDS)
        finally:
            del self._answered[request.request_id]
        answer = answered.result()
        if answer.error is not None:
            raise ERRORS[answer.error](answer.message)
        return answer

    def _take(self, message: Answer | Notice, receipt: Receipt) -> None:
        match message:
            case Answer():
                answered = self._answered.get(message.request_id)
                if answered is not None and not answered.done():
                    answered.set_result(message)
            case Notice():
                for settled in self._settled.get(message.saga_id, ()):
                    if not settled.done():
                        settled.set_result(message.status)
        receipt.done()


def _bounded(request: Request) -> bytes:
    """The request as it is sent. One that nobody would read must not be asked again and again.

    Raises:
        PayloadError: it is over the limit, or has text that JSON cannot hold.
    """
    try:
        message = write(request)
    except UnicodeEncodeError as error:
        raise PayloadError(f"the request cannot be sent: {error}") from error
    if len(message) > MESSAGE_BYTES_MAX:
        raise PayloadError(
            f"a request of {len(message)} bytes is over the limit of {MESSAGE_BYTES_MAX}; shorten its key or its reason"
        )
    return message


async def _drop(messages: object) -> None:
    """Nobody keeps what a client cannot read; it was logged, and is asked for again."""
