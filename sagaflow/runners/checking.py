"""Holds the code of sagas against every open run in a store, before it is deployed. Only reads.

A run needs code only for the commands that are still to be made: each is stored when it is made, and an undo
is given the command of its action. So a run that is being undone, or whose commands are all stored, is
completed by any coordinator; every other needs a saga with the steps of the plan that it is pinned to, which
can still read its input, and the replies that later steps may ask for.

Memory is bounded: runs are read in pages, payloads in smaller ones, and of the findings only counts and a few
ids are kept. Runs that begin while it looks are not seen.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final
from uuid import UUID

from sagaflow.core.plan import Plan, PlannedStep
from sagaflow.core.state import DONE, ENDED, OpStatus, SagaStatus
from sagaflow.definitions.messages import ErrorInfo
from sagaflow.definitions.ports import SagaStore
from sagaflow.definitions.records import Payload, PayloadKind, SagaFilter, SagaRecord
from sagaflow.definitions.saga import Saga
from sagaflow.errors import DefinitionError, PayloadError
from sagaflow.runners.commands import SagaCode, StoredPayloads

PAGE: Final = 500
PAYLOADS_PAGE: Final = 50
"""Runs whose payloads are in memory at a time."""

IDS_KEPT: Final = 3
"""Of each finding, how many runs are named."""

OPEN_STATUSES: Final = frozenset(SagaStatus) - ENDED


class Reason(StrEnum):
    """Why a run would be stranded."""

    VERSION = "version"
    """No code with its version of the saga is given."""
    STEPS = "steps"
    """Its version is given, with other steps."""
    INPUT = "input"
    """Its input cannot be read any more."""
    REPLY = "reply"
    """The result of a step cannot be read any more, and a later step may ask for it."""
    COMMAND = "command"
    """A command that waits to be made cannot be made by this code either."""


@dataclass(frozen=True, slots=True)
class Stranded:
    """A run that could not go on with the given code, and why. `step` is the one at fault, if one is."""

    saga_id: UUID
    saga: str
    key: str
    version: int
    status: SagaStatus
    reason: Reason
    step: str | None
    why: str


@dataclass(slots=True)
class Finding:
    """What strands some runs: how many, the first of them, and why."""

    saga: str
    version: int
    reason: Reason
    step: str | None
    why: str
    """As it was found for the first of them."""
    runs: int = 0
    saga_ids: list[UUID] = field(default_factory=list)


@dataclass(slots=True)
class Report:
    """What was found. `stranded` counts runs; a run may be among several findings."""

    judged: int = 0
    of_other_sagas: int = 0
    """Open runs of sagas that were not given; they were not judged."""
    stranded: int = 0
    findings: list[Finding] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    """Versions that were changed without raising them, while runs of them are open: what to do."""


async def check_runs(
    store: SagaStore, sagas: Sequence[Saga[Any]], *, tell: Callable[[Stranded], None] = lambda stranded: None
) -> Report:
    """Judge every open run of these sagas.

    Args:
        store: where the runs are. Nothing is written to it.
        sagas: all that is to be deployed, each in every version that is to be served.
        tell: is told each run that would be stranded; a run with several reasons, of each.

    Raises:
        DefinitionError: two of the sagas have the same name and version.
        Unavailable: the store cannot be reached.
    """
    check = _Check(sagas, tell)
    before: UUID | None = None
    while page := await store.list(SagaFilter(statuses=OPEN_STATUSES, before=before), PAGE):
        before = page[-1].saga_id
        await check.learn_plans(store, page)
        needing = [record for record in page if check.has_to_be_read(record)]
        for first in range(0, len(needing), PAYLOADS_PAGE):
            some = needing[first : first + PAYLOADS_PAGE]
            stored: dict[UUID, list[Payload]] = {record.saga_id: [] for record in some}
            for payload in await store.payloads(list(stored)):
                stored[payload.saga_id].append(payload)
            for record in some:
                check.judge(record, StoredPayloads(stored[record.saga_id]))
    return check.report


class _Check:
    """The code that is given, and what was found so far."""

    def __init__(self, sagas: Sequence[Saga[Any]], tell: Callable[[Stranded], None]) -> None:
        self.report = Report()
        self._tell = tell
        self._code = SagaCode(sagas)
        self._given: dict[str, dict[int, Saga[Any]]] = {}
        for saga in sagas:
            if self._given.setdefault(saga.name, {}).setdefault(saga.version, saga) is not saga:
                raise DefinitionError(
                    f"saga {saga.name} version {saga.version} is given twice; raise the version of the newer one"
                )
        self._plans: dict[str, Plan] = {}
        self._findings: dict[tuple[str, int, Reason, str | None], Finding] = {}

    async def learn_plans(self, store: SagaStore, records: Sequence[SagaRecord]) -> None:
        """Read the plans of these runs that are not known yet."""
        unknown = {record.plan_hash for record in records if record.saga in self._given} - self._plans.keys()
        if not unknown:
            return
        for plan in await store.plans(sorted(unknown)):
            self._plans[plan.hash] = plan
            same_version = self._given[plan.saga].get(plan.version)
            if same_version is not None and same_version.plan.shape != plan.shape:
                advice = _raise_the_version(plan, same_version)
                if advice not in self.report.changed:
                    self.report.changed.append(advice)

    def has_to_be_read(self, record: SagaRecord) -> bool:
        """Whether a run may need code, as far as its state tells; counts it as judged if it is ours."""
        if record.saga not in self._given:
            self.report.of_other_sagas += 1
            return False
        self.report.judged += 1
        return bool(_to_be_made(self._plans[record.plan_hash], record, stored=None))

    def judge(self, record: SagaRecord, stored: StoredPayloads) -> None:
        """Note what strands a run, if anything does."""
        plan = self._plans[record.plan_hash]
        needed = _to_be_made(plan, record, stored)
        problems = list(self._problems(plan, record, stored, needed)) if needed else []
        self.report.stranded += bool(problems)
        for reason, step, why in problems:
            stranded = Stranded(record.saga_id, record.saga, record.key, plan.version, record.status, reason, step, why)
            self._note(stranded)
            self._tell(stranded)

    def _note(self, stranded: Stranded) -> None:
        place = (stranded.saga, stranded.version, stranded.reason, stranded.step)
        finding = self._findings.get(place)
        if finding is None:
            finding = self._findings[place] = Finding(*place, stranded.why)
            self.report.findings.append(finding)
        finding.runs += 1
        if len(finding.saga_ids) < IDS_KEPT:
            finding.saga_ids.append(stranded.saga_id)

    def _problems(
        self, plan: Plan, record: SagaRecord, stored: StoredPayloads, needed: Sequence[str]
    ) -> Iterator[tuple[Reason, str | None, str]]:
        saga = self._code.of(plan)
        if saga is None:
            yield self._without_code(plan)
            return
        saga_input = stored.body(PayloadKind.INPUT)
        unreadable = _unreadable(saga, saga_input)
        if saga_input is None or unreadable is not None:
            yield Reason.INPUT, None, f"its input cannot be read: {unreadable}"
            return
        bad_replies = list(_bad_replies(saga, plan, stored, needed))
        yield from bad_replies
        if bad_replies:
            return
        waiting = {OpStatus.DEFERRED, OpStatus.STUCK}
        for step, standing in zip(plan.steps, record.state.steps, strict=True):
            if step.name not in needed or standing.action.status not in waiting:
                continue
            try:
                saga.command(step.name, saga_input, stored.results())
            except Exception as error:  # noqa: BLE001  # the user's code may raise anything; it is what is looked for
                told = ErrorInfo.of(error, saga.secrets(saga_input, stored.results()))
                why = f"the command of {step.name} cannot be made: {told.words}"
                yield Reason.COMMAND, step.name, why

    def _without_code(self, plan: Plan) -> tuple[Reason, str | None, str]:
        versions = self._given[plan.saga]
        if plan.version in versions:
            return Reason.STEPS, None, _raise_the_version(plan, versions[plan.version])
        newest = versions[max(versions)]
        differences = _differences(plan, newest.plan) or ["only the number of the version is another"]
        served = ", ".join(str(version) for version in sorted(versions))
        why = (
            f"version {plan.version} is not given (given: {served}); serve it too until its runs have ended. "
            f"Version {newest.version} differs: {'; '.join(differences)}"
        )
        return Reason.VERSION, None, why


def _to_be_made(plan: Plan, record: SagaRecord, stored: StoredPayloads | None) -> Sequence[str]:
    """The steps whose commands may still have to be made. With `stored` None nothing is known of payloads."""
    if record.state.cause is not None:
        return ()  # it is being undone, which takes what was sent before
    return [
        step.name
        for step, standing in zip(plan.steps, record.state.steps, strict=True)
        if standing.action.status not in DONE
        and not (stored is not None and stored.body(PayloadKind.COMMAND, step.name) is not None)
    ]


def _unreadable(saga: Saga[Any], saga_input: bytes | None) -> str | None:
    if saga_input is None:
        return "it has been erased"
    try:
        saga.input_type.decode(saga_input)
    except PayloadError as error:
        return str(error)
    return None


def _bad_replies(
    saga: Saga[Any], plan: Plan, stored: StoredPayloads, needed: Sequence[str]
) -> Iterator[tuple[Reason, str, str]]:
    for name, result in stored.results().items():
        asking = [step for step in needed if plan.index[step] in plan.behind[plan.index[name]]]
        reply_type = saga.steps[name].reply_type
        if not asking or reply_type.declared is type(None):  # what is not declared is asked for by nobody
            continue
        try:
            reply_type.decode(result)
        except PayloadError as error:
            yield Reason.REPLY, name, f"the result of {name}, which {asking[0]} may ask for, cannot be read: {error}"


def _raise_the_version(plan: Plan, given: Saga[Any]) -> str:
    differences = "; ".join(_differences(plan, given.plan))
    return (
        f"version {plan.version} of {plan.saga} has other steps than its open runs: {differences}. "
        f"Raise the version, and serve version {plan.version} as it was beside it"
    )


def _differences(old: Plan, new: Plan) -> Sequence[str]:
    """What tells the steps of two plans apart, in words about the new one."""
    before = {step.name: step for step in old.steps}
    after = {step.name: step for step in new.steps}
    removed = [step for step in old.steps if step.name not in after]
    added = [step for step in new.steps if step.name not in before]
    renamed = {
        one.name: other.name
        for one in removed
        for other in added
        if (one.participant, one.handler) == (other.participant, other.handler)
    }
    told = [f"{one} is named {other}" for one, other in renamed.items()]
    told += [f"{step.name} is gone" for step in removed if step.name not in renamed]
    told += [f"{step.name} is new" for step in added if step.name not in renamed.values()]
    kept = [name for name in before if name in after]
    for name in kept:
        told += _step_differences(before[name], after[name], renamed)
    if kept != [name for name in after if name in before]:
        told.append("its steps are written in another order")
    return told


def _step_differences(old: PlannedStep, new: PlannedStep, renamed: Mapping[str, str]) -> Iterator[str]:
    was_done_by, is_done_by = (f"{step.participant}.{step.handler}" for step in (old, new))
    if was_done_by != is_done_by:
        yield f"{new.name} is done by {is_done_by}, not {was_done_by}"
    if old.kind is not new.kind:
        yield f"{new.name} is {new.kind}, not {old.kind}"
    if [renamed.get(name, name) for name in old.after] != list(new.after):
        yield f"{new.name} comes after {', '.join(new.after) or 'nothing'}, not {', '.join(old.after) or 'nothing'}"
