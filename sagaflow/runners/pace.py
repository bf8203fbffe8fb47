"""How the handlers of a participant have done lately, which says whether they may share a transaction."""

from __future__ import annotations

from typing import Final

QUICK_SECONDS: Final = 0.01
"""Handlers that take longer run side by side rather than one after another."""

ALONE_MIN: Final = 20
ALONE_MAX: Final = 1_000
"""How many times in a row a handler has to succeed alone after a failure. The number doubles with each failure, so that
a step that fails or refuses now and then is hardly ever in a group that has to be carried out again; and it shrinks by
one with each success in between."""

GUARDED: Final = 1_000
"""For how many calls after a refusal a savepoint is made before each, which costs a round trip."""


class Pace:
    """Of one operation of one step. What was never seen is not trusted, so its first command runs alone."""

    def __init__(self) -> None:
        self.seconds = 0.0
        """A moving measure of how long the handler takes. It falls faster than it rises: when much runs side by side,
        the quickest calls tell best what the handler itself takes."""
        self._alone = 1
        self._alone_after_failure = ALONE_MIN
        self._seen = False
        self._guarded = 0

    @property
    def is_quick(self) -> bool:
        """Whether it has lately been quick and has not failed."""
        return not self._alone and self.seconds <= QUICK_SECONDS

    @property
    def refuses(self) -> bool:
        """Whether it has lately refused, so that it pays to be prepared for that."""
        return self._guarded > 0

    def refused(self) -> None:
        """The handler has said no, which is an answer and no failure."""
        self._guarded = GUARDED + 1

    def succeeded(self, seconds: float) -> None:
        """The handler has returned, or its refusal was settled with whatever else was in its transaction."""
        self._guarded = max(0, self._guarded - 1)
        if self._alone:
            self._alone -= 1
        else:
            self._alone_after_failure = max(ALONE_MIN, self._alone_after_failure - 1)
        weight = 1.0 if not self._seen else 0.5 if seconds < self.seconds else 0.1
        self.seconds += weight * (seconds - self.seconds)
        self._seen = True

    def failed(self) -> None:
        """It has raised something, or was cut off."""
        self._alone = self._alone_after_failure
        self._alone_after_failure = min(ALONE_MAX, 2 * self._alone_after_failure)
