"""One SQLite file and several processes: real ones, some of which are killed."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import UUID

import pytest

from sagaflow.adapters.sqlite import SqliteDatabase, SqliteStore, SqliteTransactions
from sagaflow.definitions.ports import Entered, Recorded
from sagaflow.errors import Unavailable
from sagaflow.testing.transactions_contract import enter_action, record
from tests.adapters.sqlite_child import INCREMENTS, KEY

ROOT = Path(__file__).parents[2]
DEADLINE_SECONDS = 30.0


class Child:
    """Another process on the same file."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        assert process.stdin is not None
        assert process.stdout is not None
        self._stdin = process.stdin
        self._stdout = process.stdout

    async def line(self) -> str:
        """What it says next; empty when it is dead."""
        async with asyncio.timeout(DEADLINE_SECONDS):
            return (await self._stdout.readline()).decode().strip()

    def go_on(self) -> None:
        """Let one that holds a transaction commit it."""
        self._stdin.write(b"\n")

    async def kill(self) -> list[str]:
        """Kill it, as kill -9 does; returns what it had said before and was not read yet."""
        self._process.send_signal(signal.SIGKILL)
        rest = (await self._stdout.read()).decode().split()
        assert await self._process.wait() == -signal.SIGKILL
        return rest


@asynccontextmanager
async def child(what: str, path: Path) -> AsyncIterator[Child]:
    """Run tests/adapters/sqlite_child.py; it is killed if it has not ended by itself."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.adapters.sqlite_child", what, str(path)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        cwd=ROOT,
    )
    one = Child(process)
    try:
        yield one
    finally:
        one._stdin.close()
        if process.returncode is None:
            process.kill()
        await process.wait()


@pytest.fixture
async def path(tmp_path: Path) -> Path:
    """A file in which the child that holds a transaction can write its business row."""
    path = tmp_path / "service.db"
    async with SqliteTransactions(path) as transactions, transactions.begin() as transaction:
        await transaction.tx.execute("CREATE TABLE business (row TEXT NOT NULL)")
    return path


async def test_what_was_committed_before_a_kill_is_there_and_nothing_by_halves(path: Path) -> None:
    async with child("starting", path) as other:
        said = [await other.line() for _ in range(10)]
        said += await other.kill()
    ids = [UUID(line) for line in said]
    async with SqliteStore(path) as store:
        assert [saga.saga_id for saga in await store.find(ids)] == sorted(ids)
        for saga_id in ids:
            assert [entry.seq for entry in await store.journal(saga_id)] == [1]
    async with SqliteDatabase(path) as database, database.snapshot() as connection:
        assert await connection.fetchval("PRAGMA integrity_check") == "ok"
        counts = [
            await connection.fetchval(f"SELECT count(*) FROM sagaflow_{table}")
            for table in ("saga", "agenda", "journal", "payload")
        ]
    assert len(set(counts)) == 1
    assert len(ids) <= counts[0] <= len(ids) + 1, "the last one may have been committed and not been said"


async def test_a_transaction_whose_process_is_killed_leaves_no_barrier_and_no_business_row(path: Path) -> None:
    async with child("holding", path) as other:
        assert await other.line() == "holding"
        await other.kill()
    async with SqliteTransactions(path) as transactions, transactions.begin() as transaction:
        assert await enter_action(transaction, KEY, 1) == Entered()
        await record(transaction, KEY, "action", b"again", refusal=False)
        assert await transaction.tx.fetch("SELECT * FROM business") == []


async def test_a_duplicate_in_another_process_waits_for_the_open_action_while_the_event_loop_goes_on(
    path: Path,
) -> None:
    async def duplicate() -> object:
        async with transactions.begin() as transaction:
            return await enter_action(transaction, KEY, 1)

    async with SqliteTransactions(path, busy_seconds=DEADLINE_SECONDS) as transactions, child("holding", path) as other:
        assert await other.line() == "holding"
        waiting = asyncio.create_task(duplicate())
        async with asyncio.timeout(DEADLINE_SECONDS / 2):
            for _ in range(1_000):
                await asyncio.sleep(0)
            assert await transactions.list_put_aside(1) == [], "reading waits for nobody"
        assert not waiting.done()
        other.go_on()
        assert await waiting == Recorded(b"held")
        assert await other.line() == "committed"


async def test_who_waits_for_another_process_can_be_cancelled(path: Path) -> None:
    async def wait() -> None:
        async with transactions.begin():
            raise AssertionError("the other process holds the file")

    async with SqliteTransactions(path, busy_seconds=DEADLINE_SECONDS) as transactions, child("holding", path) as other:
        assert await other.line() == "holding"
        waiting = asyncio.create_task(wait())
        await asyncio.sleep(0)
        waiting.cancel()
        async with asyncio.timeout(DEADLINE_SECONDS / 2):
            other.go_on()
            await asyncio.wait({waiting})
            async with transactions.begin() as transaction:
                assert await enter_action(transaction, KEY, 1) == Recorded(b"held")
        assert waiting.cancelled()


async def test_a_file_that_another_process_keeps_locked_is_unavailable_after_the_busy_time(path: Path) -> None:
    async with SqliteTransactions(path, busy_seconds=0.01) as transactions, child("holding", path) as other:
        assert await other.line() == "holding"
        async with asyncio.timeout(DEADLINE_SECONDS / 2):
            with pytest.raises(Unavailable, match="another process has kept it locked for longer than the busy"):
                async with transactions.begin():
                    pass
        other.go_on()
        assert await other.line() == "committed"
        async with transactions.begin() as transaction:
            assert await enter_action(transaction, KEY, 1) == Recorded(b"held")


async def test_a_file_can_be_opened_and_read_while_another_process_writes(path: Path) -> None:
    async with child("holding", path) as other:
        assert await other.line() == "holding"
        async with SqliteTransactions(path, busy_seconds=0) as transactions:
            assert await transactions.list_put_aside(1) == []


async def test_processes_that_open_a_new_file_together_lose_nothing(tmp_path: Path) -> None:
    path = tmp_path / "new.db"
    async with child("counting", path) as one, child("counting", path) as two, child("counting", path) as three:
        assert [await other.line() for other in (one, two, three)] == ["counted"] * 3
    async with SqliteDatabase(path) as database, database.snapshot() as connection:
        assert await connection.fetchval("SELECT value FROM counter") == 3 * INCREMENTS


async def test_a_file_that_this_user_may_not_write_to_says_so(open_folder: Path) -> None:
    path = open_folder / "service.db"
    async with SqliteStore(path):
        pass
    make_read_only(path)
    async with child("opening", path) as other:
        assert (await other.line()).startswith(f"{path}: it cannot be written to; make it and its folder writable")


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder into which every user can look; `tmp_path` lies in a private one."""
    with TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


def make_read_only(path: Path) -> None:
    path.chmod(0o444)
