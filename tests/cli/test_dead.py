"""What was put aside, looked at, sent again and dropped, by what is typed."""

from __future__ import annotations

import asyncio
import re
import shlex
from collections.abc import Sequence
from pathlib import Path

import pytest

from sagaflow.adapters.inprocess import InProcessTransport
from sagaflow.adapters.sqlite import SqliteTransactions
from sagaflow.cli import dead
from sagaflow.definitions.limits import PUT_ASIDE_BYTES_MAX
from sagaflow.definitions.ports import Letter
from sagaflow.definitions.records import PutAside
from sagaflow.errors import NotPossible, Unavailable
from sagaflow.runners.replaying import letters_of
from tests.cli.conftest import Sagaflow

GOOD, OTHER = b'{"v": 99, "a": 1}', b'[{"b": 2}, {"c": 3}]'
ASIDE = [
    PutAside("commands.payments", "wire version 99", GOOD),
    PutAside("commands.payments", "given up: delivery_limit", OTHER),
    PutAside("replies.trip", "it is no JSON", b"not\x1bjson"),
]


@pytest.fixture
def options(tmp_path: Path) -> list[str]:
    """Three messages that a participant has put aside, numbered from 1."""
    path = tmp_path / "payments.sqlite"

    async def fill() -> None:
        async with SqliteTransactions(path) as transactions:
            await transactions.put_aside(ASIDE)

    asyncio.run(fill())
    return ["--line", "participant", "--database", f"sqlite:///{path}"]


class Sent(InProcessTransport):
    """Notes what is published, and may be away."""

    def __init__(self) -> None:
        super().__init__()
        self.letters: list[Letter] = []
        self.away_after = 1_000

    async def publish(self, letters: Sequence[Letter]) -> None:
        if len(self.letters) >= self.away_after:
            raise Unavailable("the broker is away")
        self.letters += letters


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> Sent:
    """The broker of the commands."""
    transport = Sent()
    monkeypatch.setattr(dead, "transport_to", lambda url, namespace: transport)
    return transport


def numbers(sagaflow: Sagaflow, options: list[str]) -> list[int]:
    database = options[-2:]
    return [line["number"] for line in sagaflow("dead", "list", "participant", "--json", *database).lines]


def confirmed(output: str) -> list[str]:
    """The command that does what was shown."""
    return shlex.split(output.split(" To do it: ")[1])[1:]


def test_list_filters_and_show_tells_one_whole(sagaflow: Sagaflow, options: list[str]) -> None:
    assert numbers(sagaflow, options) == [3, 2, 1]
    of_queue = sagaflow("dead", "list", "participant", "--queue=commands.payments", "--json", *options[-2:])
    assert [line["number"] for line in of_queue.lines] == [2, 1]
    said = sagaflow("dead", "show", "2", "--payload", *options)
    assert said.output.startswith("from  commands.payments\nat ")
    assert "why   given up: delivery_limit" in said.output
    assert '"c": 3' in said.output
    missing = sagaflow("dead", "show", "9", *options)
    assert (missing.code, missing.output) == (1, "")
    assert "no message 9 is put aside" in missing.errors


def test_what_is_in_messages_is_shown_only_to_who_asks_for_it(sagaflow: Sagaflow, options: list[str]) -> None:
    asked = [
        ["list", "participant", *options[-2:]],
        ["show", "2", *options],
        ["replay", "2", "--broker=amqp://b", *options],
        ["drop", "2", "--reason=none", *options],
    ]
    for words in asked:
        for said in (sagaflow("dead", *words), sagaflow("dead", *words, "--json")):
            assert said.code == 0
            assert '"c"' not in said.output + said.errors
            assert r"\"c\"" not in said.output + said.errors
    (shown,) = sagaflow("dead", "show", "2", "--payload", "--json", *options).lines
    assert (shown["body"], shown["bytes"]) == (OTHER.decode(), len(OTHER))


