"""One large fault at a time, under load: `python -m tests.chaos.scenarios NAME`."""
