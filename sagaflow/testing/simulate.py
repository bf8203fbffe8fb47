"""Play histories of many seeds, and say what was wrong in any of them.

    python -m sagaflow.testing.simulate --seeds 0:1000

A history is a small world of coordinators, participants and servers, all of whose faults are drawn from its seed; the
same seed gives the same history, on any machine. When one shows a problem, the command that plays it again is printed,
then the smallest history that still shows it, told as a story.

What kind of fault, point to crash at or edge of the state machine was never met is told in the end. With --complete, a
run of 500 histories or more fails if there is any but the rarest five, and one of 3,000 or more if there is any.
"""

from __future__ import annotations

import argparse
import gc
import multiprocessing
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from sagaflow.testing.simulation.faults import Fault
from sagaflow.testing.simulation.play import coverage
from sagaflow.testing.simulation.play.history import SAGAS, Report, play
from sagaflow.testing.simulation.shrinking import shrink

CHUNK = 25
PROBLEM_LENGTH_MAX = 300

COMPLETE_HELP = (
    f"fail if something was never met: with {coverage.SUITE:,} histories or more; "
    f"what is rarest, with {coverage.LARGE_SUITE:,} or more. Otherwise it is told only"
)

COLLECT_EVERY = 5
"""After so many histories the worlds that are over are cleared away."""


@dataclass
class Summary:
    """What many histories had in them."""

    histories: int = 0
    sagas: int = 0
    faults: int = 0
    steps: int = 0
    seconds: float = 0.0
    """In the time of the worlds."""
    met: coverage.Met = field(default_factory=Counter)
    problems: list[tuple[int, str]] = field(default_factory=list)
    """Seeds, and what was wrong."""

    def add(self, report: Report) -> None:
        """One history more."""
        self.histories += 1
        self.sagas += report.sagas
        self.faults += len(report.faults)
        self.steps += report.steps
        self.seconds += report.seconds
        self.met.update(report.met)
        if report.problem is not None:
            self.problems.append((report.seed, report.problem))

    def join(self, other: Summary) -> None:
        """Those of another summary too."""
        self.histories += other.histories
        self.sagas += other.sagas
        self.faults += other.faults
        self.steps += other.steps
        self.seconds += other.seconds
        self.met.update(other.met)
        self.problems += other.problems


def simulate(seeds: Sequence[int], *, processes: int = 1, sagas: int = SAGAS) -> Iterator[Summary]:
    """Play the histories of these seeds; yields the summary of each few of them."""
    chunks = [(seeds[place : place + CHUNK], sagas) for place in range(0, len(seeds), CHUNK)]
    if processes == 1:
        yield from map(_play_all, chunks)
        return
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        yield from pool.imap(_play_all, chunks)


def _play_all(chunk: tuple[Sequence[int], int]) -> Summary:
    seeds, sagas = chunk
    summary = Summary()
    collects = gc.isenabled()
    gc.freeze()  # modules and plans stay; only what worlds leave behind is looked at
    gc.disable()  # a world is full of cycles that live as long as it does: to look for garbage in it costs a quarter
    try:
        for played, seed in enumerate(seeds, start=1):
            summary.add(play(seed, sagas=sagas))
            if played % COLLECT_EVERY == 0:
                gc.collect()
    finally:
        gc.unfreeze()
        if collects:
            gc.enable()
    return summary


def smallest(seed: int, *, sagas: int = SAGAS) -> Report:
    """The smallest history of a seed that shows the same problem: fewer faults, then fewer sagas."""
    whole = play(seed, sagas=sagas)
    kind = _kind(whole.problem)

    def shows(faults: Sequence[Fault], keys: Sequence[str] | None = None) -> bool:
        return _kind(play(seed, sagas=sagas, faults=faults, keys=keys).problem) == kind

    if kind is None or not shows(whole.faults):
        return play(seed, sagas=sagas, told=True)
    faults = shrink(whole.faults, shows)
    keys = shrink([f"order-{number}" for number in range(sagas)], lambda some: shows(faults, some))
    faults = shrink(faults, lambda some: shows(some, keys))
    return play(seed, sagas=sagas, faults=faults, keys=keys, told=True)


