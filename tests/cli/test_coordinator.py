"""`sagaflow coordinator` as a process, over real servers."""

from __future__ import annotations

import json
import signal
import urllib.request
from pathlib import Path

import pytest

from payment.orders.messages import Checkout
from sagaflow import SagaClient
from sagaflow.adapters.rabbitmq import RabbitTransport
from sagaflow.cli.app import run
from tests.demo.running import Start
from tests.servers import Server

CHECKOUT = "payment.orders.checkout:checkout"


@pytest.mark.parametrize("which", [signal.SIGTERM, signal.SIGINT])
def test_it_runs_until_it_is_told_to_stop(
    start: Start, database_url: str, rabbitmq: Server, broker_namespace: str, which: signal.Signals
) -> None:
    assert run(["db", "upgrade", "coordinator", "--database", database_url]) == 0
    coordinator = start(
        "coordinator",
        CHECKOUT,
        "--namespace",
        broker_namespace,
        SAGAFLOW_DATABASE=database_url,
        SAGAFLOW_BROKER=rabbitmq.url,
    )
    coordinator.until(lambda: "coordinator checkout runs checkout" in coordinator.errors)
    coordinator.process.send_signal(which)
    ended = coordinator.end()
    assert (ended.code, ended.output) == (0, "")
    assert f"{which.name}: stopping" in ended.errors
    assert ended.errors.rstrip().endswith("stopped")


async def test_it_starts_what_it_is_asked_for(
    start: Start, rabbitmq: Server, broker_namespace: str, tmp_path: Path
) -> None:
    """Over a SQLite file, which gets its tables; under a name of its own; with a module from where it runs."""
    coordinator = start(
        "coordinator",
        CHECKOUT,
        f"--database=sqlite:///{tmp_path}/sagas.sqlite",
        f"--broker={rabbitmq.url}",
        f"--namespace={broker_namespace}",
        "--name=till",
        "--log-json",
        "--log-level=debug",
        "--health-port=0",
    )
    coordinator.until(lambda: '"event": "coordinator.running"' in coordinator.errors)
    (told,) = [json.loads(line) for line in coordinator.errors.splitlines() if "health.listening" in line]
    for path in ("live", "ready"):
        with urllib.request.urlopen(f"http://127.0.0.1:{told['port']}/{path}", timeout=10) as answer:  # noqa: ASYNC210
            assert json.load(answer) == {"live": True, "ready": True, "reasons": []}
    async with SagaClient(RabbitTransport(rabbitmq.url, namespace=broker_namespace), coordinator="till") as sagas:
        order = Checkout("o-1", "teapot", 1, "good-1", 100)
        saga_id = await sagas.start("checkout", order, key="o-1")
        assert await sagas.start("checkout", order, key="o-1") == saga_id
    listed = start("list", "--json", f"--database=sqlite:///{tmp_path}/sagas.sqlite").end()
    assert [(line["saga_id"], line["status"]) for line in listed.lines] == [(str(saga_id), "RUNNING")]
    coordinator.process.terminate()
    lines = [json.loads(line) for line in coordinator.end().errors.splitlines()]
    ours = [line for line in lines if line["logger"].startswith("sagaflow")]
    assert [line["event"] for line in ours if line["level"] != "DEBUG"] == [
        "health.listening",
        "coordinator.running", "process.stopping", "coordinator.stopped",
    ]  # fmt: skip
    (started,) = [line for line in ours if line["event"] == "saga.started"]
    assert (started["saga"], started["saga_id"]) == ("checkout", str(saga_id))
    assert not [line for line in lines if line["level"] == "DEBUG" and line not in ours]
