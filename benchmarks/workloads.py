"""What is run: five shapes of a saga over three services, the same for every system."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

SERVICES: Final = ("first", "second", "third")
"""Each has a database of its own."""

ACCOUNTS: Final = 1_000
"""How many accounts each service's database has, so that no row is hot; a saga pays into one of them."""


class Act(StrEnum):
    """What a service is asked to do."""

    DO = "do"
    """Return at once."""
    PAY = "pay"
    """Add 1 to the balance of the account, and commit."""
    REFUSE = "refuse"
    """Say no for a business reason."""
    UNDO = "undo"
    """Take DO back, which is to return at once."""
    ECHO = "echo"
    """Return the text that it is given."""
    LINGER = "linger"
    """Return after 200 ms."""


@dataclass(frozen=True)
class Workload:
    """A saga: its steps as (service, act), and what undoes it if the last one refuses."""

    name: str
    steps: tuple[tuple[str, Act], ...]
    undoing: tuple[tuple[str, Act], ...] = ()
    side_by_side: bool = False
    """Whether the steps are independent of each other."""
    payload_bytes: int = 0
    """The size of its input, and of each command and result, if they are text (ECHO) and not an account."""

    @property
    def refused(self) -> bool:
        """Whether it ends compensated rather than completed."""
        return bool(self.undoing)


def _each(act: Act) -> tuple[tuple[str, Act], ...]:
    return tuple((service, act) for service in SERVICES)


WORKLOADS: Final = {
    workload.name: workload
    for workload in (
        Workload("noop", _each(Act.DO)),
        Workload("bank", _each(Act.PAY)),
        Workload(
            "rollback",
            (("first", Act.DO), ("second", Act.DO), ("third", Act.REFUSE)),
            undoing=(("second", Act.UNDO), ("first", Act.UNDO)),
        ),
        Workload("single", _each(Act.DO)),
        Workload("parallel", (*_each(Act.DO), ("first", Act.DO), ("second", Act.DO)), side_by_side=True),
    )
}
"""By name. `single` is `noop`, run one at a time."""


def of_steps(count: int) -> Workload:
    """So many steps that return at once, one after another."""
    return Workload(f"steps-{count}", tuple((SERVICES[step % len(SERVICES)], Act.DO) for step in range(count)))


def of_payload(size: int) -> Workload:
    """Three steps with payloads of so many bytes."""
    return Workload(f"payload-{size}", _each(Act.ECHO), payload_bytes=size)


CALM: Final = Workload("calm", (("first", Act.DO), ("second", Act.DO)))
"""Needs two of the services; what goes on at the third should be nothing to it."""
SLOW: Final = Workload("slow", (("third", Act.LINGER),))
FLOOD: Final = Workload("flood", (("third", Act.DO),))

GROWN: Final = {
    workload.name: workload
    for workload in (
        *map(of_steps, (1, 5, 20)),
        *map(of_payload, (200, 10 * 1024, 200 * 1024)),
        CALM,
        SLOW,
        FLOOD,
    )
}
"""What only sagaflow is asked to do, to see how it grows. By name."""
