"""What the type checker must see in a saga. Checked by mypy, never run.

A line with an ignore is wrong code: mypy reports the ignore if it stops seeing the mistake.
"""

from dataclasses import dataclass
from typing import TypedDict, assert_type

import msgspec

from sagaflow import Coordinator, Replies, Run, Saga, SagaStep


@dataclass
class Order:
    order_id: str


class Reserve(msgspec.Struct):
    sku: str


class Reserved(TypedDict):
    reservation: int


class Trip(msgspec.Struct):
    city: str


checkout = Saga("checkout", Order)
other = Saga("trip", Trip)


@checkout.step("inventory.reserve", reply=Reserved)
def reserve(order: Order, replies: Replies) -> Reserve:
    return Reserve(order.order_id)


@checkout.pivot("payments.capture", after=[reserve])
def capture(order: Order, replies: Replies) -> int:
    assert_type(replies[reserve], Reserved)
    replies[reserve]["wrong"]  # type: ignore[typeddict-item]
    return replies[reserve]["reservation"]


assert_type(reserve, SagaStep[Order, Reserve, Reserved])
assert_type(capture, SagaStep[Order, int, None])
assert_type(reserve(Order("o-1"), Replies()), Reserve)

reserve(Trip("Rome"), Replies())  # type: ignore[arg-type]


@checkout.step("orders.approve")  # type: ignore[arg-type]
def of_another_input(trip: Trip, replies: Replies) -> int:
    return 1


@checkout.step("orders.approve")  # type: ignore[arg-type]
def without_replies(order: Order) -> int:
    return 1


@checkout.step("orders.approve", after="reserve")  # type: ignore[arg-type]
def after_a_name(order: Order, replies: Replies) -> int:
    return 1


@checkout.step("orders.approve", reply=3)  # type: ignore[call-overload, untyped-decorator]
def replying_a_number(order: Order, replies: Replies) -> int:
    return 1


async def starting(sagas: Coordinator) -> None:
    run = await sagas.start(checkout, Order("o-1"), key="o-1")
    assert_type(run, Run[Order])
    outcome = await run.outcome(timeout=1)
    assert_type(outcome.replies[reserve], Reserved)
    await sagas.start(checkout, Trip("Rome"), key="o-1")  # type: ignore[misc]
    await sagas.start(checkout, Order("o-1"))  # type: ignore[call-arg]
    await sagas.start("checkout", Order("o-1"), key="o-1")  # type: ignore[arg-type]
