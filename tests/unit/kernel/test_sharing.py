"""Shared memory, over the native launcher's C and over the standard library."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from ocirt.kernel import sharing
from tests.support import cmodule

Map = Callable[[int, int, bool], memoryview]


@pytest.fixture(params=["native", "portable"])
def map_shared(request: pytest.FixtureRequest, tmp_path: Path) -> Map:
    if request.param == "portable":
        return sharing.map_shared
    made: Map = cmodule.load(cmodule.compiled(tmp_path, "syscalls.c", "SYSCALLS")).map_shared
    return made


def test_with_a_child(map_shared: Map) -> None:
    memory = map_shared(-1, 5000, True)
    assert (len(memory), bytes(memory[4990:])) == (5000, bytes(10))
    child = os.fork()
    if child == 0:
        memory[4998:] = b"ab"
        os._exit(0)
    os.waitpid(child, 0)
    assert bytes(memory[4996:]) == b"\0\0ab"


def test_with_who_has_a_file_open(map_shared: Map, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"0123")
    with open(path, "r+b") as file:
        written, read = (map_shared(file.fileno(), 4, writable) for writable in (True, False))
    written[1:3] = b"xy"
    assert (bytes(read), path.read_bytes()) == (b"0xy3", b"0xy3")
    with pytest.raises(TypeError):
        read[0] = 0


def test_what_cannot_be_mapped(map_shared: Map, tmp_path: Path) -> None:
    with open(tmp_path / "file", "wb") as file:
        file.truncate(10)
        with pytest.raises(PermissionError):
            map_shared(file.fileno(), 10, False)
