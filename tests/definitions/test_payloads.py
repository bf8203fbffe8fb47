"""Payloads: values of the user's own types come back as they were, equal ones as equal bytes, within bounds."""

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, make_dataclass
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum, IntEnum, StrEnum
from pathlib import Path
from typing import Annotated, Any, Generic, Literal, NamedTuple, TypedDict, TypeVar
from uuid import UUID

import msgspec
import pydantic
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import sagaflow
from sagaflow import DefinitionError, PayloadError
from sagaflow.definitions.limits import DEPTH_MAX, PAYLOAD_BYTES_MAX, PAYLOAD_DEPTH_MAX
from sagaflow.definitions.payloads import PayloadType, digest, encode, is_too_deep

T = TypeVar("T")


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


class Size(IntEnum):
    SMALL = 1
    LARGE = 2


class Unit(StrEnum):
    PIECE = "piece"
    KILO = "kilo"


@dataclass(frozen=True, order=True)
class Item:
    sku: str
    quantity: int = 1


class Line(msgspec.Struct):
    item: Item
    note: str | None = None


class Address(TypedDict):
    street: str
    number: int


class Point(NamedTuple):
    x: float
    y: float


class Parcel(msgspec.Struct, tag="parcel"):
    weight: int


class Letter(msgspec.Struct, tag="letter"):
    stamps: int


class Renamed(msgspec.Struct, rename="camel"):
    order_id: str


class Page(msgspec.Struct, Generic[T]):
    entries: list[T]


@dataclass
class Everything:
    """One field of each type that people use."""

    text: str
    number: int
    fraction: float
    flag: bool
    nothing: None
    raw: bytes
    at: datetime
    on: date
    clock: time
    duration: timedelta
    price: Decimal
    id: UUID
    colour: Colour
    size: Size
    unit: Unit
    fixed: Literal["a", 1]
    names: list[str]
    pair: tuple[int, str]
    numbers: tuple[int, ...]
    tags: set[str]
    frozen: frozenset[int]
    by_name: dict[str, Item]
    by_number: dict[int, str]
    by_id: dict[UUID, int]
    by_unit: dict[Unit, int]
    item: Item
    line: Line
    address: Address
    point: Point
    sent: Parcel | Letter
    perhaps: Item | None


class Customer(pydantic.BaseModel):
    name: str
    since: date
    id: UUID
    balance: Decimal
    tags: set[str] = pydantic.Field(default_factory=set)
    seen: datetime | None = None


