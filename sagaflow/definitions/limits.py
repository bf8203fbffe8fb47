"""Bounds on everything that crosses a border. Checked before a commit and before decoding."""

from __future__ import annotations

from typing import Final

PAYLOAD_BYTES_MAX: Final = 256 * 1024
"""One encoded payload: an input, a command's payload, or a result."""

MESSAGE_BYTES_MAX: Final = PAYLOAD_BYTES_MAX + 32 * 1024
"""One message: a payload with its envelope and, in a reply, its error."""

BATCH_BYTES_MAX: Final = 1024 * 1024
"""One body: a JSON array of messages. Well below the 16 MiB that RabbitMQ 4 accepts."""

BATCH_COUNT_MAX: Final = 50
"""Messages in one body."""

DEPTH_MAX: Final = 64
"""How deeply arrays and objects may be nested in a message."""

PAYLOAD_DEPTH_MAX: Final = DEPTH_MAX - 1
"""... and in a payload, which its message wraps."""

ERROR_MESSAGE_LENGTH_MAX: Final = 1_000
ERROR_TRACEBACK_LENGTH_MAX: Final = 4_000

HOST_LENGTH_MAX: Final = 255
"""What a process of a participant calls itself."""

TRACEPARENT_LENGTH: Final = 55

ADDRESS_LENGTH_MAX: Final = 200
"""The name of the answers queue of who asks, and the name in which is asked."""

BODY_MESSAGES_MAX: Final = BATCH_BYTES_MAX // 64
"""Elements in a body that is read at all: no message is as short as 64 bytes."""

RETRY_AFTER_SECONDS_MAX: Final = 24 * 3600.0
"""The longest delay before another attempt."""

PUT_ASIDE_BYTES_MAX: Final = 64 * 1024
"""How much of an unreadable body is kept."""

KEY_LENGTH_MAX: Final = 200
"""The caller's key of a start."""

REASON_LENGTH_MAX: Final = 1_000
"""The reason that a person gives, or for which a message is put aside."""

ANNOUNCED_REASON_LENGTH_MAX: Final = 100
"""Why a step needs no compensation, in an announcement that would be too large otherwise."""

LAPSED_KEPT_SECONDS: Final = 60.0
"""For how long a process whose lease has lapsed is looked after. It may have stood still only, come back, commit
without knowing, and die before it renews its lease: what it has in flight then is taken over too."""
