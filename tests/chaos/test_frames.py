"""A connection can be ended at a named place within a frame, in both protocols."""

from __future__ import annotations

import struct

import pytest

from tests.chaos.frames import PLACES, Frames, Place, Side

BODY = b"a payload"


def amqp_frame(payload: bytes) -> bytes:
    return struct.pack("!BHI", 1, 1, len(payload)) + payload + b"\xce"


def postgres_message(payload: bytes) -> bytes:
    return b"Q" + struct.pack("!I", len(payload) + 4) + payload


AMQP_GREETING = b"AMQP\x00\x00\x09\x01"
TLS_QUESTION = struct.pack("!II", 8, 80877103)
STARTUP = struct.pack("!II", 13, 196608) + b"user\x00"

BEGINNINGS = {
    ("amqp", "client"): AMQP_GREETING,
    ("amqp", "server"): amqp_frame(b"start"),
    ("postgresql", "client"): TLS_QUESTION + STARTUP,
    ("postgresql", "server"): b"N" + b"R" + struct.pack("!II", 8, 0),
}

Stream = tuple[str, Side]


def framed(stream: Stream) -> bytes:
    return amqp_frame(BODY) if stream[0] == "amqp" else postgres_message(BODY)


@pytest.mark.parametrize("stream", BEGINNINGS)
@pytest.mark.parametrize("piece", [1, 3, 1_000])
def test_all_that_is_said_goes_on_in_whole_frames(stream: Stream, piece: int) -> None:
    said = BEGINNINGS[stream] + 3 * framed(stream)
    frames = Frames(*stream)
    heard = [frames.take(said[at : at + piece], None) for at in range(0, len(said), piece)]
    assert b"".join(part for part, _ in heard) == said
    assert not any(is_last for _, is_last in heard)


@pytest.mark.parametrize("stream", BEGINNINGS)
@pytest.mark.parametrize("place", PLACES)
def test_it_ends_at_the_place_that_is_named(stream: Stream, place: Place) -> None:
    frame, header = framed(stream), 7 if stream[0] == "amqp" else 5
    frames = Frames(*stream)
    assert frames.take(BEGINNINGS[stream], None) == (BEGINNINGS[stream], False)
    went_on, is_last = frames.take(2 * frame, place)
    assert is_last
    assert frame.startswith(went_on)
    assert {
        "within the header": 0 < len(went_on) < header,
        "behind the header": len(went_on) == header,
        "within the payload": header < len(went_on) < len(frame) - 1,
        "before the end": len(went_on) == len(frame) - 1,
        "between frames": len(went_on) == len(frame),
    }[place]
