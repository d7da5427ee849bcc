from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from random import Random
from typing import Any

import pytest

from ocirt import log
from ocirt.config import jsontext
from ocirt.errors import ConfigError
from tests.support.oracle import ROOT

EXAMPLES = sorted((ROOT / "tests/configs").glob("*/**/*.json"))


@pytest.fixture(params=["_json", "json"], autouse=True)
def _scanner(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test runs with the private scanner and with the public one."""
    if request.param == "json":
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


@pytest.mark.parametrize("value", [object(), {1: "x"}, {"a": {1}}, float("nan"), float("-inf"), b"x"])
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
