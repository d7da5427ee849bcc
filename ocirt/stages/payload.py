"""The program: found while there is time to complain, executed in one burst.

config.md, Process; execve(2), execvp(3).

User documentation: execve(2), close_range(2), signal(7).
"""

from __future__ import annotations

import _stat as stat  # the public module is Python: 0.1 ms
import errno

from ocirt import system as os
from ocirt.channel import EXECUTES
from ocirt.errors import OcirtError
from ocirt.kernel.flags import CLOSE_RANGE_CLOEXEC
from ocirt.pipeline import Step

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ocirt.box import Box
    from ocirt.config.views import Process

FIRST_FREE_FD = 3
LAST_FD = 2**32 - 1
DEFAULT_PATH = "/bin:/usr/bin"  # execvp(3) without PATH


class SetNoNewPrivileges(Step):
    """No execve gives more rights than there are: prctl(2), PR_SET_NO_NEW_PRIVS."""

    __slots__ = ()

    def __init__(self, at: str) -> None:
        self.at = at

    def describe(self) -> str:
        return "set no_new_privs"

    def apply(self, box: Box) -> None:
        box.kernel.set_no_new_privs()


class LookUpExecutable(Step):
    """As execvp(3) would, with the user's rights: what is missing is an error of `create`, in words engines know."""

    __slots__ = ("name", "search_path")

    def __init__(self, at: str, name: str, search_path: str) -> None:
        self.at = at
        self.name = name
        self.search_path = search_path

    def describe(self) -> str:
        return f"look up the executable {self.name}"

    def apply(self, box: Box) -> None:
        if "/" in self.name:
            self._check_itself(box)
            box.facts["executable"] = self.name
            return
        for directory in self.search_path.split(":"):
            candidate = f"{directory or '.'}/{self.name}"
            if self.name and _refusal(box, candidate) is None:
                box.facts["executable"] = candidate
                return
        raise OcirtError(
            "executable",
            f'exec: "{self.name}": executable file not found in $PATH',
            errno=errno.ENOENT,
            detail=f"PATH={self.search_path}",
        )

    def _check_itself(self, box: Box) -> None:
        error = _refusal(box, self.name)
        if error is None:
            return
        number = error.errno or 0
        reason = os.strerror(number).lower()
        if number == errno.EISDIR:
            number = errno.EACCES  # as execve(2) says it; docker makes its exit status 126 of these words
        elif number != errno.EACCES:
            reason = f"stat {self.name}: {reason}"
        raise OcirtError("executable", f'exec: "{self.name}": {reason}', errno=number, detail=self.name) from error


def _refusal(box: Box, program: str) -> OSError | None:
    """Why the user may not execute program, None when nothing speaks against it."""
    try:
        mode = box.kernel.stat_mode(program)
        if stat.S_ISDIR(mode):
            return OSError(errno.EISDIR, os.strerror(errno.EISDIR))
        box.kernel.eaccess(program)
    except OSError as error:
        return error
    return None


class BuildImage(Step):
    """Lay out argv and envp for execve while there is nothing to lose by asking for memory."""

    __slots__ = ("args", "env", "wants_home")

    def __init__(self, at: str, args: tuple[str, ...], env: tuple[str, ...], wants_home: bool) -> None:
        self.at = at
        self.args = args
        self.env = env
        self.wants_home = wants_home

    def describe(self) -> str:
        return f"prepare {len(self.args)} arguments and {len(self.env)} environment variables"

    def apply(self, box: Box) -> None:
        home = (f"HOME={box.facts['home']}",) if self.wants_home else ()
        box.image = box.kernel.prepare_exec(self.args, self.env + home)


class ResetSignals(Step):
    """Every signal at its default action, none blocked: signal(7)."""

    __slots__ = ()

    def __init__(self) -> None:
        self.at = ""

    def describe(self) -> str:
        return "give every signal its default action"

    def apply(self, box: Box) -> None:
        box.kernel.reset_signals()


class CloseDescriptors(Step):
    """execve closes what is marked; the channel must stay open until then, to say why execve failed."""

    __slots__ = ("first",)

    def __init__(self, first: int) -> None:
        self.at = ""
        self.first = first

    def describe(self) -> str:
        return f"let execve close the descriptors from {self.first} on"

    def apply(self, box: Box) -> None:
        try:
            box.kernel.close_range(self.first, LAST_FD, CLOSE_RANGE_CLOEXEC)
        except OSError as error:
            # Old kernels and old filters.  Nothing is lost: what close_host_descriptors() leaves, and what is
            # opened later, is close-on-exec from birth.
            if error.errno not in (errno.ENOSYS, errno.EINVAL, errno.EPERM):
                raise


class AnnounceExecution(Step):
    """The end of the conversation is execve's, or death's: what comes before it tells them apart."""

    __slots__ = ()

    def __init__(self) -> None:
        self.at = ""

    def describe(self) -> str:
        return "tell the runtime that the program comes next"

    def apply(self, box: Box) -> None:
        box.channel.send(EXECUTES)


class Execute(Step):
    """execve(2); its failure is told, its success is the end of this code."""

    __slots__ = ()

    def __init__(self, at: str) -> None:
        self.at = at

    def describe(self) -> str:
        return "execute the program"

    def apply(self, box: Box) -> None:
        program = str(box.facts["executable"])
        try:
            box.kernel.execve(program, box.image)
        except OSError as error:
            number = error.errno or 0
            what = f"exec {program}: {os.strerror(number).lower()}"
            raise OcirtError("executable", what, call="execve", errno=number, detail=program) from error


def environment(entries: tuple[str, ...], more: tuple[str, ...] = ()) -> dict[str, str]:
    """Name -> value; the last of a name wins, and has the last one's place."""
    variables: dict[str, str] = {}
    for entry in (*entries, *more):
        name, _, value = entry.partition("=")
        variables.pop(name, None)
        variables[name] = value
    return variables


def lacks_home(variables: dict[str, str]) -> bool:
    """Whether HOME is to be looked up; an empty one counts as none, as for every other runtime."""
    return not variables.get("HOME")


def no_new_privileges(process: Process) -> Iterator[Step]:
    """INIT, before any seccomp filter that is loaded without privileges."""
    if process.no_new_privileges:
        yield SetNoNewPrivileges(f"{process.at}/noNewPrivileges")


def executable(process: Process) -> Iterator[Step]:
    """INIT, after identity() and in the working directory.  box.facts["executable"] is what it finds."""
    search_path = environment(process.env).get("PATH", DEFAULT_PATH)
    yield LookUpExecutable(f"{process.at}/args/0", process.args[0], search_path)


def payload(
    process: Process, preserve_fds: int = 0, listen_env: tuple[str, ...] = (), last: Iterable[Step] = ()
) -> Iterator[Step]:
    """START: execve.

    preserve_fds: how many descriptors from 3 on the program keeps.  listen_env: LISTEN_FDS=... and the
    like, which win over the configuration.  last: steps right before execve, when everything else is
    done: a filter that allows no more than execve.
    """
    variables = environment(process.env, listen_env)
    wants_home = lacks_home(variables)
    if wants_home:
        variables.pop("HOME", None)
    env = tuple(f"{name}={value}" for name, value in variables.items())
    yield BuildImage(f"{process.at}/args", process.args, env, wants_home)
    yield ResetSignals()
    yield CloseDescriptors(FIRST_FREE_FD + preserve_fds)
    yield AnnounceExecution()  # before `last`: a filter need not allow write(2)
    yield from last
    yield Execute(f"{process.at}/args/0")
