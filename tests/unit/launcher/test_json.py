"""The native launcher's scanner of JSON: the same as the standard library's, whatever it reads; its writer: the same as
the portable launcher's; and both safe."""

from __future__ import annotations

import contextlib
import importlib.util
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from ocirt import log
from ocirt.config import jsontext
from tests.support import cmodule
from tests.support.jsontexts import texts
from tests.support.jsonvalues import values
from tests.support.oracle import ROOT

Scanner = Callable[[str, int], tuple[object, int]]
Writer = Callable[[object, int], str]

COUNT = 30_000
DEEP = 384


@pytest.fixture(scope="module")
def module(tmp_path_factory: pytest.TempPathFactory) -> ModuleType:
    return cmodule.load(cmodule.compiled(tmp_path_factory.mktemp("native"), "json.c", "JSON", "-O2"))


def outcome(scan: Scanner, text: str) -> object:
    """The value with the types of all of its parts, and where it ends; None for a text that is refused."""
    try:
        value, end = scan(text, 0)
    except (jsontext._Refused, ValueError, StopIteration, SystemError):
        return None
    return None if text[end:].strip(" \t\n\r") else repr((value, end))


def test_it_reads_what_the_standard_library_reads(module: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr(log, "debug", said.append)
    accepted = refused = 0
    for text in texts(7, COUNT):
        expected, told = outcome(jsontext.standard_scan, text), said.copy()
        said.clear()
        found = outcome(lambda text, at: module.scan_json(text, at, DEEP, jsontext.without_nulls), text)
        assert (found, said) == (expected, told), text
        said.clear()
        accepted, refused = accepted + (expected is not None), refused + (expected is None)
    assert accepted > COUNT // 4
    assert refused > COUNT // 4


@pytest.mark.parametrize("start", [-1, 4, 2**62])
def test_a_start_that_is_not_in_the_text_is_refused(module: ModuleType, start: int) -> None:
    with pytest.raises(ValueError, match="no JSON text"):
        module.scan_json("[0]", start, DEEP, None)


def test_depth_is_bounded(module: ModuleType) -> None:
    assert module.scan_json("[[{}]]", 0, 3, None) == ([[{}]], 6)
    for text in ("[[{}]]", '{"a": {"b": []}}'):
        with pytest.raises(ValueError, match="no JSON text"):
            module.scan_json(text, 0, 2, None)


def test_what_the_callback_raises_is_raised(module: ModuleType) -> None:
    with pytest.raises(ZeroDivisionError):
        module.scan_json('[{"a": null}]', 0, DEEP, lambda members: 1 / 0)


def test_a_name_is_one_object_wherever_it_stands(module: ModuleType) -> None:
    (first, second), _ = module.scan_json('[{"a name": 0}, {"a name": 1}]', 0, DEEP, None)
    assert next(iter(first)) is next(iter(second))


def test_it_keeps_no_memory(module: ModuleType) -> None:
    def scan() -> None:
        for text in texts(9, 300):
            for end in range(0, len(text), 2):
                with contextlib.suppress(ValueError):
                    module.scan_json(text[:end], 0, 3, dict.clear)

    assert abs(cmodule.blocks_kept(scan)) < 100


def written(write: Writer, value: object, indent: int) -> object:
    """The text, or what the error is."""
    try:
        return write(value, indent)
    except (TypeError, ValueError) as error:  # ValueError: Python writes no integer of more than 4300 digits
        return type(error), str(error)


def test_it_writes_what_python_writes(module: ModuleType) -> None:
    refused = 0
    for number, value in enumerate(values(7, COUNT)):
        indent = (-1, -1, 0, 2, 7)[number % 5]
        expected = written(jsontext.portable_write, value, indent)
        assert written(module.dump_json, value, indent) == expected, value
        refused += isinstance(expected, tuple)
    assert COUNT // 100 < refused < COUNT // 4


def test_it_writes_every_character_as_python_does(module: ModuleType) -> None:
    characters = "".join(map(chr, range(sys.maxunicode + 1)))
    assert module.dump_json(characters, -1) == jsontext.portable_write(characters, -1)
    for character in (*characters[:0x300], *characters[0xD700:0xE100], *characters[0xFF00:0x10100]):
        assert module.dump_json(character, -1) == jsontext.portable_write(character, -1)


@pytest.mark.parametrize("size", [0, 1, 2046, 2047, 2048, 100_000])
@pytest.mark.parametrize("character", ["a", "\n", "\u00e9", "\u4e16", "\U0001f600"])
def test_it_writes_texts_of_any_length(module: ModuleType, character: str, size: int) -> None:
    value = [character * size, {character * size: character}]
    assert module.dump_json(value, 2) == jsontext.portable_write(value, 2)


@pytest.mark.parametrize(
    ("value", "name"),
    [
        (object(), "object"), ({1: {2}}, "dict"), ({"a": {2}}, "set"), ({"a": {2}, None: 1}, "dict"),
        ([b"", {2}], "bytes"), ((float("nan"),), "float"), (type("Own", (dict,), {})({1: 2}), "Own"),
    ],
)  # fmt: skip
def test_what_json_has_no_form_for_is_refused(module: ModuleType, value: object, name: str) -> None:
    for write in (module.dump_json, jsontext.portable_write):
        with pytest.raises(TypeError, match=f"^{name} has no form in JSON$"):
            write(value, -1)


def test_depth_of_what_is_written_is_bounded(module: ModuleType) -> None:
    deep: object = 0
    for _ in range(jsontext.MAX_DEPTH // 2):
        deep = {"a": [deep]}
    assert module.dump_json(deep, -1) == '{"a":[' * (DEEP // 2) + "0" + "]}" * (DEEP // 2)
    endless: list[object] = []
    endless.append({"a": (endless,)})
    for write in (module.dump_json, jsontext.portable_write):
        with pytest.raises(RecursionError):
            write(endless, -1)
        with pytest.raises(RecursionError):
            write(endless, 1)


@pytest.mark.parametrize("arguments", [(), ([],), ([], None), ([], "1"), ([], 2**64), ([], 1, 2)])
def test_what_is_no_call_of_the_writer_is_refused(module: ModuleType, arguments: tuple[object, ...]) -> None:
    with pytest.raises((TypeError, OverflowError)):
        module.dump_json(*arguments)


def test_it_keeps_no_memory_of_what_it_writes(module: ModuleType) -> None:
    sample = [*values(9, 2000)]

    def write() -> None:
        for value in sample:
            written(module.dump_json, value, 1)

    assert abs(cmodule.blocks_kept(write)) < 100


# With a compiler's checks of every access, and with each allocation failing in turn.
CHECKED = """
import importlib.util, sys
sys.path.insert(0, sys.argv[1])
from tests.support.jsontexts import texts
from tests.support.jsonvalues import values
spec = importlib.util.spec_from_file_location("_ocirt", sys.argv[2])
module = importlib.util.module_from_spec(spec)
def scan(text):
    try:
        return module.scan_json(text, 0, 384, dict.popitem)
    except ValueError:
        return None
read = sum(scan(text) is not None for text in texts(8, 20_000))
for text in texts(9, 300):
    for end in range(len(text)):
        scan(text[:end])
def write(value, indent=-1):
    try:
        return module.dump_json(value, indent)
    except (TypeError, ValueError):
        return None
wrote = sum(write(value, number % 4 - 1) is not None for number, value in enumerate(values(8, 10_000)))
from _testcapi import remove_mem_hooks, set_nomemory
text = '[{"name": "\\\\u4e16\\u4e16x", "b": null, "c": [1.5, 12345678901234567890123, true]}, "a\\\\nb", "\\u00e9"]'
value = [{"a": ["\u00e9\\n\U0001f600"], "b": [1.5, 2**70, True, None]}, "x" * 3000]
def failures(function, given):
    failed = 0
    whole = function(given)
    for number in range(1, 100):
        for end in (number + 1, 0):
            set_nomemory(number, end)
            try:
                assert function(given) == whole
            except MemoryError:
                failed += 1
            finally:
                remove_mem_hooks()
    return failed
print(read > 5_000, wrote > 5_000, failures(scan, text) > 15, failures(write, value) > 10, failures(write, {1}) > 1)
"""


def test_no_access_is_out_of_bounds_and_no_allocation_unchecked(tmp_path: Path) -> None:
    if importlib.util.find_spec("_testcapi") is None:
        pytest.skip("no _testcapi of Python's")
    environment = cmodule.environment_of_checked()
    module = cmodule.compiled(tmp_path, "json.c", "JSON", *cmodule.CHECKED)
    command = [sys.executable, "-c", CHECKED, str(ROOT), str(module)]
    ran = subprocess.run(command, env=environment, check=False, capture_output=True, text=True, timeout=200)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "True True True True True\n", "")
