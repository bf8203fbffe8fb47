"""What was put aside, as it is sent back to where it came from. Pure.

Whoever publishes it forgets it only when the broker has confirmed it: dying in between sends it twice, and loses
nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from sagaflow.core.plan import is_name
from sagaflow.definitions.limits import PUT_ASIDE_BYTES_MAX
from sagaflow.definitions.messages import Command, Reader, join
from sagaflow.definitions.ports import Address, Letter, QueueKind
from sagaflow.definitions.records import PutAside
from sagaflow.errors import NotPossible

REPLAYED: Final = frozenset({QueueKind.COMMANDS, QueueKind.COMPENSATIONS, QueueKind.REPLIES, QueueKind.REQUESTS})
"""Queues that keep what nobody takes at once."""

_ELEMENTS: Final = msgspec.json.Decoder(list[msgspec.Raw])
_OBJECT: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])
_COMMANDS: Final[Reader[Command]] = Reader(Command)


def letters_of(aside: PutAside) -> Sequence[Letter]:
    """The messages of a body as they are to be sent again. Sent twice, they are absorbed as any duplicate is.

    Raises:
        NotPossible: it is not whole, is no JSON, or came from no queue; to send it would only put it aside again.
    """
    if len(aside.body) >= PUT_ASIDE_BYTES_MAX:
        raise NotPossible(f"only its first {PUT_ASIDE_BYTES_MAX} bytes were kept; drop it")
    to = _address(aside.source)
    return [Letter(to, message, _expires_seconds(message)) for message in _messages(aside.body)]


def _address(source: str) -> Address:
    kind, _, name = source.partition(".")
    if kind not in REPLAYED or not is_name(name):
        raise NotPossible("it did not come from a queue that keeps messages; drop it")
    return Address(QueueKind(kind), name)


def _messages(body: bytes) -> Sequence[bytes]:
    try:
        is_array = body.lstrip().startswith(b"[")
        messages = [bytes(element) for element in _ELEMENTS.decode(body)] if is_array else [body]
        for message in messages:
            _OBJECT.decode(message)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise NotPossible(f"it is no message, and would be put aside again: {error}; drop it") from error
    if not messages:
        raise NotPossible("there is no message in it; drop it")
    return messages


def _expires_seconds(message: bytes) -> float | None:
    (command,) = _COMMANDS.read(join([message]))
    return command.expires_seconds if isinstance(command, Command) else None
