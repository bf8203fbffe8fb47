"""Restate: its server, and a service of its Python SDK under hypercorn.

Each step is a `ctx.run_typed`, and undos are run by the handler when a step ends in a terminal error, as its guide to
sagas does it. The server has its default configuration (RocksDB with fsync, 24 partitions) without telemetry; hypercorn
has the limits that the SDK's guide gives for production, and a process for each core. Sagas are started over the
server's HTTP ingress, which answers when they have ended.

It remembers the journal of each invocation (input, the result of each step, output) for a day. There are no messages
between services: one service does all three steps, each in the database of the service that it stands for.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp

from benchmarks.place import Place
from benchmarks.systems import guarded
from benchmarks.systems.system import RunOne
from benchmarks.workloads import Workload
from tests.servers.machine import LOOPBACK, free_port

HYPERCORN = """
bind = "{address}"
h2_max_concurrent_streams = 2147483647
keep_alive_max_requests = 2147483647
keep_alive_timeout = 2147483647
workers = {workers}
worker_class = "uvloop"
"""


@asynccontextmanager
async def open_restate(place: Place) -> AsyncIterator[RunOne]:
    """The server and hypercorn beside, and who starts the sagas here."""
    node, admin, ingress, service = (f"{LOOPBACK}:{free_port()}" for _ in range(4))
    data, here = guarded.own_directory("restate"), guarded.own_directory("hypercorn")
    (here / "hypercorn.toml").write_text(HYPERCORN.format(address=service, workers=os.cpu_count()))
    where = ["--base-dir", str(data), "--listen-mode", "tcp", "--bind-ip", LOOPBACK]
    server = [str(guarded.restate_server()), "--no-logo", *where]
    hypercorn = guarded.python("-m", "hypercorn", "--config", str(here / "hypercorn.toml"), f"{__name__}_service:app")
    addresses = {
        "RESTATE_BIND_PORT": node.rpartition(":")[2],
        "RESTATE_ADMIN__BIND_ADDRESS": admin,
        "RESTATE_INGRESS__BIND_ADDRESS": ingress,
        "RESTATE_DISABLE_TELEMETRY": "true",
        "RESTATE_LOG_FILTER": "error",
    }
    async with (
        guarded.program("restate", server, guarded.connects(ingress), directory=data, place=place, **addresses),
        guarded.program("hypercorn", hypercorn, guarded.connects(service), directory=here, place=place),
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as client,
    ):
        await _register(client, f"http://{admin}/deployments", f"http://{service}")

        async def run(workload: Workload, key: str, account: int) -> None:
            async with client.post(f"http://{ingress}/sagas/saga", json=[workload.name, account]) as answer:
                answer.raise_for_status()

        yield run


async def _register(client: aiohttp.ClientSession, deployments: str, service: str) -> None:
    while True:
        try:
            async with client.post(deployments, json={"uri": service}) as answer:
                answer.raise_for_status()
                return
        except aiohttp.ClientError:
            await asyncio.sleep(0.2)
