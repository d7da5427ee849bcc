"""libseccomp.so.2 through ctypes, used as runc uses it: the other opinion on what a profile means."""

from __future__ import annotations

import ctypes
import os
from typing import Any

import pytest

from ocirt.config.views import Seccomp
from ocirt.seccomp.profile import ACTIONS, ERRNO, TRACE

OPERATORS = ("", "NE", "LT", "LE", "EQ", "GE", "GT", "MASKED_EQ")  # enum scmp_compare
UNKNOWN = -1
EEXIST = -17


class Comparison(ctypes.Structure):
    """struct scmp_arg_cmp."""

    _fields_ = [
        ("arg", ctypes.c_uint),
        ("op", ctypes.c_int),
        ("datum_a", ctypes.c_uint64),
        ("datum_b", ctypes.c_uint64),
    ]


def library() -> ctypes.CDLL:
    """Skips the test when libseccomp2 is not installed."""
    try:
        found = ctypes.CDLL("libseccomp.so.2")
    except OSError:
        pytest.skip("libseccomp.so.2 is not installed (Debian: libseccomp2)")
    found.seccomp_init.restype = ctypes.c_void_p
    found.seccomp_arch_resolve_name.restype = ctypes.c_uint32
    found.seccomp_rule_add_array.argtypes = [
        ctypes.c_void_p,
        ctypes.c_uint32,
        ctypes.c_int,
        ctypes.c_uint,
        ctypes.POINTER(Comparison),
    ]
    for name in ("seccomp_arch_add", "seccomp_export_bpf", "seccomp_release"):
        getattr(found, name).argtypes = [ctypes.c_void_p, ctypes.c_uint32][: 1 if name == "seccomp_release" else 2]
    return found


def version(lib: ctypes.CDLL) -> tuple[int, ...]:
    lib.seccomp_version.restype = ctypes.POINTER(ctypes.c_uint * 3)
    return tuple(lib.seccomp_version().contents)


class Contradiction(Exception):
    """Two rules with the same tests and different actions."""


def knows(lib: ctypes.CDLL, name: str) -> bool:
    """Whether this libseccomp has heard of the system call, on whatever ABI."""
    return int(lib.seccomp_syscall_resolve_name(name.encode())) != UNKNOWN


def action_word(name: str, number: int | None) -> int:
    action = ACTIONS[name]
    return action | (1 if number is None else number) if action in (ERRNO, TRACE) else action


def export(lib: ctypes.CDLL, profile: dict[str, Any]) -> bytes:
    """The program that libseccomp makes of linux.seccomp, without runc's ENOSYS stub."""
    view = Seccomp(profile, "/linux/seccomp")
    default = action_word(view.default_action, view.default_errno_ret)
    context = lib.seccomp_init(default)
    try:
        for name in view.architectures:
            token = lib.seccomp_arch_resolve_name(name.removeprefix("SCMP_ARCH_").lower().encode())
            assert lib.seccomp_arch_add(context, token) in (0, EEXIST), name
        for rule in view.syscalls:
            action = action_word(rule.action, rule.errno_ret)
            if action == default:
                continue
            tests = [
                Comparison(a.index, OPERATORS.index(a.op.removeprefix("SCMP_CMP_")), a.value, a.value_two or 0)
                for a in rule.args
            ]
            twice = len({test.arg for test in tests}) < len(tests)
            for name in rule.names:
                for alternative in [[test] for test in tests] if twice else [tests]:
                    _add(lib, context, action, name, alternative)
        file = os.memfd_create("bpf")
        try:
            assert lib.seccomp_export_bpf(context, file) == 0
            return os.pread(file, 8 * 65536, 0)
        finally:
            os.close(file)
    finally:
        lib.seccomp_release(context)


def _add(lib: ctypes.CDLL, context: int, action: int, name: str, tests: list[Comparison]) -> None:
    number = lib.seccomp_syscall_resolve_name(name.encode())
    if number == UNKNOWN:
        return
    result = lib.seccomp_rule_add_array(context, action, number, len(tests), (Comparison * len(tests))(*tests))
    if result == EEXIST:
        raise Contradiction(name)
    assert result == 0, (name, result)
