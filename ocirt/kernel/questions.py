"""Calls that change nothing or only the caller: to ask what a kernel has.  For `features` alone."""

from __future__ import annotations

from _struct import Struct  # built in; the public module is a file
from errno import EFAULT, EOPNOTSUPP

from ocirt.errors import KernelError
from ocirt.kernel import flags as f
from ocirt.kernel import numbers
from ocirt.kernel.ffi import syscall

_ACTION = Struct("=I")
_GET_ACTION_AVAIL = 2  # SECCOMP_GET_ACTION_AVAIL, Linux 4.14


def seccomp_flag_known(flag: int) -> bool:
    """Whether seccomp(2) knows the flag: then it goes on to the filter's address, which is wrong here."""
    if flag == f.SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV:
        flag |= f.SECCOMP_FILTER_FLAG_NEW_LISTENER  # refused without
    try:
        syscall("seccomp", numbers.seccomp, f.SECCOMP_SET_MODE_FILTER, flag, None)
    except OSError as error:
        return error.errno == EFAULT
    raise AssertionError("a filter without an address was loaded")


def seccomp_action_known(action: int) -> bool:
    """Whether filters may return this SECCOMP_RET_*."""
    try:
        syscall("seccomp", numbers.seccomp, _GET_ACTION_AVAIL, 0, _ACTION.pack(action))
    except KernelError as error:
        if error.errno == EOPNOTSUPP:
            return False
        raise
    return True
