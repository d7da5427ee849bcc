"""The assembler: searches, labels out of reach, byte order."""

from __future__ import annotations

import struct

import pytest

from ocirt.seccomp.bpf import ARCH, EQUAL, NR, Program
from tests.support import bpf


def searching(firsts: list[int], actions: list[int]) -> list[bpf.Instruction]:
    program = Program("<")
    labels = [program.give(action) for action in actions]
    program.load(NR, program.search(firsts, labels, 0, len(labels)))
    return bpf.instructions(program.to_bytes())


def run(program: list[bpf.Instruction], number: int) -> int:
    return bpf.run(program, bpf.seccomp_data(number, 0, (0,) * 6))


@pytest.mark.parametrize("count", [2, 3, 4, 5, 7, 8, 100])
def test_a_search_finds_each_interval_from_its_first_to_its_last(count: int) -> None:
    firsts = [0, *(10 * i for i in range(1, count))]
    program = searching(firsts, [7 * i for i in range(count)])
    for i, first in enumerate(firsts):
        assert run(program, first) == 7 * i
        assert run(program, first + 9) == 7 * i
    assert run(program, 0xFFFFFFFF) == 7 * (count - 1)


def test_one_number_apart_is_one_comparison() -> None:
    program = searching([0, 5, 6], [1, 2, 1])
    assert [code for code, _jt, _jf, _k in program] == [bpf.LOAD, EQUAL, bpf.RETURN, bpf.RETURN]
    assert [run(program, number) for number in (4, 5, 6)] == [1, 2, 1]


def test_actions_out_of_a_branchs_reach_are_returned_again() -> None:
    firsts = list(range(0, 4000, 2))
    actions = [1 + i % 2 for i in range(len(firsts))]
    program = searching(firsts, actions)
    assert all(run(program, first) == action for first, action in zip(firsts, actions, strict=True))
    returns = [k for code, _jt, _jf, k in program if code == bpf.RETURN]
    assert 4 < len(returns) < 40  # shared, but near


def test_a_far_label_is_reached_by_a_long_jump() -> None:
    program = Program("<")
    here = program.load(NR, program.branch(EQUAL, 1, program.give(11), program.give(12)))
    for _ in range(300):
        program.load(NR, len(program.words) - 1)
    there = program.load(ARCH, program.branch(EQUAL, 5, here, program.give(13)))
    assert there == len(program.words) - 1
    made = bpf.instructions(program.to_bytes())
    assert bpf.JUMP in [code for code, _jt, _jf, _k in made]
    assert [bpf.run(made, bpf.seccomp_data(n, token, (0,) * 6)) for n, token in ((1, 5), (2, 5), (1, 6))] == [
        11,
        12,
        13,
    ]


def test_a_load_before_something_else_jumps_there() -> None:
    program = Program("<")
    wanted = program.give(1)
    program.give(2)
    program.load(NR, wanted)
    assert run(bpf.instructions(program.to_bytes()), 0) == 1


def test_bytes_are_in_the_machines_order() -> None:
    for order in "<>":
        program = Program(order)
        program.branch(EQUAL, 0x01020304, program.give(0x7FFF0000), program.give(0x50026))
        assert program.to_bytes() == struct.pack(
            f"{order}HBBIHBBIHBBI", EQUAL, 1, 0, 0x01020304, 6, 0, 0, 0x50026, 6, 0, 0, 0x7FFF0000
        )


def test_the_high_word_of_an_argument_comes_first_on_a_big_endian_machine() -> None:
    assert [Program("<").half(1, high=high) for high in (False, True)] == [24, 28]
    assert [Program(">").half(1, high=high) for high in (False, True)] == [28, 24]
