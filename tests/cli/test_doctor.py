"""`sagaflow doctor`: each check is seen well, and seen bad."""

from __future__ import annotations

import asyncio
import secrets
import socket
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack, closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import aio_pika
import asyncpg
import pytest

from sagaflow import Coordinator, Participant, Replies, Saga, serve
from sagaflow.adapters.inprocess import InProcessTransport
from sagaflow.adapters.postgres import AsyncpgTransactions, Line, PostgresStore, sql, upgrade
from sagaflow.adapters.rabbitmq import BrokerPlan, Examination, RabbitTransport
from sagaflow.adapters.rabbitmq.broker import Broker
from sagaflow.adapters.sqlite import SqliteStore, SqliteTransactions
from sagaflow.cli import examining
from sagaflow.cli.examining import Check, Doctor, Needs, Verdict
from sagaflow.definitions.records import PutAside, SagaFilter
from tests.cli.conftest import Sagaflow, Said, Trips, travel, trip
from tests.servers import Server
from tests.servers.machine import free_port
from tests.servers.users import User, import_definitions

travels: Participant[Any] = travel

TRIP = "tests.cli.conftest:trip"
DEADLINE_SECONDS = 30.0

SECRET = "open-sesame"


def lines(said: Said) -> dict[str, tuple[str, str]]:
    """What was said of each check: its verdict, and the rest of the line."""
    told = [line.split(maxsplit=1) for line in said.output.splitlines()[:-1]]
    return {rest[:14].strip(): (verdict, rest[14:].strip()) for verdict, rest in told}


def last(said: Said) -> str:
    return said.output.splitlines()[-1]


