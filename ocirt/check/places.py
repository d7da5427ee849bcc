"""Where in a JSON text the thing that a pointer names stands.  Only `ocirt check` needs to know."""

from __future__ import annotations

from ocirt.config.jsonfault import Fault, Reader, line_and_column
from ocirt.config.jsontext import MAX_DEPTH

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ocirt.check import Finding


class Places(Reader):
    """The careful reader, which notes every value and every name on its way, and goes on after a name given twice.

    values, names: JSON pointer -> position in text.  faults: (position, why, pointer) of what is no JSON.
    """

    def __init__(self, text: str) -> None:
        super().__init__(text, MAX_DEPTH)
        self.values: dict[str, int] = {}
        self.names: dict[str, int] = {}
        self.faults: list[tuple[int, str, str]] = []
        try:
            self.read()
        except Fault as found:
            self.faults.append((found.position, found.why, self.pointer()))

    def value(self) -> object:  # type: ignore[override]  # what reads on, see Reader
        self.values[self.pointer()] = self.here
        return super().value()

    def member(self) -> object:  # type: ignore[override]
        start = self.here
        step = super().member()
        self.names[self.pointer()] = start
        return step

    def given_twice(self, start: int, name: str) -> None:
        try:
            super().given_twice(start, name)
        except Fault as found:
            self.faults.append((found.position, found.why, self.pointer()))

    def find(self, pointer: str, on_name: bool = False) -> tuple[int, int]:
        """Line and column; of what is missing, those of what it is missing in."""
        known = self.names if on_name and pointer in self.names else self.values
        while pointer and pointer not in known:
            pointer = pointer.rpartition("/")[0]
        return line_and_column(self.text, known.get(pointer, 0))

    def place(self, finding: Finding) -> None:
        finding.line, finding.column = self.find(finding.at, finding.on_name)