def test_replay_is_shown_first_and_then_sends_back_and_forgets(
    sagaflow: Sagaflow, options: list[str], sent: Sent
) -> None:
    shown = sagaflow("dead", "replay", "--queue", "commands.payments", "--broker=amqp://b", *options)
    assert shown.code == 0
    assert "nothing was done yet: 2 of 2 would be sent again." in shown.output
    assert (sent.letters, numbers(sagaflow, options)) == ([], [3, 2, 1])
    done = sagaflow(*confirmed(shown.output))
    assert (done.code, done.output) == (0, "2  sent again\n1  sent again\n")
    assert [(str(letter.to), letter.message) for letter in sent.letters] == [
        ("commands.payments", b'{"b": 2}'),
        ("commands.payments", b'{"c": 3}'),
        ("commands.payments", GOOD),
    ]
    assert numbers(sagaflow, options) == [3]


def test_what_the_broker_has_not_confirmed_is_not_forgotten(sagaflow: Sagaflow, options: list[str], sent: Sent) -> None:
    sent.away_after = 2
    said = sagaflow("dead", "replay", "--queue", "commands.payments", "--broker=amqp://b", "--yes", *options)
    assert (said.code, said.errors) == (1, "sagaflow: the broker is away\n")
    assert numbers(sagaflow, options) == [3, 1]


def test_what_cannot_be_sent_again_says_why_and_stays(sagaflow: Sagaflow, options: list[str], sent: Sent) -> None:
    said = sagaflow("dead", "replay", "3", "--broker=amqp://b", "--yes", *options)
    assert said.code == 1
    assert said.output.startswith("3  not sent again: it is no message, and would be put aside again: ")
    assert (sent.letters, numbers(sagaflow, options)) == ([], [3, 2, 1])


def test_drop_is_shown_first_wants_a_reason_and_prints_what_it_drops(sagaflow: Sagaflow, options: list[str]) -> None:
    assert sagaflow("dead", "drop", "3", *options).code == 2
    assert sagaflow("dead", "drop", "3", "--reason", " ", *options).code == 2
    shown = sagaflow("dead", "drop", "--matching", "no JSON", "--reason", "a port scan", *options)
    assert numbers(sagaflow, options) == [3, 2, 1]
    (dropped,) = sagaflow(*confirmed(shown.output)).lines
    assert (dropped["number"], dropped["body"], dropped["dropped_for"]) == (3, "not\x1bjson", "a port scan")
    assert numbers(sagaflow, options) == [2, 1]


@pytest.mark.parametrize("verb", [["replay", "--broker=amqp://b"], ["drop", "--reason=none"]])
def test_all_messages_are_never_meant(sagaflow: Sagaflow, options: list[str], verb: list[str]) -> None:
    said = sagaflow("dead", *verb, "--yes", *options)
    assert (said.code, said.output) == (2, "")
    assert "give the number of a message, or say which ones" in said.errors


def test_a_password_of_the_broker_is_not_repeated(sagaflow: Sagaflow, options: list[str]) -> None:
    said = sagaflow("dead", "replay", "1", "--broker=amqp://me:open-sesame@b", *options)
    assert "open-sesame" not in said.output + said.errors


@pytest.mark.parametrize(
    ("source", "body", "why"),
    [
        ("commands.payments", b"x" * PUT_ASIDE_BYTES_MAX, "only its first 65536 bytes were kept"),
        ("commands.payments", b"[]", "there is no message in it"),
        ("commands.payments", b"[1]", "it is no message"),
        ("answers.00000000", b"{}", "it did not come from a queue that keeps messages"),
        ("elsewhere", b"{}", "it did not come from a queue that keeps messages"),
    ],
)
def test_what_cannot_be_a_message_again(source: str, body: bytes, why: str) -> None:
    with pytest.raises(NotPossible, match=re.escape(why)):
        letters_of(PutAside(source, "why", body))
