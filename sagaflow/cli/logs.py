"""How a command that runs for long writes its log: for people, or as JSON lines."""

from __future__ import annotations

import logging
import os
import sys
from enum import StrEnum
from typing import Final

from sagaflow.adapters.log_formats import JsonLines

COLOURS: Final = {logging.WARNING: "33", logging.ERROR: "31", logging.CRITICAL: "31"}


class LogLevel(StrEnum):
    """How much is written."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class ForPeople(logging.Formatter):
    """Time, level, event, and what there is to say; warnings and errors in colour."""

    def __init__(self, *, in_colour: bool) -> None:
        super().__init__("%(asctime)s %(levelname)s %(event)s: %(message)s")
        self._in_colour = in_colour

    def format(self, record: logging.LogRecord) -> str:
        """The line. One that has no event is somebody else's, and is said to be of its logger."""
        if not hasattr(record, "event"):
            record.event = record.name
        line = super().format(record)
        colour = COLOURS.get(record.levelno) if self._in_colour else None
        return line if colour is None else f"\x1b[{colour}m{line}\x1b[0m"


def write_log(level: LogLevel, *, as_json: bool) -> None:
    """Write to standard error from now on. Only sagaflow itself is ever as talkative as DEBUG."""
    wanted = logging.getLevelNamesMapping()[level.upper()]
    in_colour = sys.stderr.isatty() and not os.environ.get("NO_COLOR")
    handler = logging.StreamHandler()
    handler.setFormatter(JsonLines() if as_json else ForPeople(in_colour=in_colour))
    logging.basicConfig(level=max(wanted, logging.INFO), handlers=[handler])
    logging.getLogger("sagaflow").setLevel(wanted)
