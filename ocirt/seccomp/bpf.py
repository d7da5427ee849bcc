"""An assembler for classic BPF as seccomp(2) takes it: labels, long jumps, binary search.

A program is written from its end to its start: jumps go forward only (the kernel demands it), so a
jump's target exists when the jump is written.  A label is an instruction's distance from the end.
Sources: linux/filter.h, linux/bpf_common.h, struct seccomp_data of linux/seccomp.h, seccomp(2).
"""

from __future__ import annotations

import _struct as struct  # built in; the public module is a file

# An instruction is struct sock_filter as a little-endian number: k << 32 | jf << 24 | jt << 16 | code.
LOAD = 0x20  # BPF_LD | BPF_W | BPF_ABS
AND = 0x54  # BPF_ALU | BPF_AND | BPF_K
JUMP = 0x05  # BPF_JMP | BPF_JA
EQUAL = 0x15  # BPF_JMP | BPF_JEQ | BPF_K
AT_LEAST = 0x35  # BPF_JMP | BPF_JGE | BPF_K
RETURN = 0x06  # BPF_RET | BPF_K

# Offsets in struct seccomp_data.
NR, ARCH, ARGS = 0, 4, 16

LOW_WORD = 0xFFFFFFFF
# A branch reaches 255 instructions; up to two long jumps may come between it and its targets.
REACH = 253


class Program:
    """A program under construction.  words: its instructions, the last one first.

    order: the machine's byte order, "<" or ">".
    """

    __slots__ = ("order", "returns", "words")

    def __init__(self, order: str) -> None:
        self.words: list[int] = []
        self.returns: dict[int, int] = {}  # return instruction -> its newest label
        self.order = order

    def put(self, code: int, k: int) -> int:
        """Write an instruction that goes on with the one written before it (or jumps k ahead)."""
        self.words.append(k << 32 | code)
        return len(self.words) - 1

    def give(self, action: int) -> int:
        """Label of an instruction that returns the action."""
        label = self.returns.get(action)
        if label is None or len(self.words) - label > REACH:
            label = self.returns[action] = self.put(RETURN, action)
        return label

    def near(self, label: int) -> int:
        """A label that does the same as label, within a branch's reach."""
        distance = len(self.words) - label
        if distance <= REACH:
            return label
        word = self.words[label]
        if word & LOW_WORD == RETURN:
            return self.give(word >> 32)
        return self.put(JUMP, distance - 1)

    def branch(self, code: int, value: int, yes: int, no: int) -> int:
        """if A <code> value: goto yes, else goto no."""
        words = self.words
        place = len(words)
        if place - yes > REACH or place - no > REACH:
            yes = self.near(yes)
            no = self.near(no)
            place = len(words)
        words.append(value << 32 | (place - no - 1) << 24 | (place - yes - 1) << 16 | code)
        return place

    def load(self, offset: int, then: int) -> int:
        """A = the word at offset of seccomp_data; goto then."""
        if then != len(self.words) - 1:
            self.put(JUMP, len(self.words) - then - 1)
        return self.put(LOAD, offset)

    def search(self, firsts: list[int], labels: list[int], low: int, high: int) -> int:
        """goto labels[i] for the last i in low..high-1 with firsts[i] <= A, by halving; labels differ from their
        neighbours, and there are two at least."""
        if high - low == 3 and labels[low] == labels[low + 2] and firsts[low + 1] + 1 == firsts[low + 2]:
            return self.branch(EQUAL, firsts[low + 1], labels[low + 1], labels[low])
        middle = (low + high) // 2
        above = labels[middle] if middle + 1 == high else self.search(firsts, labels, middle, high)
        below = labels[low] if low + 1 == middle else self.search(firsts, labels, low, middle)
        return self.branch(AT_LEAST, firsts[middle], above, below)

    def half(self, index: int, *, high: bool) -> int:
        """Offset of the high or low word of argument index."""
        return ARGS + 8 * index + (4 if high == (self.order == "<") else 0)

    def to_bytes(self) -> bytes:
        """struct sock_filter[] in execution order."""
        self.words.reverse()
        program = struct.pack(f"<{len(self.words)}Q", *self.words)
        if self.order == "<":
            return program
        return b"".join(struct.pack(">HBBI", *fields) for fields in struct.iter_unpack("<HBBI", program))
