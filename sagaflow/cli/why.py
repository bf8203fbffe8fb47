"""`sagaflow why SAGA`: what happened to a saga, what is undone, what is owed, and what to type."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Final
from uuid import UUID

from cyclopts import Parameter

from sagaflow.cli.many import say_wrong_usage
from sagaflow.cli.options import Database, Json, SagaMeant, as_typed, console, print_json
from sagaflow.cli.servers import opened_store
from sagaflow.cli.telling import as_markdown, as_plain, as_terminal
from sagaflow.definitions.ports import SagaStore
from sagaflow.definitions.records import SagaFilter
from sagaflow.errors import SagaNotFound
from sagaflow.runners.reporting.making import report_on

NAMESAKES_MAX: Final = 5
"""Of so many sagas with one key the ids are told."""


async def why(
    saga: SagaMeant,
    /,
    *,
    database: Database,
    markdown: Annotated[bool, Parameter(negative="", help="Print Markdown, for a ticket or a chat.")] = False,
    json: Json = False,
) -> int:
    """Tell what happened to a saga, what is undone, what is owed, and what to type now."""
    if markdown and json:
        return say_wrong_usage("give --markdown or --json, not both")

    def typed(words: Sequence[str]) -> str:
        return as_typed(["sagaflow", *words], database)

    async with opened_store(database) as store:
        report = await report_on(store, await saga_meant(store, saga))
    if json:
        print_json(as_plain(report, typed))
    elif markdown:
        print(as_markdown(report, typed), end="")
    else:
        console().print(as_terminal(report, typed), crop=False)
    return 0


async def saga_meant(store: SagaStore, said: str) -> UUID:
    """The saga of this id or key.

    Raises:
        SagaNotFound: there is none, or more than one has the key.
    """
    try:
        return UUID(said)
    except ValueError:
        found = await store.list(SagaFilter(key=said), NAMESAKES_MAX)
    if len(found) == 1:
        return found[0].saga_id
    if not found:
        raise SagaNotFound(f"no saga has the id or the key {said!r}; `sagaflow list` shows those that there are")
    told = ", ".join(f"{record.saga} {record.saga_id}" for record in found)
    raise SagaNotFound(f"more than one saga has the key {said!r}; give an id: {told}")
