"""An assembler for classic BPF as seccomp(2) takes it: labels, long jumps, binary search.

A program is written from its end to its start: jumps go forward only (the kernel demands it), so a
jump's target exists when the jump is written.  A label is an instruction's distance from the end.
Sources: linux/filter.h, linux/bpf_common.h, struct seccomp_data of linux/seccomp.h, seccomp(2).
"""

from __future__ import annotations

import struct

# An instruction is struct sock_filter as one number: code << 48 | jt << 40 | jf << 32 | k.
LOAD = 0x20 << 48  # BPF_LD | BPF_W | BPF_ABS
AND = 0x54 << 48  # BPF_ALU | BPF_AND | BPF_K
JUMP = 0x05 << 48  # BPF_JMP | BPF_JA
EQUAL = 0x15 << 48  # BPF_JMP | BPF_JEQ | BPF_K
AT_LEAST = 0x35 << 48  # BPF_JMP | BPF_JGE | BPF_K
RETURN = 0x06 << 48  # BPF_RET | BPF_K

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

    def put(self, word: int) -> int:
        """Write an instruction that goes on with the one written before it."""
        self.words.append(word)
        return len(self.words) - 1

    def give(self, action: int) -> int:
        """Label of an instruction that returns the action."""
        word = RETURN | action
        label = self.returns.get(word)
        if label is None or len(self.words) - label > REACH:
            label = self.returns[word] = self.put(word)
        return label

    def near(self, label: int) -> int:
        """A label that does the same as label, within a branch's reach."""
        distance = len(self.words) - label
        if distance <= REACH:
            return label
        word = self.words[label]
        if word & ~LOW_WORD == RETURN:
            return self.give(word & LOW_WORD)
        return self.put(JUMP | distance - 1)

    def branch(self, kind: int, value: int, yes: int, no: int) -> int:
        """if A <kind> value: goto yes, else goto no."""
        place = len(self.words)
        if place - yes > REACH or place - no > REACH:
            yes = self.near(yes)
            no = self.near(no)
            place = len(self.words)
        self.words.append(kind | (place - yes - 1) << 40 | (place - no - 1) << 32 | value)
        return place

    def load(self, offset: int, then: int) -> int:
        """A = the word at offset of seccomp_data; goto then."""
        if then != len(self.words) - 1:
            self.put(JUMP | len(self.words) - then - 1)
        return self.put(LOAD | offset)

    def search(self, firsts: list[int], labels: list[int], low: int, high: int) -> int:
        """goto labels[i] for the last i in low..high-1 with firsts[i] <= A: a binary search."""
        if high - low == 1:
            return labels[low]
        if high - low == 3 and labels[low] == labels[low + 2] and firsts[low + 1] + 1 == firsts[low + 2]:
            return self.branch(EQUAL, firsts[low + 1], labels[low + 1], labels[low])
        middle = (low + high) // 2
        above = self.search(firsts, labels, middle, high)
        below = self.search(firsts, labels, low, middle)
        return self.branch(AT_LEAST, firsts[middle], above, below)

    def half(self, index: int, *, high: bool) -> int:
        """Offset of the high or low word of argument index."""
        return ARGS + 8 * index + (4 if high == (self.order == "<") else 0)

    def to_bytes(self) -> bytes:
        """struct sock_filter[] in execution order."""
        if self.order == ">":
            return struct.pack(f">{len(self.words)}Q", *reversed(self.words))
        turned = [
            word >> 48 | (word >> 40 & 0xFF) << 16 | (word >> 32 & 0xFF) << 24 | (word & LOW_WORD) << 32
            for word in reversed(self.words)
        ]
        return struct.pack(f"<{len(turned)}Q", *turned)
