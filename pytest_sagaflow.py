"""The pytest plugin of sagaflow: `explore` and `expect` as fixtures, and what was explored in the summary of the run.

    def test_checkout(explore):
        explore(checkout, ORDER, services=SERVICES, check=all_or_nothing)

It is loaded by every run of pytest where sagaflow is installed, so it imports nothing of sagaflow before a test asks
for one of its fixtures. That is also why it is a module beside the package: to import `sagaflow.anything` imports all
of `sagaflow`. See docs/testing.md.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Generator, Iterator
from typing import Any

import pytest

PROPERTY = "sagaflow"
"""The name under which a test reports what it has explored; it goes into a JUnit file too."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """The options."""
    group = parser.getgroup("sagaflow", "exploring sagas")
    group.addoption(
        "--sagaflow-histories",
        type=int,
        metavar="N",
        help="how many histories each `explore` plays at most, whatever the test says; every single fault in any case",
    )
    group.addoption(
        "--sagaflow-replay",
        metavar="FAULTS",
        help="play only the history with these faults, separated by semicolons, and tell its story",
    )


def pytest_configure(config: pytest.Config) -> None:
    """The marker."""
    config.addinivalue_line(
        "markers", "sagaflow(**arguments): arguments for every `explore` of the test, such as histories=2000"
    )


@pytest.fixture(name="explore")
def _explore(request: pytest.FixtureRequest) -> Callable[..., Any]:
    """`sagaflow.testing.explore`, minding the options and the marker; what it does is told at the end of the run."""
    from sagaflow.testing import explore

    marker = request.node.get_closest_marker("sagaflow")
    asked: dict[str, Any] = {} if marker is None else dict(marker.kwargs)
    histories, replay = (request.config.getoption(f"sagaflow_{name}") for name in ("histories", "replay"))
    ruled: dict[str, Any] = {} if histories is None else {"histories": histories}
    if replay is not None:
        ruled["replay"] = [text for text in replay.split(";") if text.strip()]

    def explore_and_tell(*args: Any, **kwargs: Any) -> Any:
        found = explore(*args, **(asked | kwargs | ruled))
        request.node.user_properties.append((PROPERTY, found.figures()))
        return found

    return explore_and_tell


@pytest.fixture(name="expect")
def _expect() -> Callable[..., Any]:
    """`sagaflow.testing.expect`."""
    from sagaflow.testing import expect

    return expect


class Story:
    """What is shown of a test that has found a counterexample: its story, and not where in our code it was found."""

    def __init__(self, error: Any, nodeid: str, where: Any) -> None:
        self._text = f"{error}\n\n    pytest '{nodeid}' --sagaflow-replay='{'; '.join(error.faults)}'\n\n{where}"
        self.reprcrash = where
        """Where pytest finds the line of its short summary."""

    def __str__(self) -> str:
        return self._text

    def toterminal(self, writer: Any) -> None:
        """Written as pytest writes a traceback."""
        for line in self._text.splitlines():
            writer.line(line, red=line == self._text.splitlines()[0])


class Where:
    """The line of the user's test."""

    def __init__(self, path: str, line: int, message: str) -> None:
        self.path, self.lineno, self.message = path, line, message

    def __str__(self) -> str:
        return f"{self.path}:{self.lineno}: CounterExample"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A counterexample is told as a story."""
    report = yield
    testing = sys.modules.get("sagaflow.testing")
    if testing is None or call.excinfo is None or not isinstance(call.excinfo.value, testing.CounterExample):
        return report
    error: Any = call.excinfo.value
    path, line = str(item.path), (item.location[1] or 0) + 1
    for entry in call.excinfo.traceback:
        if entry.path == item.path:
            line = entry.lineno + 1
    report.longrepr = Story(error, item.nodeid, Where(path, line, error.problem))  # type: ignore[assignment]
    return report


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """How many histories were explored, and what was covered. Reports bring it, from other processes too."""
    told = list(_told(terminalreporter))
    if not told:
        return
    terminalreporter.section("sagaflow")
    covered: Counter[str] = Counter()
    for nodeid, figures in told:
        covered.update(figures["covered"])
        terminalreporter.write_line(f"{nodeid}: {figures['told']}")
        if config.getoption("sagaflow_replay") is not None:
            terminalreporter.write_line(figures["story"])
    histories = sum(figures["histories"] for _, figures in told)
    terminalreporter.write_line(f"{histories} histories in which went wrong:")
    for what, count in sorted(covered.items()):
        terminalreporter.write_line(f"    {count:6} x {what}")


def _told(terminalreporter: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    for reports in terminalreporter.stats.values():
        for report in reports:
            if getattr(report, "when", None) == "call":
                yield from ((report.nodeid, figures) for name, figures in report.user_properties if name == PROPERTY)
