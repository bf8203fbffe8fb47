"""All systems side by side: in turns, several rounds, medians and spread; ratios first."""

from __future__ import annotations

import statistics
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass

from benchmarks.load import Measured, Pace
from benchmarks.place import Servers, place, servers
from benchmarks.systems import SYSTEMS
from benchmarks.turn import Job, TurnFailed, take_turn

OURS = "sagaflow"


@dataclass(frozen=True)
class Record:
    """One system under one workload: medians over the rounds."""

    system: str
    workload: str
    concurrency: int
    sagas_per_s: float
    p50_ms: float
    p99_ms: float
    cpu_ms_per_saga: float
    rounds: int


@dataclass(frozen=True)
class Comparison:
    """What is compared, and for how long each turn is."""

    systems: Sequence[str]
    workloads: Sequence[str]
    concurrencies: Sequence[int]
    rounds: int
    warm_seconds: float
    seconds: float

    def jobs(self, system: str) -> list[Job]:
        """The workloads that the system can do, each with every number in flight; `single` with one."""
        return [
            Job(workload, Pace(concurrency, self.warm_seconds, self.seconds))
            for workload in self.workloads
            if workload in SYSTEMS[system].workloads
            for concurrency in ([1] if workload == "single" else self._in_flight(system))
        ]

    def _in_flight(self, system: str) -> list[int]:
        most = SYSTEMS[system].in_flight_max
        return sorted({min(concurrency, most) for concurrency in self.concurrencies})


Results = dict[tuple[str, Job], list[Measured]]
"""What each round measured."""


def compare(comparison: Comparison, keep: Callable[[list[Record]], None]) -> tuple[list[Record], Results]:
    """Run it, saying how it goes; `keep` is given what there is after each turn. A system that is not installed is
    named in one line and left out. So is one that fails, from the job that failed to the end of its turn; the traceback
    goes to stderr."""
    systems = [system for system in comparison.systems if _is_installed(system)]
    results: Results = {}
    with servers() as at:
        for round_ in range(comparison.rounds):
            for system in _rotated(systems, round_):
                jobs = comparison.jobs(system)
                for job, result in zip(jobs, _turn(system, at, jobs, round_), strict=False):
                    results.setdefault((system, job), []).append(result)
                    print(f"round {round_ + 1}: {line(system, job, result)}", flush=True)
                keep(_records(results))
    return _records(results), results


def _turn(system: str, at: Servers, jobs: Sequence[Job], round_: int) -> Sequence[Measured]:
    """What was measured, which is less than was asked for if the system failed."""
    measured: Sequence[Measured] = ()
    try:
        with place(at) as found:
            measured = take_turn(system, found, jobs)
    except Exception as error:  # noqa: BLE001  # whatever it is, the others go on
        if isinstance(error, TurnFailed):
            measured = error.measured
        failed = jobs[len(measured)].workload if len(measured) < len(jobs) else "the end of its turn"
        print(f"round {round_ + 1}: {system} failed in {failed}: {_reason(error)}", flush=True)
        print(error, file=sys.stderr, flush=True)
    return measured


def _reason(error: Exception) -> str:
    """The last line, which is that of the exception at the end of a traceback."""
    lines = str(error).strip().splitlines()
    return lines[-1] if lines else type(error).__qualname__


def _records(results: Results) -> list[Record]:
    return [record(system, job, rounds) for (system, job), rounds in results.items()]


def _is_installed(system: str) -> bool:
    missing = SYSTEMS[system].missing()
    if missing:
        print(f"{system} is left out: {missing}", flush=True)
    return missing is None


def _rotated(systems: Sequence[str], by: int) -> Sequence[str]:
    """So that none always has the same one before it."""
    by %= max(1, len(systems))
    return [*systems[by:], *systems[:by]]


def line(system: str, job: Job, result: Measured) -> str:
    """One result in one line."""
    return (
        f"{system:9} {job.workload:9} {job.pace.concurrency:6} in flight {result.rate:8.0f} sagas/s  "
        f"p50 {result.p50_ms:7.1f} ms  p99 {result.p99_ms:7.1f} ms  CPU {result.cpu_ms_per_saga:6.2f} ms"
    )


def record(system: str, job: Job, rounds: Sequence[Measured]) -> Record:
    """The medians of the rounds."""
    return Record(
        system=system,
        workload=job.workload,
        concurrency=job.pace.concurrency,
        sagas_per_s=round(statistics.median(result.rate for result in rounds), 1),
        p50_ms=round(statistics.median(result.p50_ms for result in rounds), 2),
        p99_ms=round(statistics.median(result.p99_ms for result in rounds), 2),
        cpu_ms_per_saga=round(statistics.median(result.cpu_ms_per_saga for result in rounds), 3),
        rounds=len(rounds),
    )


def report(records: Sequence[Record], results: Results) -> str:
    """Ratios first, then the figures with their spread. For people."""
    return "\n".join([*_ratios(records), "", *_figures(results)])


def best(records: Iterable[Record]) -> dict[tuple[str, str], Record]:
    """Each system under each workload with the number in flight that it is fastest with."""
    fastest: dict[tuple[str, str], Record] = {}
    for each in records:
        key = (each.workload, each.system)
        if key not in fastest or each.sagas_per_s > fastest[key].sagas_per_s:
            fastest[key] = each
    return fastest


def _ratios(records: Sequence[Record]) -> list[str]:
    fastest = best(records)
    lines = [f"{OURS} against the others, each with the number in flight that it is fastest with"]
    for (workload, system), other in fastest.items():
        ours = fastest.get((workload, OURS))
        if system == OURS or ours is None:
            continue
        lines.append(
            f"  {workload:9} against {system:9} {ours.sagas_per_s / other.sagas_per_s:7.2f} times the sagas/s, "
            f"{ours.p50_ms / other.p50_ms:6.2f} times the p50, "
            f"{ours.cpu_ms_per_saga / other.cpu_ms_per_saga:6.2f} times the CPU"
        )
    return lines


def _figures(results: Mapping[tuple[str, Job], Sequence[Measured]]) -> list[str]:
    lines = ["medians of the rounds, and from the slowest to the fastest"]
    for (system, job), rounds in sorted(results.items(), key=lambda item: (item[0][1].workload, item[0][0])):
        middle, rates = record(system, job, rounds), [result.rate for result in rounds]
        lines.append(
            f"  {job.workload:9} {system:9} {job.pace.concurrency:6} in flight {middle.sagas_per_s:8.0f} sagas/s "
            f"({min(rates):.0f} to {max(rates):.0f})  p50 {middle.p50_ms:7.1f} ms  p99 {middle.p99_ms:7.1f} ms  "
            f"CPU {middle.cpu_ms_per_saga:6.2f} ms a saga"
        )
    return lines


def as_json(records: Sequence[Record]) -> list[dict[str, object]]:
    """The records as plain values."""
    return [asdict(each) for each in records]
