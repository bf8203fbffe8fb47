"""`sagaflow broker plan | apply | check`, over a real broker."""

from __future__ import annotations

import asyncio
import json
import shlex
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import aio_pika
import pytest

from sagaflow import Coordinator, SagaStatus, serve
from sagaflow.adapters.rabbitmq import BrokerPlan, RabbitTransport, Role
from sagaflow.adapters.sqlite import SqliteStore, SqliteTransactions
from sagaflow.definitions.ports import Address, Letter, QueueKind
from sagaflow.errors import Unavailable
from sagaflow.runners.client import SagaClient
from tests.cli.conftest import Sagaflow, travel, trip
from tests.servers import Server
from tests.servers.users import User, import_definitions

TRIP = "tests.cli.conftest:trip"
TRAVEL = "tests.cli.conftest:travel"

QUEUES = [
    *(f"{kind}.travel" for kind in ("dead.commands", "commands", "dead.compensations", "compensations", "inquiries")),
    *(f"{kind}.trip" for kind in ("dead.replies", "replies", "dead.requests", "requests")),
]


async def at_broker(url: str, *calls: tuple[str, Any]) -> None:
    """What somebody does by other means: each of it on a channel of its own."""
    async with await aio_pika.connect(url) as connection:
        for name, arguments in calls:
            async with connection.channel() as channel:
                await getattr(channel, name)(**arguments)


@pytest.fixture
def at(rabbitmq: Server, broker_namespace: str) -> Sequence[str]:
    """The arguments that say where."""
    return ["--broker", rabbitmq.url, "--namespace", broker_namespace]


def test_a_plan_names_each_exchange_and_queue_once_and_what_each_user_may(sagaflow: Sagaflow) -> None:
    said = sagaflow("broker", "plan", TRIP, "--namespace", "shop.eu")
    assert (said.code, said.errors) == (0, "")
    words = [line.split() for line in said.output.splitlines()]
    assert [line[1] for line in words if line[:1] == ["exchange"]] == ["shop.eu", "shop.eu.dead"]
    assert [line[1] for line in words if line[:1] == ["queue"]] == [f"shop.eu.{queue}" for queue in QUEUES]
    assert "quorum, up to 20 deliveries, then to shop.eu.dead.commands.travel" in said.output
    travels = next(shlex.split(line) for line in said.output.splitlines() if " travel '^$'" in line)
    assert travels[1:7] == ["rabbitmqctl", "set_permissions", "--vhost", "/", "travel", "^$"]
    assert travels[7:] == [
        r"^shop\.eu$",
        r"^(shop\.eu\.commands\.travel|shop\.eu\.dead\.commands\.travel|shop\.eu\.compensations\.travel"
        r"|shop\.eu\.dead\.compensations\.travel|shop\.eu\.inquiries\.travel)$",
    ]


def test_programs_are_given_the_plan_as_data(sagaflow: Sagaflow) -> None:
    lines = sagaflow("broker", "plan", TRIP, "--json").lines
    assert [line["name"] for line in lines if line["kind"] == "queue"] == [f"sagaflow.{queue}" for queue in QUEUES]
    assert [line["queue"] for line in lines if line["kind"] == "binding"] == [f"sagaflow.{queue}" for queue in QUEUES]
    assert [line["role"] for line in lines if line["kind"] == "permission"] == list(Role)
    commands = next(line for line in lines if line.get("name") == "sagaflow.commands.travel")
    assert commands["arguments"]["x-dead-letter-routing-key"] == "sagaflow.dead.commands.travel"


def test_a_participant_alone_has_no_queues_of_a_coordinator_unless_one_is_named(sagaflow: Sagaflow) -> None:
    lines = sagaflow("broker", "plan", TRAVEL, "--json").lines
    assert {line["name"].rpartition(".")[2] for line in lines if line["kind"] == "queue"} == {"travel"}
    lines = sagaflow("broker", "plan", TRAVEL, "--name", "trips", "--json").lines
    assert {line["name"].rpartition(".")[2] for line in lines if line["kind"] == "queue"} == {"travel", "trips"}


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["tests.cli.conftest:OUTCOMES"], "tests.cli.conftest:OUTCOMES is a dict; name a Saga or a Participant"),
        (["travel"], "'travel' does not name a Saga or a Participant; write MODULE:NAME"),
        ([TRIP, "--namespace", "my shop"], "'my shop' is no namespace"),
        ([TRIP, "--name", "My Shop"], "'My Shop' cannot name a coordinator"),
    ],
)
def test_what_cannot_be_planned_is_told_in_one_line(sagaflow: Sagaflow, arguments: list[str], part: str) -> None:
    said = sagaflow("broker", "plan", *arguments)
    assert (said.code, said.output, said.errors.count("\n")) == (1, "", 1)
    assert part in said.errors


