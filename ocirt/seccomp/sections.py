"""Filter -> Sections: for every audit token, what happens to each system call number.

Here names become numbers, rules that name one call twice are settled, and the 32-bit space of
numbers is cut into intervals.  Pure but for loading the number tables.
"""

from __future__ import annotations

from ocirt import log
from ocirt.errors import ConfigError
from ocirt.seccomp.architectures import X32_BIT
from ocirt.seccomp.bpf import LOW_WORD
from ocirt.seccomp.profile import ALLOW, ERRNO, KILL_THREAD, LOG, TRACE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ocirt.seccomp.architectures import Abi
    from ocirt.seccomp.profile import Filter, Tests

    Alternative = tuple[Tests, int]
    Settled = tuple[dict[str, int], dict[str, list[Alternative]]]

ENOSYS = ERRNO | 38
BAD_ARCHITECTURE = KILL_THREAD  # for a token without a section; libseccomp's default, which runc keeps
ACTION_BITS = 0xFFFF0000  # SECCOMP_RET_ACTION_FULL
NO_CALL = 0xFFFFFFFF  # -1: a tracer has cancelled the call
# An older kernel hands a multiplexed call that it does not know on as call 0, setup(2), which has
# been gone for decades: ENOSYS instead of the default action (as in runc).
_ZERO_IS_UNKNOWN = ("SCMP_ARCH_S390", "SCMP_ARCH_S390X")


class Choice:
    """The arguments decide: the action of the first alternative whose tests all hold, else the default.

    bits: 64, or 32 when only the low words of arguments and values count.
    """

    __slots__ = ("alternatives", "bits")

    def __init__(self, alternatives: tuple[Alternative, ...], bits: int) -> None:
        self.alternatives = alternatives
        self.bits = bits


if TYPE_CHECKING:
    Decision = int | Choice


class Section:
    """All calls with one audit token.  firsts: where each interval of numbers begins, ascending from 0."""

    __slots__ = ("decisions", "firsts", "token")

    def __init__(self, token: int, firsts: list[int], decisions: list[Decision]) -> None:
        self.token = token
        self.firsts = firsts
        self.decisions = decisions


def sections(filter: Filter) -> list[Section]:
    """One Section per audit token, the native one first.  Raises ConfigError for contradicting rules."""
    found: dict[int, tuple[dict[int, Decision], dict[int, Decision]]] = {}
    named = {name for rule in filter.rules for name in rule.names}
    unknown = set(named) if log.debugging else set()
    settled: dict[int, Settled] = {}
    for abi in filter.abis:
        numbers = abi.numbers()
        unknown.difference_update(numbers)
        if abi.bits not in settled:
            settled[abi.bits] = settle(filter, abi.bits)
        ranges, points = found.setdefault(abi.token, ({}, {}))
        newest = max([numbers[name] for name in named if name in numbers], default=0)
        ranges.update(_ranges(filter, abi, newest))
        points.update(_points(*settled[abi.bits], abi, numbers))
        if abi.name in _ZERO_IS_UNKNOWN and len(ranges) > 1:
            points[0] = ENOSYS
    for name in sorted(unknown):
        log.debug(f'unknown seccomp syscall "{name}" ignored')
    return [Section(token, *_intervals(*parts)) for token, parts in found.items()]


def settle(filter: Filter, bits: int) -> Settled:
    """What the rules say of each name: (name -> action, name -> alternatives) for calls without and with tests.

    A rule without tests is final: it wins over every rule with tests, and the first one wins over a
    later one.  So does libseccomp.
    """
    final: dict[str, int] = {}
    tested: dict[str, list[Alternative]] = {}
    for rule in filter.rules:
        if rule.action == filter.default:
            continue  # as in runc: it says nothing, not even against another rule
        alternatives = [(_cut(tests, bits), rule.action) for tests in rule.alternatives]
        if ((), rule.action) in alternatives:
            for name in rule.names:
                final.setdefault(name, rule.action)
        else:
            for name in rule.names:
                tested.setdefault(name, []).extend(alternatives)
    return final, {name: alternatives for name, alternatives in tested.items() if name not in final}