class Strict(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(strict=True, frozen=True)

    at: datetime
    id: UUID
    price: Decimal
    colour: Colour
    pair: tuple[int, str]
    names: frozenset[str]


class Aliased(pydantic.BaseModel):
    order_id: str = pydantic.Field(alias="orderId")


class Computed(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid")

    net: int
    parsed: pydantic.Json[list[int]]

    @pydantic.computed_field  # type: ignore[prop-decorator]  # pydantic's own idiom
    @property
    def gross(self) -> int:
        """The price with taxes."""
        return self.net * 2


class Numbers(pydantic.RootModel[list[int]]):
    """A model that is a list."""


class Order(pydantic.BaseModel):
    customer: Customer
    lines: list[Aliased]


@dataclass
class Checkout:
    """A dataclass with models in it."""

    customer: Customer
    others: list[Customer]
    by_name: dict[str, Aliased]
    perhaps: Customer | None = None


ANNA = Customer(name="Anna", since=date(2020, 2, 29), id=UUID(int=7), balance=Decimal("12.50"), tags={"vip", "eu"})
ALIASED = Aliased.model_validate({"orderId": "o-1"})
STRICT = Strict(
    at=datetime(2026, 1, 2, 3, 4, 5, 6, UTC),
    id=UUID(int=7),
    price=Decimal("1.10"),
    colour=Colour.RED,
    pair=(1, "a"),
    names=frozenset({"a", "b"}),
)


def back(value: Any, declared: Any) -> Any:
    """The value after a journey."""
    return PayloadType(declared).decode(encode(value))


# ------------------------------------------------------------------------------------ there and back


WORDS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
NUMBERS = st.integers(-(10**30), 10**30)
ITEMS = st.builds(Item, WORDS, NUMBERS)
ZONES = st.sampled_from([UTC, timezone(timedelta(hours=5, minutes=30)), timezone(timedelta(hours=-3))])
EVERYTHING = st.builds(
    Everything,
    text=WORDS,
    number=NUMBERS,
    fraction=st.floats(allow_nan=False, allow_infinity=False),
    flag=st.booleans(),
    nothing=st.none(),
    raw=st.binary(max_size=20),
    at=st.datetimes(timezones=ZONES) | st.datetimes(),
    on=st.dates(),
    clock=st.times(),
    duration=st.timedeltas(timedelta(days=-10_000), timedelta(days=10_000)),
    price=st.decimals(allow_nan=False, allow_infinity=False),
    id=st.uuids(),
    colour=st.sampled_from(Colour),
    size=st.sampled_from(Size),
    unit=st.sampled_from(Unit),
    fixed=st.sampled_from(["a", 1]),
    names=st.lists(WORDS, max_size=3),
    pair=st.tuples(NUMBERS, WORDS),
    numbers=st.lists(NUMBERS, max_size=3).map(tuple),
    tags=st.sets(WORDS, max_size=3),
    frozen=st.frozensets(NUMBERS, max_size=3),
    by_name=st.dictionaries(WORDS, ITEMS, max_size=3),
    by_number=st.dictionaries(st.integers(), WORDS, max_size=3),
    by_id=st.dictionaries(st.uuids(), NUMBERS, max_size=3),
    by_unit=st.dictionaries(st.sampled_from(Unit), NUMBERS, max_size=3),
    item=ITEMS,
    line=st.builds(Line, ITEMS, st.none() | WORDS),
    address=st.builds(Address, street=WORDS, number=NUMBERS),
    point=st.builds(Point, st.floats(-1e9, 1e9), st.floats(-1e9, 1e9)),
    sent=st.builds(Parcel, NUMBERS) | st.builds(Letter, NUMBERS),
    perhaps=st.none() | ITEMS,
)


@settings(deadline=None)
@given(EVERYTHING)
def test_a_value_of_every_type_comes_back_as_it_was(value: Everything) -> None:
    assert back(value, Everything) == value


@pytest.mark.parametrize(
    ("value", "declared"),
    [
        (None, type(None)),
        (None, None),
        ("text", str),
        (2**200, int),
        (True, bool),
        (0.1, float),
        (b"\x00\xff", bytes),
        ({"a": [1, None, {"b": 2.5}]}, Any),
        (Item("shoe"), Item),
        (Line(Item("shoe", 2), "soon"), Line),
        ({"street": "High Street", "number": 1}, Address),
        (Point(1.0, 2.0), Point),
        (Renamed("o-1"), Renamed),
        (Page([Item("shoe")]), Page[Item]),
        (Letter(2), Parcel | Letter),
        ([Item("shoe")], list[Item]),
        (("a", 1), tuple[str, int]),
        (5, Annotated[int, msgspec.Meta(ge=0)]),
    ],
)
def test_any_of_them_can_be_the_payload_itself(value: Any, declared: Any) -> None:
    assert back(value, declared) == value


@pytest.mark.parametrize(
    ("value", "declared"),
    [
        (ANNA, Customer),
        (STRICT, Strict),
        (ALIASED, Aliased),
        (Computed(net=5, parsed="[1,2]"), Computed),  # type: ignore[arg-type]  # given as JSON, held as a list
        (Numbers([3, 1, 2]), Numbers),
        (Order(customer=ANNA, lines=[ALIASED]), Order),
        ([ANNA], list[Customer]),
        (None, Customer | None),
        (Checkout(ANNA, [ANNA], {"first": ALIASED}), Checkout),
        (Checkout(ANNA, [], {}, perhaps=ANNA), Checkout),
        (Page([ANNA]), Page[Customer]),
    ],
)
def test_a_pydantic_model_comes_back_as_it_was_at_the_top_and_inside(value: Any, declared: Any) -> None:
    assert back(value, declared) == value


def test_a_pydantic_model_travels_under_its_aliases_and_without_what_it_computes() -> None:
    assert encode(ALIASED) == b'{"orderId":"o-1"}'
    assert encode(Computed(net=5, parsed="[1,2]")) == b'{"net":5,"parsed":"[1,2]"}'  # type: ignore[arg-type]


def test_what_was_encoded_before_is_sent_as_the_value_that_it_is() -> None:
    assert encode({"result": msgspec.Raw(b' {"b" : 1, "a" : [] } ')}) == b'{"result":{"a":[],"b":1}}'


def test_fields_that_a_newer_sender_adds_are_ignored() -> None:
    assert PayloadType(Item).decode(b'{"sku":"shoe","quantity":2,"colour":"red"}') == Item("shoe", 2)


def test_a_payload_can_be_read_without_being_copied_from_its_message() -> None:
    assert PayloadType(Item).decode(msgspec.Raw(b'{"sku":"shoe"}')) == Item("shoe")


# --------------------------------------------------------------------------------------- equal bytes


def rebuilt(values: set[Any]) -> set[Any]:
    """An equal set that lies otherwise in memory, so that its elements come in another order."""
    ballast = {f"ballast {number}" for number in range(500)}
    grown = ballast | values
    grown -= ballast
    return grown


def test_a_rebuilt_set_does_come_in_another_order() -> None:
    values = {f"tag {number}" for number in range(50)}
    assert rebuilt(values) == values
    assert list(rebuilt(values)) != list(values)


@settings(deadline=None)
@given(st.dictionaries(WORDS, WORDS), st.randoms())
def test_dictionaries_that_are_equal_give_equal_bytes(value: dict[str, str], chance: Any) -> None:
    entries = list(value.items())
    chance.shuffle(entries)
    assert encode(dict(entries)) == encode(value)
    assert encode({"nested": [dict(entries)]}) == encode({"nested": [value]})


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({2: "b", 10: "c", 1: "a"}, {1: "a", 2: "b", 10: "c"}),
        ({UUID(int=2): 0, UUID(int=1): 0}, {UUID(int=1): 0, UUID(int=2): 0}),
        ({Colour.RED: 0, Colour.BLUE: 0}, {Colour.BLUE: 0, Colour.RED: 0}),
        ({date(2026, 2, 1): 0, date(2026, 1, 1): 0}, {date(2026, 1, 1): 0, date(2026, 2, 1): 0}),
    ],
)
def test_so_do_dictionaries_with_other_keys_than_strings(one: dict[Any, Any], other: dict[Any, Any]) -> None:
    assert encode(one) == encode(other)


