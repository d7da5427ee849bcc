from __future__ import annotations

from typing import Any

from ocirt.config import schema, shapes


def test_every_pattern_of_the_schema_has_a_test_in_words() -> None:
    used: set[str] = set()

    def walk(shape: Any) -> None:
        if isinstance(shape, dict):
            for member in shape.values():
                walk(member)
        elif isinstance(shape, tuple):
            if shape and shape[0] == "pattern":
                used.add(shape[1])
            for member in shape:
                walk(member)

    walk(shapes.KINDS)
    assert used == set(schema.PATTERNS)
