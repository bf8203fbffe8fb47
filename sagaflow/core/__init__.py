"""Floor 0: what a saga is and how it moves. Pure: no await, no clock, no I/O, no third-party library."""
