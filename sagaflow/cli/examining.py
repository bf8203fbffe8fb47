"""What the doctor looks at. Each look is bounded in time, and what goes wrong in one keeps no other from being made."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from types import TracebackType
from typing import Any, Final, cast

import asyncpg

from sagaflow.adapters import postgres
from sagaflow.adapters.postgres import MigrationStatus, examining, place_of
from sagaflow.adapters.rabbitmq import BrokerPlan, Examination, Finding, Standing, examine
from sagaflow.cli.broker import differences, mending, problem
from sagaflow.cli.options import BROKER_VARIABLE, DATABASE_VARIABLE, as_typed
from sagaflow.cli.participants import OPEN_SAGAS_MAX, missing_of
from sagaflow.cli.servers import SQLITE_PREFIX, Line, opened_store, opened_transactions, sqlite_path
from sagaflow.core.plan import Plan
from sagaflow.core.state import ENDED, SagaStatus
from sagaflow.definitions.messages import printable
from sagaflow.definitions.ports import Address, QueueKind, SagaStore, Transactions
from sagaflow.definitions.records import SagaFilter
from sagaflow.errors import SagaflowError
from sagaflow.runners.commands import CODE_MISSING
from sagaflow.runners.overviews import waits_of

LOOK_SECONDS: Final = 10.0
"""How long one look may take."""

SKEW_SECONDS_MAX: Final = 1.0
"""How far the clocks may be apart. The database keeps all times, so nothing goes wrong by it; but ids begin with the
time of the host that made them, and sagas are listed in the order of their ids."""

COUNTED_MAX: Final = 1_000
"""So many are counted."""

RUN: Final = "; run: "
"""What is before the command in an error that has one."""

BROKER_MEND: Final = f"see that it runs, and that the URL of --broker (or {BROKER_VARIABLE}) is right"


class Verdict(StrEnum):
    """What came of a look."""

    OK = "ok"
    WARN = "warn"
    """It works, and a person should know."""
    BAD = "bad"


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at. `mend` is what to type or to do, if all is not well."""

    name: str
    verdict: Verdict
    what: str
    mend: str | None = None


@dataclass(slots=True)
class Needs:
    """Whom the system consists of: as it was given, or else as the database knows it."""

    is_given: bool
    plans: Sequence[Plan] = ()
    participants: Sequence[str] = ()
    coordinators: Sequence[str] = ()


