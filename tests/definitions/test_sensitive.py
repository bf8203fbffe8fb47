"""What is marked as sensitive is found wherever it stands in a payload, and is in no text of an error."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import msgspec
import pydantic
import pytest

from sagaflow import Sensitive
from sagaflow.definitions.messages import ErrorInfo
from sagaflow.definitions.payloads import PayloadType, encode
from sagaflow.definitions.sensitive import without

Secret = Annotated[str, Sensitive]


class Card(msgspec.Struct, rename="camel"):
    card_number: Secret
    holder: str = "open"


class Row(msgspec.Struct, array_like=True, tag=True):
    holder: str
    number: Secret


@dataclass
class Person:
    name: Secret
    age: Annotated[int, Sensitive]
    cards: list[Card]
    children: list[Person]


class Model(pydantic.BaseModel):
    open: str
    token: Secret = pydantic.Field(alias="theToken")
    other: Secret | None = None


SENSITIVE: list[tuple[Any, Any, set[str]]] = [
    (Secret, "hush", {"hush"}),
    (Card, Card("hush"), {"hush"}),
    (Annotated[Card, Sensitive], Card("hush", "Ann"), {"hush", "Ann"}),
    (dict[str, Card | None], {"a": Card("hush"), "b": None}, {"hush"}),
    (tuple[str, Secret], ("open", "hush"), {"hush"}),
    (tuple[Secret, ...], ("hush", "psst"), {"hush", "psst"}),
    (Row, Row("open", "hush"), {"hush"}),
    (Card | list[Secret], ["hush"], {"hush"}),
    (
        Person,
        Person("Ann", 41, [Card("hush")], [Person("Bob", 7, [Card("psst")], [])]),
        {"Ann", "41", "hush", "Bob", "7", "psst", "open"},
    ),
    (Model, Model(open="open", theToken="hush", other="psst"), {"hush", "psst"}),
    (dict[str, str], {"a": "open"}, set()),
]


@pytest.mark.parametrize(("declared", "value", "secrets"), SENSITIVE, ids=lambda what: str(what)[:40])
def test_what_is_marked_is_found_wherever_it_stands(declared: Any, value: Any, secrets: set[str]) -> None:
    assert PayloadType(declared).secrets(encode(value)) == secrets


def test_a_payload_that_is_not_quite_of_its_type_keeps_its_secrets() -> None:
    assert PayloadType(Card).secrets(b'{"cardNumber": 4111, "holder": []}') == {"4111"}
    assert PayloadType(Card).secrets(b"[1]") == set()


@pytest.mark.parametrize("quoted", [str, repr, lambda text: encode(text).decode(), lambda text: f"x{text}x"])
def test_a_secret_is_hidden_however_it_is_quoted(quoted: Any) -> None:
    secret = "pass\"word's\n\\ é"
    assert "word" not in without(f"it was {quoted(secret)}", [secret])


def test_short_secrets_are_hidden_only_where_they_stand_alone() -> None:
    assert without("line 17: pin 7 is wrong, and so is ''", ["7", ""]) == "line 17: pin *** is wrong, and so is ''"


def test_a_secret_is_hidden_before_an_error_is_cut() -> None:
    try:
        raise ValueError("x" * 1_995 + "opensesame")
    except ValueError as error:
        told = ErrorInfo.of(error, ["opensesame"])
    assert "ope" not in told.message
    assert "opensesame" not in told.traceback
