"""`sagaflow graph MODULE:NAME`: the plan of a saga as a drawing, Mermaid or SVG."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Annotated, Final, Literal

from cyclopts import Parameter

from sagaflow.cli.exit_codes import ExitCode
from sagaflow.cli.loading import load_sagas
from sagaflow.cli.many import say_wrong_usage
from sagaflow.core.plan import Plan, PlannedStep, StepKind

Format = Literal["mermaid", "svg"]

WORDS: Final = {
    StepKind.COMPENSATABLE: "can be undone",
    StepKind.PIVOT: "point of no return",
    StepKind.RETRIABLE: "retried until it is done",
}
COLOURS: Final = {StepKind.COMPENSATABLE: "#dbeafe", StepKind.PIVOT: "#fde68a", StepKind.RETRIABLE: "#dcfce7"}

CHARACTER: Final = 7.6
"""The width of a character, about, in the font of the drawing."""
HEIGHT, GAP_X, GAP_Y, MARGIN, TITLE = 48, 60, 24, 20, 36


def graph(
    saga: Annotated[str, Parameter(help="MODULE:NAME of a Saga, or of a sequence of which each is drawn.")],
    /,
    *,
    format: Annotated[Format, Parameter(help="Mermaid is text that many sites draw; SVG is a picture.")] = "mermaid",  # noqa: A002  # the name of the option
) -> int:
    """Draw the plan of a saga: what comes after what, what can be undone, and where the point of no return is."""
    plans = [one.plan for one in load_sagas(saga)]
    if format == "svg" and len(plans) > 1:
        return say_wrong_usage(f"{saga} is {len(plans)} sagas, and a picture shows one; name one of them")
    print("\n".join(mermaid(plan) if format == "mermaid" else svg(plan) for plan in plans), end="")
    return ExitCode.DONE


def mermaid(plan: Plan) -> str:
    """The plan as a flowchart of Mermaid."""
    lines = ["---", f"title: {_title(plan)}", "---", "flowchart LR"]
    for place, step in enumerate(plan.steps):
        label = f'"{step.name}<br/><small>{WORDS[step.kind]}</small>"'
        box = f"{{{{{label}}}}}" if step.kind is StepKind.PIVOT else f"[{label}]"
        lines.append(f"    s{place}{box}:::{step.kind.lower()}")
    lines += [f"    s{before} --> s{place}" for place, befores in enumerate(plan.before) for before in befores]
    lines += [
        f"    classDef {kind.lower()} fill:{colour},stroke:#334155,color:#0f172a" for kind, colour in COLOURS.items()
    ]
    return "\n".join(lines) + "\n"


def svg(plan: Plan) -> str:
    """The plan as a picture, from left to right."""
    columns = _columns(plan)
    width = max(len(text) for step in plan.steps for text in (step.name, WORDS[step.kind])) * CHARACTER + 24
    rows: dict[int, int] = {}
    at: list[tuple[float, float]] = []
    for column in columns:
        row = rows.get(column, 0)
        rows[column] = row + 1
        at.append((MARGIN + column * (width + GAP_X), MARGIN + TITLE + row * (HEIGHT + GAP_Y)))
    whole = max(x for x, _ in at) + width + MARGIN, max(y for _, y in at) + HEIGHT + MARGIN
    drawn = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {whole[0]:.0f} {whole[1]:.0f}" width="{whole[0]:.0f}" '
        f'height="{whole[1]:.0f}" font-family="ui-monospace, monospace" font-size="12">',
        f"<title>{escape(_title(plan))}</title>",
        '<defs><marker id="end" markerWidth="8" markerHeight="8" refX="7" refY="4" orient="auto">'
        '<path d="M0,0 L8,4 L0,8 z" fill="#334155"/></marker></defs>',
        f'<rect width="{whole[0]:.0f}" height="{whole[1]:.0f}" fill="#ffffff"/>',
        f'<text x="{MARGIN}" y="{MARGIN + 8}" font-weight="bold" fill="#0f172a">{escape(_title(plan))}</text>',
    ]
    for place, befores in enumerate(plan.before):
        drawn += [_arrow(at[before], at[place], width) for before in befores]
    drawn += [_box(step, *place, width) for step, place in zip(plan.steps, at, strict=True)]
    return "\n".join([*drawn, "</svg>"]) + "\n"


def _title(plan: Plan) -> str:
    return f"{plan.saga}, version {plan.version}"


def _columns(plan: Plan) -> Sequence[int]:
    """For each step how many others have to be done before it, one after the other."""
    columns: list[int] = []
    for befores in plan.before:
        columns.append(1 + max((columns[before] for before in befores), default=-1))
    return columns


def _arrow(start: tuple[float, float], end: tuple[float, float], width: float) -> str:
    x1, y1, x2, y2 = start[0] + width, start[1] + HEIGHT / 2, end[0], end[1] + HEIGHT / 2
    half = (x2 - GAP_X / 2, x1 + GAP_X / 2)
    return (
        f'<path d="M{x1:.0f},{y1:.0f} C{half[1]:.0f},{y1:.0f} {half[0]:.0f},{y2:.0f} {x2:.0f},{y2:.0f}" '
        'fill="none" stroke="#334155" marker-end="url(#end)"/>'
    )


def _box(step: PlannedStep, x: float, y: float, width: float) -> str:
    middle = x + width / 2
    return (
        f'<rect x="{x:.0f}" y="{y:.0f}" width="{width:.0f}" height="{HEIGHT}" rx="6" fill="{COLOURS[step.kind]}" '
        f'stroke="#334155" stroke-width="{2 if step.kind is StepKind.PIVOT else 1}"/>'
        f'<text x="{middle:.0f}" y="{y + 20:.0f}" text-anchor="middle" fill="#0f172a">{escape(step.name)}</text>'
        f'<text x="{middle:.0f}" y="{y + 38:.0f}" text-anchor="middle" fill="#475569">{WORDS[step.kind]}</text>'
    )
