"""What a seeded bug is, and how it gets into a copy of the tree."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


class Inapplicable(Exception):
    """The code that a mutation changes is not there, or is there more than once: the list has to follow the code."""


@dataclass(frozen=True, slots=True)
class Mutation:
    """One bug: in the file `path`, `text` (which is there once) becomes `bug`; `noticed_by` are arguments of pytest."""

    name: str
    path: str
    text: str
    bug: str
    noticed_by: tuple[str, ...]

    def put_into(self, tree: Path) -> None:
        """Change the file in this tree.

        Raises:
            Inapplicable: the text is not there exactly once.
        """
        file = tree / self.path
        code = file.read_text()
        if code.count(self.text) != 1:
            raise Inapplicable(f"{self.name}: {self.path} has {code.count(self.text)} times {self.text!r}")
        file.write_text(code.replace(self.text, self.bug))
