"""Processes die at each crash point in turn, under load, and nothing is lost, doubled or stranded."""

from __future__ import annotations

from pathlib import Path

from sagaflow.definitions.crash_points import POINTS
from tests.chaos.customers import Customers
from tests.chaos.history import find_faults
from tests.chaos.points import PLACES, die_at
from tests.chaos.shop.__main__ import COORDINATOR
from tests.chaos.shop.services import SERVICES
from tests.chaos.stage import Stage
from tests.servers import Server

QUIET_SECONDS = 120.0
SEED = 4


async def test_every_crash_point_is_hit_and_nothing_is_lost(tmp_path: Path, postgres: Server, rabbitmq: Server) -> None:
    servers = dict.fromkeys([COORDINATOR, *SERVICES], postgres.url)
    async with Stage(tmp_path, postgres=servers, rabbitmq=rabbitmq.url, seed=SEED) as stage:
        for role in servers:
            stage.add(role, 1)
        async with stage.client() as client:
            customers = Customers(client, seed=SEED, count=6)
            customers.open()
            for place in PLACES:
                await die_at(stage, place)
            await customers.close()
        await stage.until_quiet(QUIET_SECONDS)
        await stage.crew.stop()
        history = await stage.history(customers)
    assert find_faults(history) == []
    assert stage.crew.surprises == []
    assert {"COMPLETED", "COMPENSATED"} <= history.statuses.keys()
    hit = {point for member in stage.crew.members.values() for point in member.died_at}
    assert hit == set(POINTS)
