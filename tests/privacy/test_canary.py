"""A canary: secrets in payloads, exceptions and URLs are in nothing that is written, but where docs/data.md says so."""

from __future__ import annotations

import asyncio
import io
import logging
import os
import re
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from uuid import UUID

import asyncpg
import msgspec
import pytest

from sagaflow import PayloadError, SagaClient, SagaStatus
from sagaflow.adapters.postgres import Line, PostgresStore, upgrade
from sagaflow.adapters.rabbitmq import RabbitTransport
from sagaflow.cli.app import run
from sagaflow.definitions.payloads import encode
from sagaflow.definitions.ports import Address, Letter, QueueKind
from sagaflow.runners.operator import Operator
from tests.privacy.shop import checkout_that
from tests.runners.world import until, until_status
from tests.servers import Server
from tests.servers.users import User, import_definitions
from tests.telemetry.collector import collecting

CANARY = re.compile(r"canary|1911\D{1,3}11\D{1,3}11", re.IGNORECASE)

PASSWORD = "canary-password"

ENDS = {
    "fine": SagaStatus.COMPLETED,
    "refused": SagaStatus.COMPENSATED,
    "failed": SagaStatus.COMPENSATED,
    "database": SagaStatus.COMPENSATED,
    "odd": SagaStatus.COMPENSATED,
    "stuck": SagaStatus.STUCK,
    "no command": SagaStatus.STUCK,
}

POISON = {
    QueueKind.COMMANDS: b'{"type": "command", "v": 99, "payload": {"card": "canary-poison"}}',
    QueueKind.COMPENSATIONS: b'{"type": "command", "payload": "canary-poison"}',
    QueueKind.REPLIES: b'{"type": "reply", "v": 99, "result": "canary-poison"}',
    QueueKind.REQUESTS: b'{"type": "start", "v": 1, "input": "canary-poison", "kind": []}',
}

KEPT_WHOLE = {
    "sagaflow.payload": "body",
    "sagaflow.put_aside": "body",
    "sagaflow_participant.barrier": "outcome",
    "sagaflow_participant.put_aside": "body",
}
"""The columns that hold payloads, as docs/data.md says."""

PATIENCE_SECONDS = 60.0


@dataclass
class Written:
    """What was written, and where."""

    texts: dict[str, str] = field(default_factory=dict)

    def of(self, where: str, text: str) -> str:
        self.texts[where] = self.texts.get(where, "") + text
        return text

    def leaks(self) -> Sequence[str]:
        """Where a secret is, with what is around it."""
        found = ((where, CANARY.search(text), text) for where, text in self.texts.items())
        return [f"{where}: {text[max(0, hit.start() - 80) : hit.end() + 40]!r}" for where, hit, text in found if hit]


class Person:
    """Types commands, in this process, and has all that they print written down."""

    def __init__(self, written: Written) -> None:
        self._written = written

    async def types(self, *words: str, code: int | None = 0) -> str:
        """A command; returns what it printed."""
        output, errors = io.StringIO(), io.StringIO()
        with redirect_stdout(output), redirect_stderr(errors):
            ended = await asyncio.to_thread(run, words)
        name = f"sagaflow {' '.join(word for word in words if not CANARY.search(word))}"
        assert code in (None, ended), f"{name}: {errors.getvalue()}"
        self._written.of(name, output.getvalue() + errors.getvalue())
        return output.getvalue()

    async def looks(self, *words: str, code: int | None = 0) -> None:
        """The same, for people and for programs."""
        await self.types(*words, code=code)
        await self.types(*words, "--json", code=code)


@asynccontextmanager
async def process(written: Written, name: str, log: Path, *arguments: str, code: int = 0) -> AsyncIterator[None]:
    """A process of its own, of which all that it writes is written down."""
    with log.open("wb") as file:
        running = await asyncio.create_subprocess_exec(sys.executable, "-m", *arguments, stdout=file, stderr=file)
    try:
        yield
    finally:
        if code == 0 and running.returncode is None:
            running.terminate()
        ended = await running.wait()
        said = written.of(name, log.read_text(errors="replace"))  # noqa: ASYNC240  # it is small
    assert ended == code, said


