"""What participants announce, and the gaps that are seen by it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import msgspec
import pydantic
import pytest

from sagaflow import DefinitionError, Participant, Replies, Saga
from sagaflow.core.plan import Plan
from sagaflow.definitions.announcements import announcement_of, gaps, why_not_undone
from sagaflow.definitions.limits import ANNOUNCED_REASON_LENGTH_MAX, HOST_LENGTH_MAX, MESSAGE_BYTES_MAX
from sagaflow.definitions.messages import Announcement, Reader, Unreadable, join, write


@dataclass
class Reserve:
    sku: str


class Address(pydantic.BaseModel):
    city: str


class Parcel(pydantic.BaseModel):
    to: Address


def inventory(*, undo: bool = True, reason: str | None = None, name: str = "reserve_stock") -> Participant[Any]:
    participant: Participant[Any] = Participant("inventory")

    @participant.step(name, no_compensation=reason)
    async def reserve_stock(command: Reserve) -> int:
        return 1

    if undo:

        @reserve_stock.compensation
        async def release_stock(command: Reserve) -> None: ...

    return participant


def said(participant: Participant[Any]) -> Announcement:
    return announcement_of(participant, "host-1:17")


def checkout_saga() -> Saga[str]:
    checkout = Saga("checkout", str)

    @checkout.step("inventory.reserve_stock", reply=int)
    def reserve_stock(order: str, replies: Replies) -> Reserve:
        return Reserve(order)

    @checkout.pivot("payments.capture")
    def capture(order: str, replies: Replies) -> str:
        return order

    return checkout


def plan() -> Plan:
    return checkout_saga().plan


def payments(name: str = "capture") -> Participant[Any]:
    participant: Participant[Any] = Participant("payments")

    @participant.external_step(name)
    async def capture(command: str) -> None: ...

    return participant


# -------------------------------------------------------------------------------------- what is announced


def test_an_announcement_says_what_is_served_and_how_it_is_undone() -> None:
    announcement = said(inventory())
    assert (announcement.participant, announcement.host) == ("inventory", "host-1:17")
    (step,) = announcement.steps
    assert (step.name, step.external, step.has_compensation, step.no_compensation) == (
        "reserve_stock",
        False,
        True,
        None,
    )
    assert step.result_schema == {"type": "integer"}
    assert step.command_schema is not None
    assert step.command_schema["$defs"]["Reserve"]["properties"] == {"sku": {"type": "string"}}
    assert said(payments()).steps[0].external


def test_a_reason_is_announced() -> None:
    (step,) = said(inventory(undo=False, reason="it only reads")).steps
    assert (step.has_compensation, step.no_compensation, step.can_be_undone) == (False, "it only reads", True)


def test_the_schema_of_a_pydantic_model_has_all_that_it_refers_to() -> None:
    participant: Participant[Any] = Participant("post")

    @participant.step("send", no_compensation="it is gone")
    async def send(parcels: list[Parcel]) -> Parcel:
        return parcels[0]

    (step,) = said(participant).steps
    assert step.command_schema is not None
    assert step.command_schema["items"]["properties"]["to"] == {"$ref": "#/$defs/Address"}
    assert step.command_schema["$defs"]["Address"]["required"] == ["city"]
    assert step.result_schema is not None
    assert step.result_schema["properties"]["to"] == {"$ref": "#/$defs/Address"}


class Strange:
    """Of a type that is no pydantic model, but can be read like one."""

    @classmethod
    def model_validate_json(cls, text: bytes) -> Strange:
        return cls()


def test_a_type_without_a_schema_is_announced_without_one() -> None:
    participant: Participant[Any] = Participant("post")

    @participant.step("send", no_compensation="it is gone")
    async def send(parcel: Strange) -> None: ...

    (step,) = said(participant).steps
    assert (step.command_schema, step.result_schema) == (None, {"type": "null"})


def test_the_hash_is_that_of_what_is_served_and_of_nothing_else() -> None:
    one = said(inventory())
    assert one.hash == announcement_of(inventory(), "elsewhere").hash
    others = [said(inventory(undo=False)), said(inventory(undo=False, reason="why")), said(inventory(name="reserve"))]
    assert len({one.hash, *(other.hash for other in others)}) == 4


def test_the_order_of_steps_does_not_change_the_hash() -> None:
    def of(*names: str) -> str:
        participant: Participant[Any] = Participant("post")
        for name in names:

            @participant.step(name)
            async def step(command: str) -> None: ...

        return said(participant).hash

    assert of("a", "b") == of("b", "a") != of("a")


def test_an_announcement_can_be_read_and_a_host_is_made_fit() -> None:
    announcement = announcement_of(inventory(), "hôte\n" + "x" * 500)
    assert announcement.host == ("h?te?" + "x" * 500)[:HOST_LENGTH_MAX]
    assert Reader[Announcement](Announcement).read(join([write(announcement)])) == [announcement]


@pytest.mark.parametrize("change", [{"host": "a\u0000"}, {"host": ""}, {"hash": "A" * 64}, {"hash": "a" * 65}])
def test_a_host_or_a_hash_that_cannot_be_kept_is_unreadable(change: dict[str, str]) -> None:
    body = json.dumps([json.loads(write(said(inventory()))) | change]).encode()
    (read,) = Reader[Announcement](Announcement).read(body)
    assert isinstance(read, Unreadable)


def wide(steps: int, *, fields: int = 0, reason: str | None = None) -> Participant[Any]:
    command = msgspec.defstruct("Wide", [(f"field_{place}", int) for place in range(fields)])
    participant: Participant[Any] = Participant("wide")
    for place in range(steps):

        async def step(command: Any) -> None: ...

        step.__annotations__["command"] = command
        participant.step(f"step_{place}", no_compensation=reason)(step)
    return participant


def test_schemas_are_left_out_of_what_would_be_too_large_and_the_hash_is_that_of_the_whole() -> None:
    reason = "because " * 20
    announcement = said(wide(20, fields=1_000, reason=reason))
    assert len(write(announcement)) <= MESSAGE_BYTES_MAX
    assert {step.command_schema for step in announcement.steps} == {None}
    assert {step.no_compensation for step in announcement.steps} == {reason}
    assert announcement.hash != said(wide(20, fields=1_001, reason=reason)).hash


def test_reasons_are_shortened_where_that_is_not_enough() -> None:
    announcement = said(wide(500, reason="because " * 200))
    assert len(write(announcement)) <= MESSAGE_BYTES_MAX
    assert {len(step.no_compensation or "") for step in announcement.steps} == {ANNOUNCED_REASON_LENGTH_MAX}


def test_too_many_steps_are_refused() -> None:
    with pytest.raises(DefinitionError, match="participant wide: 5000 steps are too many; divide it into several"):
        said(wide(5_000))


# -------------------------------------------------------------------------------------------------- gaps


def test_a_saga_whose_participants_serve_it_has_no_gaps() -> None:
    assert gaps(plan(), [said(inventory()), said(payments())]) == []
    assert gaps(plan(), [said(inventory(undo=False, reason="why")), said(payments())]) == []


def test_who_has_announced_nothing_is_judged_only_if_it_was_asked() -> None:
    assert gaps(plan(), []) == []
    assert gaps(plan(), [said(payments())], silent={"inventory", "stranger"}) == [
        "saga checkout, step inventory.reserve_stock: nobody answers for inventory; start a process that serves it"
    ]


def test_a_step_without_an_undo_is_a_gap() -> None:
    assert gaps(plan(), [said(inventory(undo=False))]) == [
        "saga checkout, step inventory.reserve_stock: inventory serves it without a compensation and gives no reason; "
        "add one with @reserve_stock.compensation, or say no_compensation='why'"
    ]


def test_a_step_that_is_not_served_is_a_gap_even_behind_what_is_undone() -> None:
    assert gaps(plan(), [said(inventory()), said(payments("refund"))]) == [
        'saga checkout, step payments.capture: payments does not serve capture; add it with @payments.step("capture"), '
        "or mend the address of the step"
    ]


def test_of_two_versions_that_are_there_one_is_enough() -> None:
    both = [said(inventory(undo=False)), said(inventory()), said(inventory(name="other"))]
    assert gaps(plan(), both) == []
    assert why_not_undone(plan().steps[0], both) is None


def test_why_a_step_is_not_undone() -> None:
    step = plan().steps[0]
    assert why_not_undone(step, []) == "nobody answers for inventory"
    assert why_not_undone(step, [said(inventory(name="other"))]) == "inventory does not serve reserve_stock"
    without = "inventory serves reserve_stock without a compensation and gives no reason"
    assert why_not_undone(step, [said(inventory(undo=False))]) == without


def test_a_saga_is_checked_against_participants_without_any_server() -> None:
    checkout = checkout_saga()
    checkout.check([inventory(), payments()])
    checkout.check([payments()])
    with pytest.raises(DefinitionError) as error:
        checkout.check([inventory(undo=False), payments("refund")])
    assert str(error.value).splitlines() == [
        *gaps(checkout.plan, [said(inventory(undo=False))]),
        *gaps(checkout.plan, [said(payments("refund"))]),
    ]
