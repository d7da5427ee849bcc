"""Two profiles side by side, and several made one: by what they do with a call, not by how they are written."""

from __future__ import annotations

from ocirt.errors import OcirtError
from ocirt.seccomp.profile import ALL_BITS, ALLOW, ERRNO, LARGEST_DATA, LOG, TRACE, Filter
from ocirt.seccomp.reasons import action_name, describe_action, lets_through
from ocirt.seccomp.sections import ACTION_BITS, BAD_ARCHITECTURE, Choice, sections, settle

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ocirt.config.views import Seccomp
    from ocirt.seccomp.architectures import Abi
    from ocirt.seccomp.profile import Test, Tests
    from ocirt.seccomp.sections import Alternative, Decision, Section

    # What a profile does with a call: an action, or alternatives before the default action.
    Meaning = int | tuple[Alternative, ...]

SIGNS = {"EQ": "==", "NE": "!=", "LT": "<", "LE": "<=", "GT": ">", "GE": ">="}


class Difference:
    """subjects: system calls, or the one member that the profile has as a whole.  architectures: of the calls, else ().

    first, second: what each profile has, in words.
    """

    __slots__ = ("architectures", "first", "second", "subjects")

    def __init__(self, subjects: tuple[str, ...], architectures: tuple[str, ...], first: str, second: str) -> None:
        self.subjects = subjects
        self.architectures = architectures
        self.first = first
        self.second = second


def differences(first: Seccomp, second: Seccomp, machine: str) -> list[Difference]:
    """Raises ConfigError for a profile that contradicts itself."""
    one, other = _Meanings(first, machine), _Meanings(second, machine)
    found = [
        Difference((member,), (), *words)
        for member, *words in (
            ("defaultAction", describe_action(one.filter.default), describe_action(other.filter.default)),
            ("architectures", ", ".join(sorted(one.architectures())), ", ".join(sorted(other.architectures()))),
            ("flags", f"{one.filter.flags:#x}", f"{other.filter.flags:#x}"),
            ("listenerPath", first.listener_path or "none", second.listener_path or "none"),
        )
        if words[0] != words[1]
    ]
    calls: dict[tuple[str, str, str], list[str]] = {}
    for abi in {abi.name: abi for abi in (*one.filter.abis, *other.filter.abis)}.values():
        for name, number in abi.numbers().items():
            words = [meanings.describe(abi, number) for meanings in (one, other)]
            if words[0] != words[1]:
                calls.setdefault((name, *words), []).append(abi.name)  # type: ignore[arg-type]
    alike: dict[tuple[tuple[str, ...], str, str], list[str]] = {}
    for (name, *pair), abis in sorted(calls.items()):
        alike.setdefault((tuple(abis), *pair), []).append(name)  # type: ignore[arg-type]
    return found + [Difference(tuple(names), *key) for key, names in alike.items()]


class _Meanings:
    """What a profile does with each call."""

    def __init__(self, view: Seccomp, machine: str) -> None:
        self.filter = Filter(view, machine)
        self._sections = {section.token: section for section in sections(self.filter)}

    def architectures(self) -> list[str]:
        return [abi.name for abi in self.filter.abis]

    def describe(self, abi: Abi, number: int) -> str:
        if abi not in self.filter.abis:
            return describe_action(BAD_ARCHITECTURE)
        decision = _decision(self._sections[abi.token], number)
        if isinstance(decision, int):
            return describe_action(decision)
        words = [f"{describe_action(action)} if {_tests_in_words(tests)}" for tests, action in _sorted(decision)]
        return "; ".join([*words, f"else {describe_action(self.filter.default)}"])


def _decision(section: Section, number: int) -> Decision:
    last = max(i for i, first in enumerate(section.firsts) if first <= number)
    return section.decisions[last]


def _sorted(choice: Choice) -> tuple[Alternative, ...]:
    """With one action the order says nothing."""
    one = len({action for _, action in choice.alternatives}) == 1
    return tuple(sorted(choice.alternatives)) if one else choice.alternatives


def _tests_in_words(tests: Tests) -> str:
    return " and ".join(_in_words(test) for test in tests) or "called at all"


def _in_words(test: Test) -> str:
    index, op, value, mask = test
    if op == "MASKED_EQ":
        return f"arg {index} & {mask:#x} == {value:#x}"
    return f"arg {index} {SIGNS[op]} {value:#x}"


