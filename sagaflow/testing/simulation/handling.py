"""What goes wrong in a handler, before and after it does its work."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Hashable
from typing import Final, TypeVar

from sagaflow.errors import RetryLater, StepRejected
from sagaflow.testing.simulation.faults import Fault, Faults, Kind
from sagaflow.testing.simulation.loop import let_others_run
from sagaflow.testing.simulation.processes import CURRENT
from sagaflow.testing.simulation.servers import Fate

T = TypeVar("T")

LONG_SECONDS: Final = 1e6

AFTER: Final = frozenset({Kind.FAIL_AFTER, Kind.HANG_AFTER, Kind.CRASH_AFTER, Kind.STOP_AFTER})
"""What happens when the work is done, and not yet committed."""


class SimulatedFailure(Exception):
    """What a handler raises that is made to fail."""


class GaveUp(SimulatedFailure):
    """... and that shall not be tried again, if its retry policy knows this kind."""


class Mishaps:
    """Brings about what goes wrong in handlers."""

    def __init__(self, faults: Faults, fate: Fate) -> None:
        self._faults = faults
        self._fate = fate
        self._refusals: Counter[Hashable] = Counter()

    async def during(
        self,
        point: str,
        who: str,
        work: Callable[[], Awaitable[T]],
        *,
        done_before: bool = False,
        key: Hashable = None,
    ) -> T:
        """Do some work, badly if it is so decided.

        Who is asked again outside under the same `key` answers as the first time: what was `done_before` there is not
        refused, and what was refused while this one stood still is not done any more.
        """
        fault = self._faults.at(point, who)
        refused = fault is not None and fault.kind is Kind.REFUSE
        refusals = self._refusals[key]
        if refused and not done_before:
            self._refusals[key] += 1
        if fault is not None and fault.kind not in AFTER and not (refused and done_before):
            await self._befall(fault)
        if key is not None and self._refusals[key] > refusals:
            raise StepRejected("the same was refused meanwhile")
        result = await work()
        if fault is not None and fault.kind in AFTER:
            await self._befall(fault)
        return result

    async def _befall(self, fault: Fault) -> None:
        process = CURRENT.get()
        match fault.kind:
            case Kind.REFUSE:
                raise StepRejected("it was made to say no")
            case Kind.GIVE_UP:
                raise GaveUp("it was made to give up")
            case Kind.LATER:
                raise RetryLater(fault.seconds)
            case Kind.HANG | Kind.HANG_AFTER:
                await asyncio.sleep(LONG_SECONDS)
            case Kind.CRASH_BEFORE | Kind.CRASH_AFTER if process is not None:
                self._fate.crash(process, fault.seconds)
                await asyncio.get_running_loop().create_future()  # a dead task is never resumed
            case Kind.STOP_BEFORE | Kind.STOP_AFTER if process is not None:
                self._fate.stand_still(process, fault.seconds)
                await let_others_run()
            case _:
                raise SimulatedFailure("it was made to fail")