def test_what_is_missing_is_told_made_and_then_as_planned(
    sagaflow: Sagaflow, at: Sequence[str], broker_namespace: str
) -> None:
    said = sagaflow("broker", "check", TRIP, *at)
    assert (said.code, said.errors) == (1, "")
    mend = f"make it: sagaflow broker apply {TRIP} --namespace {broker_namespace} (with the same --broker"
    missing = [line.partition(" is missing; ") for line in said.output.splitlines()]
    assert [what for what, _, _ in missing] == [
        f"exchange {broker_namespace}",
        f"exchange {broker_namespace}.dead",
        *(f"queue {broker_namespace}.{queue}" for queue in QUEUES),
    ]
    assert all(rest.startswith(mend) for _, _, rest in missing)

    said = sagaflow("broker", "apply", TRIP, *at)
    assert said.code == 0
    assert said.output.splitlines()[-2:] == [
        f"made queue {broker_namespace}.requests.trip",
        "2 exchanges and 9 queues are as planned",
    ]
    said = sagaflow("broker", "check", TRIP, *at)
    assert (said.code, said.output) == (0, "good to go: 2 exchanges and 9 queues are as planned\n")
    assert sagaflow("broker", "apply", TRIP, *at).output == "2 exchanges and 9 queues are as planned\n"


def test_what_processes_make_by_themselves_is_as_planned(
    sagaflow: Sagaflow, rabbitmq: Server, at: Sequence[str], broker_namespace: str
) -> None:
    async def work() -> None:
        async with RabbitTransport(rabbitmq.url, namespace=broker_namespace) as transport:
            addresses = BrokerPlan(broker_namespace, ["travel"], ["trip"]).addresses
            await transport.publish([Letter(address, b"{}") for address in addresses])

    asyncio.run(work())
    assert sagaflow("broker", "check", TRIP, *at).code == 0


def test_a_queue_with_other_arguments_is_told_from_a_missing_one_and_replaced(
    sagaflow: Sagaflow, rabbitmq: Server, at: Sequence[str], broker_namespace: str
) -> None:
    sagaflow("broker", "apply", TRIP, *at)
    commands, replies = f"{broker_namespace}.commands.travel", f"{broker_namespace}.replies.trip"
    older = {"x-queue-type": "quorum", "x-delivery-limit": 5}
    asyncio.run(
        at_broker(
            rabbitmq.url,
            ("queue_delete", {"queue_name": commands}),
            ("declare_queue", {"name": commands, "durable": True, "arguments": older}),
            ("queue_delete", {"queue_name": replies}),
        )
    )
    said = sagaflow("broker", "check", TRIP, *at)
    assert said.code == 1
    differs, missing = said.output.splitlines()
    assert differs.startswith(f"queue {commands} differs: inequivalent arg 'x-")
    assert f"sagaflow broker apply --replace {TRIP} --namespace {broker_namespace}" in differs
    assert missing.startswith(f"queue {replies} is missing")
    by_name = {one["name"]: one for one in sagaflow("broker", "check", TRIP, "--json", *at).lines}
    assert [by_name[name]["standing"] for name in (commands, replies)] == ["differs", "missing"]
    assert by_name[f"{broker_namespace}.requests.trip"]["mend"] is None

    said = sagaflow("broker", "apply", TRIP, *at)
    assert (said.code, said.output.splitlines()) == (1, [differs, missing]), "nothing is deleted unasked"
    assert sagaflow("broker", "check", TRIP, *at).output.splitlines() == [differs, missing], "and nothing is made"
    said = sagaflow("broker", "apply", "--replace", TRIP, *at)
    assert said.code == 0
    assert said.output.splitlines()[:2] == [f"made queue {commands} anew", f"made queue {replies}"]
    assert sagaflow("broker", "check", TRIP, *at).code == 0


