"""The table of metrics in the docs is that of the code."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from opentelemetry.metrics import NoOpMeter

from sagaflow.adapters.opentelemetry.metrics import Metrics

DOCS = Path(__file__).parents[2] / "docs" / "observability.md"


class Register(NoOpMeter):
    """Notes what is made."""

    def __init__(self) -> None:
        super().__init__("sagaflow")
        self.made: set[tuple[str, str, str]] = set()

    def create_counter(self, name: str, unit: str = "", description: str = "") -> Any:
        self.made.add((name, "counter", unit))
        return super().create_counter(name, unit, description)

    def create_histogram(self, name: str, unit: str = "", description: str = "", **advice: Any) -> Any:
        self.made.add((name, "histogram", unit))
        return super().create_histogram(name, unit, description, **advice)

    def create_observable_gauge(self, name: str, callbacks: Any = None, unit: str = "", description: str = "") -> Any:
        self.made.add((name, "gauge", unit))
        return super().create_observable_gauge(name, callbacks, unit, description)


def test_every_metric_is_in_the_table_and_no_other() -> None:
    register = Register()
    Metrics(register)
    rows = re.findall(
        r"^\| `([a-z_.]+)` \| (counter|histogram|gauge) \| `([^`]+)` \|", DOCS.read_text(encoding="utf-8"), re.MULTILINE
    )
    assert set(rows) == register.made
