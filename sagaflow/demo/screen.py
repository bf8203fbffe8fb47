"""What people see: the table, alive if there is a terminal, and below it what the director has to say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from payment.orders.checkout import checkout
from sagaflow.definitions.records import SagaRecord
from sagaflow.demo.cast import PlannedOrder
from sagaflow.demo.table import View, draw_table, legend, progress

REFRESHES_A_SECOND: Final = 10
ROWS_MIN: Final = 4
ROWS_AT_THE_END: Final = 60
LINES_AROUND: Final = 5
"""The title, the head of the table, two blank lines, and the line that the cursor is in."""
MARK_WIDTH: Final = 2


@dataclass(frozen=True)
class Beat:
    """Something that happened."""

    mark: Text
    text: Text


class Screen:
    """A context manager. On a terminal the picture moves while it is entered; elsewhere the last one is printed
    when it is left."""

    def __init__(self, console: Console, title: str, orders: Sequence[PlannedOrder]) -> None:
        self._console = console
        self._title = title
        self._orders = orders
        self._records: Mapping[str, SagaRecord] = {}
        self._caption = ""
        self._story: list[Beat] = []
        self._is_last = not console.is_terminal
        self._live = Live(
            console=console,
            get_renderable=self._picture,
            refresh_per_second=REFRESHES_A_SECOND,
            vertical_overflow="visible",
            redirect_stdout=False,
            redirect_stderr=False,
        )

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._is_last = True
        if self._console.is_terminal:
            self._live.stop()
        else:
            self._console.print(self._picture())

    @property
    def has_readers(self) -> bool:
        """Whether somebody watches the picture move."""
        return self._console.is_terminal

    def show(self, records: Mapping[str, SagaRecord]) -> None:
        """The sagas as they stand now, by their keys."""
        self._records = records

    def caption(self, text: str) -> None:
        """What is going on, in the line below the table; empty: how far it all is."""
        self._caption = text

    def tell(self, text: str, style: str = "", mark: str = " ") -> None:
        """Something that happened, below the table; it stays."""
        self._story.append(Beat(Text(mark, style=style), Text(text, style=style, overflow="fold")))

    def _picture(self) -> RenderableType:
        width = self._console.width
        view = View(self._orders, self._records, checkout.plan.index, datetime.now(UTC))
        caption = Text(self._caption, style="bold") if self._caption else progress(view)
        below = [line for line in (legend(width=width), caption) if line is not None]
        story = Table.grid(padding=(0, 1, 0, 0))
        for beat in self._story:
            story.add_row(beat.mark, beat.text)
        table = draw_table(view, width=width, rows_max=self._rows_max(len(below)))
        return Group(Text(self._title, style="bold"), Text(), table, *below, Text(), story)

    def _rows_max(self, lines_below: int) -> int:
        """How many orders there is room for; what is printed at the end may be higher than the screen."""
        if self._is_last:
            return ROWS_AT_THE_END
        width = self._console.width - MARK_WIDTH
        story = sum(len(beat.text.wrap(self._console, width)) for beat in self._story)
        return max(ROWS_MIN, self._console.height - LINES_AROUND - lines_below - story)
