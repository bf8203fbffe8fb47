"""The dashboard and the alert rules speak of metrics and commands that there are."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from sagaflow.adapters.opentelemetry.metrics import Metrics
from sagaflow.cli.app import app
from tests.telemetry.test_docs import Register

FOLDER = Path(__file__).parents[2] / "docs" / "grafana"
ALERTS = [rule for group in yaml.safe_load((FOLDER / "alerts.yml").read_text())["groups"] for rule in group["rules"]]
DASHBOARD = json.loads((FOLDER / "dashboard.json").read_text())
QUERIES = [target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]]


def in_prometheus() -> set[str]:
    """The names that the exporters of Prometheus make of ours."""
    register = Register()
    Metrics(register)
    names = set()
    for name, kind, unit in register.made:
        plain = name.replace(".", "_") + ("_seconds" if unit == "s" else "")
        match kind:
            case "counter":
                names.add(f"{plain}_total")
            case "histogram":
                names |= {f"{plain}_bucket", f"{plain}_count", f"{plain}_sum"}
            case _:
                names.add(plain)
    return names


@pytest.mark.parametrize("query", [*QUERIES, *(rule["expr"] for rule in ALERTS)])
def test_a_query_names_metrics_that_there_are(query: str) -> None:
    named = set(re.findall(r"\b((?:sagaflow|messaging)_\w+)\b(?=[\[{)])", query)) - set(labels_in(query))
    assert named
    assert named <= in_prometheus()
    assert all(query.count(left) == query.count(right) for left, right in ("()", "[]", "{}"))


def labels_in(query: str) -> list[str]:
    """The labels by which a query groups."""
    return [label.strip() for group in re.findall(r"by \(([^)]*)\)", query) for label in group.split(",")]


def test_every_metric_is_on_the_dashboard() -> None:
    shown = " ".join(QUERIES)
    register = Register()
    Metrics(register)
    assert {name for name, _, _ in register.made if name.replace(".", "_") not in shown} == set()


@pytest.mark.parametrize("rule", ALERTS, ids=lambda rule: rule["alert"])
def test_an_alert_says_what_is_wrong_and_which_command_helps(rule: dict[str, Any]) -> None:
    assert rule["annotations"]["summary"].endswith(".")
    commands = re.findall(r"sagaflow ([a-z]+)", rule["annotations"]["runbook"])
    assert commands
    assert set(commands) <= set(app)