# Several made one.


def merged(profiles: list[tuple[str, Seccomp]], machine: str) -> dict[str, Any]:
    """linux.seccomp that lets through what any of the profiles does.  profiles: (name for messages, profile).

    The architectures are those of all, and a call is let through on each.  Raises OcirtError where no profile can say
    what the result would be.
    """
    first_name, first = profiles[0]
    for name, profile in profiles[1:]:
        for member in ("flags", "listenerPath", "listenerMetadata"):
            if profile.raw.get(member) != first.raw.get(member):
                raise OcirtError("usage", f"{first_name} and {name} differ in {member}", at=f"/{member}")
    filters = [Filter(profile, machine) for _, profile in profiles]
    for (name, _), filter in zip(profiles, filters, strict=True):
        if filter.default != filters[0].default:
            raise OcirtError("usage", f"{first_name} and {name} differ in defaultAction", at="/defaultAction")
    settled = [settle(filter, 64) for filter in filters]
    default = filters[0].default
    names = sorted({name for filter in filters for rule in filter.rules for name in rule.names})
    grouped: dict[tuple[int, Tests], list[str]] = {}
    for name in names:
        meanings = [final.get(name, tuple(tested.get(name, ())) or default) for final, tested in settled]
        meaning = _joined(name, meanings, default)
        for tests, action in [((), meaning)] if isinstance(meaning, int) else meaning:
            # With the default action too: the newest call that is named decides what is newer than the profile.
            grouped.setdefault((action, tests), []).append(name)
    kept = {member: value for member, value in first.raw.items() if member not in ("architectures", "syscalls")}
    return {
        **kept,
        "architectures": sorted({name for _, profile in profiles for name in profile.architectures}),
        "syscalls": [_rule(*key, named) for key, named in sorted(grouped.items(), key=_plain_first)],
    }


def _joined(name: str, meanings: list[Meaning], default: int) -> Meaning:
    """What lets through all that any of them does.  Of two errors the one that a rule gives, not the default's."""
    through = [meaning for meaning in meanings if _denies_nothing(meaning, default)]
    for action in (ALLOW, LOG):
        if action in through:
            return action
    said = through or [meaning for meaning in meanings if meaning != default] or [default]
    if all(set(_alternatives(meaning)) == set(_alternatives(said[0])) for meaning in said):
        return said[0]
    found = [one for meaning in said for one in _alternatives(meaning)]
    if all(lets_through(action) for _, action in found):
        # For the same tests one action, the greater: ALLOW rather than LOG.
        return tuple(dict(sorted(found, key=_action)).items())
    raise OcirtError(
        "usage",
        f"the profiles deny {name} in different ways: no profile can say both",
        remedy="take the rule that names it out of one of them",
    )


def _denies_nothing(meaning: Meaning, default: int) -> bool:
    if isinstance(meaning, int):
        return lets_through(meaning)
    return lets_through(default) and all(lets_through(action) for _, action in meaning)


def _action(alternative: Alternative) -> int:
    return alternative[1]


def _alternatives(meaning: Meaning) -> tuple[Alternative, ...]:
    return (((), meaning),) if isinstance(meaning, int) else meaning


def _plain_first(group: tuple[tuple[int, Tests], list[str]]) -> tuple[bool, bool, int, Tests]:
    (action, tests), _ = group
    return bool(tests), action != ALLOW, action, tests


def _rule(action: int, tests: Tests, names: list[str]) -> dict[str, Any]:
    rule: dict[str, Any] = {"names": names, "action": action_name(action)}
    if action & ACTION_BITS in (ERRNO, TRACE):
        rule["errnoRet"] = action & LARGEST_DATA
    if tests:
        rule["args"] = [_argument(*test) for test in tests]
    return rule


def _argument(index: int, op: str, value: int, mask: int) -> dict[str, Any]:
    """Of MASKED_EQ the specification's value is the mask, valueTwo the value."""
    if op == "MASKED_EQ" or mask != ALL_BITS:
        return {"index": index, "value": mask, "valueTwo": value, "op": "SCMP_CMP_MASKED_EQ"}
    return {"index": index, "value": value, "op": f"SCMP_CMP_{op}"}
