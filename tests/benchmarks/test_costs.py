"""The regression guard: what 1,000 sagas of three steps cost, in counts that do not depend on the clock."""

from __future__ import annotations

from collections.abc import Mapping

from benchmarks.place import Servers, place
from benchmarks.workloads import WORKLOADS
from tests.benchmarks.costs import costs_of
from tests.servers import Server

SAGAS = 1_000

BOUNDS = {
    "messages": 7_050,  # a command and a reply for each step, and a notice of the end: 7,000
    "bodies": 1_000,  # that carried them: 520, and more on a machine that is so slow that little piles up
    "rows": 24_500,  # written, in all databases: 24,010
    "statements": 21_000,  # 17,600
    "transactions": 10_000,  # 8,200, of which 3,000 are those of the steps
    "WAL bytes": 12_000_000,  # 8,580,000, and more if a checkpoint comes in between
}
"""What was measured, and some slack where it depends on how many pile up. Lower a bound when a cost was lowered."""


def excess(costs: Mapping[str, int]) -> str:
    """What is over its bound, in a text for who caused it; nothing if nothing is."""
    over = [f"{what}: {costs[what]:,}, at most {most:,}" for what, most in BOUNDS.items() if costs[what] > most]
    if not over:
        return ""
    return "\n".join(
        [
            f"{SAGAS:,} sagas of three steps cost more than they did:",
            *(f"  {line}" for line in over),
            "Find what is done for each message that could be done for a batch. If it is worth its price, raise the",
            "bound in tests/benchmarks/test_costs.py and say why in the commit.",
        ]
    )


async def test_a_thousand_sagas_cost_no_more_than_they_did(postgres: Server, rabbitmq: Server) -> None:
    with place(Servers(postgres.url, rabbitmq.url)) as found:
        costs = await costs_of(found, WORKLOADS["noop"], SAGAS)

    assert set(costs) == set(BOUNDS)
    assert min(costs.values()) > 0, f"something is not counted: {costs}"
    assert not excess(costs), excess(costs)


def test_a_cost_over_its_bound_is_named_with_the_bound() -> None:
    within = dict(BOUNDS)

    assert excess(within) == ""
    assert "\n  rows: 30,000, at most 24,500\nFind " in excess({**within, "rows": 30_000})
