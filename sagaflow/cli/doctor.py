"""`sagaflow doctor`: whether everything is there that sagas need, and what to type if not."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Final

from cyclopts import Parameter
from rich.text import Text

from sagaflow.cli.broker import Name, plan_of, typed_broker_command
from sagaflow.cli.examining import Check, Doctor, Needs, Verdict
from sagaflow.cli.exit_codes import ExitCode
from sagaflow.cli.loading import load_definitions
from sagaflow.cli.options import BROKER_VARIABLE, NAMESPACE, Database, Json, Namespace, console, print_json
from sagaflow.definitions.saga import Saga

STYLES: Final = {Verdict.OK: "green", Verdict.WARN: "yellow", Verdict.BAD: "bold red"}


async def doctor(
    *places: Annotated[
        str,
        Parameter(
            help="MODULE:NAME of sagas and participants that should run. What open sagas need is looked at if left out."
        ),
    ],
    database: Database,
    broker: Annotated[
        str | None,
        Parameter(env_var=BROKER_VARIABLE, show_env_var=True, help="The broker; it is not looked at if left out."),
    ] = None,
    participant_database: Annotated[
        list[str] | None, Parameter(negative="", help="The database of a participant; may be given again.")
    ] = None,
    name: Name = None,
    namespace: Namespace = NAMESPACE,
    json: Json = False,
) -> int:
    """Look whether all is well: databases, tables, rights, clocks, broker, queues, who is alive, and what waits.

    Changes nothing. Each check is a line; the last one says "good to go", or what to do first. Exit code 1: something
    is bad.
    """
    needs = _needs(places, name, namespace)
    seen = Doctor(needs, print_check if json else _draw)
    await seen.look_at_database(database, "coordinator")
    for url in participant_database or ():
        await seen.look_at_database(url, "participant")
    if broker is not None:
        mend = typed_broker_command("apply", places or ["MODULE:NAME"], name, namespace, broker)
        await seen.look_at_broker(broker, namespace, mend)
    bad = [check for check in seen.checks if check.verdict is Verdict.BAD]
    if not json:
        print(_last_line(seen.checks))
    return ExitCode.FAILED if bad else ExitCode.DONE


def print_check(check: Check) -> None:
    """One line of JSON."""
    print_json(asdict(check))


def _needs(places: tuple[str, ...], name: str | None, namespace: str) -> Needs:
    if not places:
        plan_of([], None, namespace)  # which refuses an impossible namespace
        return Needs(is_given=False)
    definitions = load_definitions(places)
    plan = plan_of(definitions, name, namespace)
    sagas = [one for one in definitions if isinstance(one, Saga)]
    return Needs(True, [saga.plan for saga in sagas], plan.participants, plan.coordinators)


def _draw(check: Check) -> None:
    line = Text(f"{check.verdict:4}", style=STYLES[check.verdict])
    line.append(f"  {check.name:14}  {check.what}", style="not bold default")
    if check.mend is not None:
        line.append(f"; {check.mend}", style="not bold cyan")
    console().print(line, soft_wrap=True)


def _last_line(checks: list[Check]) -> str:
    """What to do first, the bad before the merely odd."""
    for verdict, opening in ((Verdict.BAD, "first: "), (Verdict.WARN, "good to go; then: ")):
        for check in checks:
            if check.verdict is verdict:
                return f"{opening}{check.mend or check.what}"
    return "good to go"
