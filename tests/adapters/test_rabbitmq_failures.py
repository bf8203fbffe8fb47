"""What the driver raises while a task is told to end."""

from __future__ import annotations

import asyncio

import pytest
from aio_pika.exceptions import ChannelClosed
from aiormq.exceptions import ChannelAccessRefused, ConnectionInternalError

from sagaflow.adapters.rabbitmq import supervision
from sagaflow.adapters.rabbitmq.failures import reason, unavailable
from sagaflow.adapters.rabbitmq.supervision import persist, stop
from sagaflow.errors import NotPermitted, Unavailable


@pytest.mark.parametrize("instead", [ChannelClosed(0, "closed"), TimeoutError(), ConnectionResetError()])
async def test_an_error_of_the_driver_does_not_hide_a_cancellation(instead: Exception) -> None:
    begun = asyncio.Event()

    async def look() -> None:
        with unavailable("a queue cannot be looked at"):
            try:
                begun.set()
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                raise instead from None  # as the driver does, when it fails to close the channel

    task = asyncio.create_task(persist("looking", look))
    await begun.wait()
    task.cancel()
    await asyncio.wait([task], timeout=30)
    assert task.cancelled()


@pytest.mark.parametrize("error", [ChannelClosed(0, "closed"), TimeoutError(), ConnectionResetError()])
async def test_otherwise_it_is_unavailable(error: Exception) -> None:
    with pytest.raises(Unavailable, match="a queue cannot be looked at: "), unavailable("a queue cannot be looked at"):
        raise error


async def test_a_missing_right_is_told_with_what_grants_it() -> None:
    denied = ChannelAccessRefused("ACCESS_REFUSED - access to queue 'q' in vhost '/' refused for user 'ann'")
    grant = "^looking: .*refused for user 'ann'; run: rabbitmqctl set_permissions -p "
    with pytest.raises(NotPermitted, match=grant), unavailable("looking"):
        raise denied


async def test_a_task_that_loses_a_cancellation_is_stopped_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervision, "CANCEL_AGAIN_SECONDS", 0.01)
    lost = 0

    async def lose_two() -> None:
        nonlocal lost
        while lost < 2:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                lost += 1
        await asyncio.Event().wait()

    task = asyncio.create_task(lose_two())
    await asyncio.sleep(0)
    await stop(task)
    assert task.cancelled()
    assert lost == 2


def test_where_to_look_when_the_broker_itself_fails() -> None:
    assert reason(ConnectionInternalError(None, "INTERNAL_ERROR")).endswith("its own log says what")
