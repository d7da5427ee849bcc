"""A filter's program for people: each instruction in words, with the calls that come by it and the rules it is from.

What comes by an instruction is followed through the program from its beginning; jumps go forward only.  So the listing
is of the program, not of what the compiler meant by it.
"""

from __future__ import annotations

from ocirt.seccomp.architectures import ABIS
from ocirt.seccomp.bpf import AND, ARCH, ARGS, AT_LEAST, EQUAL, JUMP, LOAD, LOW_WORD, NR
from ocirt.seccomp.interpreter import instructions
from ocirt.seccomp.reasons import describe_action
from ocirt.seccomp.sections import BAD_ARCHITECTURE, ENOSYS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ocirt.seccomp.architectures import Abi
    from ocirt.seccomp.reasons import Reasons

    Numbers = list[tuple[int, int]]  # (first, last) of system call numbers, ascending
    # (audit token, None for all that were not asked for; what is in the accumulator: an offset, -1: nothing) -> numbers
    State = dict[tuple[int | None, int], Numbers]

ALL: Numbers = [(0, LOW_WORD)]
MOST_WORDS = 4  # names and pointers in one line


class Line:
    """place: number of the instruction.  text: what it does.  calls: by name, what comes by.  rules: pointers."""

    __slots__ = ("calls", "place", "rules", "text")

    def __init__(self, place: int, text: str, calls: list[str], rules: list[str]) -> None:
        self.place = place
        self.text = text
        self.calls = calls
        self.rules = rules


def listing(reasons: Reasons) -> list[Line]:
    program = instructions(reasons.program, reasons.filter.native.order)
    states: list[State] = [{} for _ in program]
    states[0] = {(None, -1): ALL}
    lines = []
    for place, (code, yes, no, k) in enumerate(program):
        state = states[place]
        for targets, numbers in _next(place, code, yes, no, k, state):
            for key, spans in numbers.items():
                states[targets][key] = _union(states[targets].get(key, []), spans)
        lines.append(_line(reasons, place, (code, yes, no, k), state))
    return lines


def _next(place: int, code: int, yes: int, no: int, k: int, state: State) -> list[tuple[int, State]]:
    """(place, what comes there from here)."""
    if code == LOAD:
        loaded: State = {}
        for (token, _), numbers in state.items():
            loaded[token, k] = _union(loaded.get((token, k), []), numbers)
        return [(place + 1, loaded)]
    if code == JUMP:
        return [(place + 1 + k, state)]
    if code in (EQUAL, AT_LEAST):
        return [(place + 1 + yes, _passing(code, k, state, True)), (place + 1 + no, _passing(code, k, state, False))]
    return [(place + 1, state)] if code == AND else []


def _passing(code: int, k: int, state: State, passes: bool) -> State:
    found: State = {}
    for (token, offset), numbers in state.items():
        key, left = (token, offset), numbers
        if offset == ARCH and code == EQUAL and passes:
            key = (k, offset)
        elif offset == NR:
            first, last = (k, k if code == EQUAL else LOW_WORD)
            spans = [(first, last)] if passes else [(0, first - 1), (last + 1, LOW_WORD)]
            left = _within(numbers, spans)
        if left:
            found[key] = left
    return found


def _within(numbers: Numbers, spans: Numbers) -> Numbers:
    pieces = [(max(a, first), min(b, last)) for a, b in numbers for first, last in spans]
    return sorted((first, last) for first, last in pieces if first <= last)


def _union(one: Numbers, other: Numbers) -> Numbers:
    joined: Numbers = []
    for first, last in sorted([*one, *other]):
        if joined and first <= joined[-1][1] + 1:
            joined[-1] = joined[-1][0], max(last, joined[-1][1])
        else:
            joined.append((first, last))
    return joined


