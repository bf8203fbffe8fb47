"""What the driver raises, as `Unavailable`."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from aio_pika.exceptions import CONNECTION_EXCEPTIONS
from aiormq.exceptions import ChannelAccessRefused, ConnectionInternalError

from sagaflow.definitions.cancellation import is_being_cancelled
from sagaflow.definitions.messages import printable
from sagaflow.errors import NotPermitted, Unavailable

REASON_LENGTH_MAX = 300

LACKS_A_RIGHT = "refused for user"
"""So the broker says it; it refuses other things too, such as names that it keeps for itself."""
GRANT = "; run: rabbitmqctl set_permissions -p VHOST USER CONFIGURE WRITE READ, with patterns that match it"
"""What lets a user do it; the broker does not say which of the three rights was missing."""


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
        if isinstance(error, ChannelAccessRefused):
            raise NotPermitted(f"{what}: {reason(error)}{GRANT if LACKS_A_RIGHT in str(error) else ''}") from error
        raise Unavailable(f"{what}: {reason(error)}") from error


def reason(error: BaseException) -> str:
    """Why the driver failed, in one line. It puts no password into its errors."""
    if isinstance(error, asyncio.CancelledError):
        return "nothing was heard from RabbitMQ for too long"
    if isinstance(error, ConnectionInternalError):
        return "INTERNAL_ERROR: something failed within RabbitMQ; its own log says what"
    text = str(error) or type(error).__name__
    return printable(" ".join(text.split()))[:REASON_LENGTH_MAX]
