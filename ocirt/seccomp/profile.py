"""linux.seccomp -> Filter: actions, rules and ABIs as values that cannot be wrong.

Terminology, as in libseccomp and seccomp(2):
  test    one comparison of one argument: (index, op, value, mask)
  rule    names + tests + an action; it applies when ALL its tests hold
  filter  rules + a default action; a call gets the action of ANY rule that applies

Source: runtime-spec config-linux.md "Seccomp"; seccomp(2).
"""

from __future__ import annotations

from ocirt import log
from ocirt.errors import ConfigError, OcirtError
from ocirt.kernel import flags as f
from ocirt.seccomp.architectures import ABIS, native_abi

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TypeVar

    from ocirt.config.views import Seccomp, Syscall, SyscallArg
    from ocirt.seccomp.architectures import Abi

    Test = tuple[int, str, int, int]
    Tests = tuple[Test, ...]
    T = TypeVar("T")

# SECCOMP_RET_* of linux/seccomp.h
KILL_THREAD = 0x00000000
KILL_PROCESS = 0x80000000
TRAP = 0x00030000
ERRNO = 0x00050000
NOTIFY = 0x7FC00000
TRACE = 0x7FF00000
LOG = 0x7FFC0000
ALLOW = 0x7FFF0000

ACTIONS = {
    "SCMP_ACT_ALLOW": ALLOW,
    "SCMP_ACT_ERRNO": ERRNO,
    "SCMP_ACT_KILL": KILL_THREAD,
    "SCMP_ACT_KILL_THREAD": KILL_THREAD,
    "SCMP_ACT_KILL_PROCESS": KILL_PROCESS,
    "SCMP_ACT_TRAP": TRAP,
    "SCMP_ACT_TRACE": TRACE,
    "SCMP_ACT_LOG": LOG,
    "SCMP_ACT_NOTIFY": NOTIFY,
}
LARGEST_DATA = 0xFFFF  # SECCOMP_RET_DATA; a larger number would change the action itself
EPERM = 1

OPERATORS = {
    "SCMP_CMP_EQ": "EQ",
    "SCMP_CMP_NE": "NE",
    "SCMP_CMP_LT": "LT",
    "SCMP_CMP_LE": "LE",
    "SCMP_CMP_GT": "GT",
    "SCMP_CMP_GE": "GE",
    "SCMP_CMP_MASKED_EQ": "MASKED_EQ",
}
ALL_BITS = 0xFFFFFFFFFFFFFFFF

# TSYNC stands for no bit: the process that loads the filter has one thread, and the kernel refuses
# TSYNC beside NEW_LISTENER.
FLAGS = {
    "SECCOMP_FILTER_FLAG_TSYNC": 0,
    "SECCOMP_FILTER_FLAG_LOG": f.SECCOMP_FILTER_FLAG_LOG,
    "SECCOMP_FILTER_FLAG_SPEC_ALLOW": f.SECCOMP_FILTER_FLAG_SPEC_ALLOW,
    "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV": f.SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV,
}


class Rule:
    """One entry of syscalls[].  action: the SECCOMP_RET_* word with its data.

    alternatives: the rule applies when all tests of one of them hold.  An entry without args has
    the one alternative (), which always holds.
    """

    __slots__ = ("names", "action", "alternatives")

    def __init__(self, view: Syscall) -> None:
        self.names = view.names
        self.action = _action(view.action, "action", view.errno_ret, "errnoRet", view.at)
        self.alternatives: tuple[Tests, ...] = ((),)
        args = view.args
        if args:
            tests = tuple(_test(arg) for arg in args)
            # libseccomp cannot test an argument twice in one rule, so such tests have always meant OR.
            twice = len({test[0] for test in tests}) < len(tests)
            self.alternatives = tuple((test,) for test in tests) if twice else (tests,)


class Filter:
    """A whole profile for one machine.

    Raises ConfigError (code rule) for an unknown word or an ABI of another byte order.  What else
    contradicts the specification was refused before, in config/checks_linux.py.

    default: action word.      rules: in the profile's order.
    native:  the machine's ABI.
    abis:    the native one and those that the profile lists.
    listed:  names of those that the profile lists itself.
    flags:   for seccomp(2).
    """

    __slots__ = ("default", "rules", "native", "abis", "listed", "flags")

    def __init__(self, view: Seccomp, machine: str) -> None:
        self.default = _action(view.default_action, "defaultAction", view.default_errno_ret, "defaultErrnoRet", view.at)
        self.rules = tuple(Rule(syscall) for syscall in view.syscalls)
        native = native_abi(machine)
        if native is None:
            raise OcirtError("unsupported", f"seccomp filters for a {machine} machine", at=view.at)
        self.native = native
        self.listed = view.architectures
        self.abis = _abis(native, view)
        self.flags = _flags(view, any(rule.action == NOTIFY for rule in self.rules))


def _known(table: dict[str, T], word: str, at: str) -> T:
    found = table.get(word)
    if found is None:
        raise ConfigError("rule", f"{log.quote(word)} is not known", at)
    return found


def _action(name: str, key: str, number: int | None, number_key: str, at: str) -> int:
    """The action as the filter returns it.  number: the errno, or what the tracer is told; EPERM when absent."""
    action = _known(ACTIONS, name, f"{at}/{key}")
    if action not in (ERRNO, TRACE):
        return action
    if number is None:
        return action | EPERM
    if not 0 <= number <= LARGEST_DATA:
        raise ConfigError("rule", f"{name} returns at most {LARGEST_DATA}", f"{at}/{number_key}")
    return action | number


def _test(view: SyscallArg) -> Test:
    """(index, op, value, mask).  Of MASKED_EQ the specification's value is the mask, valueTwo the value."""
    op = _known(OPERATORS, view.op, f"{view.at}/op")
    if op == "MASKED_EQ":
        return view.index, op, (view.value_two or 0) & view.value, view.value
    return view.index, op, view.value, ALL_BITS


def _abis(native: Abi, view: Seccomp) -> tuple[Abi, ...]:
    found = {native.name: native}
    for i, name in enumerate(view.architectures):
        at = f"{view.at}/architectures/{i}"
        listed = _known(ABIS, name, at)
        if listed.order != native.order:
            raise ConfigError("rule", f"{name} has another byte order than this machine, {native.name}", at)
        found[name] = listed
    return tuple(found.values())


def _flags(view: Seccomp, notify: bool) -> int:
    """Bits for seccomp(2).  An absent list means SPEC_ALLOW, an empty one none (as in runc)."""
    flags = 0 if view.has("flags") else f.SECCOMP_FILTER_FLAG_SPEC_ALLOW
    for i, name in enumerate(view.flags):
        flags |= _known(FLAGS, name, f"{view.at}/flags/{i}")
    if notify:
        return flags | f.SECCOMP_FILTER_FLAG_NEW_LISTENER
    # EINVAL without a listener, and without meaning
    return flags & ~f.SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV
