"""`sagaflow dead`: the messages that could not be dealt with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from cyclopts import Parameter
from rich.text import Text

from sagaflow.cli.options import Database, Json, Limit, console, moment, new_table, print_json
from sagaflow.cli.servers import Line, opened_store, opened_transactions
from sagaflow.definitions.messages import printable
from sagaflow.definitions.records import PutAside


async def dead(
    line: Annotated[Line, Parameter(help="Who put them aside.")] = "coordinator",
    /,
    *,
    database: Database,
    limit: Limit = 20,
    json: Json = False,
) -> None:
    """Show the messages that were put aside because nobody could deal with them, the latest first."""
    messages = await _messages(line, database, limit)
    if json:
        for message in messages:
            body = message.body.decode(errors="replace")
            print_json({"at": message.at, "source": message.source, "reason": message.reason, "body": body})
    elif messages:
        _draw(messages)
    else:
        print("no message was put aside")


async def _messages(line: Line, database: str, limit: int) -> Sequence[PutAside]:
    if line == "coordinator":
        async with opened_store(database) as store:
            return await store.list_put_aside(limit)
    async with opened_transactions(database) as transactions:
        return await transactions.list_put_aside(limit)


def _draw(messages: Sequence[PutAside]) -> None:
    table = new_table("at", "from", "why", "what")
    for message in messages:
        texts = (moment(message.at), message.source, message.reason, message.body.decode(errors="replace"))
        table.add_row(*(Text(printable(text)) for text in texts))
    console().print(table)
