"""Requests over the broker: start, outcome and cancel for services that cannot reach the database."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Final
from uuid import UUID

from sagaflow.core.state import SagaStatus
from sagaflow.definitions import logs
from sagaflow.definitions.messages import (
    Answer,
    AnswerError,
    CancelRequest,
    ErrorInfo,
    OutcomeRequest,
    Request,
    StartRequest,
    write,
)
from sagaflow.definitions.ports import Address, Letter, QueueKind
from sagaflow.errors import ConflictError, NotPossible, PayloadError, SagaflowError, SagaNotFound
from sagaflow.runners.batches import until_available
from sagaflow.runners.outbox import Outbox
from sagaflow.runners.receipts import Receipt
from sagaflow.runners.tasks import Tasks

ANSWER_ERRORS: Final[Mapping[type[SagaflowError], AnswerError]] = {
    ConflictError: AnswerError.CONFLICT,
    SagaNotFound: AnswerError.NOT_FOUND,
    NotPossible: AnswerError.NOT_POSSIBLE,
    PayloadError: AnswerError.INVALID,
}

Standing = tuple[UUID, SagaStatus]


class Requests:
    """Deals with requests, each by itself. The three functions say what is done; each returns where the
    saga stands then."""

    def __init__(
        self,
        outbox: Outbox,
        *,
        start: Callable[[StartRequest], Awaitable[Standing]],
        watch: Callable[[OutcomeRequest], Awaitable[Standing]],
        cancel: Callable[[CancelRequest], Awaitable[Standing]],
    ) -> None:
        self._outbox = outbox
        self._start = start
        self._watch = watch
        self._cancel = cancel
        self._tasks = Tasks()

    def take(self, request: Request, receipt: Receipt) -> None:
        """Deal with a request in the background."""
        self._tasks.spawn(self._answer(request, receipt), "sagaflow request")

    async def close(self) -> None:
        """Leave what is under way; it will be delivered again."""
        await self._tasks.cancel()

    async def _answer(self, request: Request, receipt: Receipt) -> None:
        try:
            saga_id, status = await until_available("a request", partial(self._grant, request))
            answer = Answer(request_id=request.request_id, saga_id=saga_id, status=status)
        except tuple(ANSWER_ERRORS) as error:
            why = ErrorInfo.of(error).message  # bounded: an answer that nobody could read would be asked for again
            answer = Answer(request_id=request.request_id, error=ANSWER_ERRORS[type(error)], message=why)
        except Exception as error:  # noqa: BLE001  # a request must be answered, or it would come again for ever
            logs.REQUEST_FAILED.write(error=error, request=type(request).__name__)
            answer = Answer(request_id=request.request_id, error=AnswerError.INVALID, message="the request failed")
        address = Address(QueueKind.ANSWERS, request.reply_to)
        self._outbox.put([Letter(address, write(answer))], [receipt])

    async def _grant(self, request: Request) -> Standing:
        match request:
            case StartRequest():
                return await self._start(request)
            case OutcomeRequest():
                return await self._watch(request)
            case CancelRequest():
                return await self._cancel(request)