class Doctor:
    """Looks, and tells each check as it is made.

    Args:
        needs: what is needed; unless it was given, it is learnt from the database.
        tell: is told each check.
    """

    def __init__(self, needs: Needs, tell: Callable[[Check], None]) -> None:
        self.checks: list[Check] = []
        self._needs = needs
        self._tell = tell

    async def look_at_database(self, url: str, line: Line) -> None:
        """The database of a coordinator or of a participant, and what is in it."""
        names = _Names("" if line == "coordinator" else f"{line} ", _database_mend(line))
        async with AsyncExitStack() as stack:
            is_file = url.startswith(SQLITE_PREFIX)
            if not is_file and not await self._look_at_server(stack, url, line, names):
                return
            keeper: SagaStore | Transactions[Any] | None = None
            async with self._look(f"{names.of}database", names.mend):
                opened = opened_store(url) if line == "coordinator" else opened_transactions(url)
                keeper = await stack.enter_async_context(opened)
                if is_file:
                    self._say(f"{names.of}database", Verdict.OK, f"SQLite at {sqlite_path(url)}, with its tables")
            if keeper is None:
                return
            if line == "coordinator":
                await self._look_into(cast("SagaStore", keeper), url, names.mend)
            async with self._look(f"{names.of}put aside", names.mend):
                self._judge_put_aside(await keeper.purge_put_aside(0.0, COUNTED_MAX, delete=False), line, url, names)

    async def look_at_broker(self, url: str, namespace: str, apply_command: str) -> None:
        """The broker, what this user may do there, and the queues that are needed.

        `apply_command` is what makes those that are missing.
        """
        plan = BrokerPlan(namespace, self._needs.participants, self._needs.coordinators)
        found: Examination | None = None
        async with self._look("broker", BROKER_MEND):
            found = await examine(url, plan)
        if found is None:
            return
        self._judge_broker(found)
        self._judge_queues(found, apply_command)
        self._judge_readers(plan, found.found)

    def _look(self, name: str, mend: str) -> _Look:
        """One look. What goes wrong in it is told as bad, and is the end of it."""
        return _Look(lambda what, command: self._say(name, Verdict.BAD, what, command or mend))

    def _say(self, name: str, verdict: Verdict, what: str, mend: str | None = None) -> None:
        check = Check(name, verdict, printable(what), None if mend is None else printable(mend))
        self.checks.append(check)
        self._tell(check)

    async def _look_at_server(self, stack: AsyncExitStack, url: str, line: Line, names: _Names) -> bool:
        """Whether there is such a server, and the tables can be used."""
        connection: asyncpg.Connection | None = None
        role = ""
        async with self._look(f"{names.of}database", names.mend):
            connection = await stack.enter_async_context(postgres.connect(url))
            version = connection.get_settings().server_version.split()[0]
            role = await examining.role(connection)
            self._say(f"{names.of}database", Verdict.OK, f"{place_of(url)}, version {version}, as {role}")
        if connection is None:
            return False
        fits = may = False
        async with self._look(f"{names.of}rights", names.mend):
            may = self._has_rights(await examining.grants_needed(connection, postgres.Line(line)), role, names)
        if may:
            async with self._look(f"{names.of}tables", names.mend):
                fits = self._judge_tables(await postgres.status(connection, postgres.Line(line)), line, url, names)
        if fits:
            self._say(f"{names.of}rights", Verdict.OK, f"{role} may use all of the tables")
        async with self._look(f"{names.of}clock", names.mend):
            before = time.time()
            now = await examining.clock(connection)
            self.judge_clock(now, before, time.time(), names.of)
        if fits and line == "coordinator":
            async with self._look("coordinators", names.mend):
                self._judge_coordinators(await examining.running(connection), await examining.unattended(connection))
        return fits

    def _judge_tables(self, standing: Sequence[MigrationStatus], line: Line, url: str, names: _Names) -> bool:
        name = f"{names.of}tables"
        unfit = next((one for one in standing if one.problem is not None), None)
        missing = [one for one in standing if one.applied_at is None]
        if unfit is not None:
            what, _, mend = str(unfit.problem).partition("; ")
            self._say(name, Verdict.BAD, f"migration {unfit.number:04}_{unfit.name} {what}", mend or None)
        elif missing:
            first = f"{missing[0].number:04}_{missing[0].name}"
            what = "there are none" if len(missing) == len(standing) else f"they are too old, without {first}"
            self._say(name, Verdict.BAD, what, as_typed(["sagaflow", "db", "upgrade", line], url))
        else:
            self._say(name, Verdict.OK, f"of this version, {standing[-1].number:04}_{standing[-1].name}")
        return unfit is None and not missing

    def _has_rights(self, grants: Sequence[str], role: str, names: _Names) -> bool:
        if grants:
            commands = " ".join(f"GRANT {grant} TO {role};" for grant in grants)
            self._say(f"{names.of}rights", Verdict.BAD, f"{role} may not use all of the tables", commands)
        return not grants

    def judge_clock(self, now: datetime, before: float, after: float, of: str = "") -> None:
        """Hold the clock of the database, which was read between two times of this host's, against these."""
        ahead = now.timestamp() - after if now.timestamp() > after else min(0.0, now.timestamp() - before)
        if abs(ahead) <= SKEW_SECONDS_MAX:
            self._say(f"{of}clock", Verdict.OK, f"within {SKEW_SECONDS_MAX:g} s of this host's")
        else:
            what = f"{abs(ahead):.1f} s {'ahead of' if ahead > 0 else 'behind'} this host's"
            self._say(f"{of}clock", Verdict.WARN, what, "have both set by NTP")

    def _judge_coordinators(self, running: int, unattended: Mapping[str, int]) -> None:
        if unattended:
            name, count = next(iter(unattended.items()))
            what = f"{_counted(count, 'open saga')} of coordinator {name}, of which no process runs"
            self._say("coordinators", Verdict.BAD, _and_more(what, len(unattended)), f"run coordinator {name}")
        elif not running:
            self._say("coordinators", Verdict.WARN, "none runs", "run one: sagaflow coordinator MODULE:NAME")
        else:
            self._say("coordinators", Verdict.OK, f"{_counted(running, 'process', 'processes')} alive")

    async def _look_into(self, store: SagaStore, url: str, mend: str) -> None:
        async with self._look("participants", mend):
            await self._learn(store)
            gaps = missing_of(self._needs.plans, await store.announcements())
            if gaps:
                what, _, to_do = gaps[0].partition("; ")
                self._say("participants", Verdict.BAD, _and_more(what, len(gaps)), to_do or None)
            else:
                participants = _counted(len(self._needs.participants), "participant")
                self._say("participants", Verdict.OK, f"all that is needed of {participants} is served")
        async with self._look("versions", mend):
            await self._judge_versions(store, url)
        async with self._look("stuck", mend):
            matching = SagaFilter(statuses=frozenset({SagaStatus.STUCK}))
            count = len(await store.list(matching, COUNTED_MAX))
            if count:
                self._say("stuck", Verdict.WARN, _wait(count, "saga"), as_typed(["sagaflow", "stuck"], url))
            else:
                self._say("stuck", Verdict.OK, "no saga")

    async def _learn(self, store: SagaStore) -> None:
        if self._needs.is_given:
            return
        records = await store.list(SagaFilter(statuses=frozenset(SagaStatus) - ENDED), OPEN_SAGAS_MAX)
        self._needs.plans = await store.plans(sorted({record.plan_hash for record in records}))
        everybody = {step.participant for plan in self._needs.plans for step in plan.steps}
        self._needs.participants = sorted(everybody)
        self._needs.coordinators = sorted({record.coordinator for record in records})

    async def _judge_versions(self, store: SagaStore, url: str) -> None:
        records = await store.list(SagaFilter(waiting=True), COUNTED_MAX)
        plans = {plan.hash: plan for plan in await store.plans(sorted({record.plan_hash for record in records}))}
        stranded = Counter(
            wait.record.plan_hash
            for wait in await waits_of(store, records)
            if wait.error is not None and wait.error.type == CODE_MISSING
        )
        if stranded:
            (plan_hash, count), *_ = stranded.most_common()
            plan = plans[plan_hash]
            version = f"{plan.saga} version {plan.version}"
            what = f"no coordinator that runs has the code of {version}, for which {_wait(count, 'operation')}"
            self._say("versions", Verdict.BAD, _and_more(what, len(stranded)), f"run a coordinator with {version}")
        elif records:
            what = f"{_wait(len(records), 'saga')} for what nobody can do now"
            self._say("versions", Verdict.WARN, what, as_typed(["sagaflow", "list", "--waiting"], url))
        else:
            self._say("versions", Verdict.OK, "all that are open have their code")

    def _judge_put_aside(self, count: int, line: Line, url: str, names: _Names) -> None:
        words = ["sagaflow", "dead", "list", *([] if line == "coordinator" else [line])]
        if count:
            self._say(f"{names.of}put aside", Verdict.WARN, _wait(count, "message"), as_typed(words, url))
        else:
            self._say(f"{names.of}put aside", Verdict.OK, "no message")

    def _judge_broker(self, found: Examination) -> None:
        broker = found.broker
        what = f"RabbitMQ {found.version} at {broker}, virtual host {broker.virtual_host}, as {broker.user}"
        if found.is_old:
            self._say("broker", Verdict.BAD, f"{what}: it is too old", "upgrade it to 3.10 or newer")
        else:
            self._say("broker", Verdict.OK, what)
        unseen = any(one.standing is Standing.UNSEEN for one in found.found)
        if found.refused is not None:
            refused, _, command = found.refused.partition(RUN)
            self._say("permissions", Verdict.BAD, refused, f"{command} (see: sagaflow broker plan)")
        else:
            configure = "; it may not make queues, as with declare=False" if unseen else ""
            self._say("permissions", Verdict.OK, f"{broker.user} may send{configure}")

    def _judge_queues(self, found: Examination, apply_command: str) -> None:
        if not self._needs.participants and not self._needs.coordinators:
            what = "it is not known which are needed" + ("" if self._needs.is_given else ": no saga is open")
            self._say("queues", Verdict.WARN, what, "name what runs here: sagaflow doctor MODULE:NAME")
            return
        wrong = differences(found.found)
        if wrong:
            what = _and_more(problem(wrong[0]), len(wrong))
            self._say("queues", Verdict.BAD, what, mending(wrong[0], apply_command))
        else:
            queues = sum(one.state is not None for one in found.found)
            self._say("queues", Verdict.OK, f"{_counted(queues, 'queue')} as planned")

    def _judge_readers(self, plan: BrokerPlan, found: Sequence[Finding]) -> None:
        """A queue of commands or of replies that nobody reads is the sign that its owner is down."""
        states = {one.declaration.name: one.state for one in found if one.state is not None}
        owners = {
            plan.queue(Address(kind, name)).name: f"{what} {name}"
            for kind, what, names in (
                (QueueKind.COMMANDS, "participant", plan.participants),
                (QueueKind.REPLIES, "coordinator", plan.coordinators),
            )
            for name in names
        }
        unread = [(queue, state) for queue in owners if (state := states.get(queue)) and not state.consumers]
        if unread:
            queue, state = unread[0]
            what = f"nobody reads {queue}, in which {_wait(state.waiting, 'body', 'bodies')}"
            self._say("readers", Verdict.WARN, _and_more(what, len(unread)), f"start {owners[queue]}")
        elif states:
            self._say("readers", Verdict.OK, "each queue of commands and replies is read")


