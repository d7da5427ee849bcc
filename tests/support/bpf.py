"""A classic BPF interpreter for seccomp filters, checked as strictly as the kernel checks them."""

from __future__ import annotations

import struct

LOAD, RETURN, JUMP, AND = 0x20, 0x06, 0x05, 0x54
TAKEN = {
    0x15: lambda a, k: a == k,
    0x25: lambda a, k: a > k,
    0x35: lambda a, k: a >= k,
    0x45: lambda a, k: a & k != 0,
}
STORE, FETCH = 0x02, 0x60  # libseccomp keeps words in scratch memory

Instruction = tuple[int, int, int, int]


def instructions(program: bytes, order: str = "<") -> list[Instruction]:
    """(code, jt, jf, k) of each; asserts what the kernel's verifier demands of jumps and of the end."""
    found = list(struct.iter_unpack(f"{order}HBBI", program))
    assert 0 < len(found) <= 4096
    for place, (code, jt, jf, k) in enumerate(found):
        if code == JUMP:
            assert place + 1 + k < len(found)
        elif code in TAKEN:
            assert place + 1 + max(jt, jf) < len(found)
        elif code == LOAD:
            assert k % 4 == 0
            assert k < 64
    assert found[-1][0] == RETURN
    return found


def seccomp_data(number: int, token: int, arguments: tuple[int, ...], order: str = "<") -> tuple[int, ...]:
    """struct seccomp_data as its 16 words."""
    raw = struct.pack(f"{order}IIQ6Q", number & 0xFFFFFFFF, token, 0, *arguments)
    return struct.unpack(f"{order}16I", raw)


def run(program: list[Instruction], data: tuple[int, ...]) -> int:
    """What the filter returns for these 16 words."""
    place = accumulator = 0
    memory: dict[int, int] = {}
    while True:
        code, jt, jf, k = program[place]
        place += 1
        if code in TAKEN:
            place += jt if TAKEN[code](accumulator, k) else jf
        elif code == LOAD:
            accumulator = data[k // 4]
        elif code == JUMP:
            place += k
        elif code == AND:
            accumulator &= k
        elif code == STORE:
            memory[k] = accumulator
        elif code == FETCH:
            accumulator = memory[k]
        else:
            assert code == RETURN, hex(code)
            return k
