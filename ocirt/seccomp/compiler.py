"""linux.seccomp -> the program and flags for seccomp(2).  Pure: no system call but reading number tables.

Layout of the program, in the order of execution:

    load arch
    arch == token?  one test per section, else the action for bad architectures
    per section:    load nr
                    binary search over the intervals of numbers
                    tests of the arguments, for the calls that have some
    return action   shared by all jumps within reach
"""

from __future__ import annotations

from ocirt import log
from ocirt.errors import ConfigError
from ocirt.seccomp.arguments import put_choice
from ocirt.seccomp.bpf import ARCH, EQUAL, NR, Program
from ocirt.seccomp.profile import Filter
from ocirt.seccomp.sections import BAD_ARCHITECTURE, sections

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ocirt.config.views import Seccomp
    from ocirt.seccomp.sections import Section

MOST_INSTRUCTIONS = 4096  # BPF_MAXINSNS


def compile_filter(view: Seccomp, native_arch: str = "x86_64") -> tuple[bytes, int]:
    """(struct sock_filter[] as bytes, flags for seccomp(2)) for linux.seccomp on that machine.

    Raises ConfigError (code rule) with a pointer for what contradicts the specification, and
    OcirtError (code unsupported) for an unknown machine.
    """
    filter = Filter(view, native_arch)
    program = Program(filter.native.order)
    entries = [(section.token, _put_section(program, section, filter.default)) for section in sections(filter)]
    label = program.give(BAD_ARCHITECTURE)
    for token, start in reversed(entries):
        label = program.branch(EQUAL, token, start, label)
    program.load(ARCH, label)
    if len(program.words) > MOST_INSTRUCTIONS:
        raise ConfigError(
            "rule",
            f"the seccomp profile makes {len(program.words)} instructions, the kernel takes {MOST_INSTRUCTIONS}",
            f"{view.at}/syscalls",
            "name fewer architectures or fewer argument tests",
        )
    log.debug(f"seccomp filter flags: {filter.flags}")
    return program.to_bytes(), filter.flags


def _put_section(program: Program, section: Section, default: int) -> int:
    labels: list[int] = []
    for decision in section.decisions:
        if isinstance(decision, int):
            labels.append(program.give(decision))
        else:
            labels.append(put_choice(program, decision, default))
    if len(labels) == 1:
        return labels[0]
    return program.load(NR, program.search(section.firsts, labels, 0, len(labels)))