class _Look:
    """Bounds a look in time, and tells what goes wrong with servers and tables: in words, and with the command of the
    error if it has one."""

    def __init__(self, tell: Callable[[str, str | None], None]) -> None:
        self._tell = tell
        self._timeout = asyncio.timeout(LOOK_SECONDS)

    async def __aenter__(self) -> None:
        await self._timeout.__aenter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> bool:
        try:
            await self._timeout.__aexit__(kind, error, where)
        except TimeoutError:
            self._tell(f"no answer within {LOOK_SECONDS:g} s", None)
            return True
        if not isinstance(error, SagaflowError):
            return False
        what, _, command = str(error).partition(RUN)
        self._tell(what, command or None)
        return True


@dataclass(frozen=True, slots=True)
class _Names:
    of: str
    """Before the name of a check: whose database it is, if not the coordinator's."""
    mend: str


def _database_mend(line: Line) -> str:
    option = f"--database (or {DATABASE_VARIABLE})" if line == "coordinator" else "--participant-database"
    return f"see that it runs, and that the URL of {option} is right"


def _counted(count: int, one: str, many: str | None = None) -> str:
    return f"{count} {one if count == 1 else many or f'{one}s'}"


def _wait(count: int, one: str, many: str | None = None) -> str:
    counted = _counted(count, one, many)
    return f"{counted}{' or more' if count == COUNTED_MAX else ''} wait{'s' if count == 1 else ''}"


def _and_more(what: str, count: int) -> str:
    return what if count == 1 else f"{what}; and {count - 1} more"
