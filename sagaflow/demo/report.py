"""The report for machines: one JSON object a saga, as a line."""

from __future__ import annotations

import json

from sagaflow.runners.overviews import Overview


def json_line(overview: Overview) -> str:
    """A saga as it ended."""
    return json.dumps(
        {
            "saga_id": str(overview.saga_id),
            "saga": overview.saga,
            "key": overview.key,
            "status": overview.status,
            "trace_id": overview.trace_id,
            "steps": [
                {"step": step.step, "op": step.op, "status": step.status, "attempts": step.attempts}
                for step in overview.steps
            ],
        }
    )
