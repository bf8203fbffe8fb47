"""`sagaflow check MODULE:NAME`: whether new code can take over the runs that are open."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

from cyclopts import Parameter
from rich.text import Text

from sagaflow.cli.exit_codes import ExitCode
from sagaflow.cli.loading import load_sagas
from sagaflow.cli.options import Database, Json, console, new_table, print_json
from sagaflow.cli.servers import opened_store
from sagaflow.definitions.messages import printable
from sagaflow.runners.checking import Report, Stranded, check_runs


async def check(
    sagas: Annotated[str, Parameter(help="MODULE:NAME of a Saga, or of a sequence: all versions to be served.")],
    /,
    *,
    database: Database,
    json: Json = False,
) -> int:
    """Hold code against every open run in the database, before it is deployed; changes nothing there.

    Says which runs it would strand, and why; the exit code is 1 if there are any.
    """
    definitions = load_sagas(sagas)
    async with opened_store(database) as store:
        report = await check_runs(store, definitions, tell=_print_stranded if json else lambda stranded: None)
    if json:
        summary = {
            "judged": report.judged,
            "of_other_sagas": report.of_other_sagas,
            "stranded": report.stranded,
            "changed": report.changed,
        }
        print_json(summary)
    else:
        _draw(report)
    return ExitCode.FAILED if report.stranded else ExitCode.DONE


def _print_stranded(stranded: Stranded) -> None:
    print_json(asdict(stranded))


def _draw(report: Report) -> None:
    printed = console()
    if report.findings:
        table = new_table("saga", "version", "runs", "why", "such as")
        for finding in report.findings:
            ids = Text("\n".join(str(saga_id) for saga_id in finding.saga_ids), no_wrap=True)
            why = Text(printable(finding.why))
            table.add_row(finding.saga, str(finding.version), str(finding.runs), why, ids)
        printed.print(table)
        printed.print()
    told = {finding.why for finding in report.findings}
    for advice in report.changed:
        if advice not in told:
            printed.print(Text(printable(advice)))
    if report.of_other_sagas:
        printed.print(f"not judged: {_runs(report.of_other_sagas)} of sagas that were not given")
    if report.stranded:
        print(f"{report.stranded} of {_runs(report.judged)} would be stranded")
    else:
        print(f"good to go: {_runs(report.judged)} can go on with this code")


def _runs(count: int) -> str:
    return f"{count} open run{'' if count == 1 else 's'}"
