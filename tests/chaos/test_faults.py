"""A seed is a whole run: its faults and its orders; and a round has every kind of fault."""

from __future__ import annotations

import asyncio
from itertools import islice

import pytest

from tests.chaos.nemesis import ROUND, Fault, faults_of
from tests.chaos.scripts import may_be_stuck, moods_of, must_not_complete
from tests.chaos.wire import Wire


def first_round(seed: int) -> list[Fault]:
    return list(islice(faults_of(seed), sum(ROUND.values())))


def test_a_seed_gives_the_same_faults_again_and_another_gives_others() -> None:
    assert first_round(1) == first_round(1)
    assert [fault.kind for fault in first_round(1)] != [fault.kind for fault in first_round(2)]


def test_a_round_has_every_kind_of_fault() -> None:
    kinds = [fault.kind for fault in first_round(3)]
    assert {kind: kinds.count(kind) for kind in kinds} == ROUND


def test_a_seed_gives_the_same_orders_of_every_sort() -> None:
    orders = [moods_of(1, number) for number in range(1_000)]
    assert orders == [moods_of(1, number) for number in range(1_000)]
    assert 300 < sum(must_not_complete(moods) for moods in orders) < 450
    assert 0 < sum(may_be_stuck(moods) for moods in orders) < 60


class Echo:
    """A server that says what it hears."""

    async def __aenter__(self) -> str:
        self._server = await asyncio.start_server(self._answer, "127.0.0.1", 0)
        return f"echo://user:password@127.0.0.1:{self._server.sockets[0].getsockname()[1]}/"

    async def __aexit__(self, *exc_info: object) -> None:
        self._server.close()
        await self._server.wait_closed()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while heard := await reader.read(100):
                writer.write(heard)
        except OSError:
            pass
        writer.close()


async def connect(wire: Wire, url: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    port = int(wire.through(url).rpartition(":")[2].strip("/"))
    return await asyncio.open_connection("127.0.0.1", port)


@pytest.mark.parametrize("whose", ["client", "server"])
async def test_a_wire_lets_so_many_bytes_through_and_then_ends_the_connection(whose: str) -> None:
    async with Echo() as url, Wire(url) as wire:
        reader, writer = await connect(wire, url)
        writer.write(b"hello")
        assert await reader.readexactly(5) == b"hello"
        (line,) = wire.lines
        line.cut_after(3, of=whose)
        writer.write(b"world")
        heard = await reader.read()
        assert heard == b"wor" if whose == "server" else heard in (b"", b"wor")
        writer.close()


async def test_a_stalled_line_says_nothing_and_is_not_closed_until_it_is_cut() -> None:
    async with Echo() as url, Wire(url) as wire:
        reader, writer = await connect(wire, url)
        writer.write(b"hello")
        await reader.readexactly(5)
        (line,) = wire.lines
        line.stall()
        writer.write(b"world")
        reading = asyncio.create_task(reader.read(100))
        other_reader, other_writer = await connect(wire, url)
        other_writer.write(b"other")
        assert await other_reader.readexactly(5) == b"other"
        assert not reading.done()
        line.cut()
        with pytest.raises(ConnectionResetError):
            await reading
        writer.close()
        other_writer.close()
