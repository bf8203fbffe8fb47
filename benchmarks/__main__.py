"""`python -m benchmarks noop`."""

from __future__ import annotations

import argparse

from benchmarks import noop


def main() -> None:
    """Run one benchmark."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="How fast sagaflow is, here and now.")
    parser.add_argument("benchmark", choices=["noop"])
    parser.add_argument("--sagas", type=int, default=2_000, help="sagas in one round")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    noop.run(sagas=arguments.sagas, rounds=arguments.rounds)


if __name__ == "__main__":
    main()