class Tags(pydantic.BaseModel):
    tags: set[str] = pydantic.Field(alias="labels")
    inner: dict[str, frozenset[str]] = {}
    inside: list["Tags"] = []


def holders(values: set[str]) -> list[Any]:
    """Payloads that hold a set in one way or another."""
    model = Tags(labels=values, inside=[Tags(labels=values)], inner={"all": frozenset(values)})
    return [
        values,
        frozenset(values),
        {"nested": [values]},
        Page([values]),
        model,
        Page([model]),
        pydantic.RootModel[set[str]](values),
    ]


@pytest.mark.parametrize("place", range(len(holders(set()))))
def test_sets_that_are_equal_give_equal_bytes_wherever_they_are(place: int) -> None:
    values = {f"tag {number}" for number in range(51)}
    assert encode(holders(values)[place]) == encode(holders(rebuilt(values))[place])


def test_a_set_of_things_that_have_no_order_is_refused() -> None:
    with pytest.raises(PayloadError, match="a set cannot be sent: '<' not supported between instances of 'Colour'"):
        encode(set(Colour))


def test_values_that_differ_have_different_digests() -> None:
    assert digest(encode(Item("shoe"))) == digest(encode(Item("shoe", 1)))
    assert digest(encode(Item("shoe"))) != digest(encode(Item("shoe", 2)))
    assert len(digest(b"")) == 32


# -------------------------------------------------------------------------------------------- bounds


def nested(depth: int) -> Any:
    """A value of this depth."""
    value: Any = []
    for level in range(depth - 1):
        value = {"a": value} if level % 2 else [value]
    return value


