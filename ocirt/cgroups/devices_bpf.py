"""Device rules of cgroup v2: a BPF program that the kernel asks for every open and mknod of a device.

Each of the accesses asked for (r, w, m) is decided by the last rule that names the device and that access.
Sources: cgroup-v2.rst, Device controller; bpf(2); Documentation/bpf/standardization/instruction-set.rst.
"""

from __future__ import annotations

import errno
import sys
from _struct import Struct  # built in; the public module is a file

from ocirt import system as os
from ocirt.errors import KernelError, OcirtError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ocirt.cgroups import Write

# <linux/bpf.h>: struct bpf_cgroup_dev_ctx { access_type, major, minor } and its values
BLOCK, CHARACTER = 1, 2
ACCESS = {"m": 1, "r": 2, "w": 4}
EVERYTHING = 7

_INSTRUCTION = Struct("=BBhi")  # code, two registers, offset, immediate
_LOAD_WORD = 0x61  # BPF_LDX | BPF_MEM | BPF_W
_MOVE, _MOVE_REGISTER = 0xB4, 0xBC  # BPF_ALU: 32 bits
_AND, _SHIFT_RIGHT = 0x54, 0x74
_SKIP_UNLESS_EQUAL, _SKIP_IF_SET = 0x56, 0x46  # BPF_JMP32
_SKIP = 0x05
_RETURN = 0x95
# r0: the answer.  r1: the context.  r2: type.  r3: the accesses that are not decided yet.  r4: major.  r5: minor.
_ANSWER, _CONTEXT, _TYPE, _OPEN, _MAJOR, _MINOR = range(6)


def program(text: str) -> bytes:
    """The rules of limits_v2.device_write() as struct bpf_insn's, 8 bytes each."""
    rules = [rule.split() for rule in text.split("; ")]
    code = [
        _instruction(_LOAD_WORD, _TYPE, source=_CONTEXT, offset=0),
        _instruction(_MOVE_REGISTER, _OPEN, source=_TYPE),
        _instruction(_AND, _TYPE, 0xFFFF),
        _instruction(_SHIFT_RIGHT, _OPEN, 16),
        _instruction(_LOAD_WORD, _MAJOR, source=_CONTEXT, offset=4),
        _instruction(_LOAD_WORD, _MINOR, source=_CONTEXT, offset=8),
    ]
    for verb, *rule in reversed(rules):
        if rule == ["a"]:
            code += _answer(verb == "allow")
            return b"".join(code)  # the verifier refuses what cannot be reached
        kind, device, access = rule
        code += _rule(verb == "allow", kind, device, sum(ACCESS[letter] for letter in set(access)))
    return b"".join(code + _answer(False))


def _rule(allow: bool, kind: str, device: str, access: int) -> list[bytes]:
    """Answer, or go on with what is open.  The conditions are built from the end: each skips all that follows."""
    if allow:
        body = [_instruction(_AND, _OPEN, EVERYTHING & ~access), *_unless(_OPEN, 0, _answer(True))]
    else:
        body = [_instruction(_SKIP_IF_SET, _OPEN, access, offset=1), _instruction(_SKIP, offset=2), *_answer(False)]
    major, minor = device.split(":")
    for register, number in ((_MINOR, minor), (_MAJOR, major)):
        if number != "*":
            body = _unless(register, int(number), body)
    return _unless(_TYPE, CHARACTER if kind == "c" else BLOCK, body)


def _unless(register: int, number: int, body: list[bytes]) -> list[bytes]:
    """The body, skipped unless the register has this number."""
    return [_instruction(_SKIP_UNLESS_EQUAL, register, number, offset=len(body)), *body]


def _answer(allow: bool) -> list[bytes]:
    return [_instruction(_MOVE, _ANSWER, int(allow)), _instruction(_RETURN)]


def _instruction(code: int, destination: int = 0, immediate: int = 0, *, source: int = 0, offset: int = 0) -> bytes:
    signed = immediate - (1 << 32) if immediate >= 1 << 31 else immediate
    # Two bit fields of one byte, in the order of the machine's bits.
    registers = source << 4 | destination if sys.byteorder == "little" else destination << 4 | source
    return _INSTRUCTION.pack(code, registers, offset, signed)


def set_devices(directory: str, write: Write) -> None:
    """Load and attach; programs that an earlier container of this path left are replaced, never for a moment none.

    Raises OcirtError("cgroup").  Without the right to it, rules that allow everything are no error.
    """
    from ocirt.kernel import policy

    try:
        cgroup = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            old = policy.bpf_device_programs(cgroup)
            new = policy.bpf_load_device_program(program(write.text))
            try:
                _attach(cgroup, new, old)
            finally:
                os.close(new)
        finally:
            os.close(cgroup)
    except KernelError as error:
        if write.text == "allow a" and error.errno in (errno.EPERM, errno.EACCES):
            return
        raise OcirtError(
            "cgroup", "set the device rules", at=write.at, call="bpf", errno=error.errno or 0, detail=error.detail
        ) from error


def _attach(cgroup: int, new: int, old: list[int]) -> None:
    """One old program is replaced in one act; of several each still has its say until the new one has too."""
    from ocirt.kernel import policy

    programs = [policy.bpf_program(number) for number in old]
    try:
        policy.bpf_attach_device_program(cgroup, new, programs[0] if len(programs) == 1 else -1)
        if len(programs) > 1:
            for program in programs:
                policy.bpf_detach_device_program(cgroup, program)
    finally:
        for program in programs:
            os.close(program)
