"""The wire: what is written can be read, and whatever else arrives is told apart, with a reason and no exception."""

import json
import random
import traceback
from collections.abc import Callable
from typing import Any, get_args
from uuid import UUID

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sagaflow import Operation, SagaStatus
from sagaflow.definitions.limits import (
    BATCH_BYTES_MAX,
    BATCH_COUNT_MAX,
    BODY_MESSAGES_MAX,
    DEPTH_MAX,
    ERROR_MESSAGE_LENGTH_MAX,
    ERROR_TRACEBACK_LENGTH_MAX,
    MESSAGE_BYTES_MAX,
    PAYLOAD_BYTES_MAX,
    PAYLOAD_DEPTH_MAX,
    REASON_LENGTH_MAX,
)
from sagaflow.definitions.messages import (
    AnnouncedStep,
    Announcement,
    Answer,
    AnswerError,
    CancelRequest,
    Command,
    ErrorInfo,
    Inquiry,
    Message,
    Notice,
    OutcomeRequest,
    Reader,
    Reply,
    ReplyOutcome,
    Request,
    StartRequest,
    Unreadable,
    join,
    printable,
    write,
)
from sagaflow.definitions.payloads import encode, is_too_deep

ID = UUID("0199d3c1-7a2e-7c10-9d5c-3f1b2a4c5d6e")
COMMAND = Command(
    saga_id=ID,
    saga="checkout",
    step="inventory.reserve_stock",
    handler="reserve_stock",
    operation=Operation.ACTION,
    round=1,
    attempt=1,
    token="b1946ac92492d2347c6235b4d2611184",
    reply_to="checkout",
    budget_seconds=60.0,
    traceparent="00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    payload=msgspec.Raw(b'{"sku":"shoe","quantity":1}'),
)
REPLY = Reply(
    saga_id=ID,
    step="inventory.reserve_stock",
    operation=Operation.ACTION,
    round=1,
    attempt=1,
    token="b1946ac92492d2347c6235b4d2611184",
    outcome=ReplyOutcome.FAILED,
    participant="inventory",
    host="inventory-1",
    traceparent="",
    error=ErrorInfo("OSError", "no"),
    retry_after_seconds=1.5,
)
START = StartRequest(request_id=ID, reply_to="shop-1", saga="checkout", key="o-1", input=msgspec.Raw(b"[1]"))
ANNOUNCEMENT = Announcement(
    participant="inventory",
    host="inventory-1",
    hash="0" * 64,
    steps=(AnnouncedStep(name="reserve_stock", has_compensation=True, command_schema={"type": "string"}),),
)
COMMANDS: Reader[Any] = Reader(Command)


def read_as(kind: Any, body: bytes) -> list[Any]:
    """What a reader of this kind of message makes of a body."""
    return Reader(kind).read(body)


# --------------------------------------------------------------------------------- there and back

WORDS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
COUNTS = st.integers(-(2**63), 2**64)
SECONDS = st.floats(allow_nan=False, allow_infinity=False)
PAYLOADS = st.recursive(
    WORDS | st.none() | COUNTS | SECONDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3),
    max_leaves=5,
).map(lambda value: msgspec.Raw(encode(value)))
FIELDS: dict[str, st.SearchStrategy[Any]] = {
    "saga_id": st.uuids(),
    "request_id": st.uuids(),
    "operation": st.sampled_from(Operation),
    "round": COUNTS,
    "attempt": COUNTS,
    "budget_seconds": SECONDS,
    "retry_after_seconds": st.none() | SECONDS,
    "done_in_round": st.none() | COUNTS,
    "payload": PAYLOADS,
    "result": PAYLOADS,
    "input": PAYLOADS,
    "outcome": st.sampled_from(ReplyOutcome),
    "status": st.sampled_from(SagaStatus),
}
ERRORS = st.builds(ErrorInfo, WORDS, WORDS, WORDS)
SPECIAL: dict[type, dict[str, st.SearchStrategy[Any]]] = {
    Reply: {"error": st.none() | ERRORS},
    StartRequest: {"traceparent": st.none() | WORDS},
    Answer: {
        "saga_id": st.none() | st.uuids(),
        "status": st.none() | st.sampled_from(SagaStatus),
        "error": st.none() | st.sampled_from(AnswerError),
    },
}
SCHEMAS = st.none() | st.dictionaries(WORDS, WORDS | st.integers(-100, 100), max_size=2)
SPECIAL[Announcement] = {
    "host": st.from_regex("[ -~]{1,10}", fullmatch=True),
    "hash": st.from_regex("[0-9a-f]{64}", fullmatch=True),
    "steps": st.lists(
        st.builds(
            AnnouncedStep,
            name=WORDS,
            external=st.booleans(),
            has_compensation=st.booleans(),
            no_compensation=st.none() | WORDS,
            command_schema=SCHEMAS,
            result_schema=SCHEMAS,
        ),
        max_size=2,
    ).map(tuple),
}
KINDS: tuple[Any, ...] = get_args(Message)


