"""`python -m benchmarks noop`, `python -m benchmarks commands`."""

from __future__ import annotations

import argparse

from benchmarks import commands, noop


def main() -> None:
    """Run one benchmark."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="How fast sagaflow is, here and now.")
    parser.add_argument("benchmark", choices=["noop", "commands"])
    parser.add_argument("--sagas", type=int, default=2_000, help="sagas in one round of noop")
    parser.add_argument("--commands", type=int, default=10_000, help="commands in one round of commands")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    if arguments.benchmark == "noop":
        noop.run(sagas=arguments.sagas, rounds=arguments.rounds)
    else:
        commands.run(commands=arguments.commands, rounds=arguments.rounds)


if __name__ == "__main__":
    main()
