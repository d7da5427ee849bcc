"""Seccomp filters run by ocirt's interpreter, checked as strictly as the kernel checks them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ocirt.seccomp import interpreter
from ocirt.seccomp.bpf import AT_LEAST, EQUAL
from ocirt.seccomp.bpf import JUMP as JUMP
from ocirt.seccomp.bpf import LOAD as LOAD
from ocirt.seccomp.bpf import RETURN as RETURN
from ocirt.seccomp.interpreter import ABOVE, ANY_BIT
from ocirt.seccomp.interpreter import run as run
from ocirt.seccomp.interpreter import seccomp_data as seccomp_data

if TYPE_CHECKING:
    from ocirt.seccomp.interpreter import Instruction as Instruction


def instructions(program: bytes, order: str = "<") -> list[Instruction]:
    """(code, jt, jf, k) of each; asserts what the kernel's verifier demands of jumps and of the end."""
    found = interpreter.instructions(program, order)
    assert 0 < len(found) <= 4096
    for place, (code, jt, jf, k) in enumerate(found):
        if code == JUMP:
            assert place + 1 + k < len(found)
        elif code in (EQUAL, AT_LEAST, ABOVE, ANY_BIT):
            assert place + 1 + max(jt, jf) < len(found)
        elif code == LOAD:
            assert k % 4 == 0
            assert k < 64
    assert found[-1][0] == RETURN
    return found