async def execute(url: str, *statements: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        for statement in statements:
            await connection.execute(statement)
    finally:
        await connection.close()


async def make_tables(url: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        for line in Line:
            await upgrade(connection, line)
    finally:
        await connection.close()


@pytest.fixture
def tables(database_url: str) -> str:
    """The URL of a database with all tables."""
    asyncio.run(make_tables(database_url))
    return database_url


@pytest.fixture
def at(rabbitmq: Server, broker_namespace: str) -> Sequence[str]:
    """The arguments that say which broker."""
    return ["--broker", rabbitmq.url, "--namespace", broker_namespace]


def test_all_is_well_while_everything_runs(
    sagaflow: Sagaflow, tables: str, rabbitmq: Server, at: Sequence[str], broker_namespace: str
) -> None:
    async def look() -> tuple[Said, Said]:
        async with AsyncExitStack() as stack:
            store = await stack.enter_async_context(PostgresStore.connect(tables))
            transactions = await stack.enter_async_context(AsyncpgTransactions.connect(tables))
            transport = RabbitTransport(rabbitmq.url, namespace=broker_namespace)
            await stack.enter_async_context(serve(travels, transport=transport, transactions=transactions))
            sagas = await stack.enter_async_context(Coordinator([trip], store=store, transport=transport))
            run = await sagas.start(trip, "Paris", key="Paris")
            async with asyncio.timeout(DEADLINE_SECONDS):
                await run.outcome()
                while not any(one.is_live for one in await store.announcements()):  # noqa: ASYNC110 - of a database
                    await asyncio.sleep(0.05)
            arguments = ["doctor", TRIP, "--database", tables, "--participant-database", tables, *at]
            return (
                await asyncio.to_thread(sagaflow, *arguments),
                await asyncio.to_thread(sagaflow, *arguments, "--json"),
            )

    said, data = asyncio.run(look())
    assert (said.code, said.errors) == (0, "")
    assert last(said) == "good to go"
    told = lines(said)
    assert {verdict for verdict, _ in told.values()} == {"ok"}
    assert told["coordinators"] == ("ok", "1 process alive")
    assert told["participants"] == ("ok", "all that is needed of 1 participant is served")
    assert told["queues"] == ("ok", "9 queues as planned")
    assert told["readers"][0] == "ok"
    assert "participant put aside" in said.output
    assert [one["name"] for one in data.lines] == [
        *("database", "tables", "rights", "clock", "coordinators", "participants", "versions", "stuck", "put aside"),
        *(f"participant {name}" for name in ("database", "tables", "rights", "clock", "put aside")),
        *("broker", "permissions", "queues", "readers"),
    ]
    assert {(one["verdict"], one["mend"]) for one in data.lines} == {("ok", None)}


def test_a_wrong_password_of_one_keeps_nobody_from_looking_at_the_other(
    sagaflow: Sagaflow, tables: str, rabbitmq: Server, at: Sequence[str]
) -> None:
    def wrong(url: str) -> str:
        parts = urlsplit(url)
        return parts._replace(netloc=f"nobody:{SECRET}@{parts.hostname}:{parts.port}").geturl()

    said = sagaflow("doctor", TRIP, "--database", wrong(tables), *at)
    told = lines(said)
    assert said.code == 1
    assert told["database"][0] == "bad"
    assert 'password authentication failed for user "nobody"' in told["database"][1]
    assert told["broker"][0] == "ok"
    assert last(said).startswith("first: see that it runs, and that the URL of --database (or SAGAFLOW_DATABASE)")

    said = sagaflow("doctor", "--database", tables, "--broker", wrong(rabbitmq.url))
    told = lines(said)
    assert said.code == 1
    assert told["tables"] == ("ok", "of this version, 0004_views")
    assert told["broker"][0] == "bad"
    assert "refuses the login of user 'nobody'" in told["broker"][1]
    assert SECRET not in said.output


def test_no_tables_and_tables_that_are_too_old_or_too_new(sagaflow: Sagaflow, database_url: str) -> None:
    places = ["--database", database_url]
    mend = "sagaflow db upgrade coordinator (with the same --database, or SAGAFLOW_DATABASE set to it)"
    said = sagaflow("doctor", *places)
    assert (said.code, last(said)) == (1, f"first: {mend}")
    assert lines(said)["tables"] == ("bad", f"there are none; {mend}")

    asyncio.run(execute(database_url, sql(Line.COORDINATOR, 0, 3)))
    said = sagaflow("doctor", *places)
    assert (said.code, last(said)) == (1, f"first: {mend}")
    assert lines(said)["tables"] == ("bad", f"they are too old, without 0004_views; {mend}")

    assert sagaflow("db", "upgrade", "coordinator", *places).code == 0
    assert sagaflow("doctor", *places).code == 0
    asyncio.run(execute(database_url, "INSERT INTO sagaflow.migration VALUES (99, 'later', repeat('0', 64))"))
    said = sagaflow("doctor", *places)
    assert said.code == 1
    assert "migration 0099_later is of a newer sagaflow; install that version here" in said.output


@pytest.fixture
def modest(tables: str) -> Iterator[str]:
    """A role that may connect to the database with the tables, and nothing else."""
    name, password = f"modest_{secrets.token_hex(3)}", secrets.token_hex(8)
    asyncio.run(execute(tables, f"CREATE ROLE {name} LOGIN PASSWORD '{password}'"))
    parts = urlsplit(tables)
    yield parts._replace(netloc=f"{name}:{password}@{parts.hostname}:{parts.port}").geturl()
    asyncio.run(execute(tables, f"DROP OWNED BY {name}", f"DROP ROLE {name}"))


def test_a_role_without_rights_is_given_them_by_what_is_printed(sagaflow: Sagaflow, tables: str, modest: str) -> None:
    for line in Line:
        said = sagaflow("doctor", "--database", modest, "--participant-database", modest)
        command = last(said).removeprefix("first: ")
        assert (said.code, command.partition(" TO ")[0]) == (1, f"GRANT USAGE ON SCHEMA {line.mend.schema}")
        assert "the tables are missing" not in said.output
        asyncio.run(execute(tables, command))
    assert sagaflow("doctor", "--database", modest, "--participant-database", modest).code == 0
    asyncio.run(execute(tables, f"REVOKE DELETE, UPDATE ON sagaflow.journal FROM {urlsplit(modest).username}"))
    said = sagaflow("doctor", "--database", modest)
    assert (said.code, last(said)) == (
        1,
        f"first: GRANT DELETE, UPDATE ON sagaflow.journal TO {urlsplit(modest).username};",
    )


def test_what_is_missing_or_different_at_the_broker(
    sagaflow: Sagaflow, tables: str, rabbitmq: Server, at: Sequence[str], broker_namespace: str
) -> None:
    commands, replies = f"{broker_namespace}.commands.travel", f"{broker_namespace}.replies.trip"

    async def spoil(*, differing: bool) -> None:
        async with await aio_pika.connect(rabbitmq.url) as connection, connection.channel() as channel:
            await channel.queue_delete(commands)
            if differing:
                await channel.declare_queue(commands, durable=True, arguments={"x-queue-type": "quorum"})

    where = ["--database", tables, *at]
    said = sagaflow("doctor", TRIP, *where)
    assert said.code == 1
    assert lines(said)["queues"][1].startswith(f"exchange {broker_namespace} is missing; and 10 more; make it: ")
    assert sagaflow("broker", "apply", TRIP, *at).code == 0
    told = lines(sagaflow("doctor", TRIP, *where))
    assert told["queues"] == ("ok", "9 queues as planned")
    assert told["readers"][0] == "warn"
    assert (
        f"nobody reads {commands}, in which 0 bodies wait; and 1 more; start participant travel" in told["readers"][1]
    )

    asyncio.run(spoil(differing=False))
    told = lines(sagaflow("doctor", TRIP, *where))
    assert told["queues"][0] == "bad"
    assert told["queues"][1].startswith(f"queue {commands} is missing; make it: sagaflow broker apply {TRIP}")
    asyncio.run(spoil(differing=True))
    told = lines(sagaflow("doctor", TRIP, *where))
    assert told["queues"][0] == "bad"
    assert told["queues"][1].startswith(f"queue {commands} differs: inequivalent arg 'x-")
    assert f"sagaflow broker apply --replace {TRIP}" in told["queues"][1]
    assert replies not in told["queues"][1]


def test_a_user_that_may_not_send(
    sagaflow: Sagaflow, tables: str, rabbitmq: Server, at: Sequence[str], broker_namespace: str
) -> None:
    assert sagaflow("broker", "apply", TRIP, *at).code == 0
    deaf, mute = User(f"{broker_namespace}-deaf", "^$", ".*", "^$"), User(f"{broker_namespace}-mute", ".*", "^$", ".*")
    import_definitions(rabbitmq, BrokerPlan(broker_namespace, ["travel"], ["trip"]).definitions("/"), [deaf, mute])
    where = ["--database", tables, "--namespace", broker_namespace, "--broker"]
    told = lines(sagaflow("doctor", TRIP, *where, deaf.url(rabbitmq.url)))
    assert told["permissions"] == ("ok", f"{deaf.name} may send; it may not make queues, as with declare=False")
    assert told["queues"] == ("ok", "9 queues as planned")
    said = sagaflow("doctor", TRIP, *where, mute.url(rabbitmq.url))
    assert said.code == 1
    assert lines(said)["permissions"][0] == "bad"
    assert "ACCESS_REFUSED" in lines(said)["permissions"][1]
    assert "rabbitmqctl set_permissions" in lines(said)["permissions"][1]


def test_a_server_that_is_silent_is_not_waited_for(sagaflow: Sagaflow, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both of them: the second is looked at although the first says nothing."""
    monkeypatch.setattr(examining, "LOOK_SECONDS", 0.3)
    with closing(socket.create_server(("127.0.0.1", 0))) as silent:
        place = f"127.0.0.1:{silent.getsockname()[1]}"
        said = sagaflow(
            "doctor", TRIP, "--database", f"postgresql://me:{SECRET}@{place}/x", "--broker", f"amqp://{place}"
        )
    assert said.code == 1
    told = lines(said)
    assert [told[name][0] for name in ("database", "broker")] == ["bad", "bad"]
    assert all(told[name][1].startswith("no answer within 0.3 s") for name in ("database", "broker"))
    assert SECRET not in said.output


def test_nothing_listens(sagaflow: Sagaflow) -> None:
    said = sagaflow("doctor", "--database", f"postgresql://me@127.0.0.1:{free_port()}/x", "--broker=amqp://127.0.0.1:1")
    assert said.code == 1
    assert {verdict for verdict, _ in lines(said).values()} == {"bad"}


def test_sagas_whose_coordinator_or_participant_is_down(sagaflow: Sagaflow, tables: str) -> None:
    async def strand() -> None:
        async with (
            PostgresStore.connect(tables) as store,
            Coordinator([trip], store=store, transport=InProcessTransport()) as sagas,
        ):
            await sagas.start(trip, "Paris", key="Paris")

    async def revive() -> None:
        async with PostgresStore.connect(tables) as store:
            await store.keep_lease("trip", uuid4(), 600.0)

    asyncio.run(strand())
    told = lines(sagaflow("doctor", "--database", tables))
    assert told["coordinators"] == (
        "bad",
        "1 open saga of coordinator trip, of which no process runs; run coordinator trip",
    )
    asyncio.run(revive())
    said = sagaflow("doctor", "--database", tables)
    assert (said.code, last(said)) == (1, "first: start a process that serves it")
    told = lines(said)
    assert told["coordinators"][0] == "ok"
    assert told["participants"][0] == "bad"
    assert "nobody answers for travel; and 1 more" in told["participants"][1]


newer = Saga("trip", str, version=2)


@newer.step("travel.book_flight", reply=type(None))
def first_flight(city: str, replies: Replies) -> str:
    """The way there."""
    return city


@newer.step("travel.book_flight", name="back", after=first_flight)
def second_flight(city: str, replies: Replies) -> str:
    """The way back."""
    return city


def test_a_version_that_nobody_serves(sagaflow: Sagaflow, tmp_path: Path) -> None:
    path = tmp_path / "sagas"

    async def strand() -> None:
        async with SqliteStore(path) as store, SqliteTransactions(path) as transactions:
            async with Coordinator([newer], store=store, transport=InProcessTransport()) as sagas:
                await sagas.start(newer, "Paris", key="Paris")
            transport = InProcessTransport()
            async with (
                serve(travel, transport=transport, transactions=transactions),
                Coordinator([trip], store=store, transport=transport),
                asyncio.timeout(DEADLINE_SECONDS),
            ):
                while not await store.list(SagaFilter(waiting=True), 1):  # noqa: ASYNC110 - of a database
                    await asyncio.sleep(0.05)

    asyncio.run(strand())
    said = sagaflow("doctor", "--database", f"sqlite:///{path}")
    assert said.code == 1
    assert lines(said)["versions"] == (
        "bad",
        "no coordinator that runs has the code of trip version 2, for which 1 operation waits; "
        "run a coordinator with trip version 2",
    )


def test_what_waits_for_a_person_is_counted_and_is_no_harm(sagaflow: Sagaflow, trips: Trips) -> None:
    async def put_aside() -> None:
        async with SqliteStore(Path(trips.database.removeprefix("sqlite:///"))) as store:
            await store.put_aside([PutAside(source="replies.trip", reason="of no use", body=b"[]")] * 3)

    asyncio.run(put_aside())
    said = sagaflow("doctor", "--database", trips.database)
    told = lines(said)
    assert told["stuck"] == ("warn", f"1 saga waits; sagaflow stuck --database {trips.database}")
    assert told["put aside"] == ("warn", f"3 messages wait; sagaflow dead list --database {trips.database}")
    assert told["database"][0] == "ok"
    assert (said.code, last(said)) == (0, f"good to go; then: sagaflow stuck --database {trips.database}")


@pytest.mark.parametrize(
    ("ahead", "verdict", "part"),
    [(0.0, Verdict.OK, "within 1 s"), (90.0, Verdict.WARN, "90.0 s ahead of"), (-7.5, Verdict.WARN, "7.5 s behind")],
)
def test_clocks_that_are_apart(ahead: float, verdict: Verdict, part: str) -> None:
    told: list[Check] = []
    before = datetime(2026, 1, 1, tzinfo=UTC)
    Doctor(Needs(is_given=False), told.append).judge_clock(
        before + timedelta(seconds=ahead), before.timestamp(), before.timestamp()
    )
    assert (told[0].verdict, part in told[0].what) == (verdict, True)


@pytest.mark.parametrize(
    ("version", "is_old"), [("3.9.29", True), ("3.10.8", False), ("4.1.0-beta.2", False), ("unknown", False)]
)
def test_versions_of_the_broker(version: str, is_old: bool) -> None:
    assert Examination(Broker.at("amqp://localhost"), version, [], None).is_old is is_old