def _line(reasons: Reasons, place: int, instruction: tuple[int, int, int, int], state: State) -> Line:
    code, yes, no, k = instruction
    here = place + 1
    offset = next(iter(state), (None, -1))[1]
    if code == LOAD:
        calls, rules = ([], []) if k in (ARCH, NR) else _tested(reasons, state)
        return Line(place, f"load {_word(reasons, k)}", calls, rules)
    if code == AND:
        return Line(place, f"and {k:#x}", *_tested(reasons, state))
    if code == JUMP:
        return Line(place, f"goto {here + k}", [], [])
    if code in (EQUAL, AT_LEAST):
        value = _value(reasons, offset, k, state)
        text = f"if {'==' if code == EQUAL else '>='} {value} goto {here + yes} else {here + no}"
        calls, rules = ([], []) if offset in (ARCH, NR) else _tested(reasons, state)
        return Line(place, text, calls, rules)
    return Line(place, f"return {describe_action(k)}", [], _returned(reasons, k, state))


def _word(reasons: Reasons, offset: int) -> str:
    if offset in (ARCH, NR):
        return "arch" if offset == ARCH else "nr"
    argument = (offset - ARGS) // 8
    high = ((offset - ARGS) % 8 == 4) == (reasons.filter.native.order == "<")
    return f"arg {argument} {'high' if high else 'low'}"


def _value(reasons: Reasons, offset: int, k: int, state: State) -> str:
    if offset == ARCH:
        names = [abi.name for abi in reasons.filter.abis if abi.token == k]
        return f"{k:#x} ({', '.join(names)})"
    if offset != NR:
        return f"{k:#x}"
    names = [reasons.name(abi, k) for (token, _) in state for abi in _abis(reasons, token)]
    return f"{k} ({next(filter(None, names))})" if any(names) else str(k)


def _abis(reasons: Reasons, token: int | None) -> list[Abi]:
    return [abi for abi in reasons.filter.abis if abi.token == token]


def _calls(reasons: Reasons, state: State) -> list[tuple[Abi, str]]:
    """The calls that come by: those with a name."""
    return [
        (abi, name)
        for (token, _), numbers in state.items()
        for abi in _abis(reasons, token)
        for name, number in abi.numbers().items()
        if any(first <= number <= last for first, last in numbers)
    ]


def _tested(reasons: Reasons, state: State) -> tuple[list[str], list[str]]:
    """Names of the calls whose arguments are looked at, and the rules that want it."""
    calls = _calls(reasons, state)
    return list(dict.fromkeys(name for _, name in calls)), _naming(reasons, calls, None)


def _returned(reasons: Reasons, action: int, state: State) -> list[str]:
    """The rules, or what else, for which this is returned."""
    found = _naming(reasons, _calls(reasons, state), action)
    unlisted = any(token is None for token, _ in state)
    if action == reasons.filter.default:
        found.append("/defaultAction")
    elif action == ENOSYS and not found:
        found.append("newer than the profile")
    if action == BAD_ARCHITECTURE and (unlisted or not found):
        found.append("/architectures")
    return found


def _naming(reasons: Reasons, calls: list[tuple[Abi, str]], action: int | None) -> list[str]:
    """Pointers, from the profile on, of the rules that name one of the calls; with action None those with tests."""
    names = {name for _, name in calls}
    for abi in {abi.name for abi, _ in calls}:
        multiplexed = ABIS[abi].multiplexed()
        names |= {inner for inner, (multiplexer, _) in multiplexed.items() if multiplexer in names}
    return [
        view.at.removeprefix(reasons.view.at)
        for rule, view in zip(reasons.filter.rules, reasons.view.syscalls, strict=True)
        if rule.action != reasons.filter.default and not names.isdisjoint(rule.names)
        if rule.action == action or (action is None and (rule.alternatives != ((),) or _multiplexes(calls)))
    ]


def _multiplexes(calls: list[tuple[Abi, str]]) -> bool:
    return any(name == multiplexer for abi, name in calls for multiplexer, _ in abi.multiplexed().values())


def text(lines: list[Line]) -> str:
    rows = [(f"{line.place:4}  {line.text}", _shortened(line.calls), _shortened(line.rules)) for line in lines]
    width = max(len(row[0]) for row in rows)
    return "".join(f"{'  '.join((row[0].ljust(width), *filter(None, row[1:]))).rstrip()}\n" for row in rows)


def _shortened(words: list[str]) -> str:
    more = f" and {len(words) - MOST_WORDS} more" if len(words) > MOST_WORDS else ""
    return ", ".join(words[:MOST_WORDS]) + more
