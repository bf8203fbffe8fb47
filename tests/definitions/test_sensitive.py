"""What is marked as sensitive is found wherever it stands in a payload, and is in no text of an error."""

from __future__ import annotations

import traceback
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Annotated, Any, Literal, NotRequired, TypedDict

import msgspec
import pydantic
import pytest

from sagaflow import Sensitive
from sagaflow.definitions.limits import ERROR_MESSAGE_LENGTH_MAX
from sagaflow.definitions.messages import ErrorInfo
from sagaflow.definitions.payloads import PayloadType, encode
from sagaflow.definitions.sensitive import sensitive_paths, without
from sagaflow.errors import PayloadError

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


class Cash(pydantic.BaseModel):
    cents: int


class Invoice(pydantic.BaseModel):
    paid_by: Model | Cash
    others: list[Model | Cash] = []
    sent_to: dict[str, Secret] = {}


class Notes(pydantic.RootModel[list[Secret]]):
    pass


class Renamed(pydantic.BaseModel):
    """Read under one name, written under another, and read out of the depth."""

    token: Secret = pydantic.Field(validation_alias="tokenIn", serialization_alias="tokenOut")
    other: Secret = pydantic.Field(default="", validation_alias=pydantic.AliasPath("deep", 0))
    third: Secret = pydantic.Field(default="", validation_alias=pydantic.AliasChoices("one", "another"))


class Contact(TypedDict):
    name: Secret
    nick: NotRequired[Secret]


class Coded(msgspec.Struct):
    born: Annotated[date, Sensitive]
    at: Annotated[datetime, Sensitive]
    key: Annotated[bytes, Sensitive]
    kind: Annotated[Literal["black", "white"], Sensitive]


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
    (Contact, {"name": "Ann", "nick": "An"}, {"Ann", "An"}),
    (
        Invoice,
        Invoice(
            paid_by=Model(open="open", theToken="hush"),
            others=[Cash(cents=1), Model(open="open", theToken="psst", other="shh")],
            sent_to={"home": "Street 1"},
        ),
        {"hush", "psst", "shh", "Street 1", "open", "1"},  # a list of cases is sensitive as a whole
    ),
    (Notes, Notes(["hush", "psst"]), {"hush", "psst"}),
]


@pytest.mark.parametrize(("declared", "value", "secrets"), SENSITIVE, ids=lambda what: str(what)[:40])
def test_what_is_marked_is_found_wherever_it_stands(declared: Any, value: Any, secrets: set[str]) -> None:
    assert PayloadType(declared).secrets(encode(value)) == secrets


@pytest.mark.parametrize("written", ["tokenIn", "tokenOut", "token"])
def test_a_model_may_have_other_names_where_it_comes_from(written: str) -> None:
    assert PayloadType(Renamed).secrets(encode({written: "hush", "deep": ["psst"], "another": "shh"})) == {
        "hush",
        "psst",
        "shh",
    }


@pytest.mark.parametrize("told", [str, repr])
def test_what_python_writes_otherwise_than_json_is_hidden_in_both_ways(told: Any) -> None:
    coded = Coded(date(1970, 12, 24), datetime(2026, 1, 2, 3, 4, tzinfo=UTC), b"\x00opensesame", "black")
    secrets = PayloadType(Coded).secrets(encode(coded))
    text = " ".join([told(coded.born), told(coded.at), told(coded.key), coded.kind, encode(coded).decode()])
    hidden = without(text, secrets)
    for part in ("1970", "2026", "sesame", "AG9wZW5z", "black"):
        assert part in text
        assert part not in hidden


def test_a_payload_that_does_not_fit_is_not_quoted() -> None:
    with pytest.raises(PayloadError, match=r"Invalid enum value '\*\*\*'") as caught:
        PayloadType(Coded).decode(
            b'{"born": "1970-12-24", "at": "2026-01-02T03:04:00Z", "key": "AA==", "kind": "hushhush"}'
        )
    assert "hushhush" not in "".join(traceback.format_exception(caught.value))


def test_what_cannot_be_looked_into_is_sensitive_as_a_whole() -> None:
    assert sensitive_paths(Invoice) == {
        ("paid_by", "theToken"),
        ("paid_by", "token"),
        ("paid_by", "other"),
        ("others",),
        ("sent_to", "*"),
    }


def test_a_secret_of_many_lines_is_hidden_line_by_line() -> None:
    assert without("  | first line\n  | second line", ["first line\nsecond line"]) == "  | ***\n  | ***"


def test_a_payload_that_is_not_quite_of_its_type_keeps_its_secrets() -> None:
    assert PayloadType(Card).secrets(b'{"cardNumber": 4111, "holder": []}') == {"4111"}
    assert PayloadType(Card).secrets(b"[1]") == set()


def as_json(text: str) -> str:
    return encode(text).decode()


def with_both(text: str) -> str:
    """Python decides by what is around it what it escapes."""
    return repr(f"{text} 'and' \"so on\"")


def as_bytes(text: str) -> str:
    return repr(text.encode())


@pytest.mark.parametrize("secret", ["pass\"word's\n\\ é", "it's my word", 'the "word"', "word\nword", "word"])
@pytest.mark.parametrize("inner", [str, repr, as_json, with_both, as_bytes])
@pytest.mark.parametrize("outer", [str, repr, as_json, with_both, as_bytes])
def test_a_secret_is_hidden_however_it_is_quoted(secret: str, inner: Any, outer: Any) -> None:
    assert "word" not in without(f"it was {outer(f'<{inner(secret)}>')}", [secret])
    assert "word" not in without(repr(outer(inner(secret))), [secret])


def test_short_secrets_are_hidden_only_where_they_stand_alone() -> None:
    assert without("line 17: pin 7 is wrong, and so is ''", ["7", ""]) == "line 17: pin *** is wrong, and so is ''"


def test_a_secret_is_hidden_before_an_error_is_cut() -> None:
    try:
        raise ValueError("x" * (ERROR_MESSAGE_LENGTH_MAX - 5) + "opensesame")
    except ValueError as error:
        told = ErrorInfo.of(error, ["opensesame"])
    assert "ope" not in told.message
    assert "opensesame" not in told.traceback
