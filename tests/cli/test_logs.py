"""How a command writes its log for people."""

from __future__ import annotations

import logging

import pytest

from sagaflow.cli.logs import ForPeople
from sagaflow.definitions import logs


@pytest.mark.parametrize(("in_colour", "begins", "ends"), [(True, "\x1b[33m", "\x1b[0m"), (False, "2", "was missing")])
def test_a_warning_has_its_event_and_is_in_colour_on_a_terminal(
    in_colour: bool, begins: str, ends: str, caplog: pytest.LogCaptureFixture
) -> None:
    logs.QUEUE_MISSING.write(queue="sagaflow.commands.a")
    (record,) = caplog.records
    said = ForPeople(in_colour=in_colour).format(record)
    assert " WARNING queue.missing: the queue sagaflow.commands.a was missing" in said
    assert said.startswith(begins)
    assert said.endswith(ends)


def test_a_line_of_somebody_else_is_of_its_logger(caplog: pytest.LogCaptureFixture) -> None:
    logging.getLogger("shop").error("no tea")
    (record,) = caplog.records
    assert ForPeople(in_colour=False).format(record).endswith(" ERROR shop: no tea")
