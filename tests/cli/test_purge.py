"""What is over is purged, what was said is erased, and nothing else."""

from __future__ import annotations

import asyncio
import re
from typing import Any
from uuid import UUID, uuid4

import pytest

from sagaflow.adapters.sqlite import SqliteStore, SqliteTransactions
from sagaflow.cli.servers import sqlite_path
from tests.cli.conftest import Sagaflow, Trips


def listed(sagaflow: Sagaflow, trips: Trips) -> set[str]:
    return {line["saga_id"] for line in sagaflow("list", "--json", "--database", trips.database).lines}


def test_what_would_be_purged_is_counted_first(sagaflow: Sagaflow, trips: Trips) -> None:
    said = sagaflow(
        "db", "purge", "coordinator", "--completed", "0s", "--abandoned", "0s", "--database", trips.database
    )
    assert (said.code, said.errors) == (0, "")
    assert said.output == "would be purged: 1 COMPLETED; to do it, add --yes\n"
    assert len(listed(sagaflow, trips)) == 3


def test_what_ended_long_enough_ago_is_purged(sagaflow: Sagaflow, trips: Trips) -> None:
    arguments = ("db", "purge", "coordinator", "--completed", "0s", "--compensated", "1d", "--database", trips.database)
    said = sagaflow(*arguments, "--yes")
    assert (said.code, said.output) == (0, "purged: 1 COMPLETED\n")
    assert listed(sagaflow, trips) == {str(trips.rome), str(trips.atlantis)}
    assert sagaflow(*arguments, "--yes", "--json").lines == [{"purged": True, "counted": {}}]


def test_a_stuck_saga_outlives_every_purge(sagaflow: Sagaflow, trips: Trips) -> None:
    every = [word for status in ("--completed", "--compensated", "--abandoned") for word in (status, "0s")]
    sagaflow("db", "purge", "coordinator", *every, "--yes", "--database", trips.database)
    assert listed(sagaflow, trips) == {str(trips.atlantis)}


@pytest.mark.parametrize(
    ("arguments", "said", "code"),
    [
        (["coordinator"], "say what is over for long enough", 2),
        (["coordinator", "--completed", "soon"], "'soon' is no time; write a number and its unit", 1),
        (["coordinator", "--older-than", "30d"], "are for the tables of a participant", 2),
        (["participant", "--completed", "30d"], "knows not how sagas end", 2),
        (["participant", "--older-than", "30d"], "--open-in URL", 2),
    ],
)
def test_what_cannot_be_meant_is_said(
    sagaflow: Sagaflow, trips: Trips, arguments: list[str], said: str, code: int
) -> None:
    answer = sagaflow("db", "purge", *arguments, "--database", trips.database)
    assert (answer.code, answer.output) == (code, "")
    assert said in answer.errors
    assert answer.errors.count("\n") == 1


def test_what_a_participant_did_lately_is_kept(sagaflow: Sagaflow, trips: Trips) -> None:
    arguments = ("db", "purge", "participant", "--open-in", trips.database, "--database", trips.database)
    said = sagaflow(*arguments, "--older-than", "7d", "--yes")
    assert (said.code, said.output) == (0, "purged: nothing\n")
    said = sagaflow(*arguments, "--older-than", "6d", "--yes")
    assert said.code == 1
    assert "is kept for 7 days at least" in said.errors


def test_what_a_participant_did_for_open_sagas_is_kept_however_old_it_is(sagaflow: Sagaflow, trips: Trips) -> None:
    path = sqlite_path(trips.database)
    assert path is not None
    asyncio.run(grow_old(path))
    arguments = ("db", "purge", "participant", "--open-in", trips.database, "--database", trips.database)
    said = sagaflow(*arguments, "--older-than", "30d", "--yes")
    assert (said.code, said.output) == (0, "purged: 4 action, 1 compensation\n")
    assert asyncio.run(knows(path, trips.atlantis))
    assert not asyncio.run(knows(path, trips.rome))


async def grow_old(path: object) -> None:
    async with SqliteTransactions(str(path)) as transactions, transactions.begin() as transaction:
        await transaction.tx.execute("UPDATE sagaflow_barrier SET settled_at = '2020' || substr(settled_at, 5)")


async def knows(path: object, saga_id: UUID) -> bool:
    async with SqliteTransactions(str(path)) as transactions, transactions.begin() as transaction:
        rows = await transaction.tx.fetch("SELECT 1 FROM sagaflow_barrier WHERE saga_id = ?", str(saga_id))
        return bool(rows)


WHY = ["--reason", "she asked for it", "--actor", "anna"]


def test_what_a_saga_was_given_is_erased_and_its_story_kept(sagaflow: Sagaflow, trips: Trips) -> None:
    def shown() -> Any:
        (saga,) = sagaflow("show", str(trips.rome), "--json", "--database", trips.database).lines
        return saga

    before = shown()
    preview = sagaflow("erase", str(trips.rome), *WHY, "--database", trips.database)
    assert preview.output == "the payloads of 1 saga would be erased; to do it, add --yes\n"
    assert asyncio.run(payloads(trips, trips.rome))
    assert shown() == before
    said = sagaflow("erase", str(trips.rome), str(trips.rome), *WHY, "--yes", "--database", trips.database)
    assert (said.code, said.output) == (0, "the payloads of 1 saga were erased\n")
    assert not asyncio.run(payloads(trips, trips.rome))
    after = shown()
    *journal, last = after["journal"]
    assert (before | {"journal": None}) == (after | {"journal": None})
    assert journal == before["journal"]
    assert (last["what"], last["actor"], last["reason"]) == ("its payloads were erased", "anna", "she asked for it")
    assert last["status"] == before["status"]
    why = sagaflow("why", str(trips.rome), "--database", trips.database).output
    assert re.search(r"anna +erased its payloads +she asked for it", why)


def test_nothing_is_erased_without_a_reason(sagaflow: Sagaflow, trips: Trips) -> None:
    said = sagaflow("erase", str(trips.rome), "--reason= ", "--yes", "--database", trips.database)
    assert (said.code, said.output) == (1, "")
    assert "give a reason" in said.errors
    assert asyncio.run(payloads(trips, trips.rome))


@pytest.mark.parametrize("yes", [["--yes"], []])
def test_an_open_saga_is_not_erased(sagaflow: Sagaflow, trips: Trips, yes: list[str]) -> None:
    said = sagaflow("erase", str(trips.rome), str(trips.atlantis), *WHY, *yes, "--database", trips.database)
    assert (said.code, said.output) == (1, "")
    assert f"saga {trips.atlantis} is STUCK and needs its payloads" in said.errors
    assert asyncio.run(payloads(trips, trips.rome))


@pytest.mark.parametrize("yes", [["--yes"], []])
def test_a_saga_that_is_not_there_is_not_erased(sagaflow: Sagaflow, trips: Trips, yes: list[str]) -> None:
    said = sagaflow("erase", str(uuid4()), *WHY, *yes, "--database", trips.database)
    assert (said.code, said.output) == (1, "")
    assert "there is no saga" in said.errors


async def payloads(trips: Trips, saga_id: UUID) -> int:
    path = sqlite_path(trips.database)
    assert path is not None
    async with SqliteStore(path) as store:
        return len(await store.payloads([saga_id]))
