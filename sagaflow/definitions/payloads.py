"""Payloads: how values of the user's own types become JSON and come back.

msgspec structs, dataclasses, attrs classes, TypedDicts and plain types are known to msgspec. A pydantic
model is recognised by its methods, so that pydantic is needed only by those who use it.
"""

from __future__ import annotations

import hashlib
import re
from datetime import date, datetime, time, timedelta
from typing import Any, Final, Generic, TypeVar

import msgspec
from msgspec.inspect import CustomType, type_info

from sagaflow.definitions.limits import DEPTH_MAX, PAYLOAD_BYTES_MAX, PAYLOAD_DEPTH_MAX
from sagaflow.definitions.sensitive import Path, secrets_of, sensitive_paths, without
from sagaflow.errors import DefinitionError, PayloadError

T = TypeVar("T")

NULL = b"null"


def _encode_foreign(value: Any) -> Any:
    if isinstance(value, msgspec.Raw):
        return msgspec.json.decode(value)
    if hasattr(value, "model_dump"):
        dumped = value.model_dump(mode="json", by_alias=True, round_trip=True)
        return _in_order(value.model_dump(by_alias=True, round_trip=True), dumped)
    raise NotImplementedError(f"values of {type(value).__qualname__} cannot be encoded as JSON")


def _in_order(plain: Any, dumped: Any) -> Any:
    """What pydantic has dumped, with an order for sets: it dumps them as they happen to lie in memory."""
    match plain, dumped:
        case (set() | frozenset(), list()):
            return sorted(dumped, key=msgspec.json.encode)
        case (dict(), dict()) if len(plain) == len(dumped):
            return dict(zip(dumped, map(_in_order, plain.values(), dumped.values()), strict=True))
        case (list() | tuple(), list()) if len(plain) == len(dumped):
            return list(map(_in_order, plain, dumped))
    return dumped


def _decode_foreign(declared: Any, value: Any) -> Any:
    if not hasattr(declared, "model_validate_json"):
        raise NotImplementedError(f"JSON cannot be decoded as {declared.__qualname__}")
    try:
        return declared.model_validate_json(msgspec.json.encode(value))
    except ValueError as error:
        problems: Any = error
        told = [f"{one['msg']} - at `{'.'.join(['$', *map(str, one['loc'])])}`" for one in problems.errors()]
        raise ValueError("; ".join(told)) from error


_WRITTEN_OTHERWISE: Final = (bytes, bytearray, datetime, date, time, timedelta)
"""What Python writes in another way than JSON."""


def _dump_foreign(value: Any) -> Any:
    if hasattr(value, "model_dump"):
        return value.model_dump(by_alias=True, round_trip=True)
    return _encode_foreign(value)


def encode(value: object) -> bytes:
    """The payload as JSON; equal values give equal bytes.

    Raises:
        PayloadError: it cannot be encoded, or is over the limit of size or depth.
    """
    try:
        plain = msgspec.to_builtins(value, str_keys=True, enc_hook=_encode_foreign, order="deterministic")
        encoded = msgspec.json.encode(plain)
    except (TypeError, ValueError, NotImplementedError, RecursionError) as error:
        raise PayloadError(f"a {type(value).__qualname__} cannot be sent: {error}") from error
    if len(encoded) > PAYLOAD_BYTES_MAX:
        raise PayloadError(_too_long(type(value).__qualname__, len(encoded)))
    if is_too_deep(encoded, PAYLOAD_DEPTH_MAX):
        raise PayloadError(f"a {type(value).__qualname__} is nested more than {PAYLOAD_DEPTH_MAX} deep; flatten it")
    return encoded


def _too_long(what: str, size: int) -> str:
    return (
        f"a {what} of {size} bytes is over the limit of {PAYLOAD_BYTES_MAX}; "
        "keep the bulk elsewhere and send where it is"
    )


def of_json(text: bytes) -> bytes:
    """A payload from JSON that a person has written; nothing of it is changed but the space between.

    Raises:
        PayloadError: it is no JSON, or is over the limit of size or depth.
    """
    if len(text) > PAYLOAD_BYTES_MAX:
        raise PayloadError(f"JSON of more than {PAYLOAD_BYTES_MAX} bytes is over the limit; send where the bulk is")
    if is_too_deep(text, PAYLOAD_DEPTH_MAX):
        raise PayloadError(f"the JSON is nested more than {PAYLOAD_DEPTH_MAX} deep; flatten it")
    try:
        msgspec.json.decode(text)
        return msgspec.json.format(text, indent=-1)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise PayloadError(f"this is no JSON: {error}; text needs quotes of its own, as in '\"text\"'") from error


