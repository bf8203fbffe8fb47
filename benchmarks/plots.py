"""Draws what was measured: docs/benchmarks/*.json into *.svg beside them. Needs matplotlib (`make bench-setup`)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib import pyplot

from benchmarks.compare import Record, best

SETTINGS = {
    "svg.hashsalt": "sagaflow",  # the same figures give the same file
    "svg.fonttype": "none",
    "axes.spines.top": False,
    "axes.spines.right": False,
}
COLOURS = {
    "sagaflow": "#1f6f8b",
    "floor-1": "#bbbbbb",
    "floor-50": "#888888",
    "dbos": "#d08c60",
    "restate": "#99582a",
    "celery": "#6a994e",
}
AXES = {
    "open-loop": "started a second",
    "fairness": "the third service",
    "finished": "finished sagas in the store",
    "in-flight": "sagas in flight",
    "processes": "coordinators, and workers of each participant",
    "steps": "steps",
    "payload": "bytes of each payload",
    "memory": "sagas so far",
    "crash": "sagas in flight at kill -9",
    "snapshot": "snapshot held open",
}


def draw(folder: Path) -> None:
    """Draw whatever there are results of."""
    with mpl.rc_context(SETTINGS):
        if (folder / "compare.json").exists():
            records = [Record(**record) for record in json.loads((folder / "compare.json").read_text())]
            _save(_compared(records), folder / "compare.svg")
        if (folder / "growth.json").exists():
            _save(_grown(json.loads((folder / "growth.json").read_text())), folder / "growth.svg")


def _compared(records: Sequence[Record]) -> Any:
    fastest = best(records)
    workloads = list(dict.fromkeys(record.workload for record in records))
    figure, all_axes = pyplot.subplots(1, len(workloads), figsize=(3.2 * len(workloads), 3), squeeze=False)
    for axes, workload in zip(all_axes[0], workloads, strict=True):
        chosen = [fastest[workload, system] for system in COLOURS if (workload, system) in fastest]
        single = workload == "single"
        values = [record.p50_ms if single else record.sagas_per_s for record in chosen]
        bars = axes.barh(
            [record.system for record in chosen], values, color=[COLOURS[record.system] for record in chosen]
        )
        axes.bar_label(bars, fmt="%.1f" if single else "%.0f", padding=3, fontsize=8)
        axes.set_title(f"{workload}: p50 in ms" if single else f"{workload}: sagas/s", fontsize=10)
        axes.invert_yaxis()
        axes.margins(x=0.2)
    return figure


def _grown(points: Sequence[dict[str, Any]]) -> Any:
    parts = list(dict.fromkeys(point["part"] for point in points))
    figure, all_axes = pyplot.subplots(1, len(parts), figsize=(3.2 * len(parts), 3), squeeze=False)
    for axes, part in zip(all_axes[0], parts, strict=True):
        what = {"memory": "rss_mib", "crash": "seconds", "open-loop": "p99_ms", "fairness": "p99_ms"}.get(
            part, "sagas_per_s"
        )
        chosen = [point for point in points if point["part"] == part]
        bars = axes.bar([point["at"] for point in chosen], [point[what] for point in chosen], color=COLOURS["sagaflow"])
        axes.bar_label(bars, fmt="%.0f", fontsize=7)
        axes.set_xlabel(AXES[part], fontsize=8)
        axes.set_title(
            {"rss_mib": "resident MiB", "p99_ms": "p99 in ms", "seconds": "seconds until all go on"}.get(
                what, "sagas/s"
            ),
            fontsize=10,
        )
        axes.tick_params(axis="x", labelsize=6, rotation=30)
    return figure


def _save(figure: Any, file: Path) -> None:
    figure.tight_layout()
    figure.savefig(file, metadata={"Date": None})
    pyplot.close(figure)
    print(f"drew {file}")
