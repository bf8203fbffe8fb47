"""The failure report: what happened to a saga, what is undone, what is owed, and what to type.

    make_report(record, plan, journal, alike) -> SagaReport

It is a pure function of what the store holds, so it is complete after any crash. What is offered to a person is
asked of the machine first: no command is in a report that would be refused in this state.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Final
from uuid import UUID

from sagaflow.core.plan import Operation, Plan
from sagaflow.core.state import DONE, ENDED, OpStatus, SagaStatus
from sagaflow.definitions import ids
from sagaflow.definitions.ports import SagaStore
from sagaflow.definitions.records import JournalEntry, SagaFilter, SagaRecord
from sagaflow.runners.overviews import look_at
from sagaflow.runners.reporting.advice import advice_for, moves_for
from sagaflow.runners.reporting.failing import fingerprints
from sagaflow.runners.reporting.history import History
from sagaflow.runners.reporting.reports import Alike, Failure, SagaReport
from sagaflow.runners.reporting.words import join, operation_words

ALIKE_MAX: Final = 500
"""So many open sagas of the name, and so many of the latest of all, are looked at for those that fail alike."""


def make_report(
    record: SagaRecord, plan: Plan, journal: Sequence[JournalEntry], alike: Alike | None = None
) -> SagaReport:
    """The report of a saga as it was when `record` was read; what its journal holds of later is left out."""
    journal = [entry for entry in journal if entry.seq <= record.version]
    history = History(record, plan, journal)
    stuck = tuple(history.failure(place, operation) for place, operation in history.stuck())
    first_cause = history.first_cause() or (stuck[0] if stuck else history.what_it_waits_for())
    again, advice = advice_for(history, stuck, first_cause)
    return SagaReport(
        saga_id=record.saga_id,
        saga=record.saga,
        plan_version=plan.version,
        key=record.key,
        coordinator=record.coordinator,
        status=record.status,
        cause=record.state.cause,
        trace_id=ids.trace_id(record.traceparent),
        started_at=record.started_at,
        updated_at=record.updated_at,
        headline=_headline(history, stuck),
        first_cause=first_cause,
        stuck=stuck,
        attempts=history.attempts,
        undone=tuple(history.undone()),
        owed=tuple(history.owed()),
        not_undone=tuple(history.not_undone()),
        by_hand=tuple(history.by_hand()),
        again=again,
        advice=advice,
        moves=tuple(moves_for(history, again, alike)),
        alike=alike,
    )


async def report_on(store: SagaStore, saga_id: UUID) -> SagaReport:
    """The report of a saga, with how many others fail as it does: four short queries, however many sagas there are.

    Raises:
        SagaNotFound: there is no such saga.
    """
    record, plan, journal = await look_at(store, saga_id)
    report = make_report(record, plan, journal)
    if report.trouble is None or report.trouble.fingerprint is None:
        return report
    return make_report(record, plan, journal, await _alike(store, record, report.trouble))


async def _alike(store: SagaStore, record: SagaRecord, failure: Failure) -> Alike:
    """All is bounded: open sagas are found by the agenda, the latest by their ids, errors by the ids of their sagas."""
    open_ones = await store.list(SagaFilter(saga=record.saga, statuses=frozenset(SagaStatus) - ENDED), ALIKE_MAX)
    latest = await store.list(SagaFilter(), ALIKE_MAX)
    others = {
        one.saga_id: one
        for one in (*open_ones, *latest)
        if one.saga == record.saga and one.saga_id != record.saga_id and one.status is not SagaStatus.COMPLETED
    }
    prints = await fingerprints(store, list(others.values()))
    same = Counter(others[saga_id].status for saga_id, found in prints.items() if failure.fingerprint in found)
    return Alike(failure.fingerprint or "", dict(sorted(same.items())), len(others))


def _headline(history: History, stuck: Sequence[Failure]) -> str:
    state, plan = history.state, history.plan
    happened = sum(step.action.status in DONE for step in state.steps)
    match state.status:
        case SagaStatus.COMPLETED:
            skipped = sum(step.action.status is OpStatus.SKIPPED for step in state.steps)
            settled = f", {skipped} of them settled by hand" if skipped else ""
            return f"All of it happened: {len(plan.steps)} of {len(plan.steps)} steps are done{settled}."
        case SagaStatus.COMPENSATED:
            return "None of it remains: what had happened is undone."
        case SagaStatus.ABANDONED:
            owed = [operation_words(one.step, one.operation) for one in history.owed()]
            return (
                f"A person ended it as it stood; nobody will do {join(owed, 'or')}." if owed else "A person ended it."
            )
        case SagaStatus.STUCK:
            names = join([operation_words(one.step or "", one.operation or Operation.ACTION) for one in stuck])
            way = "It goes forward only" if state.cause is None else "It is being undone"
            return f"{way}, and waits for a person to decide about the {names}."
        case SagaStatus.COMPENSATING:
            return f"It is being undone; {len(list(history.owed()))} undo(s) are owed, and nobody is needed."
        case SagaStatus.RUNNING:
            waits = any(step.action.status is OpStatus.DEFERRED for step in state.steps)
            goes = "it waits until somebody can do the next" if waits else "it goes on by itself"
            return f"{happened} of {len(plan.steps)} steps are done; {goes}."
