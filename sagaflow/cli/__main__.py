"""`python -m sagaflow.cli` is the script `sagaflow`."""

from sagaflow.cli import main

main()
