"""Filters whose calls a watcher hears of (watcher.py): the programs, as seccomp(2) takes them.

init sends the watcher the filter's listener when the filter is in force already.  So each of these programs lets
through the one call by which it does that: sendmsg(2) with HAND_OVER for flags, which no program has a use for.
"""

from __future__ import annotations

import _socket
import _struct as struct  # built in; the public module is a file

from ocirt.seccomp.bpf import ARCH, ARGS, EQUAL, LOAD, NR, RETURN
from ocirt.seccomp.interpreter import instructions
from ocirt.seccomp.profile import ALLOW, NOTIFY
from ocirt.seccomp.reasons import DENIALS
from ocirt.seccomp.sections import ACTION_BITS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ocirt.seccomp.architectures import Abi
    from ocirt.seccomp.interpreter import Instruction

# Two flags without meaning for unix(7), which ignores them.
HAND_OVER = int(_socket.MSG_DONTROUTE) | int(_socket.MSG_CONFIRM) | int(_socket.MSG_NOSIGNAL)
FLAGS_ARGUMENT = 2  # of sendmsg(2)


def notify_about_all(native: Abi) -> bytes:
    """The watcher hears of every call."""
    return _program(native, [(RETURN, 0, 0, NOTIFY)])


def notify_about_denials(native: Abi, program: bytes) -> bytes:
    """program, but the watcher hears of the calls that it denies, and is to deny them."""
    watched = [
        (code, yes, no, NOTIFY if code == RETURN and k & ACTION_BITS in DENIALS else k)
        for code, yes, no, k in instructions(program, native.order)
    ]
    return _program(native, watched)


def _program(native: Abi, then: list[Instruction]) -> bytes:
    low = FLAGS_ARGUMENT * 8 + (0 if native.order == "<" else 4)
    first: list[Instruction] = [
        (LOAD, 0, 0, ARCH),
        (EQUAL, 0, 5, native.token),
        (LOAD, 0, 0, NR),
        (EQUAL, 0, 3, native.numbers()["sendmsg"]),
        (LOAD, 0, 0, ARGS + low),
        (EQUAL, 0, 1, HAND_OVER),
        (RETURN, 0, 0, ALLOW),
    ]
    return b"".join(struct.pack(f"{native.order}HBBI", *one) for one in (*first, *then))
