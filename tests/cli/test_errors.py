"""Whatever goes wrong is one line that says what and how to mend it: no traceback, no password."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from sagaflow.adapters.sqlite import SqliteTransactions
from tests.cli.conftest import Sagaflow, Said
from tests.servers import Server
from tests.servers.machine import free_port

SECRET = "open-sesame"  # the point is that it is never printed

CHECKOUT = "payment.orders.checkout:checkout"


def expect_one_line(said: Said, *parts: str, code: int = 1) -> None:
    """It failed, and said why in one line."""
    assert (said.code, said.output) == (code, "")
    assert said.errors.startswith("sagaflow: ")
    assert said.errors.count("\n") == 1
    assert SECRET not in said.errors
    for part in parts:
        assert part in said.errors


@pytest.mark.parametrize(
    ("url", "parts"),
    [
        (f"mysql://me:{SECRET}@localhost/shop", ["begins with 'mysql:'", "write postgresql://", "sqlite:///path"]),
        (SECRET, ["begins with no scheme", "write postgresql://"]),
        ("sqlite://", ["begins with 'sqlite:'", "sqlite:///path"]),
        ("sqlite:///", ["begins with 'sqlite:'", "sqlite:///path"]),
        (f"postgresql://me:{SECRET}#@localhost/shop", ["is not understood", "%23 for #"]),
        (f"postgresql://me:{SECRET}@localhost:no/shop", ["is not understood"]),
    ],
)
@pytest.mark.parametrize("command", [["list"], ["db", "upgrade", "coordinator"], ["dead", "participant"]])
def test_a_wrong_url_of_a_database(sagaflow: Sagaflow, command: list[str], url: str, parts: list[str]) -> None:
    expect_one_line(sagaflow(*command, "--database", url), *parts)


@pytest.mark.parametrize("command", [["list"], ["db", "status", "participant"], ["dead", "participant"]])
def test_no_database_listens(sagaflow: Sagaflow, command: list[str]) -> None:
    place = f"127.0.0.1:{free_port()}/shop"
    said = sagaflow(*command, "--database", f"postgresql://me:{SECRET}@{place}")
    expect_one_line(said, f"PostgreSQL at {place}", "is it running, and is the URL right?")


def test_a_wrong_password(sagaflow: Sagaflow, database_url: str) -> None:
    parts = urlsplit(database_url)
    wrong = parts._replace(netloc=f"nobody:{SECRET}@{parts.hostname}:{parts.port}").geturl()
    expect_one_line(sagaflow("list", "--database", wrong), 'password authentication failed for user "nobody"')


def test_no_such_database(sagaflow: Sagaflow, postgres: Server) -> None:
    url = urlsplit(postgres.url)._replace(path="/nowhere").geturl()
    expect_one_line(sagaflow("list", "--database", url), 'database "nowhere" does not exist')


@pytest.mark.parametrize(
    ("command", "line"),
    [
        (["list"], "coordinator"),
        (["retry", "01a20ba5-21fd-794c-a677-e338d25dd52b", "--reason=x"], "coordinator"),
        (["coordinator", CHECKOUT, "--broker=amqp://localhost"], "coordinator"),
        (["dead", "participant"], "participant"),
    ],
)
def test_a_missing_migration(sagaflow: Sagaflow, database_url: str, command: list[str], line: str) -> None:
    said = sagaflow(*command, "--database", database_url)
    expect_one_line(said, f"the {line} tables are missing; run: sagaflow db upgrade {line} --database URL")


def test_a_missing_file(sagaflow: Sagaflow, tmp_path: Path) -> None:
    said = sagaflow("list", "--database", f"sqlite:///{tmp_path}/none.sqlite")
    expect_one_line(said, f"there is no file {tmp_path}/none.sqlite")
    assert not (tmp_path / "none.sqlite").exists()


def test_a_file_that_is_no_database(sagaflow: Sagaflow, tmp_path: Path) -> None:
    (tmp_path / "letter").write_text("Dear Sir or Madam, " * 100)
    said = sagaflow("list", "--database", f"sqlite:///{tmp_path}/letter")
    expect_one_line(said, f"{tmp_path}/letter: it is not a SQLite database")


def test_a_file_without_the_tables(sagaflow: Sagaflow, tmp_path: Path) -> None:
    asyncio.run(make_participant_file(tmp_path / "service.sqlite"))
    said = sagaflow("list", "--database", f"sqlite:///{tmp_path}/service.sqlite")
    expect_one_line(said, "it has no tables of a coordinator")


async def make_participant_file(path: Path) -> None:
    async with SqliteTransactions(path):
        pass


Url = Callable[[], str]


@pytest.mark.parametrize(
    ("url", "parts"),
    [
        (f"http://me:{SECRET}@localhost/", ["the URL of RabbitMQ must be of the form amqp://"]),
        (SECRET, ["the URL of RabbitMQ must be of the form amqp://"]),
        (f"amqp://me:{SECRET}@127.0.0.1:1/", ["127.0.0.1:1", "is it running, and is the URL right?"]),
    ],
)
def test_a_wrong_url_of_a_broker(sagaflow: Sagaflow, tmp_path: Path, url: str, parts: list[str]) -> None:
    said = sagaflow("coordinator", CHECKOUT, "--database", f"sqlite:///{tmp_path}/sagas", "--broker", url)
    expect_one_line(said, *parts)


def test_a_broker_that_refuses_the_login(sagaflow: Sagaflow, rabbitmq: Server, tmp_path: Path) -> None:
    parts = urlsplit(rabbitmq.url)
    wrong = parts._replace(netloc=f"nobody:{SECRET}@{parts.hostname}:{parts.port}").geturl()
    said = sagaflow("coordinator", CHECKOUT, "--database", f"sqlite:///{tmp_path}/sagas", "--broker", wrong)
    expect_one_line(said, "refuses the login of user 'nobody'")


def test_queues_that_may_not_be_made(
    sagaflow: Sagaflow, rabbitmq: Server, broker_namespace: str, tmp_path: Path
) -> None:
    places = [f"--database=sqlite:///{tmp_path}/sagas", "--broker", rabbitmq.url, "--namespace", broker_namespace]
    said = sagaflow("coordinator", CHECKOUT, *places, "--no-declare", "--log-level", "error")
    expect_one_line(said, f"the exchange {broker_namespace} does not exist", "make it: sagaflow broker apply")


def test_a_namespace_that_cannot_be_one(sagaflow: Sagaflow, tmp_path: Path) -> None:
    places = [f"--database=sqlite:///{tmp_path}/sagas", "--broker=amqp://localhost"]
    expect_one_line(sagaflow("coordinator", CHECKOUT, *places, "--namespace=my shop"), "'my shop' is no namespace")


@pytest.mark.parametrize(
    ("sagas", "part"),
    [
        ("shop.checkout:checkout", "there is no module 'shop' here"),
        ("payment.nowhere:checkout", "there is no module 'payment.nowhere' here"),
        ("payment.orders.checkout:chekout", "there is no 'chekout' in payment.orders.checkout"),
        ("payment.orders.checkout:Saga", "payment.orders.checkout:Saga is a type; name a Saga"),
        ("payment.orders.checkout", "write MODULE:NAME"),
        (":checkout", "write MODULE:NAME"),
    ],
)
def test_sagas_that_cannot_be_found(sagaflow: Sagaflow, sagas: str, part: str) -> None:
    said = sagaflow("coordinator", sagas, "--database=sqlite:///sagas", "--broker=amqp://localhost")
    expect_one_line(said, part)


@pytest.mark.parametrize("server", ["postgres", "rabbitmq"])
def test_the_demo_needs_the_servers_that_it_was_given(sagaflow: Sagaflow, rabbitmq: Server, server: str) -> None:
    postgres_url = f"postgresql://me:{SECRET}@127.0.0.1:{free_port()}/shop"
    rabbitmq_url = rabbitmq.url if server == "postgres" else f"amqp://me:{SECRET}@127.0.0.1:{free_port()}/"
    said = sagaflow("demo", "--postgres", postgres_url, "--rabbitmq", rabbitmq_url)
    expect_one_line(said, "127.0.0.1", "is it running, and is the URL right?")


def test_the_demo_says_that_a_url_is_none(sagaflow: Sagaflow, rabbitmq: Server) -> None:
    said = sagaflow("demo", "--postgres", f"postgresql://me:{SECRET}@[::1/shop", "--rabbitmq", rabbitmq.url)
    expect_one_line(said, "the URL of the database is not understood")


def test_the_demo_needs_both_servers(sagaflow: Sagaflow) -> None:
    said = sagaflow("demo", "--postgres", f"postgresql://me:{SECRET}@localhost/shop")
    expect_one_line(said, "Missing argument: --rabbitmq", code=2)


@pytest.mark.parametrize(
    ("command", "parts"),
    [
        (["lst"], ['Unknown command "lst"', "list"]),
        (["list"], ["--database requires an argument", "Or set SAGAFLOW_DATABASE."]),
        (["list", "--database=sqlite:///x", "--status=DONE"], ["--status", "completed"]),
        (["list", "--database=sqlite:///x", "--limit=0"], ["--limit", ">= 1"]),
        (["coordinator", CHECKOUT, "--database=sqlite:///x"], ["--broker", "Or set SAGAFLOW_BROKER."]),
        (["retry", "01a20ba5-21fd-794c-a677-e338d25dd52b", "--database=sqlite:///x"], ["--reason"]),
        (["db", "upgrade", "everything", "--database=sqlite:///x"], ['"coordinator", "participant"']),
        (["demo", "--orders=none"], ["--orders"]),
        (["demo", "--orders=0"], ["--orders", ">= 1"]),
    ],
)
def test_wrong_usage(sagaflow: Sagaflow, command: list[str], parts: list[str]) -> None:
    expect_one_line(sagaflow(*command), *parts, code=2)


@pytest.mark.parametrize("missing", ["cyclopts", "rich"])
@pytest.mark.parametrize("arguments", [[], ["demo"], ["--help"]])
def test_a_missing_extra(missing: str, arguments: list[str]) -> None:
    code = f"import sys; sys.modules[{missing!r}] = None; from sagaflow.cli import main; main()"
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False)
    expect_one_line(
        Said(done.returncode, done.stdout, done.stderr),
        f"{missing} is not installed; type: pip install 'sagaflow-framework[cli]'",
    )


def test_a_pipe_that_is_closed_early(tmp_path: Path) -> None:
    """Whoever reads has seen enough: that is nothing to complain about."""
    command = [sys.executable, "-m", "sagaflow.cli", "schemas"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
