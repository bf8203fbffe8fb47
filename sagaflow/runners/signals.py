"""Stopping a process in good order: wait for the signal, then leave the `async with` blocks."""

from __future__ import annotations

import asyncio
import signal
from typing import Final

STOP_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)


async def until_stopped() -> signal.Signals:
    """Wait until this process is told to stop, by SIGTERM or by Ctrl-C; returns which of them it was.

    A second signal is not waited for: it ends the process at once, which costs nothing but time, since
    whatever was under way comes again. Must be called in the main thread.

    Example:
        async with serve(inventory, transport=transport, transactions=transactions):
            await until_stopped()
    """
    loop = asyncio.get_running_loop()
    told: asyncio.Future[signal.Signals] = loop.create_future()

    def tell(which: signal.Signals) -> None:
        if not told.done():
            told.set_result(which)

    for which in STOP_SIGNALS:
        loop.add_signal_handler(which, tell, which)
    try:
        return await told
    finally:
        for which in STOP_SIGNALS:
            loop.remove_signal_handler(which)
