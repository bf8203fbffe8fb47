"""Forgetting: `sagaflow db purge`, for what is over, and `sagaflow erase SAGA_ID`, for what was said in it."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from typing import Annotated
from uuid import UUID

from cyclopts import Parameter, validators

from sagaflow.cli.many import say_wrong_usage
from sagaflow.cli.options import Actor, Database, Json, Reason, print_json, this_user
from sagaflow.cli.progress import Bar, progress
from sagaflow.cli.servers import Line, opened_store, opened_transactions
from sagaflow.definitions.records import PurgePage
from sagaflow.definitions.retention import Retention, duration_of
from sagaflow.runners.operator import Operator
from sagaflow.runners.purging import PAGE, REST, open_sagas, purge_barrier, purge_sagas

NONE = timedelta(0)

Kept = Annotated[str | None, Parameter(help="Purge those that ended so long ago, such as 30d or 36h; else none.")]


async def purge(
    line: Annotated[Line, Parameter(help="Whose tables: coordinator (keeps sagas) or participant (does steps).")],
    /,
    *,
    database: Database,
    completed: Kept = None,
    compensated: Kept = None,
    abandoned: Kept = None,
    put_aside: Annotated[
        str | None, Parameter(help="Purge messages that were put aside so long ago; of a coordinator.")
    ] = None,
    older_than: Annotated[
        str | None, Parameter(help="Purge what a participant did so long ago; at least 7d. Of a participant.")
    ] = None,
    open_in: Annotated[
        list[str] | None,
        Parameter(
            negative="",
            help="The databases of all coordinators that ask this participant: what they have open "
            "is kept. May be given again. Of a participant.",
        ),
    ] = None,
    page: Annotated[
        int, Parameter(validator=validators.Number(gte=1, lte=10_000), help="How many in one transaction.")
    ] = PAGE,
    rest: Annotated[
        float,
        Parameter(validator=validators.Number(gte=0), help="How long to rest after each, in times that it took."),
    ] = REST,
    yes: Annotated[bool, Parameter(negative="", help="Do it, instead of counting what would be purged.")] = False,
    json: Json = False,
) -> int:
    """Delete what is over for long enough, or count it. No open saga is ever deleted.

    May be stopped at any time, and goes on where it stopped when it is run again.
    """
    with progress("looking", hidden=json) as bar:
        told = _Told(bar)
        if line == "coordinator":
            if older_than is not None or open_in:
                return say_wrong_usage("--older-than and --open-in are for the tables of a participant")
            retention = Retention(_time(completed), _time(compensated), _time(abandoned), _time(put_aside))
            if retention == Retention():
                return say_wrong_usage("say what is over for long enough: --completed 30d, --compensated 90d, ...")
            async with opened_store(database) as store:
                gone = await purge_sagas(store, retention, delete=yes, page=page, rest=rest, told=told)
        else:
            if any(said is not None for said in (completed, compensated, abandoned, put_aside)):
                return say_wrong_usage("a participant knows not how sagas end; give --older-than 30d instead")
            kept = _time(older_than)
            if kept is None or not open_in:
                return say_wrong_usage("give --older-than 30d, and each coordinator's database with --open-in URL")
            going_on: set[UUID] = set()
            for url in open_in:
                async with opened_store(url) as store:
                    going_on |= await open_sagas(store)
            async with opened_transactions(database) as transactions:
                gone = await purge_barrier(
                    transactions, kept.total_seconds(), going_on, delete=yes, page=page, rest=rest, told=told
                )
    _say(gone, yes, json)
    return 0


async def erase(
    saga_ids: list[UUID],
    /,
    *,
    reason: Reason,
    database: Database,
    actor: Actor = None,
    yes: Annotated[bool, Parameter(negative="", help="Do it, instead of saying what would be erased.")] = False,
    json: Json = False,
) -> int:
    """Erase what sagas were given, sent and returned: their payloads. That they were, and how they went, is kept.

    Only sagas that have ended can be erased. Messages of theirs that the coordinator has put aside go with them.
    """
    asked = list(dict.fromkeys(saga_ids))
    async with opened_store(database) as store:
        operator = Operator(store, actor or this_user())
        if yes:
            await operator.erase(asked, reason=reason)
        else:
            await operator.expect_erasable(asked)
    if json:
        for saga_id in asked:
            print_json({"saga_id": saga_id, "erased": yes})
    else:
        done = "were erased" if yes else "would be erased; to do it, add --yes"
        print(f"the payloads of {len(asked)} saga{'' if len(asked) == 1 else 's'} {done}")
    return 0


def _time(text: str | None) -> timedelta | None:
    return None if text is None else duration_of(text)


def _say(gone: Counter[str], yes: bool, json: bool) -> None:
    if json:
        print_json({"purged": yes, "counted": {what: count for what, count in sorted(gone.items()) if count}})
        return
    told = ", ".join(f"{count} {what}" for what, count in sorted(gone.items()) if count) or "nothing"
    print(f"purged: {told}" if yes else f"would be purged: {told}; to do it, add --yes")


class _Told:
    """Says how far a purge has come."""

    def __init__(self, bar: Bar) -> None:
        self._bar = bar
        self._seen: Counter[str] = Counter()

    def __call__(self, page: PurgePage) -> None:
        self._seen.update(page.expired)
        self._seen["looked at"] += page.looked_at
        self._bar.advance(", ".join(f"{count:,} {what}" for what, count in self._seen.items()))
