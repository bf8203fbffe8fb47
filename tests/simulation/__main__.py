"""Look for each seeded bug, and say which seed shows it first: `python -m tests.simulation`."""

from __future__ import annotations

import sys

from tests.simulation.mutations import MUTATIONS, find


def main() -> int:
    """Returns how many were not found."""
    missed = 0
    for mutation in MUTATIONS:
        found = find(mutation)
        missed += found is None
        told = "NOT FOUND" if found is None else f"seed {found[0]}: {found[1][:100]}"
        print(f"{mutation.name:55} {told}", flush=True)
    return missed


if __name__ == "__main__":
    sys.exit(main())
