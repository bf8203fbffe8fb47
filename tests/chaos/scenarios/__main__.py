"""One fault that is too large for a round of chaos, under load, and judged.

    python -m tests.chaos.scenarios NAME [--seed N]

broker-wiped   the broker dies, and comes back without any of its data
limits         processes run out of descriptors, and of memory (needs root, for control groups)
permissions    rights are taken away, one after the other, from the role of the coordinator, that of a service, and the
               user of the broker, and granted again
disk-full      the disk of the coordinator's database is full for a while (needs root, for a file system of its own)
snapshot       a transaction with an old snapshot stays open, so that no dead row can be cleared away
pooler         pgbouncer stands before the database: of sessions, dying, of transactions
upgrade        every process is replaced, one after the other, and migrations run
truncations    connections end at each place within a frame, on both sides, in both protocols
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Final

import asyncpg

from tests.chaos.customers import Customers
from tests.chaos.frames import PLACES, Place, Side
from tests.chaos.load import Load, judge
from tests.chaos.scenarios import limits
from tests.chaos.scenarios.limits import run_out
from tests.chaos.scenarios.permissions import take_rights_away
from tests.chaos.scenarios.pooler import NoPooler, pool, pooler_before
from tests.chaos.scenarios.scene import Scene, until
from tests.chaos.scenarios.upgrades import roll_out
from tests.chaos.servers import Servers
from tests.chaos.shop.__main__ import CLIENT, COORDINATOR, TILL
from tests.chaos.shop.services import SERVICES
from tests.chaos.stage import Stage
from tests.chaos.wire import Line, Wire
from tests.servers.process import PrivateServer

CUSTOMERS: Final = 12
ORDERS: Final = 20
"""So many orders have to end in each act."""
PROCESSES: Final = {COORDINATOR: 2, TILL: 1, CLIENT: 1} | dict.fromkeys(SERVICES, 1)
SIDES: Final[tuple[Side, ...]] = ("client", "server")
DISK_BYTES: Final = 256 * 2**20
DISK_IS_FULL: Final = "No space left on device"
BALLAST: Final = "ballast"


async def wipe_broker(scene: Scene) -> None:
    """All queues and all messages are gone; what was in flight has to be sent again from what is committed."""
    broker = scene.servers.broker
    for number in (1, 2):
        await asyncio.to_thread(broker.kill)
        shutil.rmtree(_control(broker.control).main.directory / "mnesia")
        await asyncio.to_thread(broker.start)
        await scene.load.goes_on(f"the broker has lost everything, for the {number}. time")


async def fill_disk(scene: Scene) -> None:
    """No transaction can be committed until there is room again; the server may even have to be started again."""
    server = scene.servers.common
    control = _control(server.control)
    ballast = control.main.directory / "data" / BALLAST
    _write_until_full(ballast)
    await until(lambda: DISK_IS_FULL in control.main.log.read_text(errors="replace"), "the server met a full disk")
    print("the server has met a full disk", flush=True)
    ballast.unlink()
    await asyncio.to_thread(server.kill)  # it may have ended by itself
    await asyncio.to_thread(server.start)
    await scene.load.goes_on("there is room again")


async def hold_snapshot(scene: Scene) -> None:
    """Sagas go on while nothing that was updated or deleted can be cleared away."""
    connection = await asyncpg.connect(scene.stage.databases[COORDINATOR])
    try:
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            await connection.fetchval("SELECT count(*) FROM sagaflow.saga")
            for number in range(1, 6):
                await scene.load.goes_on(f"with a snapshot that is held, {number}")
    finally:
        await connection.close()


async def truncate(scene: Scene) -> None:
    """Each place within a frame, both sides, each server: the connections that say something next end there."""
    for name, wire in sorted(scene.wires.items()):
        for side in SIDES:
            for place in PLACES:
                lines = wire.lines
                await _cut_at(lines, place, side, name)
        await scene.load.goes_on(f"connections to the {name} have ended at {len(SIDES) * len(PLACES)} places")


async def _cut_at(lines: list[Line], place: Place, side: Side, name: str) -> None:
    for line in lines:
        line.cut_at(place, of=side)
    await until(lambda: any(line.was_cut_at for line in lines), f"a {side} was cut off {place}, at the {name}")


def _write_until_full(path: Path) -> None:
    block = bytes(65_536)
    try:
        with path.open("wb", buffering=0) as file:
            while file.write(block):
                pass
    except OSError as error:
        if DISK_IS_FULL not in str(error):
            raise


def _move_to_small_disk(server: PrivateServer, stack: AsyncExitStack) -> None:
    """Have the data of a server on a file system of a fixed size."""
    server.stop()
    data = server.main.directory / "data"
    moved = data.rename(data.with_name("data.before"))
    data.mkdir()
    owner = f"uid={server.main.account.user},gid={server.main.account.group}"
    size = f"size={DISK_BYTES},mode=0700,{owner}"
    subprocess.run(["mount", "-t", "tmpfs", "-o", size, "tmpfs", str(data)], check=True)

    def leave() -> None:
        server.kill()
        subprocess.run(["umount", str(data)], check=True)

    stack.callback(leave)
    subprocess.run(["cp", "-a", f"{moved}/.", str(data)], check=True)
    server.start()


def _control(control: object) -> PrivateServer:
    assert isinstance(control, PrivateServer)
    return control


SCENARIOS: Final[Mapping[str, Callable[[Scene], Awaitable[None]]]] = {
    "broker-wiped": wipe_broker,
    "disk-full": fill_disk,
    "limits": run_out,
    "permissions": take_rights_away,
    "pooler": pool,
    "snapshot": hold_snapshot,
    "truncations": truncate,
    "upgrade": roll_out,
}


async def run(name: str, directory: Path, seed: int) -> list[str]:
    """Play one of them; returns what is wrong afterwards."""
    async with AsyncExitStack() as stack:
        servers = stack.enter_context(Servers())
        if name == "disk-full":
            _move_to_small_disk(_control(servers.common.control), stack)
        named = {"common database": servers.common, "payments database": servers.apart, "broker": servers.broker}
        wires = {name: await stack.enter_async_context(Wire(server.url)) for name, server in named.items()}
        by_port = {str(wire.server_port): wire for wire in wires.values()}

        pooler = stack.enter_context(pooler_before(servers.common.url)) if name == "pooler" else None

        def through(url: str) -> str:
            if pooler is not None and pooler.is_before(url):
                return pooler.through(url)
            return by_port[url.rpartition("@")[2].partition("/")[0].rpartition(":")[2]].through(url)

        stage = await stack.enter_async_context(
            Stage(
                directory,
                postgres=servers.postgres,
                rabbitmq=servers.broker.url,
                seed=seed,
                least_rights=pooler is None,  # it knows one login
                through=through,
                tidy=False,
            )
        )
        for role, count in PROCESSES.items():
            stage.add(role, count)
        async with stage.client() as client:
            customers = Customers(client, seed=seed, count=CUSTOMERS)
            customers.open()
            load = Load(customers, orders=ORDERS)
            await load.goes_on("before")
            await SCENARIOS[name](Scene(servers, wires, stage, load, pooler))
            for wire in wires.values():
                for line in wire.lines:
                    line.cut()  # some may still be about to end
            await load.goes_on("after")
            return await judge(stage, customers)


def main() -> int:
    """Play one of them."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.scenarios", description="One large fault, judged.")
    parser.add_argument("name", choices=sorted(SCENARIOS))
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    if arguments.name == "disk-full" and os.geteuid() != 0:
        parser.error("disk-full mounts a file system, and so needs root")
    if arguments.name == "limits" and (reason := limits.why_not_here()) is not None:
        parser.error(f"limits: {reason}")
    directory = Path(tempfile.mkdtemp(prefix="sagaflow-scenario-"))
    logging.basicConfig(filename=directory / "customers.log")
    print(f"{arguments.name}, seed {arguments.seed}; logs in {directory}", flush=True)
    try:
        wrong = asyncio.run(run(arguments.name, directory, arguments.seed))
    except NoPooler as reason:
        print(f"not played: {reason}")
        return 2
    for problem in wrong:
        print(f"WRONG: {problem}")
    if wrong:
        return 1
    shutil.rmtree(directory)
    print("Nothing lost, nothing twice, nothing stranded.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
