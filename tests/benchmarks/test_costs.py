"""The regression guard: what 1,000 sagas of three steps cost, in counts that do not depend on the clock."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import asyncpg
import pytest

from benchmarks.coordinator import AnsweringTransport
from benchmarks.place import Servers, place
from benchmarks.systems.sagaflow import saga_of
from benchmarks.workloads import WORKLOADS
from sagaflow import Coordinator, SagaStatus, UndoReady
from sagaflow.adapters.postgres import Line, PostgresStore, upgrade
from tests.adapters.postgres.outside import name_of
from tests.benchmarks.costs import costs_of
from tests.servers import Server
from tests.servers.databases import create_database

SAGAS = 1_000

BOUNDS = {
    "noop": {
        "messages": 6_050,  # a command and a reply for each step: 6,000
        "bodies": 700,  # that carried them: 230 to 310, and more on a machine that is so slow that little piles up
        "rows": 23_500,  # written, in all databases: 23,020
        "statements": 8_000,  # 2,700 to 3,700; those of commands one by one would be 12,000 more
        "transactions": 3_000,  # 730 to 970; those of steps one by one would be 3,000 more
        "WAL bytes": 12_000_000,  # 8,650,000, and more if a checkpoint comes in between
    },
    "rollback": {
        "messages": 10_100,  # five commands and their replies: 10,000
        "bodies": 1_000,  # 360
        "rows": 32_700,  # 32,030
        "statements": 9_000,  # 3,780; 8,000 more if each refusal were carried out by itself
        "transactions": 3_000,  # 1,010; 2,000 more
        "WAL bytes": 21_000_000,  # 15,420,000, with the traceback of each refusal
    },
}
"""What was measured, and some slack where it depends on how many pile up. Lower a bound when a cost was lowered."""


def excess(workload: str, costs: Mapping[str, int]) -> str:
    """What is over its bound, in a text for who caused it; nothing if nothing is."""
    over = [
        f"{what}: {costs[what]:,}, at most {most:,}" for what, most in BOUNDS[workload].items() if costs[what] > most
    ]
    if not over:
        return ""
    return "\n".join(
        [
            f"{SAGAS:,} sagas of {workload} cost more than they did:",
            *(f"  {line}" for line in over),
            "Find what is done for each message that could be done for a batch. If it is worth its price, raise the",
            "bound in tests/benchmarks/test_costs.py and say why in the commit.",
        ]
    )


@pytest.mark.parametrize("workload", BOUNDS)
async def test_a_thousand_sagas_cost_no_more_than_they_did(postgres: Server, rabbitmq: Server, workload: str) -> None:
    with place(Servers(postgres.url, rabbitmq.url)) as found:
        costs = await costs_of(found, WORKLOADS[workload], SAGAS)

    assert set(costs) == set(BOUNDS[workload])
    assert min(costs.values()) > 0, f"something is not counted: {costs}"
    assert not excess(workload, costs), excess(workload, costs)


async def test_a_saga_that_runs_alone_costs_its_coordinator_seven_statements(postgres: Server) -> None:
    """One to begin, and two for each reply, none of which locks anything before it writes; nothing for its outcome."""
    sagas, saga = 20, saga_of(WORKLOADS["noop"])
    database = create_database(postgres.url)
    connection = await asyncpg.connect(database)
    await upgrade(connection, Line.COORDINATOR)
    await connection.close()
    made: Counter[str] = Counter()

    async def count(connection: asyncpg.Connection) -> None:
        connection.add_query_logger(lambda query: made.update([name_of(query.query)]))

    async with (
        PostgresStore.connect(database, init=count) as store,
        Coordinator([saga], store=store, transport=AnsweringTransport(), undo_ready=UndoReady.NOT_ASKED) as runs,
    ):
        for number in range(sagas):
            outcome = await (await runs.start(saga, number, key=str(number))).outcome()
            assert outcome.status is SagaStatus.COMPLETED

    assert {name: made[name] for name in ("insert", "look", "save")} == {
        "insert": sagas,
        "look": 3 * sagas,
        "save": 3 * sagas,
    }
    assert {name: made[name] for name in ("begin", "load", "payloads", "find", "commit")} == dict.fromkeys(
        ("begin", "load", "payloads", "find", "commit"), 0
    )


def test_a_cost_over_its_bound_is_named_with_the_bound() -> None:
    within = dict(BOUNDS["noop"])

    assert excess("noop", within) == ""
    assert "\n  rows: 30,000, at most 23,500\nFind " in excess("noop", {**within, "rows": 30_000})
