"""Which failures are the same one: those of one operation of one step, with the same error but for what differs from
saga to saga. Pure."""

from __future__ import annotations

import hashlib
import re
from typing import Final

from sagaflow.core.plan import Operation
from sagaflow.definitions.messages import ErrorInfo
from sagaflow.runners.reporting.reports import NO_ANSWER

FINGERPRINT_LENGTH: Final = 12

_VARYING: Final = re.compile(
    r"""
    [0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}   # ids
    | 0x[0-9a-f]+ | \b(?=[0-9a-f]*[0-9])[0-9a-f]{8,}\b              # addresses and hashes
    | '[^']*' | "[^"]*"                                            # what is quoted
    | [0-9]+(?:[.,:][0-9]+)*                                       # numbers, amounts, times
    """,
    re.IGNORECASE | re.VERBOSE,
)


def normalised(message: str) -> str:
    """A message without what differs from saga to saga: ids, numbers, what is quoted, how it is spaced.

    Example:
        >>> normalised("card '4711' of order 1047:  the bank is away")
        'card # of order #: the bank is away'
    """
    return " ".join(_VARYING.sub("#", message).split())


def fingerprint(saga: str, step: str, operation: Operation, error_type: str, message: str) -> str:
    """The same text (12 hexadecimal digits) for failures that a person would take for one."""
    text = "\n".join((saga, step, operation, error_type, normalised(message)))
    return hashlib.sha256(text.encode()).hexdigest()[:FINGERPRINT_LENGTH]


def fingerprint_of(saga: str, step: str, operation: Operation, error: ErrorInfo | None) -> str:
    """The fingerprint of what went wrong last with an operation; without an error, nobody answered."""
    kind, message = (NO_ANSWER, "") if error is None else (error.type, error.message)
    return fingerprint(saga, step, operation, kind, message)
