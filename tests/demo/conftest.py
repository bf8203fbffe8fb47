"""Running `sagaflow` as a process."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.demo.running import Sagaflow, Start


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts `sagaflow`; it does not outlive the test."""
    started: list[Sagaflow] = []

    def start_one(*arguments: str, **environment: str) -> Sagaflow:
        started.append(Sagaflow(tmp_path, *arguments, **environment))
        return started[-1]

    yield start_one
    for sagaflow in started:
        sagaflow.stop()
