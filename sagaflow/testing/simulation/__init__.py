"""A world in one thread: its own time, its own servers, and everything that can go wrong with them.

The production `Coordinator`, `Worker` and `SagaClient` run in it, unchanged. See `world.py`.
"""
