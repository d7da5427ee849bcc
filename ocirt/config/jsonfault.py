"""Find what is wrong with a JSON text, and where.  Loaded only when jsontext refused the text.

One careful, slow reading without recursion, so that any depth and any length ends in one sentence.
"""

from __future__ import annotations

import re

from ocirt.errors import ConfigError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    Step = Callable[[], "Step | None"]

_SPACE = re.compile(r"[ \t\n\r]*")
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
_WORD = re.compile(r"-?[A-Za-z]+")
_PLAIN = re.compile(r'[^"\\\x00-\x1f]*')
_UNICODE = re.compile(r"u([0-9A-Fa-f]{4})")
_NUMBER_END = re.compile(r"[0-9A-Za-z.+-]*")

MAX_DIGITS = 4300  # what int() accepts by default


class Fault(Exception):
    """position: in characters from the text's beginning.  why: a part of a sentence."""

    def __init__(self, position: int, why: str) -> None:
        super().__init__(why)
        self.position = position
        self.why = why


def fault(data: bytes, what: str, max_depth: int) -> ConfigError:
    """The error to raise for data, which jsontext refused."""
    try:
        text = decoded(data)
    except Fault as found:
        return _error(what, data.decode("utf-8", "replace"), found.position, found.why, "")
    first = first_fault(text, max_depth)
    if first is None:  # the two readers disagree: say so rather than guess
        return ConfigError("json", f"{what} cannot be parsed")
    return _error(what, text, *first)


def decoded(data: bytes) -> str:
    """data as text.  Raises Fault."""
    if data.startswith(b"\xef\xbb\xbf"):
        raise Fault(0, "a byte order mark before the text")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        position = len(data[: error.start].decode("utf-8"))
        raise Fault(position, f"byte 0x{data[error.start]:02x} is not UTF-8") from None


def _error(what: str, text: str, position: int, why: str, at: str) -> ConfigError:
    line, column = line_and_column(text, position)
    return ConfigError("json", f"{what} is not acceptable JSON: line {line} column {column}: {why}", at=at)


def line_and_column(text: str, position: int) -> tuple[int, int]:
    """Of the character at position; both from 1 on, the column in characters."""
    return text.count("\n", 0, position) + 1, position - text.rfind("\n", 0, position)


def first_fault(text: str, max_depth: int) -> tuple[int, str, str] | None:
    """(position, why, JSON pointer) of the first thing in text that is refused, or None."""
    reader = Reader(text, max_depth)
    try:
        reader.read()
    except Fault as found:
        return found.position, found.why, reader.pointer()
    return None


