"""ocirt seccomp: what a profile does with a call, as a program, beside another one, and joined with others."""

from __future__ import annotations

from ocirt import log
from ocirt.config import jsontext
from ocirt.errors import UsageError
from ocirt.kernel.numbers import ARCHITECTURE
from ocirt.options import ANY_NUMBER, VALUE, Misuse, Option
from ocirt.seccomp.architectures import ABIS, native_abi
from ocirt.seccomp.documents import load_profile

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from ocirt.options import Globals, Parsed

SUMMARY = "test, show, compare and merge seccomp profiles"
ARGUMENTS = "test FILE SYSCALL [ARG...]  |  show FILE  |  diff FILE FILE  |  merge FILE..."
OPTIONS = (
    Option("arch", "a", VALUE, "of test: the architecture of the call (default: this machine's)", "SCMP_ARCH_NAME"),
    Option("format", "f", VALUE, 'of test and diff: "text" (default) or "json"', "FORMAT"),
)
MIN_ARGS, MAX_ARGS = 1, ANY_NUMBER
FAILURE = MISUSE = 2  # 1 is an answer: the call is denied, the profiles differ

MOST_ARGUMENTS = 6
ALL_BITS = 2**64 - 1
MAX_DIGITS = 80  # Python refuses to convert thousands of digits


def main(g: Globals, options: Parsed) -> int:
    """test: 0 when the call is let through, 1 when it is not.  diff: 0 when the profiles do the same, 1 when not.

    A FILE is a profile, a config.json, or a bundle directory; "-" is standard input.
    """
    if options.format not in ("", "text", "json"):
        raise UsageError("invalid format option")
    verb, *words = options.args
    if verb not in VERBS:
        raise Misuse(f"No help topic for 'seccomp {log.printable(verb)}'")
    function, least, most = VERBS[verb]
    if len(words) < least or (most != ANY_NUMBER and len(words) > most):
        raise Misuse(f'"seccomp {verb}" is given {ARGUMENTS.partition(verb)[2].partition("  |")[0].strip()}')
    return function(words, options)


def test(words: list[str], options: Parsed) -> int:
    from ocirt.seccomp.reasons import Reasons, describe_action, lets_through

    path, name, *given = words
    arguments = (*map(_number, given), *(0,) * MOST_ARGUMENTS)[:MOST_ARGUMENTS]
    native = native_abi(ARCHITECTURE)
    abi = ABIS.get(options.arch) if options.arch else native
    if abi is None:
        raise UsageError(f"unknown architecture {log.quote(options.arch)}", remedy=f"one of {', '.join(ABIS)}")
    number = abi.numbers().get(name)
    if number is None:
        raise UsageError(f"{abi.name} has no system call {log.quote(name)}")
    reasons = Reasons(load_profile(path), ARCHITECTURE)
    verdict = reasons.of(abi.token, number, arguments)
    if options.format == "json":
        document = {
            "syscall": name,
            "number": number,
            "arch": abi.name,
            "args": [f"{argument:#x}" for argument in arguments],
            "action": describe_action(verdict.action),
            "rule": verdict.at,
            "why": verdict.why,
        }
        log.show(jsontext.dump(document) + "\n")
    else:
        log.show(f"{describe_action(verdict.action)}  [{verdict.at}]  {verdict.why}\n")
    return int(not lets_through(verdict.action))


def show(words: list[str], options: Parsed) -> int:
    from ocirt.seccomp.listing import listing, text
    from ocirt.seccomp.reasons import Reasons

    log.show(text(listing(Reasons(load_profile(words[0]), ARCHITECTURE))))
    return 0


def diff(words: list[str], options: Parsed) -> int:
    from ocirt.seccomp.compared import differences

    found = differences(load_profile(words[0]), load_profile(words[1]), ARCHITECTURE)
    if options.format == "json":
        rows = [
            {"subjects": one.subjects, "architectures": one.architectures, "first": one.first, "second": one.second}
            for one in found
        ]
        log.show(jsontext.dump(rows, 2) + "\n")
        return int(bool(found))
    for one in found:
        where = f" ({', '.join(one.architectures)})" if one.architectures else ""
        log.show(log.printable(f"{', '.join(one.subjects)}{where}: {one.first} -> {one.second}") + "\n")
    return int(bool(found))


def merge(words: list[str], options: Parsed) -> int:
    from ocirt.seccomp.compared import merged

    log.show(jsontext.dump(merged([(path, load_profile(path)) for path in words], ARCHITECTURE), 2) + "\n")
    return 0


def _number(word: str) -> int:
    """An argument as a program has it: decimal, 0x, 0o or 0b; a negative one as 64 bits."""
    try:
        value = int(word[:MAX_DIGITS], 0)
    except ValueError:
        raise UsageError(f"{log.quote(word)} is not a number") from None
    if not -(2**63) <= value <= ALL_BITS:
        raise UsageError(f"{log.quote(word)} does not fit in 64 bits")
    return value & ALL_BITS


VERBS: dict[str, tuple[Callable[[list[str], Parsed], int], int, int]] = {
    "test": (test, 2, 2 + MOST_ARGUMENTS),
    "show": (show, 1, 1),
    "diff": (diff, 2, 2),
    "merge": (merge, 1, ANY_NUMBER),
}
