"""What waits for a person, by what went wrong; and lists by step, error and age."""

from __future__ import annotations

import asyncio
import shlex
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from sagaflow import DefinitionError, SagaStatus
from sagaflow.cli.sagas import began_before
from sagaflow.definitions import ids
from sagaflow.runners.reporting import failing
from tests.cli.conftest import Sagaflow, Trips, travel_to


def keys(sagaflow: Sagaflow, database: str, *options: str) -> list[str]:
    return [line["key"] for line in sagaflow("list", "--json", "--database", database, *options).lines]


@pytest.mark.parametrize(
    ("options", "found"),
    [
        (["--step=book_flight"], ["Atlantis", "Rome"]),
        (["--step=travel.book_room"], ["Atlantis"]),
        (["--step=book_flight", "--error=StepRejected", "--status=COMPENSATED"], ["Rome"]),
        (["--error=LookupError"], ["Atlantis"]),
        (["--error=NoAnswer"], []),
        (["--step=book_flight", "--limit=1"], ["Atlantis"]),
        (["--older=1h"], []),
        (["--older=0s"], ["Atlantis", "Rome", "Paris"]),
    ],
)
def test_list_by_step_error_and_age(sagaflow: Sagaflow, trips: Trips, options: list[str], found: list[str]) -> None:
    assert keys(sagaflow, trips.database, *options) == found


def test_the_age_of_a_saga_is_in_its_id() -> None:
    saga_id, now = ids.new_id(), datetime.now(UTC)
    assert saga_id < began_before("5s", now + timedelta(seconds=6))
    assert saga_id > began_before("1m", now + timedelta(seconds=6))
    assert saga_id > began_before("0.5h", now + timedelta(minutes=29))
    for wrong in ("", "soon", "1w", "h"):
        with pytest.raises(DefinitionError, match="is no age; write 90s, 15m, 1h or 2d"):
            began_before(wrong, now)


def test_what_is_stuck_is_grouped_and_each_group_has_the_commands_for_its_next_move(
    sagaflow: Sagaflow, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(failing, "PAGE", 2)  # so that there is more than one page
    path = tmp_path / "trips.sqlite"
    cities = {f"Atlantis {number}": SagaStatus.STUCK for number in range(3)} | {"Paris": SagaStatus.COMPLETED}
    asyncio.run(travel_to(path, cities))
    database = ["--database", f"sqlite:///{path}"]
    (group,) = sagaflow("stuck", "--json", *database).lines
    assert (group["count"], group["saga"], group["step"], group["op"]) == (
        3,
        "trip",
        "travel.book_room",
        "compensation",
    )
    said = sagaflow("stuck", *database)
    assert said.output.startswith("3 trip  undo of travel.book_room: LookupError: the hotel\ufffd[31m is under water")
    commands: list[Any] = [shlex.split(line)[2:] for line in said.output.splitlines() if "$ sagaflow" in line]
    why, retry = commands
    assert "2 other trip sagas fail in the same way" in sagaflow(*why).output
    assert sagaflow(*retry, "--yes").output.endswith("3 done\n")
    assert sagaflow("stuck", *database).output == "nothing is stuck\n"
