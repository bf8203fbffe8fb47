"""The servers of the run, and a database and a broker namespace of its own for each test that asks."""

from __future__ import annotations

import secrets
import signal
from collections.abc import Callable, Iterator

import pytest

from tests.servers import Lookup, Server, postgres_lookup, rabbitmq_lookup
from tests.servers.databases import create_database, drop_database

LOOKUPS = pytest.StashKey[dict[str, Lookup]]()
"""The search for each server, by the name of its fixture."""


def pytest_configure(config: pytest.Config) -> None:
    """Begin the search; and let SIGTERM end the run as Ctrl-C does, so that every fixture is taken down."""
    config.stash[LOOKUPS] = {"postgres": postgres_lookup(), "rabbitmq": rabbitmq_lookup()}
    signal.signal(signal.SIGTERM, signal.default_int_handler)


def pytest_report_header(config: pytest.Config) -> list[str]:
    """Say where each server will come from."""
    return [_first_line(lookup) for lookup in config.stash[LOOKUPS].values()]


def pytest_collection_finish(session: pytest.Session) -> None:
    """Stop a run that needs a server which cannot be had; one that needs none goes on."""
    if session.config.option.collectonly:
        return
    needed = {fixture for item in session.items for fixture in getattr(item, "fixturenames", ())}
    lookups = session.config.stash[LOOKUPS]
    problems = [str(lookup) for fixture, lookup in lookups.items() if fixture in needed and lookup.problem()]
    if problems:
        raise pytest.UsageError("\n\n".join(problems))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Correct the header: say which source turned out to be of no use, and what served in its place."""
    for lookup in config.stash[LOOKUPS].values():
        for surprise in lookup.surprises:
            terminalreporter.write_line(f"{surprise}. In its place, {_first_line(lookup)}")


def _first_line(lookup: Lookup) -> str:
    return str(lookup).splitlines()[0]


@pytest.fixture(scope="session")
def postgres(request: pytest.FixtureRequest) -> Iterator[Server]:
    """The PostgreSQL of the run, started when first asked for."""
    yield from _served(request.config.stash[LOOKUPS]["postgres"])


@pytest.fixture(scope="session")
def rabbitmq(request: pytest.FixtureRequest) -> Iterator[Server]:
    """The RabbitMQ of the run, started when first asked for."""
    yield from _served(request.config.stash[LOOKUPS]["rabbitmq"])


@pytest.fixture
def own_postgres() -> Iterator[Server]:
    """A PostgreSQL that this test may stop, or kill."""
    server = postgres_lookup(ours=True).start()
    yield server
    server.close()


def _served(lookup: Lookup) -> Iterator[Server]:
    server = lookup.start()
    yield server
    server.close()


@pytest.fixture
def make_database(postgres: Server) -> Iterator[Callable[[], str]]:
    """Makes fresh databases, and returns the URL of each. They are dropped after the test."""
    made: list[str] = []

    def make() -> str:
        made.append(create_database(postgres.url))
        return made[-1]

    yield make
    for url in made:
        drop_database(postgres.url, url)


@pytest.fixture
def database_url(make_database: Callable[[], str]) -> str:
    """The URL of a fresh database, dropped after the test."""
    return make_database()


@pytest.fixture
def broker_namespace() -> str:
    """A short prefix that is this test's alone, for the names of its queues and exchanges.

    Nothing is deleted after the test: AMQP cannot list queues, and the RabbitMQ that the tests start is thrown
    away at the end of the run. In one named by SAGAFLOW_TEST_RABBITMQ, what a test declared as durable remains;
    it can be known by this prefix, a `t` and six hexadecimal digits.
    """
    return f"t{secrets.token_hex(3)}"
