"""Identifiers: ordered, unforgeable, and in the form that others expect."""

import os
import time
from typing import Any
from uuid import RFC_4122, UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sagaflow.definitions import ids

SECRET = bytes(range(16))
ATTEMPT: dict[str, Any] = {
    "secret": SECRET,
    "step": "inventory.reserve",
    "operation": "action",
    "round_": 1,
    "attempt": 2,
}

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
SPAN = "00f067aa0ba902b7"
TRACEPARENT = f"00-{TRACE}-{SPAN}-01"


def at(milliseconds: int, monkeypatch: pytest.MonkeyPatch) -> UUID:
    """An id that is made at this time."""
    monkeypatch.setattr(time, "time_ns", lambda: milliseconds * 1_000_000 + 999_999)
    return ids.new_id()


# ------------------------------------------------------------------------------------------- UUIDs


@pytest.mark.parametrize("chance", [b"\x00", b"\xff", b"\x5a"])
def test_an_id_is_a_uuid_of_version_7_whatever_chance_brings(monkeypatch: pytest.MonkeyPatch, chance: bytes) -> None:
    monkeypatch.setattr(os, "urandom", lambda size: chance * size)
    made = ids.new_id()
    assert (made.version, made.variant) == (7, RFC_4122)


def test_an_id_begins_with_its_milliseconds(monkeypatch: pytest.MonkeyPatch) -> None:
    assert at(0x0199D3C17A2E, monkeypatch).hex[:12] == "0199d3c17a2e"


def test_ids_are_ordered_by_time(monkeypatch: pytest.MonkeyPatch) -> None:
    made = [at(milliseconds, monkeypatch) for milliseconds in range(1_700_000_000_000, 1_700_000_000_500)]
    assert made == sorted(made)
    assert [str(one) for one in made] == sorted(str(one) for one in made)


def test_all_74_other_bits_are_left_to_chance(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time_ns", lambda: 0)
    monkeypatch.setattr(os, "urandom", lambda size: b"\xff" * size)
    assert ids.new_id() == UUID("00000000-0000-7fff-bfff-ffffffffffff")


def test_ids_of_the_same_millisecond_differ(monkeypatch: pytest.MonkeyPatch) -> None:
    assert len({at(1_700_000_000_000, monkeypatch) for _ in range(1_000)}) == 1_000


# ----------------------------------------------------------------------------- secrets and tokens


def test_secrets_have_128_bits_and_differ() -> None:
    assert len(ids.new_secret()) == 16
    assert ids.new_secret() != ids.new_secret()


def test_the_token_of_an_attempt_is_always_the_same() -> None:
    assert ids.attempt_token(**ATTEMPT) == ids.attempt_token(**ATTEMPT) == "95a828ae478925812426332cd18fdf63"


@pytest.mark.parametrize(
    ("ingredient", "other"),
    [
        ("secret", bytes(16)),
        ("step", "inventory.release"),
        ("operation", "compensation"),
        ("round_", 2),
        ("attempt", 1),
    ],
)
def test_a_token_differs_by_each_of_its_ingredients(ingredient: str, other: object) -> None:
    assert ids.attempt_token(**ATTEMPT) != ids.attempt_token(**ATTEMPT | {ingredient: other})


def test_ingredients_do_not_run_into_each_other() -> None:
    first = ids.attempt_token(**ATTEMPT | {"round_": 1, "attempt": 11})
    assert first != ids.attempt_token(**ATTEMPT | {"round_": 11, "attempt": 1})


def test_a_token_has_128_bits_in_hexadecimal_digits() -> None:
    assert len(bytes.fromhex(ids.attempt_token(**ATTEMPT))) == 16


@settings(deadline=None)
@given(st.text(st.characters(exclude_categories=["Cs"])), st.text(st.characters(exclude_categories=["Cs"])))
def test_tokens_are_compared_whatever_was_given(expected: str, given: str) -> None:
    assert ids.same_token(expected, given) == (expected == given)
    assert ids.same_token(expected, expected)


# ------------------------------------------------------------------------------------ traceparents


def test_a_new_traceparent_begins_a_trace_of_its_own() -> None:
    first, second = ids.new_traceparent(), ids.new_traceparent()
    assert len(first) == len(TRACEPARENT)
    assert first.endswith("-01")
    assert ids.trace_id(first) != ids.trace_id(second)


def test_a_child_stays_in_the_trace_with_a_span_of_its_own() -> None:
    span = ids.span_id_of(ids.new_id(), "step", "action")
    child = ids.child_traceparent(TRACEPARENT, span)
    assert (ids.trace_id(child), ids.span_id(child)) == (TRACE, span)
    assert span != SPAN


@pytest.mark.parametrize("flags", ["00", "01", "03"])
def test_a_child_is_sampled_as_its_parent_is(flags: str) -> None:
    child = ids.child_traceparent(f"00-{TRACE}-{SPAN}-{flags}", "a" * 16)
    assert child.endswith(f"-{flags}")
    assert ids.is_sampled(child) == (flags != "00")


def test_the_span_of_an_attempt_follows_from_what_it_is() -> None:
    saga_id = ids.new_id()
    attempts = [(step, kind, n) for step in ("a", "b") for kind in ("action", "compensation") for n in (1, 2)]
    spans = [ids.span_id_of(saga_id, *attempt) for attempt in attempts]
    assert spans == [ids.span_id_of(saga_id, *attempt) for attempt in attempts]
    assert len({*spans, ids.span_id_of(saga_id), ids.span_id_of(ids.new_id(), *attempts[0])}) == len(attempts) + 2


def test_the_trace_id_is_read_from_a_traceparent() -> None:
    assert ids.trace_id(TRACEPARENT) == TRACE
    assert ids.trace_id(f"00-{TRACE}-{SPAN}-00") == TRACE


@pytest.mark.parametrize(
    "text",
    [
        "",
        TRACE,
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{TRACE}-{SPAN.upper()}-01",
        f"01-{TRACE}-{SPAN}-01",
        f"00-{TRACE[1:]}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}0-01",
        f"00-{TRACE}-{SPAN}-1",
        f"00-{TRACE}-{SPAN}-001",
        f"00-{TRACE}-{SPAN}-01-more",
        f"00-{TRACE}-{SPAN}-01\n",
        f" {TRACEPARENT}",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{'g' * 32}-{SPAN}-01",
        f"00-{TRACE[:-1]}\N{ARABIC-INDIC DIGIT ONE}-{SPAN}-01",
    ],
)
@pytest.mark.parametrize(
    "read", [ids.trace_id, ids.span_id, ids.is_sampled, lambda text: ids.child_traceparent(text, SPAN)]
)
def test_what_is_no_traceparent_is_refused(read: Any, text: str) -> None:
    with pytest.raises(ValueError, match="is not a W3C traceparent, such as 00-<32 hex>-<16 hex>-01"):
        read(text)
