"""The simulator: that it is deterministic, meets everything, and finds seeded bugs; and what it found."""
