"""The native launcher's scanner of JSON: the same as the standard library's, whatever it reads; and safe."""

from __future__ import annotations

import contextlib
import importlib.util
import os
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
from tests.support.oracle import ROOT

Scanner = Callable[[str, int], tuple[object, int]]

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
    def blocks() -> int:
        for text in texts(9, 300):
            for end in range(0, len(text), 2):
                with contextlib.suppress(ValueError):
                    module.scan_json(text[:end], 0, 3, dict.clear)
        return sys.getallocatedblocks()

    blocks()
    assert abs(blocks() - blocks()) < 100


# With a compiler's checks of every access, and with each allocation failing in turn.
CHECKED = """
import importlib.util, sys
sys.path.insert(0, sys.argv[1])
from tests.support.jsontexts import texts
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
from _testcapi import remove_mem_hooks, set_nomemory
text = '[{"name": "\\\\u4e16\\u4e16x", "b": null, "c": [1.5, 12345678901234567890123, true]}, "a\\\\nb", "\\u00e9"]'
failed = 0
whole = scan(text)
for number in range(1, 100):
    for end in (number + 1, 0):
        set_nomemory(number, end)
        try:
            assert scan(text) == whole
        except MemoryError:
            failed += 1
        finally:
            remove_mem_hooks()
print(read > 5_000, failed > 15)
"""


def test_no_access_is_out_of_bounds_and_no_allocation_unchecked(tmp_path: Path) -> None:
    found = subprocess.run(
        ["cc", "-print-file-name=libasan.so"], check=False, capture_output=True, text=True, timeout=30
    )
    library = found.stdout.strip()
    if not os.path.isabs(library) or importlib.util.find_spec("_testcapi") is None:
        pytest.skip("no libasan of the compiler's, or no _testcapi of Python's")
    options = ("-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
    module = cmodule.compiled(tmp_path, "json.c", "JSON", *options)
    environment = {
        "LD_PRELOAD": f"{library} {library.replace('asan', 'ubsan')}",
        "ASAN_OPTIONS": "detect_leaks=0",
        "PYTHONMALLOC": "malloc",
    }
    command = [sys.executable, "-c", CHECKED, str(ROOT), str(module)]
    ran = subprocess.run(command, env=environment, check=False, capture_output=True, text=True, timeout=200)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "True True\n", "")
