"""The seam: nothing is cut short on its way to the kernel, over the launcher, _ctypes and ctypes alike."""

from __future__ import annotations

import ctypes
import errno
import importlib
import os
import sys
from types import ModuleType
from typing import Any

import pytest

from ocirt.errors import KernelError
from ocirt.kernel import ffi, numbers
from tests.support import cmodule

PRCTL_CAPBSET_READ = 23


@pytest.fixture(scope="module")
def native(tmp_path_factory: pytest.TempPathFactory) -> ModuleType:
    """ffi_native over the launcher's C code, made into a module of its own."""
    module = cmodule.compiled(tmp_path_factory.mktemp("native"), "syscalls.c", "SYSCALLS")
    sys.modules["_ocirt"] = cmodule.load(module)
    try:
        return importlib.import_module("ocirt.kernel.ffi_native")
    finally:
        del sys.modules["_ocirt"]


@pytest.fixture(params=["native", "private", "public"])
def backend(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Every test runs with each."""
    if request.param == "native":
        module = request.getfixturevalue("native")
    else:
        module = importlib.import_module(f"ocirt.kernel.ffi_{request.param}")
    monkeypatch.setattr(ffi, "_call", module.call)
    monkeypatch.setattr(ffi, "_string_array", module.string_array)
    monkeypatch.setattr(ffi, "buffer", module.Memory)
    monkeypatch.setattr(ffi, "address_of", module.address_of)
    return str(request.param)


@pytest.mark.usefixtures("backend")
class TestEveryBackend:
    def test_a_result_comes_back(self) -> None:
        assert ffi.syscall("getcwd", numbers.getcwd, ffi.buffer(4096), 4096) == len(os.getcwdb()) + 1

    def test_a_failure_has_errno_call_and_detail(self) -> None:
        with pytest.raises(KernelError) as caught:
            ffi.syscall("setns", numbers.setns, -1, 0, detail=lambda: "fd -1")
        error = caught.value
        assert (error.errno, error.call, error.detail) == (errno.EBADF, "setns", "fd -1")
        assert error.strerror == "Bad file descriptor"

    def test_all_64_bits_arrive(self) -> None:
        with pytest.raises(KernelError) as caught:  # cut to 32 bits it would be capability 0, and succeed
            ffi.syscall("prctl", numbers.prctl, PRCTL_CAPBSET_READ, 2**32)
        assert caught.value.errno == errno.EINVAL

    @pytest.mark.parametrize("value", [2**64, -(2**63) - 1])
    def test_what_does_not_fit_is_refused_before_the_call(self, value: int) -> None:
        with pytest.raises(KernelError) as caught:
            ffi.syscall("prctl", numbers.prctl, PRCTL_CAPBSET_READ, value)
        assert (caught.value.errno, caught.value.detail) == (errno.EINVAL, f"{value} does not fit in 64 bits")

    def test_text_is_refused(self) -> None:
        wrong: Any = "text"
        with pytest.raises(TypeError, match="str where the kernel wants bytes"):
            ffi.syscall("chroot", numbers.chroot, wrong)

    def test_a_buffer_is_written_to(self) -> None:
        memory = ffi.buffer(4096)
        length = ffi.syscall("getcwd", numbers.getcwd, memory, 4096)
        assert memory.raw[:length] == os.getcwdb() + b"\0"

    def test_a_buffer_holds_what_it_was_given(self) -> None:
        assert ffi.buffer(b"a\0b").raw == b"a\0b"

    def test_a_string_array_ends_in_null(self) -> None:
        pid = os.fork()
        if pid == 0:
            ffi.syscall("execve", numbers.execve, b"/bin/sh", ffi.string_array(["sh", b"-c", "exit 7"]), None)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7

    def test_addresses_are_told(self) -> None:
        assert ffi.address_of(ffi.buffer(8)) > 4096


def test_what_does_not_fit_would_be_cut() -> None:
    """What test_all_64_bits_arrive and the refusals are for: ctypes' own default."""
    syscall = ctypes.CDLL(None).syscall
    assert syscall(numbers.prctl, PRCTL_CAPBSET_READ, 2**32) == syscall(numbers.prctl, PRCTL_CAPBSET_READ, 0)
    assert ctypes.c_uint(2**32).value == 0
    assert ctypes.CDLL(None).strlen(b"/safe\0/evil") == len("/safe")


@pytest.mark.parametrize("name", ["/safe\0/evil", b"a\0", "\ud800"])
def test_a_path_the_kernel_would_misread_is_refused(name: str | bytes) -> None:
    with pytest.raises(KernelError) as caught:
        ffi.path(name)
    assert caught.value.errno == errno.EINVAL


def test_a_path_of_arbitrary_bytes_survives() -> None:
    assert ffi.path(os.fsdecode(b"/\xff")) == b"/\xff"
