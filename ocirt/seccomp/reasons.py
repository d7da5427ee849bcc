"""Why a filter does with a call what it does: the action by the program itself, and the rule that it comes from."""

from __future__ import annotations

import errno

from ocirt.seccomp.architectures import ABIS, X32_BIT
from ocirt.seccomp.arguments import spans_of
from ocirt.seccomp.bpf import LOW_WORD
from ocirt.seccomp.compiler import compile_filter
from ocirt.seccomp.interpreter import instructions, run, seccomp_data
from ocirt.seccomp.profile import ACTIONS, ALLOW, ERRNO, KILL_PROCESS, KILL_THREAD, LARGEST_DATA, LOG, TRACE, Filter
from ocirt.seccomp.sections import ACTION_BITS, ENOSYS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ocirt.config.views import Seccomp
    from ocirt.seccomp.architectures import Abi
    from ocirt.seccomp.profile import Rule, Test, Tests

# What the call does not do as it was asked to.  TRAP is the program's own business, TRACE a tracer's, LOG lets through.
DENIALS = (ERRNO, KILL_THREAD, KILL_PROCESS)

_WORDS = {word: name for name, word in ACTIONS.items() if name != "SCMP_ACT_KILL"}


class Verdict:
    """What happens to a call.  action: SECCOMP_RET_* word with its data.

    at: pointer of the rule, of the default action or of what else decides.  why: in words.
    """

    __slots__ = ("action", "at", "why")

    def __init__(self, action: int, at: str, why: str) -> None:
        self.action = action
        self.at = at
        self.why = why

    @property
    def denies(self) -> bool:
        return self.action & ACTION_BITS in DENIALS


class Reasons:
    """A profile, to be asked.  Raises what compile_filter raises.

    program: as it is loaded.  flags: for seccomp(2).
    """

    def __init__(self, view: Seccomp, machine: str) -> None:
        self.view = view
        self.filter = Filter(view, machine)
        self.program, self.flags = compile_filter(view, machine)
        self._instructions = instructions(self.program, self.filter.native.order)
        self._names: dict[str, dict[int, str]] = {}

    def of(self, token: int, number: int, arguments: tuple[int, ...]) -> Verdict:
        """token, number, arguments: as seccomp_data has them; six arguments."""
        action = run(self._instructions, seccomp_data(number, token, arguments, self.filter.native.order))
        abi = abi_of(token, number)
        if abi is None or abi not in self.filter.abis:
            return Verdict(action, f"{self.view.at}/architectures", "the profile does not list this architecture")
        name = self.name(abi, number)
        rules = [] if action == self.filter.default else self._applying(abi, name, arguments, action)
        if rules:
            return Verdict(action, *rules[0])
        if action == ENOSYS and self.filter.default != ENOSYS:
            why = "newer than every call that the profile names: ENOSYS, so that programs fall back to older calls"
            return Verdict(action, f"{self.view.at}/syscalls", why)
        return Verdict(action, f"{self.view.at}/defaultAction", self._why_default(name))

    def name(self, abi: Abi, number: int) -> str:
        """ "" for a number that no call has."""
        names = self._names.get(abi.name)
        if names is None:
            names = self._names[abi.name] = {number: name for name, number in reversed(abi.numbers().items())}
        return names.get(number, "")

    def _applying(self, abi: Abi, name: str, arguments: tuple[int, ...], action: int) -> list[tuple[str, str]]:
        """(pointer, words) of the rules with that action that apply to the call."""
        found = []
        for rule, view in zip(self.filter.rules, self.view.syscalls, strict=True):
            if rule.action == action and (why := _applies(rule, abi, name, arguments)):
                found.append((view.at, why))
        return found

    def _why_default(self, name: str) -> str:
        if not name:
            return "a number that no system call has: the default action"
        if any(name in rule.names for rule in self.filter.rules if rule.action != self.filter.default):
            return "the arguments are not those of any rule that names the call: the default action"
        if any(name in rule.names for rule in self.filter.rules):
            return "a rule names the call, with the default action"
        return "no rule names the call: the default action"


def abi_of(token: int, number: int) -> Abi | None:
    """The ABI of a call; x32 has x86_64's token and a bit in its numbers."""
    for abi in ABIS.values():
        if abi.token == token:
            x32 = ABIS["SCMP_ARCH_X32"]
            return x32 if token == x32.token and X32_BIT <= number < LOW_WORD else abi
    return None


def _applies(rule: Rule, abi: Abi, name: str, arguments: tuple[int, ...]) -> str:
    """Why the rule applies to the call, "" when it does not."""
    if name in rule.names:
        if any(_all_pass(tests, arguments, abi.bits) for tests in rule.alternatives):
            return "named by the rule" + (", and its tests of arguments hold" if rule.alternatives != ((),) else "")
        return ""
    for inner, (multiplexer, call) in abi.multiplexed().items():
        if name == multiplexer and inner in rule.names and arguments[0] & LOW_WORD == call:
            # A test of argument 0 cannot be made (sections._through_multiplexer).
            seen = (tuple(test for test in tests if test[0] != 0) for tests in rule.alternatives)
            if any(_all_pass(tests, arguments, abi.bits) for tests in seen):
                return f"{inner} by way of {name}, named by the rule"
    return ""


def _all_pass(tests: Tests, arguments: tuple[int, ...], bits: int) -> bool:
    return all(_passes(test, arguments[test[0]], bits) for test in tests)


def _passes(test: Test, argument: int, bits: int) -> bool:
    word = (1 << bits) - 1
    index, op, value, mask = test
    if op == "MASKED_EQ":
        return argument & mask & word == value & word
    return any(first <= argument & word <= last for first, last in spans_of((index, op, value & word, mask), bits))


def action_name(action: int) -> str:
    """SCMP_ACT_*."""
    return _WORDS.get(action & ACTION_BITS, f"{action & ACTION_BITS:#x}")


def describe_action(action: int) -> str:
    """SCMP_ACT_*, and the errno or the tracer's number."""
    number = action & LARGEST_DATA
    if action & ACTION_BITS == ERRNO:
        return f"SCMP_ACT_ERRNO {number} {errno.errorcode.get(number, '')}".rstrip()
    if action & ACTION_BITS == TRACE:
        return f"SCMP_ACT_TRACE {number}"
    return action_name(action)


def lets_through(action: int) -> bool:
    return action & ACTION_BITS in (ALLOW, LOG)