class PayloadType(Generic[T]):
    """One declared type of payloads.

    Raises:
        DefinitionError: values of this type cannot be made from JSON.
    """

    def __init__(self, declared: type[T]) -> None:
        self.declared = declared
        self._name = getattr(declared, "__qualname__", repr(declared))
        try:
            self._decoder = msgspec.json.Decoder(declared, dec_hook=_decode_foreign)
            is_foreign = isinstance(type_info(declared), CustomType)
            self._sensitive = sensitive_paths(declared)
        except (TypeError, NameError, AttributeError, SyntaxError) as error:  # all but the first: of annotations
            raise DefinitionError(f"{declared!r} cannot be used as a payload type: {error}") from error
        if is_foreign and not hasattr(declared, "model_validate_json"):
            raise DefinitionError(
                f"{declared!r} cannot be used as a payload type: it is none of the types that have a form in JSON; "
                "make it a dataclass, a msgspec struct or a pydantic model"
            )

    def decode(self, encoded: bytes | msgspec.Raw) -> T:
        """The value.

        Raises:
            PayloadError: it is not of the declared type, or is over the limit of size.
        """
        size = memoryview(encoded).nbytes
        if size > PAYLOAD_BYTES_MAX:
            raise PayloadError(_too_long(self._name, size))
        try:
            return self._decoder.decode(encoded)
        except (msgspec.DecodeError, ValueError, NotImplementedError, RecursionError) as error:
            if self._sensitive:  # no cause: the traceback would show it as it was
                why = without(str(error), self.secrets(encoded))
                raise PayloadError(f"the payload is not a {self._name}: {why}") from None
            raise PayloadError(f"the payload is not a {self._name}: {error}") from error

    @property
    def sensitive(self) -> frozenset[Path]:
        """Where a payload of this type is sensitive."""
        return self._sensitive

    def secrets(self, encoded: bytes | msgspec.Raw) -> frozenset[str]:
        """The texts of what is marked `Sensitive` in a payload of this type, also if it is not quite of it.

        Times and bytes are there as they are in JSON and as Python writes them.
        """
        if not self._sensitive:
            return frozenset()
        try:
            secrets = secrets_of(msgspec.json.decode(encoded), self._sensitive)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return frozenset()  # no JSON: nobody could read it, so no error repeats a part of it
        try:
            value = self._decoder.decode(encoded)
            plain = msgspec.to_builtins(value, str_keys=True, enc_hook=_dump_foreign, builtin_types=_WRITTEN_OTHERWISE)
        except Exception:  # noqa: BLE001  # users' types may raise anything; it is about an error of theirs already
            return secrets
        return secrets | secrets_of(plain, self._sensitive)

    def schema(self) -> dict[str, Any] | None:
        """The JSON Schema of the type, as far as it has one."""
        foreign: dict[str, Any] = {}

        def of_foreign(declared: Any) -> dict[str, Any]:
            schema: dict[str, Any] = declared.model_json_schema()
            foreign.update(schema.pop("$defs", {}))
            return schema

        try:
            schema = msgspec.json.schema(self.declared, schema_hook=of_foreign)
        except Exception:  # noqa: BLE001  # users' types may raise anything here; a schema is only for people
            return None
        components = schema.get("$defs", {}) | foreign
        return schema | {"$defs": components} if components else schema


def digest(encoded: bytes) -> bytes:
    """A hash by which two payloads are compared without keeping both."""
    return hashlib.sha256(encoded).digest()


_BRACKETS = re.compile(rb'"(?:[^"\\]|\\.)*"|([\[{])|([\]}])')


def is_too_deep(encoded: bytes | memoryview, limit: int = DEPTH_MAX) -> bool:
    """Whether JSON text is nested deeper than the limit, without decoding it."""
    text = bytes(encoded)
    if text.count(b"[") + text.count(b"{") <= limit:
        return False
    depth = 0
    for token in _BRACKETS.finditer(text):
        if token[1]:
            depth += 1
            if depth > limit:
                return True
        elif token[2]:
            depth -= 1
    return False
