"""A report in words: for a terminal, as Markdown, as JSON. Pure; what is said is the same in all of them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.text import Text

from sagaflow.cli.options import moment, new_table
from sagaflow.cli.sagas import STATUS_STYLES
from sagaflow.core.plan import Operation
from sagaflow.core.state import SagaStatus
from sagaflow.definitions.messages import printable
from sagaflow.runners.reporting.reports import Alike, AttemptReport, Failure, SagaReport
from sagaflow.runners.reporting.words import operation_words

Typed = Callable[[Sequence[str]], str]
"""The words of a command, without the program, as they are typed."""


@dataclass(frozen=True, slots=True)
class Section:
    """One question and its answer: sentences, then a table, then commands with the occasions for them, then text
    as it came."""

    title: str
    lines: Sequence[str] = ()
    table: Sequence[Sequence[str]] = ()
    """The first row has the titles."""
    commands: Sequence[tuple[str, str]] = ()
    text: str = ""


def sections(report: SagaReport, typed: Typed) -> Sequence[Section]:
    """What there is to say, in the order in which a person asks. What there is nothing to say of is left out."""
    return list(_sections(report, typed))


def _sections(report: SagaReport, typed: Typed) -> Iterator[Section]:
    yield Section("What happened", list(_what_happened(report)))
    if report.undone:
        rows = [(str(n), one.step, moment(one.at), one.by) for n, one in enumerate(report.undone, 1)]
        yield Section("What is undone, in this order", table=[("", "step", "at", "by"), *rows])
    if report.not_undone:
        yield Section("What could not be undone", [f"{one.step}: {one.why}" for one in report.not_undone])
    if report.owed:
        yield Section("What is still owed", table=_owed(report))
    yield Section("What to do", [report.advice], commands=[(move.when, typed(move.words)) for move in report.moves])
    if report.attempts:
        yield Section("Every attempt", table=attempt_rows(report.attempts))
    if report.by_hand:
        rows = [(moment(one.at), one.actor, one.what, one.reason) for one in report.by_hand]
        yield Section("What people did", table=[("at", "who", "what", "why"), *rows])
    for title, failure in _with_traceback(report):
        assert failure.error is not None, "it has a traceback"
        yield Section(title, text=failure.error.traceback)


def _what_happened(report: SagaReport) -> Iterator[str]:
    yield report.headline
    troubles = [one for one in (report.first_cause, *report.stuck) if one is not None]
    told: set[str] = set()
    for failure in troubles:
        if failure.what in told:
            continue
        told.add(failure.what)
        lead = "Stuck" if failure in report.stuck else "Undone because" if report.cause is not None else "Waits because"
        yield f"{lead}: {failure.what}."
        where = _where(failure)
        if where:
            yield where
    if report.alike is not None:
        yield _alike(report.alike, report.saga)


def _where(failure: Failure) -> str:
    if failure.step is None or failure.service is None:
        return f"When: {moment(failure.at)}" if failure.at is not None else ""
    host = failure.host or "no process answered"
    attempt = f", attempt {failure.attempt}" if failure.attempt else ""
    round_ = f" of round {failure.round}" if failure.round > 1 else ""
    at = f", at {moment(failure.at)}" if failure.at is not None else ""
    return f"Where: service {failure.service}, host {host}, step {failure.step}{attempt}{round_}{at}"


def _alike(alike: Alike, saga: str) -> str:
    among = f"of the latest {alike.looked_at} that were looked at, " if alike.looked_at else ""
    where = f"({among}fingerprint {alike.fingerprint})"
    if not alike.total:
        return f"No other {saga} saga fails in this way {where}."
    statuses = ", ".join(f"{count} {status}" for status, count in alike.by_status.items())
    others = f"{alike.total} other {saga} sagas fail" if alike.total > 1 else f"1 other {saga} saga fails"
    return f"{others} in the same way: {statuses} {where}."


def _owed(report: SagaReport) -> Sequence[Sequence[str]]:
    rows = [
        (
            operation_words(one.step, one.operation),
            one.why,
            f"{one.attempts} of {one.of_attempts}" if one.attempts else "",
            moment(one.next_at),
        )
        for one in report.owed
    ]
    return [("what", "why not yet", "attempts", "looked at next"), *rows]


def attempt_rows(attempts: Sequence[AttemptReport]) -> Sequence[Sequence[str]]:
    """A table of attempts; the first row has the titles."""
    rows = [
        (
            operation_words(one.step, one.operation),
            f"{one.attempt}" if one.round == 1 else f"{one.attempt} (round {one.round})",
            moment(one.asked_at),
            _took(one.asked_at, one.ended_at),
            _outcome(one),
            f"{one.service}@{one.host}" if one.host else one.service,
            one.trace_id,
        )
        for one in attempts
    ]
    return [("operation", "attempt", "asked at", "took", "how it ended", "where", "trace id"), *rows]


def _outcome(one: AttemptReport) -> str:
    asked = f" (asked {one.asked} times)" if one.asked > 1 else ""
    error = f": {one.error.words}" if one.error is not None else ""
    afterwards = f"; {one.afterwards}" if one.afterwards else ""
    return f"{one.outcome}{asked}{error}{afterwards}"


def _took(began: datetime | None, ended: datetime | None) -> str:
    return "" if began is None or ended is None else f"{(ended - began).total_seconds():.3f}s"


def _with_traceback(report: SagaReport) -> Iterator[tuple[str, Failure]]:
    first = report.first_cause
    if first is not None and first.error is not None and first.error.traceback:
        yield "Traceback of the first cause", first
    for failure in report.stuck:
        if failure != first and failure.error is not None and failure.error.traceback:
            name = operation_words(failure.step or "", failure.operation or Operation.ACTION)
            yield f"Traceback of what is stuck: {name}", failure


# The three forms.


def as_terminal(report: SagaReport, typed: Typed) -> RenderableType:
    """For people, in colour."""
    parts: list[RenderableType] = [_title(report)]
    for section in sections(report, typed):
        parts += [Text(""), Text(section.title, style="bold")]
        parts += [Padding(Text(printable(line), overflow="fold"), (0, 0, 0, 2), expand=False) for line in section.lines]
        if section.table:
            head, *rows = section.table
            table = new_table(*head)
            for row in rows:
                table.add_row(*(Text(printable(cell)) for cell in row))
            parts.append(Padding(table, (0, 0, 0, 2), expand=False))
        for when, command in section.commands:
            parts.append(Text(f"  {printable(when)}:"))
            parts.append(Text(f"    $ {printable(command)}", style="cyan", no_wrap=True, overflow="ignore"))
        parts += [Text(f"  {line}", style="dim") for line in _lines(section.text)]
    return Group(*parts)


def _title(report: SagaReport) -> Text:
    title = Text(report.status, style=STATUS_STYLES[SagaStatus(report.status)])
    title.append(f"  {report.saga} version {report.plan_version}, key {printable(report.key)}", style="bold")
    title.append(f"\n{_facts(report)}", style="dim")
    return title


def _facts(report: SagaReport) -> str:
    return (
        f"{report.saga_id}, started {moment(report.started_at)}, last change {moment(report.updated_at)}, "
        f"trace {report.trace_id}"
    )


def as_markdown(report: SagaReport, typed: Typed) -> str:
    """For a ticket or a chat."""
    name = f"{report.saga} version {report.plan_version}, key {_escaped(report.key)}"
    blocks = [f"# {report.status}: {name}", _escaped(_facts(report))]
    for section in sections(report, typed):
        blocks.append(f"## {section.title}")
        blocks += [_escaped(line) for line in section.lines]
        if section.table:
            head, *rows = section.table
            lines = [head, ["---"] * len(head), *([_escaped(cell) for cell in row] for row in rows)]
            blocks.append("\n".join(f"| {' | '.join(line)} |" for line in lines))
        for when, command in section.commands:
            blocks += [f"{_escaped(when)}:", _fenced(printable(command), "console")]
        if section.text:
            blocks.append(_fenced("\n".join(_lines(section.text)), ""))
    return "\n\n".join(blocks) + "\n"


def as_plain(report: SagaReport, typed: Typed) -> dict[str, Any]:
    """For programs: all fields, and each command also as it is typed."""
    fields: dict[str, Any] = msgspec.to_builtins(report)
    for move, told in zip(report.moves, fields["moves"], strict=True):
        told["command"] = typed(move.words)
    return fields


def _lines(text: str) -> Sequence[str]:
    return [printable(line) for line in text.splitlines()]


_SPECIAL = re.compile(r"([\\`*_<>|\[\]#~])")


def _escaped(text: str) -> str:
    """Text that is to be read as it is, within a line of Markdown."""
    return _SPECIAL.sub(r"\\\1", printable(text))


def _fenced(text: str, language: str) -> str:
    """A block that nothing in it can end."""
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{text}\n{fence}"