def messages_of(kind: Any) -> st.SearchStrategy[Any]:
    """Every message of a kind."""
    names = [name for name in kind.__struct_fields__ if name != "v"]
    return st.builds(kind, **{name: SPECIAL.get(kind, {}).get(name, FIELDS.get(name, WORDS)) for name in names})


def test_there_are_as_many_kinds_of_messages_as_the_wire_format_says() -> None:
    tags = {kind.__struct_config__.tag for kind in KINDS}
    assert tags == {
        "command",
        "reply",
        "start",
        "outcome",
        "cancel",
        "answer",
        "notice",
        "inquiry",
        "announcement",
    }


@pytest.mark.parametrize("kind", KINDS)
@settings(deadline=None, max_examples=50)
@given(data=st.data())
def test_what_is_written_can_be_read(kind: Any, data: st.DataObject) -> None:
    messages = data.draw(st.lists(messages_of(kind), max_size=3))
    body = join([write(message) for message in messages])
    assert read_as(kind, body) == messages
    assert all(json.loads(write(message))["v"] == 1 for message in messages)


def test_a_reader_of_requests_reads_each_kind_of_request() -> None:
    requests: list[Message] = [
        START,
        OutcomeRequest(request_id=ID, reply_to="shop-1", saga_id=ID),
        CancelRequest(request_id=ID, reply_to="shop-1", saga_id=ID, reason="too late", actor="anna"),
    ]
    assert read_as(Request, join([write(request) for request in requests])) == requests


def test_a_reader_of_answers_reads_answers_and_notices() -> None:
    answer, notice = Answer(request_id=ID, error=AnswerError.CONFLICT), Notice(saga_id=ID, status=SagaStatus.STUCK)
    assert read_as(Answer | Notice, join([write(answer), write(notice)])) == [answer, notice]


def test_a_command_looks_as_the_wire_format_says() -> None:
    assert json.loads(write(COMMAND)) == {
        "type": "command",
        "v": 1,
        "saga_id": "0199d3c1-7a2e-7c10-9d5c-3f1b2a4c5d6e",
        "saga": "checkout",
        "step": "inventory.reserve_stock",
        "handler": "reserve_stock",
        "operation": "action",
        "round": 1,
        "attempt": 1,
        "token": "b1946ac92492d2347c6235b4d2611184",
        "reply_to": "checkout",
        "budget_seconds": 60.0,
        "traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "payload": {"sku": "shoe", "quantity": 1},
    }


def test_a_reply_looks_as_the_wire_format_says() -> None:
    assert json.loads(write(REPLY)) == {
        "type": "reply",
        "v": 1,
        "saga_id": "0199d3c1-7a2e-7c10-9d5c-3f1b2a4c5d6e",
        "step": "inventory.reserve_stock",
        "operation": "action",
        "round": 1,
        "attempt": 1,
        "token": "b1946ac92492d2347c6235b4d2611184",
        "outcome": "failed",
        "participant": "inventory",
        "host": "inventory-1",
        "traceparent": "",
        "result": None,
        "error": {"type": "OSError", "message": "no", "traceback": ""},
        "retry_after_seconds": 1.5,
        "done_in_round": None,
    }


@pytest.mark.parametrize(
    ("words", "written"),
    [
        (Operation, "action compensation"),
        (ReplyOutcome, "succeeded refused failed fenced unserved"),
        (AnswerError, "conflict not_found not_possible invalid"),
        (SagaStatus, "RUNNING COMPENSATING COMPLETED COMPENSATED STUCK ABANDONED"),
    ],
)
def test_the_words_on_the_wire_are_those_of_the_wire_format(words: Any, written: str) -> None:
    assert " ".join(words) == written


