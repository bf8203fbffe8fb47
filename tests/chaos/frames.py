"""Where the frames of a stream begin and end, in the two protocols that sagaflow speaks."""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from typing import Final, Literal

Side = Literal["client", "server"]

Place = Literal["within the header", "behind the header", "within the payload", "before the end", "between frames"]
"""The places in a frame at which a connection can end."""

PLACES: Final[tuple[Place, ...]] = (
    "within the header",
    "behind the header",
    "within the payload",
    "before the end",
    "between frames",
)

AMQP_GREETING: Final = b"AMQP"
AMQP_HEADER_BYTES: Final = 7
POSTGRES_HEADER_BYTES: Final = 5
POSTGRES_FIRST_HEADER_BYTES: Final = 8
"""Before a client is known, its messages have no type, but a length and a code."""
POSTGRES_STARTUP: Final = 196_608
PAYLOAD_BYTES_MIN: Final = 4
"""A frame with less in it has no place within its payload."""

Frame = tuple[int, int]
"""The bytes of the header, and of the whole frame."""


class Frames:
    """The frames of one side of one connection, which is looked at from its first byte on."""

    def __init__(self, scheme: str, side: Side) -> None:
        self._next: Callable[[bytes], Frame | None] = {
            ("amqp", "client"): _amqp,
            ("amqp", "server"): _amqp,
            ("postgresql", "client"): self._postgres_client,
            ("postgresql", "server"): self._postgres_server,
        }[scheme, side]
        self._held = b""
        self._is_known = False
        """Whether the first messages of PostgreSQL, which have another form, are past."""

    def take(self, heard: bytes, cut: Place | None) -> tuple[bytes, bool]:
        """What may go on of what was heard, and whether the connection ends behind it.

        Whole frames go on. With `cut`, the first that has a payload goes on up to that place, and is the last.
        """
        self._held += heard
        goes_on = b""
        while (frame := self._next(self._held)) is not None and len(self._held) >= frame[1]:
            header, whole = frame
            if cut is not None and self._is_known and whole - header >= PAYLOAD_BYTES_MIN:
                return goes_on + self._held[: _bytes_before(cut, header, whole)], True
            self._is_known = self._is_known or _makes_known(self._held)
            goes_on, self._held = goes_on + self._held[:whole], self._held[whole:]
        return goes_on, False

    def _postgres_client(self, held: bytes) -> Frame | None:
        if self._is_known:
            return _postgres(held)
        if len(held) < POSTGRES_FIRST_HEADER_BYTES:
            return None
        return POSTGRES_FIRST_HEADER_BYTES, struct.unpack_from("!I", held)[0]

    def _postgres_server(self, held: bytes) -> Frame | None:
        if not self._is_known and held[:1] in (b"N", b"S"):  # the answer to: do you speak TLS?
            return 1, 1
        return _postgres(held)


def _amqp(held: bytes) -> Frame | None:
    if held.startswith(AMQP_GREETING):
        return len(AMQP_GREETING), 8
    if len(held) < AMQP_HEADER_BYTES:
        return None
    return AMQP_HEADER_BYTES, AMQP_HEADER_BYTES + struct.unpack_from("!I", held, 3)[0] + 1


def _postgres(held: bytes) -> Frame | None:
    if len(held) < POSTGRES_HEADER_BYTES:
        return None
    return POSTGRES_HEADER_BYTES, 1 + struct.unpack_from("!I", held, 1)[0]


def _makes_known(frame: bytes) -> bool:
    """Whether what follows this first frame has the usual form: not after the question for TLS, and its answer."""
    is_question = len(frame) >= 8 and frame[0] == 0 and struct.unpack_from("!I", frame, 4)[0] != POSTGRES_STARTUP
    return not is_question and frame[:1] not in (b"N", b"S")


_BYTES_BEFORE: Final[Mapping[Place, Callable[[int, int], int]]] = {
    "within the header": lambda header, whole: header // 2,
    "behind the header": lambda header, whole: header,
    "within the payload": lambda header, whole: (header + whole) // 2,
    "before the end": lambda header, whole: whole - 1,
    "between frames": lambda header, whole: whole,
}


def _bytes_before(place: Place, header: int, whole: int) -> int:
    return _BYTES_BEFORE[place](header, whole)