def _points(
    final: dict[str, int], tested: dict[str, list[Alternative]], abi: Abi, numbers: dict[str, int]
) -> dict[int, Decision]:
    """Number -> decision for every call that the profile names in this ABI."""
    points: dict[int, Decision] = {numbers[name]: action for name, action in final.items() if name in numbers}
    choices = {numbers[name]: alternatives for name, alternatives in tested.items() if name in numbers}
    for name, (multiplexer, call) in abi.multiplexed().items():
        if name in final or name in tested:
            alternatives = [((), final[name])] if name in final else tested[name]
            through = [(_through_multiplexer(tests, call), action) for tests, action in alternatives]
            number = numbers[multiplexer]
            choices[number] = choices.get(number, []) + through
    for number, pairs in choices.items():
        if number not in points:
            points[number] = Choice(_ordered(pairs, number, numbers), abi.bits)
    return points


def _cut(tests: Tests, bits: int) -> Tests:
    """The tests for arguments of that size, by index, without those that always hold."""
    if bits == 32:
        tests = tuple((index, op, value & LOW_WORD, mask & LOW_WORD) for index, op, value, mask in tests)
    return tuple(sorted(test for test in tests if test[3]))


def _through_multiplexer(tests: Tests, call: int) -> Tests:
    """The tests as libseccomp has them for socketcall(2) and ipc(2): argument 0 tells the call.

    The call's own arguments lie in memory, where a filter cannot look: a test of argument 0 is
    lost, so a profile that means it must also deny the multiplexer.
    """
    return ((0, "EQ", call, LOW_WORD), *(test for test in tests if test[0] != 0))


def _ordered(pairs: list[Alternative], number: int, numbers: dict[str, int]) -> tuple[Alternative, ...]:
    """Alternatives in the order in which they are tried.

    With one action the order does not matter.  With several, libseccomp's order holds, whatever
    the profile's: higher argument first, then EQ and NE before LT and LE before GT and GE, then the
    narrower value.  Raises ConfigError when the same tests have two actions.
    """
    if len({action for _tests, action in pairs}) == 1:
        return tuple(pairs)
    actions: dict[Tests, int] = {}
    for tests, action in pairs:
        if actions.setdefault(tests, action) != action:
            name = next(name for name in numbers if numbers[name] == number)
            raise ConfigError(
                "rule", f"seccomp rules for {name} give two actions to the same arguments", "/linux/seccomp/syscalls"
            )
    return tuple(sorted(actions.items(), key=lambda pair: [_rank(*test) for test in pair[0]]))


_CLASS = {"EQ": 0, "NE": 0, "MASKED_EQ": 0, "LT": 1, "LE": 1, "GT": 2, "GE": 2}


def _rank(index: int, op: str, value: int, mask: int) -> tuple[int, int, int]:
    group = _CLASS[op]
    return -index, group, value if group == 1 else -value


def _ranges(filter: Filter, abi: Abi, newest: int) -> dict[int, Decision]:
    """First number -> what holds from there on for calls that the profile does not name.

    newest: the largest number that the profile names, with whatever action; 0 when it names none.
    """
    ranges: dict[int, Decision] = {X32_BIT if abi.name == "SCMP_ARCH_X32" else 0: filter.default}
    # A program that asks for a call newer than the profile must hear "no such call", else it does
    # not fall back to the older one (glibc and clone3, faccessat2).  The rule is runc's, to the
    # letter: listed ABIs only, and not when the default lets calls through.
    if newest and abi.name in filter.listed and filter.default & ACTION_BITS not in (ALLOW, LOG, TRACE):
        ranges[newest + 1] = ENOSYS
    if abi.name == "SCMP_ARCH_X86_64" and all(other.name != "SCMP_ARCH_X32" for other in filter.abis):
        ranges[X32_BIT] = BAD_ARCHITECTURE
        ranges[NO_CALL] = filter.default
    return ranges


def _intervals(ranges: dict[int, Decision], points: dict[int, Decision]) -> tuple[list[int], list[Decision]]:
    """The numbers cut where the decision changes: points before a background of ranges."""
    firsts: list[int] = []
    decisions: list[Decision] = []
    place = 0  # every number below is done
    background: Decision = 0
    current: Decision | None = None
    for mark in sorted([*ranges, *points, NO_CALL + 1]):
        if place < mark and background != current:
            firsts.append(place)
            decisions.append(background)
            current = background
        background = ranges.get(mark, background)
        place = mark
        if mark in points:
            if points[mark] != current:
                current = points[mark]
                firsts.append(mark)
                decisions.append(current)
            place = mark + 1
    return firsts, decisions