def test_the_order_of_fields_and_the_space_between_them_mean_nothing() -> None:
    fields = json.loads(write(REPLY))
    body = json.dumps([dict(reversed(fields.items()))], indent=2).encode()
    assert COMMANDS.read(b" [ ] ") == []
    assert read_as(Reply, body) == [REPLY]


def test_of_a_field_that_is_there_twice_the_last_counts() -> None:
    assert COMMANDS.read(b"[" + write(COMMAND)[:-1] + b',"round":2}]') == [msgspec.structs.replace(COMMAND, round=2)]


def test_a_reader_takes_more_messages_than_a_writer_puts_together() -> None:
    assert COMMANDS.read(join([write(COMMAND)] * (BATCH_COUNT_MAX + 1))) == [COMMAND] * (BATCH_COUNT_MAX + 1)


def test_an_integer_of_4000_digits_is_an_integer() -> None:
    (read,) = COMMANDS.read(changed(round=10**3_999))
    assert isinstance(read, Command)
    assert read.round == 10**3_999


# --------------------------------------------------------------------------- what cannot be read


def changed(**fields: Any) -> bytes:
    """A body of the command with other fields; `None` leaves one out."""
    given_ = json.loads(write(COMMAND)) | fields
    return json.dumps([{name: value for name, value in given_.items() if value is not None}]).encode()


def raw(field: str, value: bytes) -> bytes:
    """A body of the command with a field of exactly these bytes."""
    return changed(**{field: "HERE"}).replace(b'"HERE"', value)


def nested(depth: int) -> bytes:
    """JSON of this depth."""
    return b"[" * depth + b"]" * depth


BODIES = {
    "nothing": (b"", "the body is not a JSON array: Input data was truncated"),
    "no JSON": (b"hello", "the body is not a JSON array: JSON is malformed"),
    "a cut body": (join([write(COMMAND)])[:-2], "the body is not a JSON array: Input data was truncated"),
    "two bodies": (b"[][]", "the body is not a JSON array: JSON is malformed: trailing characters"),
    "an object": (write(COMMAND), "the body is not a JSON array: Expected `array`, got `object`"),
    "null": (b"null", "the body is not a JSON array: Expected `array`, got `null`"),
    "a string": (b'"[]"', "the body is not a JSON array: Expected `array`, got `str`"),
    "UTF-16": ("[]".encode("utf-16"), "the body is not a JSON array: JSON is malformed"),
    "a byte order mark": (b"\xef\xbb\xbf[]", "the body is not a JSON array: JSON is malformed"),
    "NaN": (raw("budget_seconds", b"NaN"), "the body is not a JSON array: JSON is malformed"),
    "Infinity": (raw("budget_seconds", b"Infinity"), "the body is not a JSON array: JSON is malformed"),
    "a body over the limit": (b" " * (BATCH_BYTES_MAX - 1) + b"[]", "the body has 1048577 bytes, the limit is 1048576"),
    "an array of depth 100,000": (nested(100_000), "the body is not a JSON array: maximum recursion depth exceeded"),
    "objects of depth 100,000": (
        b'[{"payload":' + b'{"a":' * 100_000 + b"1" + b"}" * 100_000 + b"}]",
        "the body is not a JSON array: maximum recursion depth exceeded",
    ),
    "depth that is never closed": (b"[" * 1_000_000, "the body is not a JSON array: maximum recursion depth exceeded"),
}


@pytest.mark.parametrize("name", BODIES)
def test_a_body_that_is_no_array_is_one_unreadable_message(name: str) -> None:
    body, reason = BODIES[name]
    (unreadable,) = COMMANDS.read(body)
    assert isinstance(unreadable, Unreadable)
    assert unreadable.raw == body
    assert unreadable.reason.startswith(reason)


def test_a_body_of_no_messages_has_none() -> None:
    assert COMMANDS.read(b"[]") == []


