"""Identifiers: of sagas, of attempts, and of traces."""

from __future__ import annotations

import hashlib
import hmac
import re
from typing import Final
from uuid import UUID

from sagaflow.definitions.surroundings import current

SECRET_BYTES = 16


def new_id() -> UUID:
    """A UUID of version 7: ordered by time, so that an index of many millions of sagas stays fast."""
    milliseconds = current().time_ns() // 1_000_000
    random = int.from_bytes(current().random_bytes(10), "big")
    high = (milliseconds & ((1 << 48) - 1)) << 16 | 0x7000 | (random >> 62) & 0xFFF
    low = 0b10 << 62 | random & ((1 << 62) - 1)
    return UUID(int=high << 64 | low)


def first_at(milliseconds: int) -> UUID:
    """What is smaller than all ids that were made at this time (of the Unix epoch) or later.

    Raises:
        ValueError: no id has such a time.
    """
    return UUID(int=milliseconds << 80)


def new_secret() -> bytes:
    """The secret of a saga, from which the tokens of its attempts are made."""
    return current().random_bytes(SECRET_BYTES)


def attempt_token(secret: bytes, step: str, operation: str, round_: int, attempt: int) -> str:
    """What a reply must carry to count: only who was given the command of this attempt knows it."""
    text = f"{step}\n{operation}\n{round_}\n{attempt}".encode()
    return hashlib.blake2b(text, key=secret, digest_size=16).hexdigest()


def same_token(expected: str, given: str) -> bool:
    """Whether two tokens are equal, in a time that does not tell how much of them is."""
    return hmac.compare_digest(expected.encode(), given.encode())


_TRACEPARENT = re.compile(r"00-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})")

SAMPLED: Final = 1


def new_traceparent() -> str:
    """A W3C traceparent that begins a new trace."""
    return f"00-{current().random_bytes(16).hex()}-{current().random_bytes(8).hex()}-01"


def child_traceparent(traceparent: str, span_id: str) -> str:
    """A traceparent in the same trace, sampled as it is, with another span id."""
    match = _match(traceparent)
    return f"00-{match[1]}-{span_id}-{match[3]}"


def span_id_of(saga_id: UUID, *what: object) -> str:
    """The span id (16 hexadecimal digits) of a saga, or of an operation or an attempt of it, which are said by their
    step, operation, round and attempt. It follows from what they are: whichever process tells of one, and however
    often it was sent, it is the same span."""
    text = "\n".join([saga_id.hex, *map(str, what)])
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def trace_id(traceparent: str) -> str:
    """The trace id (32 hexadecimal digits) of a traceparent.

    Raises:
        ValueError: it is not a traceparent of version 00.
    """
    return _match(traceparent)[1]


def span_id(traceparent: str) -> str:
    """The span id (16 hexadecimal digits) of a traceparent. Raises as `trace_id`."""
    return _match(traceparent)[2]


def is_sampled(traceparent: str) -> bool:
    """Whether spans of this trace are wanted. Raises as `trace_id`."""
    return bool(int(_match(traceparent)[3], 16) & SAMPLED)


def unsampled(traceparent: str) -> str:
    """The same, of which no spans are wanted. Raises as `trace_id`."""
    match = _match(traceparent)
    return f"00-{match[1]}-{match[2]}-{int(match[3], 16) & ~SAMPLED:02x}"


def _match(traceparent: str) -> re.Match[str]:
    match = _TRACEPARENT.fullmatch(traceparent)
    if match is None:
        raise ValueError(f"{traceparent!r} is not a W3C traceparent, such as 00-<32 hex>-<16 hex>-01")
    return match