def test_an_exchange_of_another_type_is_never_deleted(
    sagaflow: Sagaflow, rabbitmq: Server, at: Sequence[str], broker_namespace: str
) -> None:
    asyncio.run(at_broker(rabbitmq.url, ("declare_exchange", {"name": broker_namespace, "type": "fanout"})))
    said = sagaflow("broker", "apply", "--replace", TRIP, *at)
    assert said.code == 1
    assert said.output.startswith(f"exchange {broker_namespace} differs: inequivalent arg 'type'")
    assert "delete it by hand" in said.output.splitlines()[0]
    assert sagaflow("broker", "check", TRIP, *at).output == said.output


def test_users_of_the_plan_do_their_work_on_imported_definitions_and_no_more(
    sagaflow: Sagaflow, rabbitmq: Server, at: Sequence[str], broker_namespace: str, tmp_path: Path
) -> None:
    """All that a broker is told is what `plan` prints, and nobody but who sets up may make anything."""
    definitions = json.loads(sagaflow("broker", "plan", "--definitions", TRIP, *at).output)
    users = {
        one["role"]: User(f"{broker_namespace}-{one['name']}", one["configure"], one["write"], one["read"])
        for one in sagaflow("broker", "plan", "--json", TRIP, *at).lines
        if one["kind"] == "permission"
    }
    import_definitions(rabbitmq, definitions, list(users.values()))
    assert sagaflow("broker", "check", TRIP, *at).output == "good to go: 2 exchanges and 9 queues are as planned\n"

    urls = {role: user.url(rabbitmq.url) for role, user in users.items()}
    asyncio.run(work_with(urls, broker_namespace, tmp_path))

    modest = ["--broker", urls[Role.PARTICIPANT], "--namespace", broker_namespace]
    said = sagaflow("broker", "check", TRIP, *modest)
    unseen = "how 11 of 11 were declared is shown only to a user that may configure them"
    assert (said.code, said.output.splitlines()[0]) == (0, unseen)
    said = sagaflow("broker", "apply", TRIP, *modest)
    assert (said.code, said.output, said.errors.count("\n")) == (1, "", 1)
    assert "ACCESS_REFUSED" in said.errors
    assert "or let a user apply it that may" in said.errors
    setup = ["--broker", urls[Role.SETUP], "--namespace", broker_namespace]
    assert sagaflow("broker", "check", TRIP, *setup).output.startswith("good to go")
    assert sagaflow("broker", "apply", TRIP, "--name", "others", *setup).code == 0


async def work_with(urls: dict[str, str], namespace: str, path: Path) -> None:
    """A saga is started by a client, and done; then each tries what is not theirs."""

    def transport(role: Role) -> RabbitTransport:
        return RabbitTransport(urls[role], namespace=namespace, declare=False)

    async with AsyncExitStack() as stack:
        store = await stack.enter_async_context(SqliteStore(path / "sagas"))
        transactions = await stack.enter_async_context(SqliteTransactions(path / "travel"))
        await stack.enter_async_context(serve(travel, transport=transport(Role.PARTICIPANT), transactions=transactions))
        await stack.enter_async_context(Coordinator([trip], store=store, transport=transport(Role.COORDINATOR)))
        client = await stack.enter_async_context(SagaClient(transport(Role.CLIENT), coordinator="trip"))
        async with asyncio.timeout(30):
            saga_id = await client.start("trip", "Rome", key="Rome")
            assert await client.outcome(saga_id) is SagaStatus.COMPENSATED

    own = {
        Role.PARTICIPANT: [Address(kind, "travel") for kind in (QueueKind.COMMANDS, QueueKind.COMPENSATIONS)],
        Role.COORDINATOR: [Address(kind, "trip") for kind in (QueueKind.REPLIES, QueueKind.REQUESTS)],
        Role.CLIENT: [],
    }
    for role in own:
        async with transport(role) as someone:
            for address in (address for owner, some in own.items() if owner is not role for address in some):
                for attempt in (someone.subscribe, someone.subscribe_dead):
                    with pytest.raises(Unavailable, match="ACCESS_REFUSED"):
                        await attempt(address, print, prefetch=1)