class Reader:
    """Reads one document.  stack holds one entry per open array (next index) or object (names seen)."""

    def __init__(self, text: str, max_depth: int) -> None:
        self.text = text
        self.max_depth = max_depth
        self.here = 0
        self.stack: list[int | dict[str, None]] = []

    def pointer(self) -> str:
        parts = [str(level) if isinstance(level, int) else next(reversed(level)) for level in self.stack if level != {}]
        return "".join("/" + part.replace("~", "~0").replace("/", "~1") for part in parts)

    def read(self) -> None:
        self.skip_space()
        step: Step | None = self.value
        while step is not None:
            step = step()
        if self.here < len(self.text):
            raise Fault(self.here, "text after the end of the document")

    def skip_space(self) -> None:
        self.here = self.match(_SPACE).end()

    def match(self, pattern: re.Pattern[str]) -> re.Match[str]:
        found = pattern.match(self.text, self.here)
        assert found is not None  # only patterns that match the empty string come here
        return found

    def peek(self) -> str:
        return self.text[self.here : self.here + 1]

    # Each of these four reads one piece and returns what reads the next, None at the end: no recursion.

    def value(self) -> Step:
        """Read a scalar, or open an array or object."""
        character = self.peek()
        if character in ("{", "["):
            return self.open(character)
        if character == '"':
            self.string()
        elif character == "-" or character.isdigit():
            self.number()
        else:
            self.word()
        self.skip_space()
        return self.after_value

    def open(self, bracket: str) -> Step:
        if len(self.stack) == self.max_depth:
            raise Fault(self.here, f"nested more than {self.max_depth} levels deep")
        self.here += 1
        self.skip_space()
        if self.peek() == ("}" if bracket == "{" else "]"):
            self.here += 1
            self.skip_space()
            return self.after_value
        self.stack.append({} if bracket == "{" else 0)
        return self.member if bracket == "{" else self.value

    def after_value(self) -> Step | None:
        if not self.stack:
            return None
        level = self.stack[-1]
        closing = "]" if isinstance(level, int) else "}"
        character = self.peek()
        if character not in (",", closing):
            raise Fault(self.here, f'expected "," or "{closing}", found {self.shown()}')
        self.here += 1
        self.skip_space()
        if character == closing:
            self.stack.pop()
            return self.after_value
        if isinstance(level, int):
            self.stack[-1] = level + 1
            return self.value
        return self.member

    def member(self) -> Step:
        names = self.stack[-1]
        assert isinstance(names, dict)
        start = self.here
        if self.peek() != '"':
            raise Fault(start, f"expected a property name in double quotes, found {self.shown()}")
        name = self.string()
        if name in names:
            del names[name]
            names[name] = None  # last again, for the pointer
            self.given_twice(start, name)
        names[name] = None
        self.skip_space()
        if self.peek() != ":":
            raise Fault(self.here, f'expected ":", found {self.shown()}')
        self.here += 1
        self.skip_space()
        return self.value

    def given_twice(self, start: int, name: str) -> None:
        """Go's decoder takes the last one, others the first."""
        raise Fault(start, f'the property "{name}" is given twice')

    def string(self) -> str:
        start = self.here
        self.here += 1
        pieces = []
        while True:
            plain = self.match(_PLAIN)
            pieces.append(plain.group())
            self.here = plain.end()
            character = self.peek()
            if character == '"':
                self.here += 1
                return "".join(pieces)
            if character != "\\":
                why = "a control character inside a string" if character else "a string without its closing quote"
                raise Fault(self.here if character else start, why)
            pieces.append(self.escape())

    def escape(self) -> str:
        start = self.here
        self.here += 1
        simple = self.peek()
        if simple and simple in '"\\/bfnrt':
            self.here += 1
            return {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}.get(simple, simple)
        first = self.unicode()
        if first is None:
            raise Fault(start, "an unknown escape inside a string")
        if 0xD800 <= first < 0xDC00 and self.peek() == "\\":
            self.here += 1
            second = self.unicode()
            if second is not None and 0xDC00 <= second < 0xE000:
                return chr(0x10000 + ((first - 0xD800) << 10) + second - 0xDC00)
        if 0xD800 <= first < 0xE000:
            raise Fault(start, "half of a surrogate pair inside a string")
        return chr(first)

    def unicode(self) -> int | None:
        found = _UNICODE.match(self.text, self.here)
        if found is None:
            return None
        self.here = found.end()
        return int(found.group(1), 16)

    def number(self) -> None:
        found = _NUMBER.match(self.text, self.here)
        end = self.match(_NUMBER_END).end()
        if found is None or found.end() != end:
            raise Fault(self.here, f"{self.shown()} is not a number" if self.peek() != "-" else self.not_a_value())
        if end - self.here > MAX_DIGITS:
            raise Fault(self.here, f"a number of more than {MAX_DIGITS} digits")
        self.here = end

    def word(self) -> None:
        found = _WORD.match(self.text, self.here)
        if found is None or found.group() not in ("true", "false", "null"):
            raise Fault(self.here, self.not_a_value())
        self.here = found.end()

    def not_a_value(self) -> str:
        return f"expected a value, found {self.shown()}"

    def shown(self) -> str:
        """What stands here, for a message."""
        found = _WORD.match(self.text, self.here) or self.match(_NUMBER_END)
        token = found.group()[:20] or self.peek()
        return f'"{token}"' if token else "the end of the text"
