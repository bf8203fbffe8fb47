"""The example and the demo: its parts by themselves, and the demo as people run it, a process of its own."""
