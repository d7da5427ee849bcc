"""Classic BPF as the kernel runs it on struct seccomp_data: what a filter returns for a call.

Every instruction that a seccomp filter of ours or of libseccomp's has.  Sources: linux/filter.h, seccomp(2).
"""

from __future__ import annotations

import _struct as struct  # built in; the public module is a file

from ocirt.seccomp.bpf import AND, AT_LEAST, EQUAL, JUMP, LOAD, LOW_WORD, RETURN

ABOVE, ANY_BIT = 0x25, 0x45  # BPF_JMP | BPF_JGT, BPF_JSET | BPF_K
STORE, FETCH = 0x02, 0x60  # BPF_ST and BPF_LD | BPF_MEM: libseccomp keeps words in scratch memory

TYPE_CHECKING = False
if TYPE_CHECKING:
    Instruction = tuple[int, int, int, int]  # code, jt, jf, k


def instructions(program: bytes, order: str = "<") -> list[Instruction]:
    """(code, jt, jf, k) of each struct sock_filter.  order: the machine's byte order, "<" or ">"."""
    return list(struct.iter_unpack(f"{order}HBBI", program))


def seccomp_data(number: int, token: int, arguments: tuple[int, ...], order: str = "<") -> tuple[int, ...]:
    """struct seccomp_data as its 16 words; the instruction pointer is 0."""
    raw = struct.pack(f"{order}IIQ6Q", number & LOW_WORD, token, 0, *arguments)
    return struct.unpack(f"{order}16I", raw)


def run(program: list[Instruction], data: tuple[int, ...]) -> int:
    """The SECCOMP_RET_* word, with its data, that the filter returns for these 16 words.

    Raises ValueError for an instruction that no such filter has.
    """
    place = accumulator = 0
    memory: dict[int, int] = {}
    while True:
        code, yes, no, k = program[place]
        place += 1
        if code in (EQUAL, AT_LEAST, ABOVE, ANY_BIT):
            place += yes if _holds(code, accumulator, k) else no
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
        elif code == RETURN:
            return k
        else:
            raise ValueError(f"instruction {place - 1} has the unknown code {code:#x}")


def _holds(code: int, accumulator: int, k: int) -> bool:
    if code == EQUAL:
        return accumulator == k
    if code == AT_LEAST:
        return accumulator >= k
    if code == ABOVE:
        return accumulator > k
    return accumulator & k != 0
