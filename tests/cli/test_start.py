"""`sagaflow start`: nothing is written that the saga does not take; what is started, a coordinator goes on with."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest

from sagaflow import Coordinator, serve
from sagaflow.adapters.inprocess import InProcessTransport
from sagaflow.adapters.sqlite import SqliteStore, SqliteTransactions
from sagaflow.cli import start as starting
from sagaflow.cli.exit_codes import ExitCode
from tests.cli.conftest import Sagaflow, Trips, travel, trip
from tests.cli.test_watch import at_first_pause, go_on

TRIP = "tests.cli.conftest:trip"


def keys(sagaflow: Sagaflow, database: str) -> list[str]:
    return [line["key"] for line in sagaflow("list", "--json", "--database", database).lines]


def test_a_saga_is_started_once_for_each_key(sagaflow: Sagaflow, trips: Trips, tmp_path: Path) -> None:
    (tmp_path / "city.json").write_text(' "Oslo"\n')
    database = ["--database", trips.database]
    first = sagaflow("start", TRIP, "--input", '"Oslo"', "--key", "7", *database)
    again = sagaflow("start", TRIP, "--input", f"@{tmp_path}/city.json", "--key", "7", *database)
    assert (first.code, first.output) == (again.code, again.output)
    other = sagaflow("start", TRIP, "--input", '"Bergen"', "--key", "7", *database)
    assert (other.code, other.output) == (1, "")
    assert "with key '7' and other input" in other.errors
    (saga,) = sagaflow("show", first.output.strip(), "--json", *database).lines
    assert (saga["saga"], saga["key"], saga["coordinator"], saga["status"]) == ("trip", "7", "trip", "RUNNING")
    assert saga["journal"][0]["origin"].startswith("operator@")


def test_without_a_key_it_is_a_new_one(sagaflow: Sagaflow, trips: Trips, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b'"Oslo"')))
    said = sagaflow("start", TRIP, "--input", "-", "--json", "--database", trips.database)
    (started,) = said.lines
    assert keys(sagaflow, trips.database)[0] == started["key"]


@pytest.mark.parametrize(
    ("words", "code", "part"),
    [
        ([TRIP, "--input", "7"], 1, "Expected `str`, got `int`"),
        ([TRIP, "--input", "Oslo"], 1, "this is no JSON"),
        ([TRIP, "--input", '"Oslo"', "--key", "a\nb"], 1, "cannot be a key"),
        (["tests.cli.conftest:travel", "--input", '"Oslo"'], 1, "name a Saga"),
        (["trip", "--input", '"Oslo"'], 2, "give --broker, or set SAGAFLOW_BROKER"),
    ],
)
def test_what_cannot_be_started_is_not_written(
    sagaflow: Sagaflow, trips: Trips, words: list[str], code: int, part: str
) -> None:
    before = keys(sagaflow, trips.database)
    said = sagaflow("start", *words, "--database", trips.database)
    assert (said.code, said.output) == (code, "")
    assert part in said.errors
    assert said.errors.count("\n") == 1
    assert keys(sagaflow, trips.database) == before


@pytest.mark.parametrize(("city", "code", "status"), [("Oslo", 0, "COMPLETED"), ("Rome", 3, "COMPENSATED")])
def test_it_waits_for_how_it_ends(
    sagaflow: Sagaflow, trips: Trips, monkeypatch: pytest.MonkeyPatch, city: str, code: int, status: str
) -> None:
    began = sagaflow("start", TRIP, "--input", f'"{city}"', "--key", "9", "--database", trips.database).output.strip()
    at_first_pause(monkeypatch, lambda: go_on(trips.database, began))
    words = ["--input", f'"{city}"', "--key", "9", "--wait", "--json"]
    said = sagaflow("start", TRIP, *words, "--database", trips.database)
    assert said.code == code
    assert said.lines == [
        {"saga_id": began, "saga": "trip", "key": "9"},
        {"saga_id": began, "status": status, "waited": True},
    ]


def test_it_waits_no_longer_than_it_is_told_to(sagaflow: Sagaflow, trips: Trips) -> None:
    said = sagaflow("start", TRIP, "--input", '"Oslo"', "--wait", "--timeout", "0.01", "--database", trips.database)
    assert said.code == 6
    assert said.output.endswith("is still on its way\n")


async def test_a_coordinator_is_asked_by_the_name_of_the_saga(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "trips.sqlite"
    transport = InProcessTransport()
    monkeypatch.setattr(starting, "transport_to", lambda url, namespace: transport)
    async with (
        SqliteStore(path) as store,
        SqliteTransactions(path) as transactions,
        serve(travel, transport=transport, transactions=transactions),
        Coordinator([trip], store=store, transport=transport) as sagas,
    ):
        code = await starting.start("trip", input='"Rome"', key="1", broker="amqp://localhost", wait=True)
        assert code == ExitCode.COMPENSATED
        saga_id, last = capsys.readouterr().out.splitlines()
        assert last == f"saga {saga_id} is COMPENSATED"
        with pytest.raises(Exception, match="Expected `str`, got `int`"):
            await starting.start("trip", input="7", key="2", broker="amqp://localhost")
        monkeypatch.setattr(starting, "ANSWER_SECONDS", 0.05)
        with pytest.raises(Exception, match="no coordinator voyage has answered"):
            await starting.start("voyage", input="7", key="2", broker="amqp://localhost")
        assert sagas.name == "trip"