VERSION_2 = "the message is of wire version 2, this is version 1"
ELEMENTS = {
    "a number": (b"[1]", "Expected `object`, got `int`"),
    "null": (b"[null]", "Expected `object`, got `null`"),
    "an array": (b"[[]]", "Expected `object`, got `array`"),
    "an empty object": (b"[{}]", "Object missing required field `saga_id`"),
    "a missing field": (changed(token=None), "Object missing required field `token`"),
    "an unknown field": (changed(priority=1), "Object contains unknown field `priority`"),
    "another kind": (join([write(REPLY)]), "Invalid value 'reply' - at `$.type`"),
    "an unknown kind": (changed(type="query"), "Invalid value 'query' - at `$.type`"),
    "text for a number": (changed(round="1"), "Expected `int`, got `str` - at `$.round`"),
    "a flag for a number": (changed(round=True), "Expected `int`, got `bool` - at `$.round`"),
    "half an attempt": (changed(attempt=1.5), "Expected `int`, got `float` - at `$.attempt`"),
    "no UUID": (changed(saga_id="1"), "Invalid UUID - at `$.saga_id`"),
    "an unknown operation": (changed(operation="query"), "Invalid enum value 'query' - at `$.operation`"),
    "null for text": (raw("step", b"null"), "Expected `str`, got `null` - at `$.step`"),
    "an endless budget": (raw("budget_seconds", b"1e400"), "Number out of range - at `$.budget_seconds`"),
    "an integer of 5,000 digits": (raw("round", b"1" * 5_000), "Integer value out of range - at `$.round`"),
    "invalid UTF-8": (raw("step", b'"\xff"'), "'utf-8' codec can't decode byte 0xff"),
    "an overlong slash": (raw("step", b'"\xc0\xaf"'), "'utf-8' codec can't decode byte 0xc0"),
    "a surrogate in UTF-8": (raw("step", b'"\xed\xa0\x80"'), "'utf-8' codec can't decode byte 0xed"),
    "a newer version": (changed(v=2), VERSION_2),
    "a newer version with a new field": (changed(v=2, priority=1), VERSION_2),
    "a newer version without a field": (changed(v=2, token=None), VERSION_2),
    "a newer version with another type of field": (changed(v=2, round="first"), VERSION_2),
    "a newer version of an unknown kind": (changed(v=2, type="query"), VERSION_2),
    "an older version": (changed(v=0), "the message is of wire version 0, this is version 1"),
    "a version of 4,000 digits": (changed(v=10**3_999), "the message is of wire version 1000"),
    "a version that is a word": (changed(v="two"), "the message is of wire version 'two', this is version 1"),
    "a version that is an object": (changed(v={"a": []}), "the message is of wire version {'a': []}"),
    "no version at all": (raw("v", b"null"), "Expected `int`, got `null` - at `$.v`"),
    "a version in invalid UTF-8": (raw("v", b'"\xff"'), "Expected `int`, got `str` - at `$.v`"),
    "a version that is true": (changed(v=True), "Expected `int`, got `bool` - at `$.v`"),
    "a version that is there twice": (join([write(COMMAND)[:-1] + b',"v":2}']), VERSION_2),
    "an object too deep": (raw("payload", nested(DEPTH_MAX)), "the message is nested more than 64 deep"),
    "an array too deep": (b"[" + nested(DEPTH_MAX + 1) + b"]", "the message is nested more than 64 deep"),
    "depth in an unknown field": (changed(more=json.loads(nested(200))), "the message is nested more than 64 deep"),
    "a message over the limit": (
        changed(payload="x" * MESSAGE_BYTES_MAX),
        f"the message has {MESSAGE_BYTES_MAX + len(changed(payload='')) - 2} bytes, the limit is {MESSAGE_BYTES_MAX}",
    ),
}


@pytest.mark.parametrize("name", ELEMENTS)
def test_a_message_that_cannot_be_read_has_its_reason(name: str) -> None:
    body, reason = ELEMENTS[name]
    (unreadable,) = COMMANDS.read(body)
    assert isinstance(unreadable, Unreadable)
    assert unreadable.raw == body[1:-1]
    assert unreadable.reason.startswith(reason)


