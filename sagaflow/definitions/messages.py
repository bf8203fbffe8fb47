"""The wire: what services say to each other. Written down for other languages in docs/wire-format.md.

A body is a JSON array of messages of one kind. Each element is read, checked and answered by itself, so
that a bad one harms no other.
"""

from __future__ import annotations

import re
import traceback
from collections.abc import Collection, Sequence
from enum import StrEnum
from typing import Annotated, Any, ClassVar, Final, Generic, TypeVar
from uuid import UUID

import msgspec

from sagaflow.core.plan import Operation
from sagaflow.core.state import SagaStatus
from sagaflow.definitions.limits import (
    BATCH_BYTES_MAX,
    BODY_MESSAGES_MAX,
    DEPTH_MAX,
    ERROR_MESSAGE_LENGTH_MAX,
    ERROR_TRACEBACK_LENGTH_MAX,
    HOST_LENGTH_MAX,
    MESSAGE_BYTES_MAX,
    REASON_LENGTH_MAX,
)
from sagaflow.definitions.payloads import NULL, is_too_deep
from sagaflow.definitions.sensitive import without

WIRE_VERSION: Final = 1


class Envelope(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="type"):
    """What all messages have: the version of the wire format."""

    v: int = WIRE_VERSION


class ErrorInfo(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An error as data: its type, message and traceback, each cut to a bound."""

    type: str
    message: str
    traceback: str = ""

    @classmethod
    def of(cls, error: BaseException, secrets: Collection[str] = ()) -> ErrorInfo:
        """The error as it is told to others, without the secrets; the end of the traceback is what is kept."""
        text = "".join(traceback.format_exception(error)) if error.__traceback__ else ""
        return cls(
            _sendable(type(error).__qualname__)[:ERROR_MESSAGE_LENGTH_MAX],
            _sendable(without(_message_of(error), secrets))[:ERROR_MESSAGE_LENGTH_MAX],
            _sendable(without(text, secrets))[-ERROR_TRACEBACK_LENGTH_MAX:],
        )

    @property
    def words(self) -> str:
        """Its type and its message, in a line."""
        return f"{self.type}: {self.message}"

    def bounded(self) -> ErrorInfo:
        """The same, cut to the bounds: others may not keep them."""
        return ErrorInfo(
            self.type[:ERROR_MESSAGE_LENGTH_MAX],
            self.message[:ERROR_MESSAGE_LENGTH_MAX],
            self.traceback[-ERROR_TRACEBACK_LENGTH_MAX:],
        )


def _message_of(error: BaseException) -> str:
    try:
        return str(error)
    except Exception as another:  # noqa: BLE001  # the user's own __str__ may raise anything
        return f"its message cannot be had: {type(another).__qualname__}"


def _sendable(text: str) -> str:
    """The text without lone surrogates, such as the file names in an OSError may hold: JSON cannot."""
    return text.encode(errors="backslashreplace").decode()


class Command(Envelope, frozen=True, kw_only=True, tag="command"):
    """A coordinator asks a participant for one operation of one step."""

    saga_id: UUID
    saga: str
    step: str
    """The name of the step in the saga; with `saga_id` and `operation` it is the key of the barrier."""
    handler: str
    operation: Operation
    round: int
    attempt: int
    token: str
    """To be given back in the reply."""
    reply_to: str
    """The name of the coordinator whose queue takes the reply."""
    budget_seconds: float
    """How much longer the coordinator waits for the reply, as of when it was sent."""
    traceparent: str
    payload: msgspec.Raw

    @property
    def expires_seconds(self) -> float | None:
        """After how long in its queue nobody wants it any more. A compensation is owed, however late."""
        return self.budget_seconds if self.operation is Operation.ACTION else None


class ReplyOutcome(StrEnum):
    """How an attempt ended."""

    SUCCEEDED = "succeeded"
    REFUSED = "refused"
    """A definite no: nothing is left behind, and the participant will answer so again."""
    FAILED = "failed"
    """`retry_after_seconds` says when to try again; null: the participant gives up, the effect is unknown."""
    FENCED = "fenced"
    """The action came after its compensation and was not, and never will be, done."""
    UNSERVED = "unserved"
    """The participant does not know the step, or has no compensation for it; ask again later."""


class Reply(Envelope, frozen=True, kw_only=True, tag="reply"):
    """A participant answers one command."""

    saga_id: UUID
    step: str
    operation: Operation
    round: int
    attempt: int
    token: str
    outcome: ReplyOutcome
    participant: str
    host: str
    traceparent: str
    result: msgspec.Raw = msgspec.field(default_factory=lambda: msgspec.Raw(NULL))
    error: ErrorInfo | None = None
    retry_after_seconds: float | None = None
    done_in_round: int | None = None
    """The round in which it was done, if that was an earlier one; its command then is what counts."""


class StartRequest(Envelope, frozen=True, kw_only=True, tag="start"):
    """A service without access to the coordinator's database asks for a saga."""

    request_id: UUID
    reply_to: str
    """The name of the answers queue of the process that asks."""
    saga: str
    key: str
    input: msgspec.Raw
    traceparent: str | None = None


class OutcomeRequest(Envelope, frozen=True, kw_only=True, tag="outcome"):
    """... asks to be told when a saga has ended or is stuck."""

    request_id: UUID
    reply_to: str
    saga_id: UUID


class CancelRequest(Envelope, frozen=True, kw_only=True, tag="cancel"):
    """... asks for a saga to be undone."""

    request_id: UUID
    reply_to: str
    saga_id: UUID
    reason: str
    actor: str


Request = StartRequest | OutcomeRequest | CancelRequest


class AnswerError(StrEnum):
    """Why a request was not granted; the names of the errors that the client raises."""

    CONFLICT = "conflict"
    NOT_FOUND = "not_found"
    NOT_POSSIBLE = "not_possible"
    INVALID = "invalid"


class Answer(Envelope, frozen=True, kw_only=True, tag="answer"):
    """The coordinator has dealt with a request: where the saga stands now, or why not."""

    request_id: UUID
    saga_id: UUID | None = None
    status: SagaStatus | None = None
    error: AnswerError | None = None
    message: str = ""


class Notice(Envelope, frozen=True, kw_only=True, tag="notice"):
    """A saga has ended or is stuck, and the addressee wanted to know."""

    saga_id: UUID
    status: SagaStatus


class Inquiry(Envelope, frozen=True, kw_only=True, tag="inquiry"):
    """A coordinator asks a participant what it serves.

    Only a process that takes compensations answers, so an answer says that undos are done, if they are served.
    """

    reply_to: str
    """The name of the answers queue of the process that asks."""


class AnnouncedStep(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One step that a participant serves."""

    name: str
    """The handler of commands for it."""
    external: bool = False
    """Its effect lies outside the participant's database."""
    has_compensation: bool
    no_compensation: str | None = None
    """Why there is nothing to undo, if that was said."""
    command_schema: dict[str, Any] | None = None
    """The JSON Schema of its command; null: it has none, or is left out for its size."""
    result_schema: dict[str, Any] | None = None
    """... and of its result."""

    @property
    def can_be_undone(self) -> bool:
        """Whether its compensation is served, or there is nothing to undo."""
        return self.has_compensation or self.no_compensation is not None


class Announcement(Envelope, frozen=True, kw_only=True, tag="announcement"):
    """A process of a participant says what it serves."""

    participant: str
    host: Annotated[str, msgspec.Meta(pattern="^[ -~]+$", max_length=HOST_LENGTH_MAX)]
    """The name of the process, in printable ASCII."""
    hash: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]
    """The same for processes that serve the same. It covers all schemas, those left out too."""
    steps: tuple[AnnouncedStep, ...]


Message = Command | Reply | Request | Answer | Notice | Inquiry | Announcement

M = TypeVar("M", bound=Message)

_ENCODER = msgspec.json.Encoder()


def write(message: Message) -> bytes:
    """One message as JSON."""
    return _ENCODER.encode(message)


def join(messages: Sequence[bytes]) -> bytes:
    """A body from messages."""
    return b"[" + b",".join(messages) + b"]"


class Unreadable(msgspec.Struct, frozen=True):
    """A message that cannot be dealt with, and why."""

    raw: bytes
    reason: str


class _Version(msgspec.Struct, frozen=True):
    v: Any = None


_NOT_DECODABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What decoding may raise; the last two are no kind of the first."""


class Reader(Generic[M]):
    """Reads bodies of one kind of message.

    Example:
        >>> commands = Reader(Command)
        >>> commands.read(b'[{"type": "command"}]')
        [Unreadable(raw=b'{"type": "command"}', reason='Object missing required field `saga_id`')]
    """

    _elements: ClassVar = msgspec.json.Decoder(list[msgspec.Raw])
    _version: ClassVar = msgspec.json.Decoder(_Version)

    def __init__(self, kind: Any) -> None:
        self._decoder: msgspec.json.Decoder[M] = msgspec.json.Decoder(kind)

    def read(self, body: bytes) -> list[M | Unreadable]:
        """The messages of a body; those that cannot be read, as `Unreadable` with the reason."""
        if len(body) > BATCH_BYTES_MAX:
            return [_unreadable(body, f"the body has {len(body)} bytes, the limit is {BATCH_BYTES_MAX}")]
        try:
            elements = self._elements.decode(body)
        except _NOT_DECODABLE as error:
            return [_unreadable(body, f"the body is not a JSON array: {error}")]
        if len(elements) > BODY_MESSAGES_MAX:
            return [_unreadable(body, f"the body has {len(elements)} elements, the limit is {BODY_MESSAGES_MAX}")]
        return [self._read_one(element) for element in elements]

    def _read_one(self, element: msgspec.Raw) -> M | Unreadable:
        raw = bytes(element)
        if len(raw) > MESSAGE_BYTES_MAX:
            return _unreadable(raw, f"the message has {len(raw)} bytes, the limit is {MESSAGE_BYTES_MAX}")
        if is_too_deep(raw):
            return _unreadable(raw, f"the message is nested more than {DEPTH_MAX} deep")
        try:
            message = self._decoder.decode(raw)
        except _NOT_DECODABLE as error:
            return _unreadable(raw, self._unknown_version(raw) or str(error))
        return message if message.v == WIRE_VERSION else _unreadable(raw, _version_reason(message.v))

    def _unknown_version(self, raw: bytes) -> str | None:
        """A newer message may well not decode; the version is then the reason that helps."""
        try:
            version = self._version.decode(raw).v
        except _NOT_DECODABLE:
            return None
        return None if version in (None, WIRE_VERSION) else _version_reason(version)


def _unreadable(raw: bytes, reason: str) -> Unreadable:
    """The reason may quote the message, so it may hold anything, at any length."""
    return Unreadable(raw, printable(reason[:REASON_LENGTH_MAX]))


def _version_reason(version: object) -> str:
    return f"the message is of wire version {version!r}, this is version {WIRE_VERSION}"


_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


def printable(text: str) -> str:
    """The text without what could break a line or a terminal."""
    return _UNPRINTABLE.sub("\N{REPLACEMENT CHARACTER}", text)
