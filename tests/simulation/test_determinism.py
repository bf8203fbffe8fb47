"""The same seed gives the same history, byte for byte."""

from __future__ import annotations

import os
import subprocess
import sys

from sagaflow.testing.simulation.faults import Fault, Kind
from sagaflow.testing.simulation.play.history import play

SEEDS = (3, 17, 40)

SEEDS_OF_CHANGE = (4, 22, 32, 36, 41, 57)
"""In these, several tasks are cancelled at once, or a person comes when there is nobody to come to."""

PROGRAM = """
import hashlib
from sagaflow.testing.simulation.play.history import play
for seed in {seeds}:
    trace = []
    play(seed, trace=trace)
    print(seed, len(trace), hashlib.sha256("\\n".join(trace).encode()).hexdigest())
"""


def trace_of(seed: int) -> list[str]:
    trace: list[str] = []
    play(seed, trace=trace)
    return trace


def test_the_same_seed_gives_the_same_trace() -> None:
    for seed in SEEDS:
        first = trace_of(seed)
        play(seed + 1)  # whatever ran before has no part in it
        assert trace_of(seed) == first
        assert len(first) > 200


def test_another_seed_gives_another_trace() -> None:
    assert trace_of(3)[:500] != trace_of(4)[:500]


def test_another_process_with_other_hashes_gives_the_same_trace() -> None:
    outputs = [
        subprocess.run(
            [sys.executable, "-c", PROGRAM.format(seeds=SEEDS)],
            env=os.environ | {"PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for hash_seed in ("1", "2")
    ]
    assert outputs[0] == outputs[1]
    assert len(outputs[0].splitlines()) == len(SEEDS)


def test_faults_that_were_drawn_give_the_same_history_again() -> None:
    for seed in (*SEEDS, *SEEDS_OF_CHANGE):
        first: list[str] = []
        again: list[str] = []
        drawn = play(seed, trace=first)
        play(seed, faults=drawn.faults, trace=again)
        assert again == first
        assert len(drawn.faults) > 0


def test_a_fault_is_told_and_read_again() -> None:
    for fault in [*play(17).faults, Fault(Kind.CLOCK_JUMP, "time", "store", 1.25, -3.5)]:
        assert Fault.parse(str(fault)) == fault