@pytest.mark.parametrize("name", ELEMENTS)
def test_a_message_that_cannot_be_read_harms_no_other(name: str) -> None:
    bad = ELEMENTS[name][0][1:-1]
    good = write(COMMAND)
    first, second, third, fourth, fifth = COMMANDS.read(join([bad, good, bad, good, bad]))
    assert second == fourth == COMMAND
    assert first == third == fifth
    assert isinstance(first, Unreadable)


@pytest.mark.parametrize("value", [b'"\\ud800"', b'"\\udc00\\ud800"', b'"\xff"', b"\xff", b"01", b"tru", b"'a'"])
@pytest.mark.parametrize("field", ["step", "payload", "more"])
def test_half_characters_and_half_json_raise_nothing(field: str, value: bytes) -> None:
    body = raw(field, value)
    read = COMMANDS.read(body)
    assert len(read) == 1
    assert isinstance(read[0], Unreadable) or (field, value) == ("payload", b'"\xff"')


def test_a_payload_that_is_not_looked_into_is_refused_by_those_who_do() -> None:
    (read,) = COMMANDS.read(raw("payload", b'"\xff"'))
    assert isinstance(read, Command)
    with pytest.raises(UnicodeDecodeError):
        msgspec.json.decode(read.payload)


# ---------------------------------------------------------------------------------------- reasons


@pytest.mark.parametrize(
    "body",
    [
        changed(**{"x" * 100_000: 1}),
        changed(type="x" * 100_000),
        changed(v="x" * 100_000),
        changed(v=10**3_999),
        changed(operation="x" * 100_000),
    ],
    ids=["an unknown field", "an unknown kind", "an unknown version", "a long version", "an unknown operation"],
)
def test_a_reason_is_short_however_long_what_it_quotes(body: bytes) -> None:
    (unreadable,) = COMMANDS.read(body)
    assert isinstance(unreadable, Unreadable)
    assert len(unreadable.reason) <= REASON_LENGTH_MAX


@pytest.mark.parametrize("trap", ["\x00", "\n", "\r\n", "\x1b[2J", "\u2028", "\x7f", "\x85"])
@pytest.mark.parametrize(
    "make",
    [lambda trap: {trap: 1}, lambda trap: {"type": trap}, lambda trap: {"operation": trap}, lambda trap: {"v": trap}],
    ids=["an unknown field", "an unknown kind", "an unknown operation", "an unknown version"],
)
def test_a_reason_can_be_logged_and_stored_whatever_it_quotes(make: Callable[[str], Any], trap: str) -> None:
    (unreadable,) = COMMANDS.read(changed(**make(trap)))
    assert isinstance(unreadable, Unreadable)
    assert unreadable.reason.isprintable()
    assert len(unreadable.reason.splitlines()) == 1


@pytest.mark.parametrize(
    ("text", "printed"),
    [
        ("", ""),
        ("Größe 42 \N{GRINNING FACE}", "Größe 42 \N{GRINNING FACE}"),
        ("two\nlines", "two\ufffdlines"),
        ("\r\t\x00\x1b[31m\x1f", "\ufffd\ufffd\ufffd\ufffd[31m\ufffd"),
        ("\x7f\x80\x85\x9f\xa0", "\ufffd\ufffd\ufffd\ufffd\xa0"),
        ("\u2028\u2029", "\ufffd\ufffd"),
    ],
)
def test_what_could_break_a_line_or_a_terminal_is_replaced(text: str, printed: str) -> None:
    assert printable(text) == printed


@settings(deadline=None)
@given(st.text())
def test_printable_text_is_one_line_and_nothing_else_is_changed(text: str) -> None:
    printed = printable(text)
    assert len(printed) == len(text)
    assert len(printed.splitlines()) <= 1
    assert all(before == after or not before.isprintable() for before, after in zip(text, printed, strict=True))


# ----------------------------------------------------------------------------------------- limits


def test_a_payload_at_its_limits_fits_into_each_message_that_carries_one() -> None:
    longest, deepest = msgspec.Raw(encode("x" * (PAYLOAD_BYTES_MAX - 2))), msgspec.Raw(nested(PAYLOAD_DEPTH_MAX))
    for payload in (longest, deepest):
        messages: list[tuple[Any, Any]] = [
            (Command, msgspec.structs.replace(COMMAND, payload=payload)),
            (Reply, msgspec.structs.replace(REPLY, result=payload)),
            (Request, msgspec.structs.replace(START, input=payload)),
        ]
        for kind, message in messages:
            assert read_as(kind, join([write(message)])) == [message]


