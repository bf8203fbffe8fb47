"""`python -m benchmarks compare`, and the parts about growth."""

from __future__ import annotations

import argparse
import json
import signal
import sys
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

from benchmarks import commands, coordinator, growth, where
from benchmarks.compare import Comparison, Record, as_json, compare, report
from benchmarks.systems import SYSTEMS
from benchmarks.workloads import WORKLOADS

QUICK: dict[str, Any] = {"rounds": 2, "warm": 0.3, "seconds": 1.0, "concurrency": [20, 200]}
FULL: dict[str, Any] = {"rounds": 3, "warm": 0.5, "seconds": 1.5, "concurrency": [100, 500]}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="How fast sagaflow is, here and now.")
    parts = parser.add_subparsers(required=True, metavar="PART")
    _add_compare(parts.add_parser("compare", help="all systems side by side"))
    growth.add_growth(parts.add_parser("growth", help="how it goes on as it grows"))
    worker = parts.add_parser("commands", help="the worker of a participant, alone")
    worker.add_argument("--commands", type=int, default=10_000, help="commands in one round")
    worker.add_argument("--rounds", type=int, default=3)
    worker.set_defaults(run=lambda asked: commands.run(commands=asked.commands, rounds=asked.rounds))
    alone = parts.add_parser("coordinator", help="a coordinator alone")
    alone.add_argument("--sagas", type=int, default=10_000, help="sagas in one round")
    alone.add_argument("--in-flight", type=int, default=200)
    alone.add_argument("--rounds", type=int, default=3)
    alone.set_defaults(
        run=lambda asked: coordinator.run(sagas=asked.sagas, in_flight=asked.in_flight, rounds=asked.rounds)
    )
    parts_of_it = parts.add_parser("where", help="the CPU of a saga, by process")
    parts_of_it.add_argument("--system", choices=SYSTEMS, default="sagaflow")
    parts_of_it.add_argument("--workload", choices=WORKLOADS, default="noop")
    parts_of_it.add_argument("--in-flight", type=int, default=200)
    parts_of_it.add_argument("--seconds", type=float, default=4.0)
    parts_of_it.add_argument("--rounds", type=int, default=1)
    parts_of_it.set_defaults(
        run=lambda asked: where.run(
            system=asked.system,
            workload=asked.workload,
            in_flight=asked.in_flight,
            seconds=asked.seconds,
            rounds=asked.rounds,
        )
    )
    plots = parts.add_parser("plots", help="draw docs/*.svg from the JSON files of results")
    plots.add_argument("--results", type=Path, default=Path("docs/benchmarks"), help="the folder of the JSON files")
    plots.set_defaults(run=_plots)
    asked = parser.parse_args(arguments)
    return int(asked.run(asked) or 0)


def _add_compare(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--quick", action="store_true", help="two short rounds: an impression, in about five minutes")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the records there")
    parser.add_argument("--systems", type=_names(SYSTEMS), default=list(SYSTEMS), metavar="NAME,...")
    parser.add_argument("--workloads", type=_names(WORKLOADS), default=list(WORKLOADS), metavar="NAME,...")
    parser.add_argument("--concurrency", type=_numbers, metavar="N,...", help="sagas in flight")
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--warm", type=float, help="seconds before anything is measured")
    parser.add_argument("--seconds", type=float, help="seconds that are measured, for each workload and round")
    parser.set_defaults(run=_compare)


def _compare(asked: argparse.Namespace) -> int:
    defaults = QUICK if asked.quick else FULL
    chosen = {name: getattr(asked, name) or value for name, value in defaults.items()}
    comparison = Comparison(
        systems=asked.systems,
        workloads=asked.workloads,
        concurrencies=chosen["concurrency"],
        rounds=chosen["rounds"],
        warm_seconds=chosen["warm"],
        seconds=chosen["seconds"],
    )

    def keep(records: list[Record]) -> None:
        if asked.json:
            asked.json.parent.mkdir(parents=True, exist_ok=True)
            asked.json.write_text(json.dumps(as_json(records), indent=2) + "\n")

    records, results = compare(comparison, keep)
    print(report(records, results))
    return 0 if records else 1


def _plots(asked: argparse.Namespace) -> None:
    from benchmarks import plots  # needs matplotlib, which only this part does

    plots.draw(asked.results)


def _names(known: Collection[str]) -> Callable[[str], list[str]]:
    def parse(text: str) -> list[str]:
        names = text.split(",")
        unknown = [name for name in names if name not in known]
        if unknown:
            raise argparse.ArgumentTypeError(f"{', '.join(unknown)} is not one of {', '.join(known)}")
        return names

    return parse


def _numbers(text: str) -> list[int]:
    return [int(number) for number in text.split(",")]


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that servers and children are taken down
    sys.exit(main())
