"""`sagaflow dead list | show | replay | drop`: the messages that could not be dealt with."""

from __future__ import annotations

import json as json_module
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Annotated, Any, Final, Protocol
from urllib.parse import urlsplit

from cyclopts import Parameter
from rich.text import Text

from sagaflow.cli.many import say_wrong_usage
from sagaflow.cli.options import (
    BROKER_VARIABLE,
    NAMESPACE,
    Broker,
    Database,
    Json,
    Limit,
    Namespace,
    as_typed,
    console,
    moment,
    new_table,
    print_json,
)
from sagaflow.cli.progress import progress
from sagaflow.cli.servers import Line, opened_store, opened_transactions, transport_to
from sagaflow.definitions.messages import printable
from sagaflow.definitions.records import PutAside
from sagaflow.errors import NotPossible
from sagaflow.runners.replaying import letters_of

LOOKED_AT: Final = 10_000
"""Of so many messages, the latest, those that match are found."""

Who = Annotated[Line, Parameter(help="Who put them aside.")]
Number = Annotated[int | None, Parameter(help="The number of one message, as `dead list` shows it.")]
Queue = Annotated[str | None, Parameter(help="Without a number: all from this queue, such as commands.payments.")]
Matching = Annotated[str | None, Parameter(help="Without a number: all whose reason holds this text.")]
ShowPayload = Annotated[bool, Parameter(negative="", help="Show what is in it too: payloads as they were sent.")]
Yes = Annotated[bool, Parameter(negative="", help="Do it, instead of showing what would be done.")]


class _Aside(Protocol):
    async def list_put_aside(self, limit: int) -> Sequence[PutAside]: ...

    async def remove_put_aside(self, numbers: Sequence[int]) -> int: ...


async def dead_list(
    line: Who = "coordinator",
    /,
    *,
    database: Database,
    queue: Queue = None,
    matching: Matching = None,
    limit: Limit = 20,
    json: Json = False,
) -> None:
    """Show the messages that were put aside because nobody could deal with them, the latest first."""
    async with _opened(line, database) as aside:
        restricts = queue is not None or matching is not None
        messages = _chosen(await aside.list_put_aside(LOOKED_AT if restricts else limit), None, queue, matching)[:limit]
    if json:
        for message in messages:
            print_json(_fields(message))
    elif messages:
        _draw(messages)
    else:
        print("no message was put aside")


async def dead_show(
    number: int,
    /,
    *,
    database: Database,
    line: Who = "coordinator",
    payload: ShowPayload = False,
    json: Json = False,
) -> int:
    """Show one message that was put aside, with `--payload` whole."""
    async with _opened(line, database) as aside:
        found = _chosen(await aside.list_put_aside(LOOKED_AT), number, None, None)
    if not found:
        raise NotPossible(f"no message {number} is put aside; `sagaflow dead list` shows those that are")
    (message,) = found
    if json:
        print_json(_fields(message, whole=payload))
        return 0
    for name, told in (("from", message.source), ("at", moment(message.at)), ("why", message.reason)):
        print(f"{name:6}{printable(told)}")
    print(f"\n{_pretty(message.body)}" if payload else f"what  {len(message.body)} bytes; --payload shows them")
    return 0


async def dead_replay(
    number: Number = None,
    /,
    *,
    line: Who = "coordinator",
    database: Database,
    broker: Broker,
    namespace: Namespace = NAMESPACE,
    queue: Queue = None,
    matching: Matching = None,
    yes: Yes = False,
    json: Json = False,
) -> int:
    """Send messages back to where they came from. Each is forgotten only when the broker has it for sure.

    Exit code 1: one cannot be sent again.
    """
    if number is None and queue is None and matching is None:
        return say_wrong_usage("give the number of a message, or say which ones: --queue, --matching")
    async with _opened(line, database) as aside:
        messages = _chosen(await aside.list_put_aside(LOOKED_AT), number, queue, matching)
        why_not = {message.number: _why_not(message) for message in messages}
        if not yes:
            words = [
                "dead",
                "replay",
                *_words(number, line, queue, matching),
                *_broker_words(broker, namespace),
                "--yes",
            ]
            return _preview(messages, why_not, words, "sent again", database, json)
        async with transport_to(broker, namespace) as transport:
            with progress("sending again", hidden=json, total=len(messages)) as bar:
                for message in messages:
                    if why_not[message.number] is None:
                        await transport.publish(letters_of(message))
                        await aside.remove_put_aside(_numbers([message]))
                    _say(message, "sent again", why_not[message.number], json)
                    bar.advance()
    return int(any(why_not.values()))


