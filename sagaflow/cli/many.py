"""Repairing many sagas at once: those that match a filter are shown, and repaired if that is confirmed."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Final

from cyclopts import Parameter, validators
from rich.text import Text

from sagaflow.cli.exit_codes import ExitCode
from sagaflow.cli.options import as_typed, console, new_table, print_json
from sagaflow.cli.progress import progress
from sagaflow.cli.sagas import STATUS_STYLES
from sagaflow.core.plan import Operation
from sagaflow.core.state import SagaStatus
from sagaflow.definitions.messages import printable
from sagaflow.definitions.sensitive import MASK
from sagaflow.runners.operator import Operator
from sagaflow.runners.repairs import OpenOperation, Prospect, Repair, Repaired, RepairFilter, RepairOutcome

NOT_DONE: Final = frozenset({RepairOutcome.REFUSED, RepairOutcome.FAILED})
"""What makes the exit code 1."""


@Parameter(name="*")
@dataclass(frozen=True, slots=True)
class Which:
    """Which sagas, when no id is given: those to which all of this applies."""

    stuck: Annotated[bool, Parameter(negative="", help="Without an id: all that are stuck.")] = False
    saga: Annotated[str | None, Parameter(help="Without an id: all of this name.")] = None
    key: Annotated[str | None, Parameter(help="Without an id: the one with this key.")] = None
    error: Annotated[str | None, Parameter(help="Without an id: all with this type of last error.")] = None
    idle_seconds: Annotated[
        float | None,
        Parameter(validator=validators.Number(gte=0), help="Without an id: all that nothing happened to for so long."),
    ] = None
    yes: Annotated[bool, Parameter(negative="", help="Do it to all that match, instead of showing them.")] = False

    @property
    def restricts(self) -> bool:
        """Whether it says anything of the sagas that are meant."""
        return self.stuck or any(said is not None for said in (self.saga, self.key, self.error, self.idle_seconds))

    def filter(self, step: str | None) -> RepairFilter:
        """The same, for the operator."""
        return RepairFilter(
            saga=self.saga,
            statuses=frozenset({SagaStatus.STUCK}) if self.stuck else frozenset(),
            key=self.key,
            idle_seconds=self.idle_seconds,
            step=step,
            error=self.error,
        )


EVERY: Final = Which()


def say_wrong_usage(what: str) -> int:
    """Say why a command cannot be meant like this; returns the exit code."""
    print(f"sagaflow: {what}", file=sys.stderr)
    return ExitCode.WRONG_USAGE


async def steer_many(
    operator: Operator,
    verb: str,
    repair: Repair,
    which: Which,
    options: Mapping[str, str | None],
    database: str,
    json: bool,
) -> int:
    """Show which sagas would be repaired, or repair them; returns the exit code."""
    matching = which.filter(options["step"])
    if which.yes:
        return await _repair(operator, repair, matching, options["reason"] or "", json)
    prospects = [prospect async for prospect in operator.preview(repair, matching)]
    if json:
        for prospect in prospects:
            print_json(_fields(prospect))
    elif prospects:
        _draw(prospects)
    else:
        print("no saga matches")
    if prospects:
        possible = sum(prospect.why_not is None for prospect in prospects)
        again = how_to_confirm(verb, which, options, database)
        print(
            f"nothing was done yet: {possible} of {len(prospects)} would be {repair.done}. To do it: {again}",
            file=sys.stderr if json else sys.stdout,
        )
    return 0


async def _repair(operator: Operator, repair: Repair, matching: RepairFilter, reason: str, json: bool) -> int:
    outcomes: Counter[RepairOutcome] = Counter()
    with progress("repairing", hidden=json) as bar:
        async for one in operator.repair_all(repair, matching, reason=reason):
            outcomes[one.outcome] += 1
            if json:
                print_json(_fields(one.prospect) | {"outcome": one.outcome, "status": one.status, "why_not": one.why})
            else:
                print(_line(one))
            bar.advance(f"{outcomes.total():,} looked after")
    if not json:
        told = [f"{outcomes[outcome]} {outcome}" for outcome in RepairOutcome if outcomes[outcome]]
        print(", ".join(told) or "no saga matches")
    return int(any(outcomes[outcome] for outcome in NOT_DONE))


def _line(one: Repaired) -> str:
    what = f"{one.outcome}, it is {one.status} now" if one.why is None else f"{one.outcome}: {printable(one.why)}"
    return f"{one.prospect.saga_id}  {what}"


def _fields(prospect: Prospect) -> dict[str, Any]:
    record, about = prospect.record, prospect.about
    return {
        "saga_id": record.saga_id,
        "saga": record.saga,
        "key": record.key,
        "status": record.status,
        "step": None if about is None else about.step,
        "operation": None if about is None else about.operation,
        "error": _error(about) or None,
        "why_not": prospect.why_not,
    }


def _draw(prospects: Sequence[Prospect]) -> None:
    table = new_table("saga id", "saga", "key", "status", "operation", "last error", "not possible, for")
    table.columns[0].no_wrap = True
    for prospect in prospects:
        record = prospect.record
        table.add_row(
            str(record.saga_id),
            record.saga,
            Text(printable(record.key)),
            Text(record.status, style=STATUS_STYLES[record.status]),
            _operation(prospect.about),
            Text(printable(_error(prospect.about))),
            Text(printable(prospect.why_not or ""), style="yellow"),
        )
    console().print(table)


def _operation(about: OpenOperation | None) -> str:
    if about is None:
        return ""
    return about.step if about.operation is Operation.ACTION else f"undo {about.step}"


def _error(about: OpenOperation | None) -> str:
    return "" if about is None or about.error is None else about.error.words


PAYLOADS: Final = frozenset({"input", "result"})
"""Options that hold a payload, or name a file with one in it."""


def how_to_confirm(verb: str, which: Which, options: Mapping[str, str | None], database: str) -> str:
    """What to type to have it done. A password is not repeated, nor a payload: parts of it may be sensitive."""
    words = ["sagaflow", *verb.split()]
    words += ["--stuck"] if which.stuck else []
    idle = None if which.idle_seconds is None else f"{which.idle_seconds:g}"
    unsaid = [name for name in sorted(PAYLOADS & options.keys()) if not (options[name] or "@").startswith("@")]
    said = {"saga": which.saga, "key": which.key, "error": which.error, "idle-seconds": idle, **options}
    said |= dict.fromkeys(unsaid, MASK)
    words += [word for name, value in said.items() if value is not None for word in (f"--{name}", value)]
    rest = "".join(f" ({MASK} is the {name} as you gave it, or @FILE with it in a file)" for name in unsaid)
    return as_typed([*words, "--yes"], database) + rest
