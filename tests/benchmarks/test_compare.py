"""`python -m benchmarks compare` writes records of what is installed, and nothing of what is not."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from benchmarks import __main__ as command
from benchmarks import compare
from benchmarks.load import Measured, Pace
from benchmarks.place import Place
from benchmarks.systems import SYSTEMS
from benchmarks.systems.system import System
from benchmarks.turn import Job, TurnFailed
from tests.servers import Server

FIELDS = {
    "system": str,
    "workload": str,
    "concurrency": int,
    "sagas_per_s": float,
    "p50_ms": float,
    "p99_ms": float,
    "cpu_ms_per_saga": float,
    "rounds": int,
}


@pytest.fixture
def servers_of_the_run(postgres: Server, rabbitmq: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """The benchmark takes the servers that are there already."""
    monkeypatch.setenv("SAGAFLOW_TEST_POSTGRES", postgres.url)
    monkeypatch.setenv("SAGAFLOW_TEST_RABBITMQ", rabbitmq.url)


@pytest.mark.usefixtures("servers_of_the_run")
def test_compare_writes_a_record_for_each_system_that_is_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    absent = System("dbos", SYSTEMS["dbos"].open, missing=lambda: "dbos not found; `make bench-setup` installs it")
    monkeypatch.setitem(SYSTEMS, "dbos", absent)
    file = tmp_path / "results" / "records.json"
    what = ["--systems", "floor-50,dbos", "--workloads", "noop,single"]
    pace = ["--rounds", "1", "--warm", "0.1", "--seconds", "0.3", "--concurrency", "10"]

    assert command.main(["compare", "--quick", "--json", str(file), *what, *pace]) == 0

    records = json.loads(file.read_text())
    assert {(record["system"], record["workload"], record["concurrency"]) for record in records} == {
        ("floor-50", "noop", 10),
        ("floor-50", "single", 1),
    }
    for record in records:
        assert {name: type(value) for name, value in record.items()} == FIELDS
        assert record["rounds"] == 1
        assert min(record["sagas_per_s"], record["p50_ms"], record["cpu_ms_per_saga"]) > 0
        assert record["p50_ms"] <= record["p99_ms"]
    assert "dbos is left out: dbos not found; `make bench-setup` installs it\n" in capsys.readouterr().out


@pytest.mark.usefixtures("servers_of_the_run")
def test_a_system_that_fails_is_named_in_one_line_and_the_others_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = []

    def turn(system: str, place: Place, jobs: Sequence[Job]) -> list[Measured]:
        asked.append(system)
        measured = [Measured(100, 2.0, 1.0, [0.1])]
        if system == "floor-1":
            raise TurnFailed("floor-1:\nTraceback\n  somewhere\nOSError: no more", measured)
        if system == "dbos":
            raise ValueError
        return measured * len(jobs)

    monkeypatch.setattr(compare, "take_turn", turn)
    monkeypatch.setitem(SYSTEMS, "dbos", System("dbos", SYSTEMS["dbos"].open))
    file = tmp_path / "records.json"
    what = ["--systems", "dbos,floor-1,floor-50", "--workloads", "noop,bank", "--concurrency", "10", "--rounds", "1"]

    assert command.main(["compare", "--json", str(file), *what]) == 0

    assert asked == ["dbos", "floor-1", "floor-50"]
    records = [(record["system"], record["workload"]) for record in json.loads(file.read_text())]
    assert records == [("floor-1", "noop"), ("floor-50", "noop"), ("floor-50", "bank")]
    told = capsys.readouterr()
    assert "round 1: dbos failed in noop: ValueError\n" in told.out
    assert "round 1: floor-1 failed in bank: OSError: no more\n" in told.out
    assert "somewhere" not in told.out
    assert "somewhere" in told.err


def test_records_are_medians_of_the_rounds() -> None:
    rounds = [Measured(count, 2.0, 1.0, [count / 1_000]) for count in (300, 100, 200)]

    record = compare.record("sagaflow", Job("noop", Pace(50)), rounds)

    assert record == compare.Record("sagaflow", "noop", 50, 100.0, 200.0, 200.0, 5.0, rounds=3)


def test_ratios_are_between_what_each_system_is_best_at() -> None:
    def record(system: str, concurrency: int, rate: float) -> compare.Record:
        return compare.Record(system, "noop", concurrency, rate, 10.0, 20.0, 1.0, rounds=3)

    records = [record("sagaflow", 50, 200.0), record("sagaflow", 500, 900.0), record("dbos", 20, 30.0)]

    assert "noop      against dbos        30.00 times the sagas/s" in compare.report(records, {})


def test_an_unknown_system_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        command.main(["compare", "--systems", "sagaflow,sagaflop"])
    assert "sagaflop is not one of sagaflow, floor-1" in capsys.readouterr().err