@pytest.fixture
async def urls(database_url: str, rabbitmq: Server) -> AsyncIterator[tuple[str, str]]:
    """A database with its tables, and a broker; both let somebody in whose password is a secret."""
    connection = await asyncpg.connect(database_url)
    for line in Line:
        await upgrade(connection, line)
    await connection.execute(f"CREATE ROLE birdwatcher SUPERUSER LOGIN PASSWORD '{PASSWORD}'")
    user = User("birdwatcher", ".*", ".*", ".*", PASSWORD)
    import_definitions(rabbitmq, {}, [user])
    yield user.url(database_url), user.url(rabbitmq.url)
    await connection.execute("DROP ROLE birdwatcher")
    await connection.close()


async def test_no_secret_is_written_anywhere_but_where_it_is_said(
    urls: tuple[str, str],
    broker_namespace: str,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    caplog.set_level(logging.DEBUG, logger="sagaflow")
    database, broker = urls
    monkeypatch.setenv("SAGAFLOW_DATABASE", database)
    monkeypatch.setenv("SAGAFLOW_BROKER", broker)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    written = Written()
    person = Person(written)
    with collecting() as collector:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
        coordinator = ("sagaflow.cli", "coordinator", "tests.privacy.shop:shop", "--poll-seconds", "0.1")
        async with (
            process(written, "bank", tmp_path / "bank.log", "tests.privacy.bank", broker_namespace),
            process(
                written,
                "shop",
                tmp_path / "shop.log",
                *coordinator,
                "--log-level",
                "debug",
                "--namespace",
                broker_namespace,
            ),
            PostgresStore.connect(database) as store,
        ):
            monkeypatch.delenv("OTEL_EXPORTER_OTLP_ENDPOINT")  # the commands of a person, in here, tell nobody
            ids = await play(store, broker, broker_namespace, written)
            await look(person, ids, broker_namespace)
            await mend(person, ids, tmp_path, written, store)
    written.of("telemetry", "".join(body.decode(errors="replace") for body in collector.raw))
    written.of("the log of the client", caplog.text)
    assert len(collector.spans) > len(ENDS)
    for name in ("bank", "shop"):
        assert written.texts[name].count("\n") > len(ENDS), "it has written its log"
    await go_wrong(person, tmp_path, written)
    await look_into_tables(database, written)
    leaks = "\n".join(written.leaks())
    assert not leaks, leaks


async def play(store: PostgresStore, broker: str, namespace: str, written: Written) -> dict[str, UUID]:
    """Sagas of every kind, and poison in every queue."""
    async with SagaClient(RabbitTransport(broker, namespace=namespace), coordinator="shop") as client:
        async with asyncio.timeout(PATIENCE_SECONDS):
            ids = {how: await client.start("shop", checkout_that(how), key=how) for how in ENDS}
            ends = {how: await client.outcome(saga_id, timeout=PATIENCE_SECONDS) for how, saga_id in ids.items()}
        assert ends == ENDS
        odd = {**msgspec.json.decode(encode(checkout_that("fine"))), "kind": "canary-kind"}
        with pytest.raises(PayloadError, match=r"Invalid enum value '\*\*\*'") as refused:
            await client.start("shop", odd, key="odd input")
        written.of("the error of a client", str(refused.value))
    async with RabbitTransport(broker, namespace=namespace) as transport:
        names = {kind: "bank" if kind in (QueueKind.COMMANDS, QueueKind.COMPENSATIONS) else "shop" for kind in POISON}
        await transport.publish([Letter(Address(kind, names[kind]), body) for kind, body in POISON.items()])

    async def put_aside() -> bool:
        return len(await store.list_put_aside(10)) == 2

    await until(put_aside)
    for saga_id in ids.values():
        journal = await store.journal(saga_id)
        written.of("the journal", repr(journal))
        written.of("Coordinator.report", repr(await Operator(store, "anna").report(saga_id)))
    return ids


async def look(person: Person, ids: dict[str, UUID], namespace: str) -> None:
    """Everything that can be looked at."""
    for saga_id in (str(ids[how]) for how in ("stuck", "no command", "database", "odd")):
        await person.looks("show", saga_id)
        await person.looks("why", saga_id)
        await person.types("why", saga_id, "--markdown")
    for words in (["list"], ["list", "--waiting"], ["list", "--step", "take"], ["stuck"], ["participants"]):
        await person.looks(*words)
    for line in ("coordinator", "participant"):
        listed = await person.types("dead", "list", line, "--json")
        numbers = [message["number"] for message in map(msgspec.json.decode, listed.splitlines())]
        assert len(numbers) == 2
        await person.types("dead", "list", line)
        for number in map(str, numbers):
            await person.looks("dead", "show", number, "--line", line)
        await person.looks("dead", "replay", str(numbers[0]), "--line", line, "--namespace", namespace)
        await person.looks("dead", "drop", str(numbers[0]), "--line", line, "--reason", "none")
    await person.types("check", "tests.privacy.shop:shop", code=None)
    await person.types("check", "tests.privacy.shop:shop", "--json", code=None)
    await person.types("graph", "tests.privacy.shop:shop")
    await person.types("schemas")
    for line in Line:
        await person.types("db", "status", line)
        await person.types("db", "sql", line)
    await person.looks("db", "purge", "coordinator", "--completed", "0s")
    for verb in ("plan", "check"):
        await person.looks("broker", verb, "tests.privacy.shop:shop", "--namespace", namespace, code=None)


async def mend(person: Person, ids: dict[str, UUID], folder: Path, written: Written, store: PostgresStore) -> None:
    """Everything that can be done about sagas, with secrets in what is typed."""
    mended = encode(checkout_that("fine")).decode()
    file = folder / "mended.json"
    file.write_text(mended)
    because = ("--reason", "it is mended")
    for given in (mended, f"@{file}"):
        await person.looks("retry", "--stuck", "--input", given, *because)
        await person.looks("reply", "--stuck", "--succeeded", "--result", given, *because)
    for verb in ("skip", "cancel", "abandon"):
        await person.looks(verb, "--stuck", *because)
    receipt = encode({"number": "canary-receipt", "kind": "paper"}).decode()
    await person.types("reply", str(ids["no command"]), "--succeeded", "--result", receipt, *because)
    await person.types("retry", str(ids["stuck"]), "--input", mended, *because, "--json")
    await until_status(store, ids["no command"], SagaStatus.COMPLETED)
    await until_status(store, ids["stuck"], SagaStatus.COMPENSATED)
    for how in ("no command", "stuck"):
        await person.looks("show", str(ids[how]))
        await person.looks("why", str(ids[how]))
    await person.looks("erase", str(ids["fine"]), *because)


async def go_wrong(person: Person, folder: Path, written: Written) -> None:
    """Servers that are not there, and URLs that are none."""
    away = f"postgresql://anna:{PASSWORD}@127.0.0.1:1/shop"
    for url in (away, away.replace("postgresql", "mysql"), away.replace(":1/", ":one/"), f"{PASSWORD}@shop"):
        for words in (["list"], ["db", "status", "coordinator"]):
            await person.types(*words, "--database", url, code=1)
    for url in (f"amqp://anna:{PASSWORD}@127.0.0.1:1/", f"amqp://anna:{PASSWORD}@[/", f"http://anna:{PASSWORD}@shop/"):
        await person.types("broker", "check", "tests.privacy.shop:shop", "--broker", url, code=1)
        await person.types("dead", "replay", "1", "--broker", url, "--yes", code=1)
    lost = ("sagaflow.cli", "coordinator", "tests.privacy.shop:shop", "--log-level", "debug")
    for option in (f"--database={away}", f"--broker=amqp://anna:{PASSWORD}@127.0.0.1:1/"):
        async with process(written, "a coordinator without servers", folder / "lost.log", *lost, option, code=1):
            pass


async def look_into_tables(database: str, written: Written) -> None:
    """Every row of every table and view; the secrets have to be where they are expected, and nowhere else."""
    connection = await asyncpg.connect(database)
    relations = await connection.fetch(
        "SELECT table_schema || '.' || table_name AS name FROM information_schema.tables "
        "WHERE table_schema LIKE 'sagaflow%'"
    )
    for name in (row["name"] for row in relations):
        rows = await connection.fetch(f"SELECT * FROM {name}")
        hidden = KEPT_WHOLE.get(name)
        for column in rows[0].keys() if rows else ():
            text = " ".join(str(row[column]) for row in rows)
            if column != hidden:
                written.of(f"{name}.{column}", text)
            else:
                assert "canary" in text, f"the secrets have come as far as {name}"
    await connection.close()
    assert KEPT_WHOLE.keys() <= {row["name"] for row in relations}
