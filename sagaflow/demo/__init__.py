"""The demo: a director who has the payment example play, watches it, and checks afterwards that all is well.

    cast.py          the orders, what is special about each, and how its saga must end
    embedded.py      the stage on one machine: SQLite files, and host.py as the one process of all services
    distributed.py   the stage on real servers: three databases, four processes
    children.py      the processes, and that none of them is left behind
    director.py      the play itself
    screen.py        what people see; table.py: the live table of it
    outlook.py       what to type next
    audit.py         whether the services' databases agree in the end; knows nothing of sagas
    report.py        the same for machines: one JSON object a saga

It uses the library as anybody would.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

import sagaflow


def _examples() -> Path:
    """Where the package `payment` lies: beside `sagaflow` in a checkout, inside it in an installed wheel."""
    package = Path(sagaflow.__file__).parent
    installed = package / "_examples"
    return installed if installed.is_dir() else package.parent / "examples"


EXAMPLES: Final = _examples()

if str(EXAMPLES) not in sys.path:
    sys.path.insert(0, str(EXAMPLES))  # first: the demo wants this `payment`, whatever else has the name