def test_a_body_and_a_message_may_be_as_long_as_the_limit() -> None:
    padding = MESSAGE_BYTES_MAX - len(changed(payload="")) + 2
    longest = changed(payload="x" * padding)
    assert len(longest) == MESSAGE_BYTES_MAX + 2
    body = longest + b" " * (BATCH_BYTES_MAX - len(longest))
    (read,) = COMMANDS.read(body)
    assert isinstance(read, Command)


@pytest.mark.parametrize("depth", [DEPTH_MAX - 1, DEPTH_MAX])
def test_a_message_may_be_as_deep_as_the_limit(depth: int) -> None:
    message = write(msgspec.structs.replace(COMMAND, payload=msgspec.Raw(nested(depth))))
    (read,) = COMMANDS.read(join([message]))
    assert isinstance(read, Unreadable) == is_too_deep(message) == (depth == DEPTH_MAX)


# ------------------------------------------------------------------------------------------- fuzz


def mutated(body: bytes, chance: random.Random) -> bytes:
    """The body after one to four accidents."""
    mutant = bytearray(body)
    for _ in range(chance.randint(1, 4)):
        place, other = chance.randrange(len(mutant) + 1), chance.randrange(len(mutant) + 1)
        match chance.randrange(6):
            case 0:
                mutant[place : place + 1] = chance.randbytes(1)
            case 1:
                mutant[place:place] = chance.randbytes(chance.randint(1, 4))
            case 2:
                del mutant[place : place + chance.randint(1, 20)]
            case 3:
                mutant[place:place] = mutant[other : other + chance.randint(1, 40)]
            case 4:
                mutant[place:place] = chance.choice(TOKENS)
            case _:
                mutant[place : place + 1] = chance.choice(TOKENS)
    return bytes(mutant)


TOKENS = [b"[", b"]", b"{", b"}", b'"', b"\\", b"\\u", b"\\ud800", b",", b":", b"null", b"true", b"-", b"1e999", b"NaN"]
READERS: list[tuple[Any, list[Message]]] = [
    (Command, [COMMAND, COMMAND]),
    (Reply, [REPLY]),
    (Request, [START, OutcomeRequest(request_id=ID, reply_to="a", saga_id=ID)]),
    (Answer | Notice, [Answer(request_id=ID, status=SagaStatus.RUNNING), Notice(saga_id=ID, status=SagaStatus.STUCK)]),
    (Command | Inquiry, [COMMAND, Inquiry(reply_to="shop-1")]),
    (Notice | Announcement, [Notice(saga_id=ID, status=SagaStatus.STUCK), ANNOUNCEMENT]),
]


@pytest.mark.parametrize("place", range(len(READERS)))
def test_5000_damaged_bodies_of_each_kind_give_messages_or_reasons_and_never_an_exception(place: int) -> None:
    kind, messages = READERS[place]
    reader: Reader[Any] = Reader(kind)
    chance = random.Random(20_000 + place)
    body = join([write(message) for message in messages])
    unreadable = 0
    for _ in range(5_000):
        mutant = mutated(body, chance)
        read = reader.read(mutant)
        assert all(isinstance(message, (kind, Unreadable)) for message in read), mutant
        reasons = [message.reason for message in read if isinstance(message, Unreadable)]
        assert all(reason and printable(reason) == reason for reason in reasons), mutant
        unreadable += bool(reasons)
    assert 2_500 < unreadable < 5_000, "the fuzzer must hit what matters, and not only that"


# ---------------------------------------------------------------------------------- errors as data


class OfTheUser(Exception):
    """An error of the user's own."""


class Unspeakable(Exception):
    """An error that cannot even say what it is."""

    def __str__(self) -> str:
        return str(self.args[0])


def raised(error: Exception) -> Exception:
    """The error, with a traceback."""
    try:
        raise error
    except Exception as caught:  # noqa: BLE001  # any error will do
        return caught


