"""Write a JSON value in a layout of its own and note where everything stands: the other way round than check reads."""

from __future__ import annotations

import json
from random import Random
from typing import Any


class Writer:
    """text: the JSON.  values, names: pointer -> (line, column) of the value, of the property's name.

    A Raw in the place of a value is written as it is: what is no JSON can be written too.
    """

    def __init__(self, value: Any, random: Random) -> None:
        self.random = random
        self.wide = random.random() < 0.5
        self.line = self.column = 1
        self.pieces: list[str] = []
        self.values: dict[str, tuple[int, int]] = {}
        self.names: dict[str, tuple[int, int]] = {}
        self.write(value, "")
        self.put("\n")
        self.text = "".join(self.pieces)

    def put(self, text: str) -> None:
        for character in text:
            self.line, self.column = (self.line + 1, 1) if character == "\n" else (self.line, self.column + 1)
        self.pieces.append(text)

    def space(self) -> None:
        if self.wide:
            self.put(self.random.choice(("", " ", "\n", "\n    ", "\t", "\r\n  ", "  ")))

    def write(self, value: Any, at: str) -> None:
        self.values[at] = (self.line, self.column)
        if isinstance(value, dict):
            self.put("{")
            for i, (name, member) in enumerate(value.items()):
                self.put("," * bool(i))
                self.space()
                inner = f"{at}/" + name.replace("~", "~0").replace("/", "~1")
                self.names[inner] = (self.line, self.column)
                self.put(json.dumps(name, ensure_ascii=self.random.random() < 0.5))
                self.space()
                self.put(":")
                self.space()
                self.write(member, inner)
                self.space()
            self.put("}")
        elif isinstance(value, list):
            self.put("[")
            for i, item in enumerate(value):
                self.put("," * bool(i))
                self.space()
                self.write(item, f"{at}/{i}")
                self.space()
            self.put("]")
        elif isinstance(value, Raw):
            self.put(value.text)
        else:
            self.put(json.dumps(value, ensure_ascii=self.random.random() < 0.5))


class Raw:
    """Text in the place of a value."""

    def __init__(self, text: str) -> None:
        self.text = text
