"""What the type checker must see in a participant. Checked by mypy, never run.

A line with an ignore is wrong code: mypy reports the ignore if it stops seeing the mistake.
"""

from dataclasses import dataclass
from typing import assert_type

from sagaflow import ExternalStep, Participant, ParticipantStep, Retry, StepContext, serve
from sagaflow.definitions.ports import Transactions, Transport


class Connection:
    async def execute(self, sql: str) -> None: ...


class OtherConnection: ...


@dataclass
class Reserve:
    sku: str


@dataclass
class Reserved:
    number: int


inventory: Participant[Connection] = Participant("inventory")


@inventory.step("reserve")
async def reserve(command: Reserve, ctx: StepContext[Connection]) -> Reserved:
    await ctx.tx.execute("select 1")
    ctx.tx.wrong()  # type: ignore[attr-defined]
    return Reserved(1)


@reserve.compensation
async def release(command: Reserve, reserved: Reserved, ctx: StepContext[Connection]) -> None: ...


assert_type(reserve, ParticipantStep[Connection, Reserve, Reserved, [Reserve, StepContext[Connection]]])


@inventory.step("count")
async def count(command: Reserve) -> int:
    return 1


@count.compensation
async def uncount(command: Reserve, counted: int) -> None: ...


@reserve.compensation
async def without_result(command: Reserve, ctx: StepContext[Connection]) -> None: ...


@reserve.compensation
async def with_command_alone(command: Reserve) -> None: ...


@reserve.compensation(retry=Retry())
async def with_a_policy(command: Reserve, reserved: Reserved, ctx: StepContext[Connection]) -> None: ...


@reserve.compensation(retry=Retry())  # type: ignore[arg-type]
async def of_another_result_with_a_policy(command: Reserve, counted: int) -> None: ...


@reserve.compensation  # type: ignore[arg-type]
async def of_another_result(command: Reserve, counted: int, ctx: StepContext[Connection]) -> None: ...


@reserve.compensation  # type: ignore[arg-type]
async def of_another_command(command: int, reserved: Reserved) -> None: ...


@reserve.compensation  # type: ignore[arg-type]
async def returning_something(command: Reserve, reserved: Reserved) -> int:
    return 1


@reserve.compensation  # type: ignore[arg-type]
def not_async(command: Reserve, reserved: Reserved) -> None: ...


@inventory.step("stray")  # type: ignore[arg-type]
async def of_another_database(command: Reserve, ctx: StepContext[OtherConnection]) -> None: ...


@inventory.external_step("charge")
async def charge(command: Reserve) -> Reserved:
    return Reserved(1)


@charge.compensation
async def refund(command: Reserve, charged: Reserved | None) -> None: ...


@charge.compensation(retry=Retry())
async def refund_with_a_policy(command: Reserve, charged: Reserved | None) -> None: ...


@charge.compensation(retry=Retry())  # type: ignore[arg-type]
async def forgetting_the_unknown_with_a_policy(command: Reserve, charged: Reserved) -> None: ...


@charge.compensation  # type: ignore[arg-type]
async def forgetting_the_unknown(command: Reserve, charged: Reserved) -> None: ...


assert_type(charge, ExternalStep[Connection, Reserve, Reserved, [Reserve]])


async def calling() -> None:
    assert_type(await count(Reserve("shoe")), int)
    await count("shoe")  # type: ignore[arg-type]


def serving(transport: Transport, right: Transactions[Connection], wrong: Transactions[OtherConnection]) -> None:
    serve(inventory, transport=transport, transactions=right)
    serve(inventory, transport=transport, transactions=wrong)  # type: ignore[misc]