def test_a_payload_may_be_as_long_as_the_limit_and_not_longer() -> None:
    assert len(encode("x" * (PAYLOAD_BYTES_MAX - 2))) == PAYLOAD_BYTES_MAX
    with pytest.raises(PayloadError) as refused:
        encode("x" * (PAYLOAD_BYTES_MAX - 1))
    assert str(refused.value) == (
        "a str of 262145 bytes is over the limit of 262144; keep the bulk elsewhere and send where it is"
    )


@pytest.mark.parametrize("wrap", [bytes, msgspec.Raw])
def test_a_payload_over_the_limit_is_not_even_read(wrap: Callable[[bytes], bytes | msgspec.Raw]) -> None:
    longest = b'"' + b"x" * (PAYLOAD_BYTES_MAX - 2) + b'"'
    assert len(PayloadType(str).decode(wrap(longest))) == PAYLOAD_BYTES_MAX - 2
    with pytest.raises(PayloadError) as refused:
        PayloadType(str).decode(wrap(longest + b" "))
    assert str(refused.value) == (
        "a str of 262145 bytes is over the limit of 262144; keep the bulk elsewhere and send where it is"
    )


def test_the_bytes_are_counted_and_not_the_characters() -> None:
    with pytest.raises(PayloadError, match="is over the limit"):
        encode("é" * (PAYLOAD_BYTES_MAX // 2))


def test_a_payload_may_be_as_deep_as_the_limit_and_not_deeper() -> None:
    assert encode(nested(PAYLOAD_DEPTH_MAX))
    with pytest.raises(PayloadError) as refused:
        encode(nested(PAYLOAD_DEPTH_MAX + 1))
    assert str(refused.value) == "a list is nested more than 63 deep; flatten it"


def endless() -> list[Any]:
    """A list that holds itself."""
    value: list[Any] = []
    value.append(value)
    return value


@pytest.mark.parametrize("value", [nested(100_000), endless()], ids=["too deep for Python", "without an end"])
def test_a_value_that_is_far_too_deep_is_refused_like_any_other(value: Any) -> None:
    with pytest.raises(PayloadError, match=r"a (list|dict) cannot be sent"):
        encode(value)


def test_a_payload_that_is_far_too_deep_is_refused_when_it_is_read() -> None:
    with pytest.raises(PayloadError, match="the payload is not a Any"):
        PayloadType(Any).decode(b"[" * 100_000 + b"]" * 100_000)


# --------------------------------------------------------------------------------------- is_too_deep


def depth_of(text: str) -> int:
    """How deep JSON is nested, found out character by character."""
    depth = deepest = 0
    in_string = is_escaped = False
    for character in text:
        if in_string:
            in_string = is_escaped or character != '"'
            is_escaped = character == "\\" and not is_escaped
        elif character == '"':
            in_string = True
        else:
            depth += (character in "[{") - (character in "]}")
            deepest = max(deepest, depth)
    return deepest


TRAPS = st.text(st.sampled_from('[]{}"\\,:\n é\N{GRINNING FACE}'), max_size=12)
JSON = st.recursive(
    TRAPS | st.none() | st.integers(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TRAPS, inner, max_size=4),
    max_leaves=25,
)
LAYOUTS: list[dict[str, Any]] = [{}, {"ensure_ascii": False}, {"indent": 1}, {"separators": (",", ":")}]


@settings(deadline=None, max_examples=200)
@given(JSON, st.sampled_from(LAYOUTS), st.integers(0, 8))
@example(['"', "[[[[[", []], {}, 2)
@example({"\\": ["\\\\", '\\"[']}, {}, 1)
def test_the_depth_of_json_is_judged_as_by_reading_each_character(
    value: Any, layout: dict[str, Any], limit: int
) -> None:
    text = json.dumps(value, **layout)
    assert is_too_deep(text.encode(), limit) == (depth_of(text) > limit)


@pytest.mark.parametrize("depth", [0, 1, DEPTH_MAX - 1, DEPTH_MAX, DEPTH_MAX + 1, 100_000])
@pytest.mark.parametrize("beside", ["", "[]," * 100, '"[[[[",' * 100, '"\\\\","]]]]",' * 100])
def test_the_limit_itself_is_not_too_deep(depth: int, beside: str) -> None:
    text = "[" * depth + beside.removesuffix(",") + "]" * depth
    assert is_too_deep(text.encode()) == (depth + (beside == "[]," * 100) > DEPTH_MAX)


def test_depth_is_judged_in_a_view_of_a_larger_buffer() -> None:
    buffer = memoryview(b"x" + b"[" * 65 + b"]" * 65 + b"x")
    assert is_too_deep(buffer[1:-1])
    assert not is_too_deep(buffer[2:-2])


# ------------------------------------------------------------------------- what cannot be a payload


class Plain:
    """A class that nobody made a dataclass."""


class Mixed(Enum):
    ONE = 1
    TWO = "two"


FOREIGN = "it is none of the types that have a form in JSON; make it a dataclass, a msgspec struct or a pydantic model"


@pytest.mark.parametrize(
    ("declared", "reason"),
    [
        (Plain, FOREIGN),
        (object, FOREIGN),
        (complex, FOREIGN),
        (Callable[[int], int], FOREIGN),
        (3, "Type '3' is not supported"),
        (Item | Checkout, "Type unions may not contain more than one dataclass"),
        (Customer | Aliased, "Type unions may not contain more than one custom type"),
        (Mixed, "Enums must contain either all str or all int values"),
        (make_dataclass("Broken", [("inner", "Nowhere")]), "name 'Nowhere' is not defined"),
        (make_dataclass("Broken", [("inner", "sys.nowhere")]), "name 'sys' is not defined"),
        (make_dataclass("Broken", [("inner", "int.nowhere")]), "type object 'int' has no attribute 'nowhere'"),
        (make_dataclass("Broken", [("inner", "list[")]), "Forward reference must be an expression"),
    ],
)
def test_a_type_that_has_no_form_in_json_is_refused_when_it_is_declared(declared: Any, reason: str) -> None:
    with pytest.raises(DefinitionError) as refused:
        PayloadType(declared)
    assert str(refused.value).startswith(f"{declared!r} cannot be used as a payload type: {reason}")


def test_a_type_inside_another_that_has_no_form_in_json_is_refused_when_it_is_used() -> None:
    with pytest.raises(PayloadError, match="the payload is not a list: JSON cannot be decoded as Plain"):
        PayloadType(list[Plain]).decode(b"[{}]")


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (Plain(), "a Plain cannot be sent: values of Plain cannot be encoded as JSON"),
        ([1j], "a list cannot be sent: values of complex cannot be encoded as JSON"),
        (range(3), "a range cannot be sent: values of range cannot be encoded as JSON"),
        (Item, "a type cannot be sent: values of type cannot be encoded as JSON"),
        (Page([Plain()]), "a Page cannot be sent: values of Plain cannot be encoded as JSON"),
        ({Item("shoe"): 1}, "a dict cannot be sent: Only dicts with str-like or number-like keys are supported"),
    ],
)
def test_a_value_that_has_no_form_in_json_cannot_be_sent(value: Any, message: str) -> None:
    with pytest.raises(PayloadError) as refused:
        encode(value)
    assert str(refused.value) == message