async def dead_drop(
    number: Number = None,
    /,
    *,
    line: Who = "coordinator",
    database: Database,
    reason: Annotated[str, Parameter(help="Why nobody needs them; it is printed with what is dropped.")],
    queue: Queue = None,
    matching: Matching = None,
    yes: Yes = False,
    json: Json = False,
) -> int:
    """Forget messages that were put aside, for good. They are printed whole, with the reason."""
    if number is None and queue is None and matching is None:
        return say_wrong_usage("give the number of a message, or say which ones: --queue, --matching")
    if not reason.strip():
        return say_wrong_usage("give a reason")
    async with _opened(line, database) as aside:
        messages = _chosen(await aside.list_put_aside(LOOKED_AT), number, queue, matching)
        if not yes:
            words = ["dead", "drop", *_words(number, line, queue, matching), "--reason", reason, "--yes"]
            return _preview(messages, {}, words, "dropped", database, json)
        for message in messages:
            print_json(_fields(message, whole=True) | {"dropped_for": reason})
        await aside.remove_put_aside(_numbers(messages))
    return 0


@asynccontextmanager
async def _opened(line: Line, database: str) -> AsyncIterator[_Aside]:
    if line == "coordinator":
        async with opened_store(database) as store:
            yield store
    else:
        async with opened_transactions(database) as transactions:
            yield transactions


def _chosen(
    messages: Sequence[PutAside], number: int | None, queue: str | None, matching: str | None
) -> Sequence[PutAside]:
    return [
        message
        for message in messages
        if number in (None, message.number)
        and queue in (None, message.source)
        and (matching is None or matching in message.reason)
    ]


def _numbers(messages: Sequence[PutAside]) -> Sequence[int]:
    return [message.number for message in messages if message.number is not None]


def _why_not(message: PutAside) -> str | None:
    try:
        letters_of(message)
    except NotPossible as error:
        return str(error)
    return None


def _words(number: int | None, line: Line, queue: str | None, matching: str | None) -> Sequence[str]:
    of = None if line == "coordinator" else line
    said = {"--line": of, "--queue": queue, "--matching": matching}
    words = [word for name, value in said.items() if value is not None for word in (name, value)]
    return words if number is None else [str(number), *words]


def _broker_words(broker: str, namespace: str) -> Sequence[str]:
    """A password is not repeated: who has typed it knows it, or has set the variable."""
    words = [] if namespace == NAMESPACE else ["--namespace", namespace]
    if os.environ.get(BROKER_VARIABLE) == broker or urlsplit(broker).password is not None:
        return words
    return [*words, "--broker", broker]


def _preview(
    messages: Sequence[PutAside],
    why_not: dict[int | None, str | None],
    words: Sequence[str],
    done: str,
    database: str,
    json: bool,
) -> int:
    if json:
        for message in messages:
            print_json(_fields(message) | {"why_not": why_not.get(message.number)})
        return 0
    if not messages:
        print("no message matches")
        return 0
    _draw(messages)
    for number, why in why_not.items():
        if why is not None:
            print(f"{number} cannot be {done}: {printable(why)}")
    possible = sum(why_not.get(message.number) is None for message in messages)
    typed = as_typed(["sagaflow", *words], database)
    print(f"nothing was done yet: {possible} of {len(messages)} would be {done}. To do it: {typed}")
    return 0


def _say(message: PutAside, done: str, why_not: str | None, json: bool) -> None:
    if json:
        print_json({"number": message.number, "done": why_not is None, "why_not": why_not})
    else:
        print(f"{message.number}  {done if why_not is None else f'not {done}: {printable(why_not)}'}")


def _fields(message: PutAside, *, whole: bool = False) -> dict[str, Any]:
    """What is told of a message. Nobody knows which parts of its body are sensitive: its type is not at hand here."""
    fields = {
        "number": message.number,
        "at": message.at,
        "source": message.source,
        "reason": message.reason,
        "bytes": len(message.body),
    }
    return fields | {"body": message.body.decode(errors="replace")} if whole else fields


def _pretty(body: bytes) -> str:
    text = body.decode(errors="replace")
    with suppress(ValueError, RecursionError):  # no JSON, which may be why it is here, is shown as it came
        text = json_module.dumps(json_module.loads(text), indent=2)
    return "\n".join(printable(line) for line in text.splitlines())


def _draw(messages: Sequence[PutAside]) -> None:
    table = new_table("number", "at", "from", "why", "bytes")
    for message in messages:
        size = str(len(message.body))
        texts = (str(message.number), moment(message.at), message.source, message.reason, size)
        table.add_row(*(Text(printable(text)) for text in texts))
    console().print(table)