def test_an_error_has_its_type_its_message_and_its_traceback() -> None:
    error = raised(OfTheUser("no more shoes"))
    told = ErrorInfo.of(error)
    assert (told.type, told.message) == ("OfTheUser", "no more shoes")
    assert told.traceback == "".join(traceback.format_exception(error))
    assert "in raised" in told.traceback


def test_an_error_that_was_not_raised_has_no_traceback() -> None:
    assert ErrorInfo.of(OfTheUser("no more shoes")) == ErrorInfo("OfTheUser", "no more shoes", "")


def test_the_cause_of_an_error_is_in_its_traceback() -> None:
    error = OfTheUser("no more shoes")
    error.__cause__ = raised(KeyError("shoe"))
    assert "KeyError: 'shoe'" in ErrorInfo.of(raised(error)).traceback


def test_of_a_long_message_the_beginning_is_kept() -> None:
    assert ErrorInfo.of(OfTheUser("abc" * 1_000)).message == ("abc" * 1_000)[:ERROR_MESSAGE_LENGTH_MAX]


def test_of_a_long_traceback_the_end_is_kept() -> None:
    def fall(depth: int) -> None:
        if depth == 0:
            raise OfTheUser("at the bottom")
        fall_on(depth)

    def fall_on(depth: int) -> None:
        fall(depth - 1)

    with pytest.raises(OfTheUser) as caught:
        fall(200)
    told = ErrorInfo.of(caught.value).traceback
    assert len(told) == ERROR_TRACEBACK_LENGTH_MAX
    assert told.endswith("OfTheUser: at the bottom\n")


def test_the_name_of_a_type_is_cut_too() -> None:
    made: type[Exception] = type("X" * 10_000, (Exception,), {})
    assert len(ErrorInfo.of(made()).type) == ERROR_MESSAGE_LENGTH_MAX


def test_an_error_that_cannot_say_what_it_is_can_be_told_all_the_same() -> None:
    told = ErrorInfo.of(raised(Unspeakable()))
    assert (told.type, told.message) == ("Unspeakable", "its message cannot be had: IndexError")
    assert "in raised" in told.traceback


def test_an_error_without_a_message_has_an_empty_one() -> None:
    assert ErrorInfo.of(TimeoutError()).message == ""


def test_a_recursion_without_end_can_be_told() -> None:
    def recurse() -> None:
        recurse()

    with pytest.raises(RecursionError) as caught:
        recurse()
    told = ErrorInfo.of(caught.value)
    assert told.type == "RecursionError"
    assert len(told.traceback) <= ERROR_TRACEBACK_LENGTH_MAX


@settings(deadline=None)
@given(st.text() | st.text(st.sampled_from("\ud800\udfff\x00é\N{GRINNING FACE}\\"), max_size=3_000))
def test_an_error_with_any_text_fits_into_a_reply(text: str) -> None:
    reply = msgspec.structs.replace(REPLY, error=ErrorInfo.of(raised(OfTheUser(text))))
    message = write(reply)
    assert len(message) <= MESSAGE_BYTES_MAX
    assert read_as(Reply, join([message])) == [reply]


def test_an_error_about_a_file_whose_name_is_no_unicode_can_be_told() -> None:
    name = b"\xff.txt".decode(errors="surrogateescape")
    assert ErrorInfo.of(FileNotFoundError(2, "not there", name)).message == "[Errno 2] not there: '\\udcff.txt'"


def test_an_error_that_others_wrote_is_cut_to_the_same_bounds() -> None:
    told = ErrorInfo("t" * 9_000, "m" * 9_000, "b" * 9_000 + "e").bounded()
    assert told == ErrorInfo(
        "t" * ERROR_MESSAGE_LENGTH_MAX,
        "m" * ERROR_MESSAGE_LENGTH_MAX,
        "b" * (ERROR_TRACEBACK_LENGTH_MAX - 1) + "e",
    )


def test_a_body_of_more_elements_than_there_can_be_messages_is_one_unreadable_message() -> None:
    most = COMMANDS.read(join([b"0"] * BODY_MESSAGES_MAX))
    assert len(most) == BODY_MESSAGES_MAX
    (unreadable,) = COMMANDS.read(join([b"0"] * (BODY_MESSAGES_MAX + 1)))
    assert isinstance(unreadable, Unreadable)
    assert unreadable.reason == "the body has 16385 elements, the limit is 16384"