@pytest.mark.parametrize("value", ["\ud800", {"\udfff": 1}, Item("\ud83d"), ANNA.model_copy(update={"name": "\ud800"})])
def test_half_a_character_cannot_be_sent(value: Any) -> None:
    with pytest.raises(PayloadError, match="surrogates not allowed"):
        encode(value)


@pytest.mark.parametrize(
    ("declared", "encoded"),
    [
        (int, b""),
        (int, b"1 2"),
        (int, b'"1"'),
        (int, b"1" * 5_000),
        (float, b"NaN"),
        (float, b"1e400"),
        (str, b'"\xff"'),
        (str, b'"\\ud800"'),
        (datetime, b'"yesterday"'),
        (timedelta, b'"P99999999999999D"'),
        (Decimal, b'"1e99999999999999999999"'),
        (UUID, b'"1"'),
        (bytes, b'"%"'),
        (Colour, b'"green"'),
        (dict[int, str], b'{"a":"b"}'),
        (Item, b"{}"),
        (Item, b"[]"),
        (Address, b'{"street":"High Street"}'),
        (Parcel | Letter, b'{"type":"balloon"}'),
        (Annotated[int, msgspec.Meta(ge=0)], b"-1"),
        (Customer, b"{"),
        (Customer, b"null"),
        (list[Strict], b'[{"at":"yesterday"}]'),
    ],
)
def test_what_is_not_of_the_declared_type_is_refused(declared: Any, encoded: bytes) -> None:
    with pytest.raises(PayloadError, match=r"^the payload is not a [\w .|]+: .+$"):
        PayloadType(declared).decode(encoded)


