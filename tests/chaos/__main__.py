"""Runs chaos, and judges what is left.

python -m tests.chaos [--seed N] [--seconds S] [--coordinators 2..4] [--customers N] [--pairs | --twins]
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import re
import secrets
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from urllib.parse import urlsplit

from tests.chaos.customers import Customers
from tests.chaos.history import History, find_faults
from tests.chaos.nemesis import Nemesis
from tests.chaos.points import PAIRS, TWINS, NotHit, die_at
from tests.chaos.servers import Servers
from tests.chaos.shop.__main__ import CLIENTS, COORDINATOR
from tests.chaos.shop.services import SERVICES
from tests.chaos.stage import NeverQuiet, Stage
from tests.chaos.wire import Wire

SECONDS = 60
CUSTOMERS = 24
SERVICE_PROCESSES = 2
CLIENT_PROCESSES = 1
QUIET_SECONDS = 180.0
"""How long it may take after the last fault until all is at rest."""

FAULTS_SHOWN = 20
ERRORS_SHOWN = 30


async def run(arguments: argparse.Namespace, directory: Path) -> bool:
    """One run; returns whether all is well."""
    logging.basicConfig(filename=directory / "customers.log", format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    began_at = time.monotonic()
    async with AsyncExitStack() as stack:
        servers = stack.enter_context(Servers())
        wires = {
            name: await stack.enter_async_context(Wire(server.url))
            for name, server in (
                ("common database", servers.common),
                ("payments database", servers.apart),
                ("broker", servers.broker),
            )
        }
        by_port = {wire.server_port: wire for wire in wires.values()}
        stage = await stack.enter_async_context(
            Stage(
                directory,
                postgres=servers.postgres,
                rabbitmq=servers.broker.url,
                seed=arguments.seed,
                through=lambda url: by_port[urlsplit(url).port].through(url),
            )
        )
        pairs = PAIRS if arguments.pairs else TWINS if arguments.twins else ()
        stage.add(COORDINATOR, 1 if arguments.pairs else 2 if pairs else arguments.coordinators)  # few pass every point
        for service in SERVICES:
            stage.add(service, 1 if arguments.pairs else SERVICE_PROCESSES)
        for role in () if pairs else CLIENTS:
            stage.add(role, CLIENT_PROCESSES)
        log = stack.enter_context((directory / "faults.log").open("w"))
        nemesis = Nemesis(stage, servers, wires, seed=arguments.seed, log=log)
        problems: list[str] = []
        async with stage.client() as client:
            customers = Customers(client, seed=arguments.seed, count=arguments.customers)
            customers.open()
            try:
                if pairs:
                    for pair in pairs:
                        nemesis.note(str(pair))
                        await die_at(stage, *pair)
                        nemesis.met["pair of crash points"] += 1
                else:
                    await nemesis.rage(arguments.seconds)
                async with asyncio.timeout(QUIET_SECONDS):
                    await customers.close()
            except NotHit as error:
                problems.append(str(error))
            except TimeoutError:
                problems.append(f"customers have no answer, {QUIET_SECONDS:.0f} s after the last fault")
        await stage.crew.dismiss(*CLIENTS)
        rested_at = time.monotonic()
        try:
            await stage.until_quiet(QUIET_SECONDS)
        except NeverQuiet as error:
            problems.append(str(error))
        rest_seconds = time.monotonic() - rested_at
        await stage.crew.stop()
        history = await stage.history(customers)
        problems += [*find_faults(history), *stage.crew.surprises]
        put_aside = await stage.put_aside()
        _tell(stage, nemesis, customers, history, put_aside, rest_seconds, time.monotonic() - began_at)
    for line in _errors_in(directory):
        print(f"  logged: {line}")
    if problems:
        (directory / "problems.txt").write_text("\n".join([*problems, "", *_dump(history, problems)]))
        for problem in problems[:FAULTS_SHOWN]:
            print(f"WRONG: {problem}")
        print(f"{len(problems)} things are wrong; all of them, with their histories, are in {directory}")
    return not problems


def _tell(
    stage: Stage,
    nemesis: Nemesis,
    customers: Customers,
    history: History,
    put_aside: Sequence[str],
    rest_seconds: float,
    seconds: float,
) -> None:
    statuses = ", ".join(f"{count} {status}" for status, count in sorted(history.statuses.items()))
    kills = ", ".join(f"{count} {role}" for role, count in sorted(stage.crew.kills.items()))
    points = Counter(point for member in stage.crew.members.values() for point in member.died_at)
    print(
        f"{len(history.sagas)} sagas in {seconds:.0f} s: {statuses}; at rest {rest_seconds:.1f} s after the last order"
    )
    notes = Counter(note.what for note in history.notes)
    print(f"{len(history.sales)} sold in a transaction of a till's own; clients noted: {dict(sorted(notes.items()))}")
    print(f"{len(history.effects)} effects, {sum(map(len, history.journal.values()))} rows in the journal")
    print(f"{sum(stage.crew.kills.values())} processes killed: {kills}")
    print(f"{sum(points.values())} of them at {len(points)} crash points: {dict(sorted(points.items()))}")
    print(f"{sum(nemesis.met.values())} faults: {dict(sorted(nemesis.met.items()))}")
    reasons = Counter(_without_numbers(reason) for reason in put_aside)
    print(f"{len(put_aside)} messages put aside: {dict(reasons)}")


def _errors_in(directory: Path) -> list[str]:
    """What the processes have logged as errors, and the exceptions that were told with a traceback."""
    found: Counter[str] = Counter()
    for log in directory.glob("*.log"):
        in_traceback = False
        for line in log.read_text(errors="replace").splitlines():
            if line.startswith("Traceback"):
                in_traceback = True
            elif in_traceback and line and not line.startswith(" "):
                in_traceback = False
                found[f"traceback: {_without_numbers(line)}"] += 1
            elif " ERROR " in line:
                found[_without_numbers(line.partition(" ERROR ")[2])] += 1
    return [f"{count} x {line}" for line, count in found.most_common(ERRORS_SHOWN)]


def _without_numbers(line: str) -> str:
    return re.sub(r"[0-9a-f-]{8,}|\d+", "N", line)[:160]


def _dump(history: History, problems: Sequence[str]) -> Sequence[str]:
    lines = []
    for saga in history.sagas:
        if any(saga.saga_id in problem for problem in problems):
            lines.append(f"{saga} {history.moods.get(saga.key)}")
            lines += [f"    {entry}" for entry in history.journal.get(saga.saga_id, ())]
            effects = [one for one in (*history.effects, *history.gateway) if one.saga_id == saga.saga_id]
            lines += [f"    {effect}" for effect in sorted(effects, key=lambda one: one.at)]
    return lines


def main() -> int:
    """Run it as it is asked for."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description="Real faults on real servers.")
    parser.add_argument("--seed", type=int, default=secrets.randbelow(10**6))
    parser.add_argument("--seconds", type=float, default=SECONDS, help="how long there are faults")
    parser.add_argument("--coordinators", type=int, default=3)
    parser.add_argument("--customers", type=int, default=CUSTOMERS)
    parser.add_argument("--pairs", action="store_true", help="instead: each pair of crash points, in turn")
    parser.add_argument("--twins", action="store_true", help="instead: pairs of points of two of a kind, in turn")
    arguments = parser.parse_args()
    directory = Path(tempfile.mkdtemp(prefix="sagaflow-chaos-"))
    print(f"chaos: seed {arguments.seed}, {arguments.seconds:.0f} s of faults; logs in {directory}", flush=True)
    well = asyncio.run(run(arguments, directory))
    if well:
        shutil.rmtree(directory)
        print("Nothing lost, nothing twice, nothing stranded.")
        return 0
    asked = f"--coordinators {arguments.coordinators} --customers {arguments.customers}"
    pairs = " --pairs" if arguments.pairs else " --twins" if arguments.twins else ""
    seconds = f"--seconds {arguments.seconds:g}"
    print(f"Again: .venv/bin/python -m tests.chaos --seed {arguments.seed} {seconds} {asked}{pairs}")
    return 1


if __name__ == "__main__":
    sys.exit(main())
