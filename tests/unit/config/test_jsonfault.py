from __future__ import annotations

import pytest

from ocirt.config.jsonfault import fault, first_fault
from ocirt.config.jsontext import MAX_DEPTH
from tests.support.oracle import ROOT

EXAMPLES = sorted((ROOT / "tests/configs").glob("*/**/*.json"))


@pytest.mark.parametrize(
    ("text", "line", "column", "why", "at"),
    [
        ('{"a": 1,\n "b": [1, {"c~/d": x}]}', 2, 20, 'expected a value, found "x"', "/b/1/c~0~1d"),
        ('{"a": 1, "b": 2, "a": 3}', 1, 18, 'the property "a" is given twice', "/a"),
        ('{"b": {"a": 1}, "c": {"a": 1, "a": 1}}', 1, 31, 'the property "a" is given twice', "/c/a"),
        ("{]", 1, 2, 'expected a property name in double quotes, found "]"', ""),
        ("[1,]", 1, 4, 'expected a value, found "]"', "/1"),
        ("[1}", 1, 3, 'expected "," or "]", found "}"', "/0"),
        ('"é\\q"', 1, 3, "an unknown escape inside a string", ""),
        ("nulll", 1, 1, 'expected a value, found "nulll"', ""),
        ("[1.e5]", 1, 2, '"1.e5" is not a number', "/0"),
        ("[-]", 1, 2, 'expected a value, found "-"', "/0"),
    ],
)
def test_a_fault_has_line_column_and_pointer(text: str, line: int, column: int, why: str, at: str) -> None:
    error = fault(text.encode(), "config.json", MAX_DEPTH)
    assert error.code == "json"
    assert error.what == f"config.json is not acceptable JSON: line {line} column {column}: {why}"
    assert error.at == at


def test_what_the_scanner_accepts_has_no_fault() -> None:
    for file in EXAMPLES:
        if "json-" not in file.name and file.name != "invalid-json.json":
            assert first_fault(file.read_text(), MAX_DEPTH) is None, file


def test_the_position_of_a_byte_that_is_not_utf8_counts_characters() -> None:
    error = fault('{"é":\n "'.encode() + b"\xc3\x28", "process.json", MAX_DEPTH)
    assert error.what == "process.json is not acceptable JSON: line 2 column 3: byte 0xc3 is not UTF-8"


def test_a_text_without_fault_is_called_unparsable_rather_than_guessed_at() -> None:
    assert fault(b"{}", "config.json", MAX_DEPTH).what == "config.json cannot be parsed"