def test_an_integer_of_4000_digits_is_an_integer() -> None:
    assert back(10**3_999, int) == 10**3_999


@dataclass
class Even:
    number: int

    def __post_init__(self) -> None:
        if self.number % 2:
            raise ValueError("an even number, please")


def test_what_a_class_itself_does_not_accept_is_refused() -> None:
    with pytest.raises(PayloadError, match="the payload is not a Even: an even number, please"):
        PayloadType(Even).decode(b'{"number":3}')


# ---------------------------------------------------------------------------------------- pydantic


@pytest.mark.parametrize(
    ("declared", "encoded", "message"),
    [
        (Aliased, b'{"orderId":1}', "the payload is not a Aliased: Input should be a valid string - at `$.orderId`"),
        (Aliased, b"[]", "the payload is not a Aliased: Input should be an object - at `$`"),
        (
            Order,
            b'{"customer":{"name":1,"since":"2020-01-01","balance":1},"lines":[{}]}',
            "the payload is not a Order: Input should be a valid string - at `$.customer.name`; "
            "Field required - at `$.customer.id`; Field required - at `$.lines.0.orderId`",
        ),
        (list[Aliased], b"[{}]", "the payload is not a list: Field required - at `$.orderId` - at `$[0]`"),
    ],
)
def test_what_a_model_does_not_accept_is_told_in_one_line_without_the_values(
    declared: Any, encoded: bytes, message: str
) -> None:
    with pytest.raises(PayloadError) as refused:
        PayloadType(declared).decode(encoded)
    assert str(refused.value) == message


def test_the_error_of_pydantic_is_kept_as_the_cause() -> None:
    with pytest.raises(PayloadError) as refused:
        PayloadType(Aliased).decode(b"{}")
    causes = []
    cause: BaseException | None = refused.value
    while cause is not None:
        causes.append(type(cause))
        cause = cause.__cause__
    assert pydantic.ValidationError in causes


class Misshapen(pydantic.BaseModel):
    """A model whose JSON has another shape than its fields."""

    names: set[str] = pydantic.Field(default_factory=set)
    options: dict[str, int] = pydantic.Field(default_factory=dict)
    pairs: list[tuple[int, int]] = pydantic.Field(default_factory=list)

    @pydantic.field_serializer("names", when_used="json")
    def _as_text(self, names: set[str]) -> str:
        return ",".join(sorted(names))

    @pydantic.field_serializer("options", when_used="json")
    def _with_their_number(self, options: dict[str, int]) -> dict[str, int]:
        return {**options, "number": len(options)}

    @pydantic.field_serializer("pairs", when_used="json")
    def _flat(self, pairs: list[tuple[int, int]]) -> list[int]:
        return [number for pair in pairs for number in pair]


def test_what_a_model_makes_of_itself_is_left_alone() -> None:
    value = Misshapen(names={"b", "a"}, options={"x": 1}, pairs=[(1, 2), (3, 4)])
    assert json.loads(encode(value)) == {"names": "a,b", "options": {"x": 1, "number": 1}, "pairs": [1, 2, 3, 4]}


# ------------------------------------------------------------------------------ optional libraries


OPTIONAL = ["pydantic", "starlette", "cyclopts", "rich"]
ASK = f"import sagaflow; print(sorted(set({OPTIONAL}) & {{name for name in sys.modules if sys.modules[name]}}))"


@pytest.mark.parametrize("blocked", [[], OPTIONAL], ids=["with them", "without them"])
def test_sagaflow_imports_no_optional_library(blocked: list[str]) -> None:
    program = f"import sys; sys.modules.update(dict.fromkeys({blocked})); {ASK}"
    ran = subprocess.run(
        [sys.executable, "-c", program],
        cwd=Path(sagaflow.__file__).parents[1],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "[]\n", "")
