"""Payloads: how values of the user's own types become JSON and come back.

msgspec structs, dataclasses, attrs classes, TypedDicts and plain types are known to msgspec. A pydantic
model is recognised by its methods, so that pydantic is needed only by those who use it.
"""

from __future__ import annotations

import hashlib
import re
from typing import Any, Generic, TypeVar

import msgspec

from sagaflow.definitions.limits import DEPTH_MAX, PAYLOAD_BYTES_MAX
from sagaflow.errors import DefinitionError, PayloadError

T = TypeVar("T")

NULL = b"null"


def _encode_foreign(value: Any) -> Any:
    if hasattr(value, "model_dump"):
        return value.model_dump(mode="json")
    raise NotImplementedError(f"values of {type(value).__qualname__} cannot be encoded as JSON")


def _decode_foreign(declared: Any, value: Any) -> Any:
    if hasattr(declared, "model_validate"):
        return declared.model_validate(value)
    raise NotImplementedError(f"JSON cannot be decoded as {declared.__qualname__}")


_ENCODER = msgspec.json.Encoder(enc_hook=_encode_foreign, order="deterministic")


def encode(value: object) -> bytes:
    """The payload as JSON; equal values give equal bytes.

    Raises:
        PayloadError: it cannot be encoded, or is over the limit of size or depth.
    """
    try:
        encoded = _ENCODER.encode(value)
    except (TypeError, ValueError, NotImplementedError, RecursionError) as error:
        raise PayloadError(f"a {type(value).__qualname__} cannot be sent: {error}") from error
    if len(encoded) > PAYLOAD_BYTES_MAX:
        raise PayloadError(
            f"a {type(value).__qualname__} of {len(encoded)} bytes is over the limit of {PAYLOAD_BYTES_MAX}; "
            "keep the bulk elsewhere and send where it is"
        )
    if is_too_deep(encoded):
        raise PayloadError(f"a {type(value).__qualname__} is nested more than {DEPTH_MAX} deep; flatten it")
    return encoded


class PayloadType(Generic[T]):
    """One declared type of payloads.

    Raises:
        DefinitionError: msgspec cannot handle the type.
    """

    def __init__(self, declared: type[T]) -> None:
        self.declared = declared
        try:
            self._decoder = msgspec.json.Decoder(declared, dec_hook=_decode_foreign)
        except TypeError as error:
            raise DefinitionError(f"{declared!r} cannot be used as a payload type: {error}") from error

    def decode(self, encoded: bytes | msgspec.Raw) -> T:
        """The value.

        Raises:
            PayloadError: it is not of the declared type.
        """
        try:
            return self._decoder.decode(encoded)
        except (msgspec.DecodeError, ValueError, NotImplementedError, RecursionError) as error:
            name = getattr(self.declared, "__qualname__", repr(self.declared))
            raise PayloadError(f"the payload is not a {name}: {error}") from error


def digest(encoded: bytes) -> bytes:
    """A hash by which two payloads are compared without keeping both."""
    return hashlib.sha256(encoded).digest()


_BRACKETS = re.compile(rb'"(?:[^"\\]|\\.)*"|([\[{])|([\]}])')


def is_too_deep(encoded: bytes | memoryview) -> bool:
    """Whether JSON text is nested deeper than the limit, without decoding it."""
    text = bytes(encoded)
    if text.count(b"[") + text.count(b"{") <= DEPTH_MAX:
        return False
    depth = 0
    for token in _BRACKETS.finditer(text):
        if token[1]:
            depth += 1
            if depth > DEPTH_MAX:
                return True
        elif token[2]:
            depth -= 1
    return False
