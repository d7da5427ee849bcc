from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest

from ocirt import log
from ocirt.config import jsontext
from ocirt.errors import ConfigError
from tests.support import cmodule
from tests.support.oracle import ROOT

Scanner = Callable[[str, int], tuple[object, int]]
Writer = Callable[[object, int], str]

EXAMPLES = sorted((ROOT / "tests/configs").glob("*/**/*.json"))


@pytest.fixture(scope="module")
def native(tmp_path_factory: pytest.TempPathFactory) -> tuple[Scanner, Writer]:
    """The native launcher's scanner and writer."""
    module = cmodule.load(cmodule.compiled(tmp_path_factory.mktemp("native"), "json.c", "JSON", "-O1"))
    scan = lambda text, start: module.scan_json(text, start, jsontext.MAX_DEPTH, jsontext.without_nulls)  # noqa: E731
    return scan, module.dump_json


@pytest.fixture(params=["native", "_json", "json"], autouse=True)
def _scanner(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test runs with the native launcher's scanner and writer, the standard library's private scanner and its
    public one."""
    if request.param == "native":
        scan, write = request.getfixturevalue("native")
        monkeypatch.setattr(jsontext, "_scan", scan)
        monkeypatch.setattr(jsontext, "_write", write)
    elif request.param == "json":
        monkeypatch.setattr(jsontext, "_scan", jsontext.public_scanner())


def fault_of(data: bytes) -> tuple[str, str] | None:
    """(what, pointer) of the error that data gives, None when it is accepted."""
    try:
        jsontext.parse(data, "config.json")
    except ConfigError as error:
        return error.what, error.at
    return None


@pytest.mark.parametrize(
    "text",
    [
        "{}", " \t\r\n[1]\n", "0", "-0", "1E+2", "-1.5e-3", '"\\u00e9\\n\\/"', '"\\ud83d\\ude00"', '"\\\\ud800"',
        "true", '{"a":{"b":[[],{}]}}', '{"": ""}', "18446744073709551616", '"\u2028 \x7f"', "1e999",
        '"\\uD83D\\uDE00\\u0041"',
    ],
)  # fmt: skip
def test_parse_agrees_with_json(text: str) -> None:
    value = jsontext.parse(text.encode(), "x")
    expected = json.loads(text)
    assert value == expected
    assert type(value) is type(expected)


def test_all_examples_parse_as_json_parses_them() -> None:
    def without_nulls(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: without_nulls(member) for name, member in value.items() if member is not None}
        return [without_nulls(item) for item in value] if isinstance(value, list) else value

    parsed = 0
    for file in EXAMPLES:
        if "json-" not in file.name and file.name != "invalid-json.json":
            assert jsontext.parse(file.read_bytes(), "x") == without_nulls(json.loads(file.read_text())), file
            parsed += 1
    assert parsed > 100


def test_null_members_are_dropped_and_null_items_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    lines: list[str] = []
    monkeypatch.setattr(log, "debug", lines.append)
    assert jsontext.parse(b'{"a": null, "b": [null, {"c": null}], "d": 0}', "x") == {"b": [None, {}], "d": 0}
    assert lines == [f'property "{name}" is null, which is the same as absent' for name in "ca"]


def test_the_deepest_nesting_that_is_accepted() -> None:
    depth = jsontext.MAX_DEPTH
    assert fault_of(b"[" * depth + b"]" * depth) is None
    assert fault_of(b'{"a":' * depth + b"1" + b"}" * depth) is None
    for data in (b"[" * (depth + 1) + b"]" * (depth + 1), b"[" * 100_000, b'{"a":' * 100_000):
        fault = fault_of(data)
        assert fault is not None
        assert f"nested more than {depth} levels deep" in fault[0]


def test_many_brackets_are_not_depth() -> None:
    assert fault_of(b"[" + b"[],{}," * 1000 + b"0]") is None


def test_the_longest_number_that_is_accepted() -> None:
    assert fault_of(b"[" + b"9" * 4300 + b"]") is None
    assert fault_of(b"[" + b"9" * 4301 + b"]") == (
        "config.json is not acceptable JSON: line 1 column 2: a number of more than 4300 digits",
        "/0",
    )


@pytest.mark.parametrize(
    ("text", "line", "column", "why", "at"),
    [
        ("", 1, 1, "expected a value, found the end of the text", ""),
        (" \n", 2, 1, "expected a value, found the end of the text", ""),
        ("\ufeff{}", 1, 1, "a byte order mark before the text", ""),
        ("{} x", 1, 4, "text after the end of the document", ""),
        ("[NaN]", 1, 2, 'expected a value, found "NaN"', "/0"),
        ("[-Infinity]", 1, 2, 'expected a value, found "-Infinity"', "/0"),
        ("[tru]", 1, 2, 'expected a value, found "tru"', "/0"),
        ("[01]", 1, 2, '"01" is not a number', "/0"),
        ("[1.]", 1, 2, '"1." is not a number', "/0"),
        ("[1e+]", 1, 2, '"1e+" is not a number', "/0"),
        ("[0,]", 1, 4, 'expected a value, found "]"', "/1"),
        ("[0", 1, 3, 'expected "," or "]", found the end of the text', "/0"),
        ('{"a": 0,}', 1, 9, 'expected a property name in double quotes, found "}"', "/a"),
        ('{"a"}', 1, 5, 'expected ":", found "}"', "/a"),
        ('{"a": 0', 1, 8, 'expected "," or "}", found the end of the text', "/a"),
        ("{a: 0}", 1, 2, 'expected a property name in double quotes, found "a"', ""),
        ('{"a": 0, "\\u0061": 0}', 1, 10, 'the property "a" is given twice', "/a"),
        ('["a', 1, 2, "a string without its closing quote", "/0"),
        ('["a\nb"]', 1, 4, "a control character inside a string", "/0"),
        ('["\0"]', 1, 3, "a control character inside a string", "/0"),
        ('["\\x"]', 1, 3, "an unknown escape inside a string", "/0"),
        ('["\\u12g4"]', 1, 3, "an unknown escape inside a string", "/0"),
        ('["\\ud83d"]', 1, 3, "half of a surrogate pair inside a string", "/0"),
        ('["\\ud83d\\u0041"]', 1, 3, "half of a surrogate pair inside a string", "/0"),
        ('{"\\ude00": 0}', 1, 3, "half of a surrogate pair inside a string", ""),
        ('["\u4e16", \u00a0]', 1, 7, 'expected a value, found "\u00a0"', "/1"),
    ],
)  # fmt: skip
def test_what_is_refused_has_its_place(text: str, line: int, column: int, why: str, at: str) -> None:
    what = f"config.json is not acceptable JSON: line {line} column {column}: {why}"
    assert fault_of(text.encode()) == (what, at)


def test_a_duplicate_whose_values_are_null_is_refused() -> None:
    assert fault_of(b'{"a": null, "a": 1}') is not None


def test_broken_texts_never_end_in_anything_but_a_config_error() -> None:
    """Cut, doubled and changed bytes of a real config: refused with a place, or accepted by json too."""
    random = Random(16)
    original = (ROOT / "tests/configs/good/seccomp.json").read_bytes()
    unplaced = []
    for _ in range(3000):
        data = bytearray(original)
        for _ in range(random.randrange(1, 4)):
            here = random.randrange(len(data))
            data[here : here + random.randrange(3)] = random.choice(
                (b"", b'"', b"\\u", b"\xff", b"{", b"]", b"1", b",", b"\0")
            )
        fault = fault_of(bytes(data))
        if fault is None:
            json.loads(data.decode())
        elif "line " not in fault[0]:
            unplaced.append(bytes(data))
    assert not unplaced


@pytest.mark.parametrize(
    "value",
    [
        {}, [], {"a": [], "b": {}}, [1, -5, True, False, None, "x"], {"k": {"n": [{"d": ["e"]}]}},
        'q"\\\n\t/\x01\x7f\u2028', "é世\U0001f600", 2**64, 1.5, ("a", "b"),
        {"a": [float("inf"), float("-inf")]},
    ],
)  # fmt: skip
def test_dump_is_read_back_by_json(value: object) -> None:
    expected = list(value) if isinstance(value, tuple) else value
    for indent in (None, 2, 4):
        assert json.loads(jsontext.dump(value, indent)) == expected


def test_dump_has_the_layout_of_json() -> None:
    value = {"ociVersion": "1.3.0", "pid": 0, "list": ["a", {"b": []}], "annotations": {}}
    assert jsontext.dump(value) == json.dumps(value, separators=(",", ":"))
    for indent in (2, 4):
        assert jsontext.dump(value, indent) == json.dumps(value, indent=indent)


def test_dump_escapes_what_is_not_printable() -> None:
    assert jsontext.dump("\x00\x1b\ud800") == '"\\u0000\\u001b\\ud800"'


@pytest.mark.parametrize("value", [object(), {1: "x"}, {"a": {1}}, float("nan"), b"x"])
def test_dump_refuses_what_json_has_no_form_for(value: object) -> None:
    with pytest.raises(TypeError, match="has no form in JSON"):
        jsontext.dump(value)


def test_a_good_text_costs_neither_json_nor_re(tmp_path: Path) -> None:
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); from ocirt.config import jsontext, bundle\n"
        "bundle.read_config(open(sys.argv[2], 'rb').read())\n"
        "print(*{'json', 're', 'typing', 'enum', 'ocirt.config.jsonfault'} & set(sys.modules))"
    )
    good = ROOT / "tests/configs/good/seccomp.json"
    command = [sys.executable, "-I", "-S", "-c", code, str(ROOT), str(good)]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "\n"
