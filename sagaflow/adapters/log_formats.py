"""Log lines as JSON, by the standard library alone."""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime
from typing import Any, Final

_EVERY_RECORD_HAS: Final = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName"}


class JsonLines(logging.Formatter):
    """One JSON object a line: `time` (UTC), `level`, `logger`, `message`, and whatever a line was given by `extra=`,
    which for the lines of sagaflow are `event`, `saga_id` and the others (docs/observability.md).

    Example:
        handler = logging.StreamHandler()
        handler.setFormatter(JsonLines())
        logging.basicConfig(level=logging.INFO, handlers=[handler])
    """

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        for name, value in record.__dict__.items():
            if name not in _EVERY_RECORD_HAS and not name.startswith("_"):
                line.setdefault(name, value)
        if record.exc_info:  # a line of somebody else: sagaflow writes none with a traceback
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str, ensure_ascii=False)
