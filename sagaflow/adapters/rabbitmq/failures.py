"""What the driver raises, as `Unavailable`."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from aio_pika.exceptions import CONNECTION_EXCEPTIONS
from aiormq.exceptions import ConnectionInternalError

from sagaflow.definitions.cancellation import is_being_cancelled
from sagaflow.definitions.messages import printable
from sagaflow.errors import Unavailable

REASON_LENGTH_MAX = 300


@contextmanager
def unavailable(what: str) -> Iterator[None]:
    """Turns whatever the driver raises inside into `Unavailable`: "<what>: <reason>", in one line.

    Not in a task that is being cancelled. There an error of the driver often stands in for the cancellation, when
    it fails to tidy up; who caught it as `Unavailable` would try again for ever, and never end.
    """
    try:
        yield
    except asyncio.CancelledError as error:
        # When a peer falls silent, the driver raises this to all who wait, although nobody cancelled them.
        if is_being_cancelled():
            raise
        raise Unavailable(f"{what}: {reason(error)}") from error
    except (TimeoutError, *CONNECTION_EXCEPTIONS) as error:
        if is_being_cancelled():
            raise asyncio.CancelledError from error
        if isinstance(error, TimeoutError):
            raise Unavailable(f"{what}: RabbitMQ did not answer in time") from error
        raise Unavailable(f"{what}: {reason(error)}") from error


def reason(error: BaseException) -> str:
    """Why the driver failed, in one line. It puts no password into its errors."""
    if isinstance(error, asyncio.CancelledError):
        return "nothing was heard from RabbitMQ for too long"
    if isinstance(error, ConnectionInternalError):
        return "INTERNAL_ERROR: something failed within RabbitMQ; its own log says what"
    text = str(error) or type(error).__name__
    return printable(" ".join(text.split()))[:REASON_LENGTH_MAX]
