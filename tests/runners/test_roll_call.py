"""Who is asked, how often, and who counts as there."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from sagaflow import Participant, serve
from sagaflow.adapters.inprocess import InProcessTransport
from sagaflow.adapters.sqlite import SqliteStore, SqliteTransactions
from sagaflow.definitions.announcements import announcement_of
from sagaflow.definitions.messages import Announcement, Inquiry, Reader
from sagaflow.definitions.ports import Address, Delivery, Letter, QueueKind, Subscription
from sagaflow.errors import Unavailable
from sagaflow.runners import roll_call
from sagaflow.runners.roll_call import RollCall
from tests.runners.world import Agency, trip_saga, until

ASK_SECONDS = 0.02


class Listening(InProcessTransport):
    """Notes what is published."""

    def __init__(self) -> None:
        super().__init__()
        self.published: list[Letter] = []
        self.failures: list[Exception] = []

    async def publish(self, letters: Sequence[Letter]) -> None:
        if self.failures:
            raise self.failures.pop(0)
        self.published.extend(letters)
        await super().publish(letters)


class Calling:
    """A roll call, and what came of it."""

    def __init__(self, store: SqliteStore, *, ask_seconds: float = ASK_SECONDS) -> None:
        self.transport = Listening()
        self.appeared: list[str] = []
        self.roll_call = RollCall(
            [trip_saga().plan],
            answers="me",
            store=store,
            transport=self.transport,
            ask_seconds=ask_seconds,
            appeared=self.appeared.append,
        )

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[RollCall]:
        """It runs."""
        async with self.transport:
            self.roll_call.open()
            try:
                yield self.roll_call
            finally:
                await self.roll_call.close()

    async def until_asked(self, times: int) -> None:
        """Wait until so many inquiries went out."""

        async def asked() -> bool:
            return len(self.transport.published) >= times

        await until(asked)

    @property
    def waits(self) -> list[float | None]:
        """How long each inquiry is worth an answer."""
        return [letter.expires_seconds for letter in self.transport.published]


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    async with SqliteStore(tmp_path / "sagas.db") as store:
        yield store


def said(host: str = "host-1", participant: Participant[Any] | None = None) -> Announcement:
    return announcement_of(participant or Agency().participant(), host)


async def test_a_participant_is_asked_in_its_own_queue_and_answers_to_this_process(store: SqliteStore) -> None:
    calling = Calling(store)
    async with calling.opened():
        await calling.until_asked(1)
    letter = calling.transport.published[0]
    assert letter.to == Address(QueueKind.INQUIRIES, "agency")
    assert Reader[Inquiry](Inquiry).read(b"[" + letter.message + b"]") == [Inquiry(reply_to="me")]


async def test_who_is_silent_is_asked_less_and_less_often_and_one_inquiry_always_waits(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(roll_call, "SILENT_ASK_SECONDS_MAX", ASK_SECONDS * 3)
    calling = Calling(store)
    async with calling.opened():
        await calling.until_asked(4)
    assert calling.waits[:4] == [ASK_SECONDS, ASK_SECONDS * 2, ASK_SECONDS * 3, ASK_SECONDS * 3]


async def test_who_answers_again_is_asked_as_often_as_before(store: SqliteStore) -> None:
    calling = Calling(store)
    async with calling.opened() as called:
        await calling.until_asked(3)
        called.hear(said())
        asked = len(calling.transport.published)
        await calling.until_asked(asked + 1)
        assert calling.waits[asked] == ASK_SECONDS


async def test_who_has_not_answered_for_three_rounds_is_not_there(store: SqliteStore) -> None:
    calling = Calling(store)
    async with calling.opened() as called:
        called.hear(said())
        heard_at = asyncio.get_running_loop().time()
        assert called.live("agency") == [said()]

        async def gone() -> bool:
            return not called.live("agency")

        await until(gone)
        assert asyncio.get_running_loop().time() - heard_at >= 3 * ASK_SECONDS


async def test_it_is_told_who_appears_and_not_who_was_there(store: SqliteStore) -> None:
    calling = Calling(store, ask_seconds=60.0)
    async with calling.opened() as called:
        called.hear(said())
        called.hear(said())
        assert calling.appeared == ["agency"]
        called.hear(said("host-2"))
        called.hear(said("host-2", Agency().participant(without=["pay"])))
        assert calling.appeared == ["agency"] * 3
        assert len(called.live("agency")) == 3


async def test_the_return_of_who_was_silent_is_told(store: SqliteStore) -> None:
    calling = Calling(store)
    async with calling.opened() as called:
        called.hear(said())

        async def gone() -> bool:
            return not called.live("agency")

        await until(gone)
        called.hear(said())
        assert calling.appeared == ["agency"] * 2


async def test_strangers_are_not_remembered(store: SqliteStore, caplog: pytest.LogCaptureFixture) -> None:
    calling = Calling(store)
    async with calling.opened() as called:
        called.hear(said(participant=Participant("stranger")))
        assert (called.live("stranger"), calling.appeared) == ([], [])
    assert "stranger has announced itself without being asked" in caplog.text


async def test_so_many_processes_of_a_participant_are_remembered_and_no_more(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(roll_call, "HEARD_MAX", 2)
    calling = Calling(store, ask_seconds=60.0)
    async with calling.opened() as called:
        for host in ("a", "b", "a", "c"):
            called.hear(said(host))
        assert [one.host for one in called.live("agency")] == ["a", "c"]


async def test_a_gap_is_told_once_and_so_is_its_end(store: SqliteStore, caplog: pytest.LogCaptureFixture) -> None:
    calling = Calling(store, ask_seconds=60.0)
    gap = 'saga trip, step agency.pay: agency does not serve pay; add it with @agency.step("pay"), or mend the address'
    with caplog.at_level(logging.INFO, logger="sagaflow.coordinator"):
        async with calling.opened() as called:
            called.hear(said("a", Agency().participant(without=["pay"])))
            called.hear(said("b", Agency().participant(without=["pay"])))
            called.hear(said("c"))
    told = [(record.levelname, record.getMessage()) for record in caplog.records if "agency.pay" in record.getMessage()]
    assert told == [("WARNING", f"{gap} of the step"), ("INFO", f"no longer: {gap} of the step")]


async def test_silence_is_a_gap_once_it_has_lasted(store: SqliteStore, caplog: pytest.LogCaptureFixture) -> None:
    calling = Calling(store)
    silence = "saga trip, step agency.book_car: nobody answers for agency; start a process that serves it"
    async with calling.opened():
        await calling.until_asked(1)
        assert silence not in caplog.text
        await calling.until_asked(4)
    assert caplog.text.count(silence) == 1


async def test_asking_goes_on_whatever_fails(store: SqliteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(roll_call, "FAILED_PAUSE_SECONDS", 0.0)
    calling = Calling(store)
    calling.transport.failures = [Unavailable("no broker"), RuntimeError("a bug")]
    async with calling.opened():
        await calling.until_asked(1)


async def test_what_did_not_change_is_written_again_in_time(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(roll_call, "KEEP_AGAIN_SECONDS", 0.05)
    calling = Calling(store, ask_seconds=60.0)
    async with calling.opened() as called:
        called.hear(said())

        async def kept() -> bool:
            return bool(await store.announcements())

        await until(kept)
        (first,) = await store.announcements()

        async def written_again() -> bool:
            (one,) = await store.announcements()
            return one.heard_at > first.heard_at

        await until(written_again)


async def test_what_changed_is_written_at_once(store: SqliteStore) -> None:
    calling = Calling(store, ask_seconds=60.0)
    bare = msgspec.structs.replace(said(), hash="f" * 64, steps=())
    async with calling.opened() as called:
        for announcement in (said(), bare):
            called.hear(announcement)

            async def written(expected: str = announcement.hash) -> bool:
                return expected in {kept.announcement.hash for kept in await store.announcements()}

            await until(written)


class Noting(InProcessTransport):
    """Notes what is consumed."""

    def __init__(self) -> None:
        super().__init__()
        self.consumed: list[Address] = []

    async def subscribe(self, address: Address, receive: Callable[[Delivery], None], *, prefetch: int) -> Subscription:
        self.consumed.append(address)
        return await super().subscribe(address, receive, prefetch=prefetch)


async def test_a_worker_takes_compensations_before_it_answers_for_them(tmp_path: Path) -> None:
    transport = Noting()
    async with (
        SqliteTransactions(tmp_path / "agency.db") as transactions,
        serve(Agency().participant(), transport=transport, transactions=transactions),
    ):
        assert [address.kind for address in transport.consumed] == [
            QueueKind.COMPENSATIONS,
            QueueKind.INQUIRIES,
            QueueKind.COMMANDS,
        ]
