"""Every error that sagaflow raises on purpose.

    SagaflowError
    ├── DefinitionError           a saga or a participant is written in a way that cannot work
    │   └── PlanError             ... seen in the plan of a saga
    ├── StepRejected              raised BY a handler: a business no, nothing is left behind
    ├── RetryLater                raised BY a handler: not now, try again after some seconds
    ├── PayloadError              a payload cannot be encoded, decoded, or is over a limit
    ├── ConflictError             the key was used before, with other input
    ├── SagaNotFound              no saga has this id or key
    ├── NotPossible               the request makes no sense in the state that the saga is in
    ├── Unavailable               a server cannot be reached, or went away
    │   ├── Locked                somebody else holds what is needed, for too long
    │   ├── NotPermitted          a right is missing; a person has to grant it, and then it goes on
    │   └── UnsupportedPooling    a pooler stands before the database that does not keep a session together
    ├── SchemaError               the tables of a database are missing, too old or too new
    └── MissingExtra              an optional library is not installed

Each message is one line that says what is wrong and how to mend it.
"""

from __future__ import annotations


class SagaflowError(Exception):
    """The base of all errors of sagaflow."""


class DefinitionError(SagaflowError):
    """A saga or a participant is written in a way that cannot work."""


class PlanError(DefinitionError):
    """The plan of a saga is unsound; names the saga, the step and the mend."""


class StepRejected(SagaflowError):
    """Raised by a handler to say a business no: the step cannot be done and left nothing behind.

    The transaction of the step is rolled back, the refusal is final for this step, and the saga undoes
    the steps before it. Anything else that a handler raises is retried.
    """


class RetryLater(SagaflowError):
    """Raised by a handler to be called again after some seconds; counts as an attempt."""

    def __init__(self, seconds: float, reason: str = "the handler asked to be called later") -> None:
        super().__init__(reason)
        self.seconds = seconds


class PayloadError(SagaflowError):
    """A payload cannot be encoded or decoded as its declared type, or is over a limit."""


class ConflictError(SagaflowError):
    """A saga was started before with this key and other input."""


class SagaNotFound(SagaflowError):
    """No saga has this id or key."""


class NotPossible(SagaflowError):
    """The request makes no sense in the state that the saga is in."""


class Unavailable(SagaflowError):
    """A database or a broker cannot be reached, or the connection was lost; trying again may help."""


class Locked(Unavailable):
    """Somebody else holds what is needed, for too long; others are not held up by it."""


class NotPermitted(Unavailable):
    """A database or a broker refuses what is needed, for lack of a right.

    The message names the right. What runs is tried again, so that it goes on when a person has granted it, and nothing
    has to be started anew.
    """


class UnsupportedPooling(Unavailable):
    """A pooler before the database gives each transaction another connection; one for each session is needed.

    What runs is tried again, and goes on when the pooler has been told to pool sessions.
    """


class SchemaError(SagaflowError):
    """The tables of a database are missing, too old or too new for this version of sagaflow."""


class MissingExtra(SagaflowError):
    """An optional library is not installed; the message holds the command that installs it."""