def _kind(problem: str | None) -> str | None:
    """Which invariant was broken, without the names of those who were hit."""
    return None if problem is None else problem.partition(":")[0]


def _command(seed: int, sagas: int, report: Report | None = None) -> str:
    command = f"python -m sagaflow.testing.simulate --seeds {seed}"
    if sagas != SAGAS:
        command += f" --sagas {sagas}"
    if report is not None:
        command += f" --faults '{'; '.join(map(str, report.faults))}' --keys '{' '.join(report.keys)}'"
    return command


def main(arguments: Sequence[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m sagaflow.testing.simulate", description=__doc__.split("\n\n")[0])
    parser.add_argument("--seeds", default="0:1000", help="which histories: one number, or first:last+1 (0:1000)")
    parser.add_argument("--sagas", type=int, default=SAGAS, help=f"how many sagas each has ({SAGAS})")
    parser.add_argument("--processes", type=int, default=1, help="how many to play at a time (1)")
    parser.add_argument("--complete", action="store_true", help=COMPLETE_HELP)
    parser.add_argument("--faults", help="these faults and no others, separated by semicolons (with one seed)")
    parser.add_argument("--keys", help="only these sagas, separated by spaces (with one seed)")
    given = parser.parse_args(arguments)
    seeds = _seeds(given.seeds)
    if given.faults is not None or given.keys is not None:
        return _replay(seeds[0], given)
    summary, began = Summary(), time.monotonic()
    for some in simulate(seeds, processes=given.processes, sagas=given.sagas):
        summary.join(some)
        for seed, problem in some.problems:
            print(f"\nseed {seed}: {problem[:PROBLEM_LENGTH_MAX]}\n    {_command(seed, given.sagas)}", flush=True)
    _tell(summary, time.monotonic() - began)
    missed = coverage.missed_by(summary.histories, summary.met) if given.complete else []
    _tell_missed(coverage.missed(summary.met), missed)
    if summary.problems:
        report = smallest(summary.problems[0][0], sagas=given.sagas)
        print(f"\nThe smallest history of seed {report.seed} that shows it:\n\n{report.story}\n\n{report.problem}")
        print(f"\n{_command(report.seed, given.sagas, report)}")
    return 1 if summary.problems or missed else 0


def _replay(seed: int, given: argparse.Namespace) -> int:
    faults = None
    if given.faults is not None:
        faults = [Fault.parse(text) for text in given.faults.split(";") if text.strip()]
    keys = None if given.keys is None else given.keys.split()
    report = play(seed, sagas=given.sagas, faults=faults, keys=keys, told=True)
    print(f"{report.story}\n\n{report.problem or 'nothing is wrong'}")
    return 1 if report.problem else 0


def _seeds(text: str) -> Sequence[int]:
    first, colon, last = text.partition(":")
    return range(int(first), int(last) if colon else int(first) + 1)


def _tell(summary: Summary, seconds: float) -> None:
    print(
        f"\n{summary.histories:,} histories with {summary.sagas:,} sagas and {summary.faults:,} faults in "
        f"{seconds:.0f} s ({summary.sagas / max(seconds, 0.001):,.0f} sagas a second; {summary.steps:,} steps, "
        f"{summary.seconds / 3600:,.1f} hours of their own time): {len(summary.problems)} with a problem"
    )


def _tell_missed(never_met: Sequence[str], failing: Sequence[str]) -> None:
    if never_met:
        why = "which a run of this size should have" if failing else "which a run of this size may miss"
        print(f"never met, {why}: {', '.join(failing or never_met)}")


if __name__ == "__main__":
    sys.exit(main())
