"""Stopping a process in good order: wait for the signal, then leave the `async with` blocks."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

STOP_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)


async def until_stopped() -> signal.Signals:
    """Wait until this process is told to stop, by SIGTERM or by Ctrl-C; returns which of them it was.

    From then on signals do again what they did before: a second one does not wait for the good order, which
    costs nothing but time, since whatever was under way comes again. Must be called in the main thread.

    Example:
        async with serve(inventory, transport=transport, transactions=transactions):
            await until_stopped()
    """
    with told_to_stop() as told:
        return await told


@contextmanager
def told_to_stop() -> Iterator[asyncio.Future[signal.Signals]]:
    """Heed the signals from here on; what it gives is done when one has come.

    For a process that says that it is up: whoever has read that may send a signal at once.
    """
    loop = asyncio.get_running_loop()
    told: asyncio.Future[signal.Signals] = loop.create_future()

    def tell(which: signal.Signals) -> None:
        if not told.done():
            told.set_result(which)

    handlers = {which: signal.getsignal(which) for which in STOP_SIGNALS}
    for which in STOP_SIGNALS:
        loop.add_signal_handler(which, tell, which)
    try:
        yield told
    finally:
        for which, handler in handlers.items():
            loop.remove_signal_handler(which)
            if handler is not None:  # one that was not set by Python cannot be set by it
                signal.signal(which, handler)
