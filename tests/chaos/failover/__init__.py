"""A server of several dies under load: `python -m tests.chaos.failover broker | database`."""
