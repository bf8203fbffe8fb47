"""A saga whose payloads are full of secrets, in each of the ways in which a type may hold one."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Annotated, Any, Literal, NotRequired, TypedDict

import msgspec
import pydantic

from sagaflow import Replies, Saga, Sensitive

Secret = Annotated[str, Sensitive]


@dataclass
class Contact:
    """A dataclass, in a list."""

    name: str
    phone: Secret


class Home(TypedDict):
    """A dict with names."""

    street: Secret
    floor: NotRequired[Secret]


class Token(pydantic.BaseModel):
    """A model of pydantic, with a name of its own for the wire."""

    value: Secret = pydantic.Field(alias="theValue")


class Card(msgspec.Struct, rename="camel"):
    """A struct, in a struct."""

    card_number: Secret


class Checkout(msgspec.Struct):
    """The input of the saga, and the command of its steps. `how` says what is to happen."""

    how: str
    card: Card
    contacts: list[Contact]
    codes: dict[str, Secret]
    home: Home
    token: Token
    born: Annotated[date, Sensitive]
    paid_with: Card | list[Secret]
    pin: Secret | None = None
    kind: Annotated[Literal["black", "white"], Sensitive] = "black"


class Receipt(msgspec.Struct):
    """What the bank returns."""

    number: Secret
    kind: Literal["paper"] = "paper"


def checkout_that(how: str) -> Checkout:
    """An input with a secret at each place."""
    return Checkout(
        how=how,
        card=Card("canary-in-struct"),
        contacts=[Contact("Ann", "canary-in-dataclass")],
        codes={"first": "canary-in-dict"},
        home={"street": "canary-in-typed-dict\nand its 'second canary line'", "floor": "canary-not-required"},
        token=Token(theValue="canary-in-model"),
        born=date(1911, 11, 11),
        paid_with=["canary-in-union"],
        pin="canary-in-optional",
    )


shop = Saga("shop", Checkout)


@shop.step("bank.hold", reply=Receipt, compensation_attempts=1)
def hold(checkout: Checkout, replies: Replies) -> Checkout:
    """Is done, and undone if that can be."""
    return checkout


@shop.step("bank.take", reply=Receipt, attempts=2)
def take(checkout: Checkout, replies: Replies) -> Checkout:
    """Repeats all that it knows if it cannot make a command."""
    if checkout.how == "no command":
        raise ValueError(f"{checkout} after {replies[hold]}")
    return checkout


def everything(checkout: Checkout, *others: Any) -> str:
    """All that a careless author may put into the text of an exception."""
    return f"{checkout!r} {msgspec.json.encode(msgspec.to_builtins(checkout, enc_hook=_dumped))!r} {others}"


def _dumped(value: Any) -> Any:
    return value.model_dump()
