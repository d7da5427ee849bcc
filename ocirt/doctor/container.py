"""What each process of a container waits for, who holds its lock, and what keeps it from going on."""

from __future__ import annotations

from ocirt import system as os
from ocirt.doctor import Finding
from ocirt.lockholder import children, command_line, holders
from ocirt.seccomp.architectures import native_abi

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ocirt.container import Container

STATES = {  # proc_pid_stat(5)
    "R": "running",
    "S": "sleeping",
    "D": "in uninterruptible sleep",
    "T": "stopped by a signal",
    "t": "stopped by a tracer",
    "Z": "a zombie: its parent has not reaped it",
    "I": "idle",
    "X": "dead",
}


class Process:
    """role: "init", "in the container", "holds the lock", "hook or child of the holder".

    state: a letter of STATES.  wchan: the function of the kernel it sleeps in, "" when that is not told.
    syscall: the system call's name, "running" or "".
    """

    __slots__ = ("command", "pid", "role", "state", "syscall", "wchan")

    def __init__(self, pid: int, role: str, machine: str) -> None:
        self.pid = pid
        self.role = role
        self.command = command_line(pid) or f"[{os.text_if_there(f'/proc/{pid}/comm')}]"
        stat = os.text_if_there(f"/proc/{pid}/stat")
        self.state = stat[stat.rindex(")") + 2 :][:1] if ")" in stat else "X"
        wchan = os.text_if_there(f"/proc/{pid}/wchan")
        self.wchan = "" if wchan == "0" else wchan
        self.syscall = syscall_name(os.text_if_there(f"/proc/{pid}/syscall").split(" ")[0], machine)

    def document(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__slots__}


def syscall_name(number: str, machine: str) -> str:
    """Of what proc_pid_syscall(5) begins with: a number, "running", or nothing without the right to look."""
    if not number.isdecimal():
        return number
    abi = native_abi(machine)
    names = {value: name for name, value in abi.numbers().items()} if abi is not None else {}
    return names.get(int(number), number)


def processes(container: Container, machine: str) -> list[Process]:
    """init first, then what is in its cgroup, then who holds the lock and what that waits for."""
    manager = container.manager()
    inside = manager.pids() if manager is not None else []
    held_by = holders(container.dirfd)
    roles: dict[int, str] = {container.pid: "init"} if container.alive() else {}
    for pid in inside:
        roles.setdefault(pid, "in the container")
    for pid in held_by:
        roles.setdefault(pid, "holds the lock")
        for child in children(pid):
            roles.setdefault(child, "child of who holds the lock")
    return [Process(pid, role, machine) for pid, role in roles.items()]


def findings(container: Container, app: str, found: list[Process]) -> list[Finding]:
    """app: how ocirt is called, for the lines that mend."""
    status, name = container.status(), container.id
    by_role: dict[str, list[Process]] = {}
    for process in found:
        by_role.setdefault(process.role, []).append(process)
    return [
        _status(status, name, app, bool(by_role.get("holds the lock"))),
        _lock(by_role, name, app),
        _frozen(container, name, app),
        _stuck(found),
    ]


def _status(status: str, name: str, app: str, locked: bool) -> Finding:
    if status == "creating" and not locked:
        return Finding("status", False, "creating, and nobody creates it any more", f"{app} gc")
    if status == "stopped":
        return Finding("status", False, "stopped: it waits to be deleted", f"{app} delete {name}")
    return Finding("status", True, status)


def _lock(by_role: dict[str, list[Process]], name: str, app: str) -> Finding:
    who = by_role.get("holds the lock", [])
    if not who:
        return Finding("lock", True, "nobody holds it")
    what = f"held by process {who[0].pid}: {who[0].command}"
    waits_for = by_role.get("child of who holds the lock", [])
    if waits_for:
        what += f", which waits for {waits_for[0].pid}: {waits_for[0].command}"
    return Finding("lock", False, what, f"kill {(waits_for or who)[0].pid}   # or {app} delete --force {name}")


def _frozen(container: Container, name: str, app: str) -> Finding:
    manager = container.manager()
    if manager is None:
        return Finding("cgroup", True, "it has none of its own")
    if not manager.exists():
        gone = container.alive()
        return Finding("cgroup", not gone, "it is gone", f"{app} delete --force {name}")
    frozen = manager.frozen()
    return Finding("cgroup", not frozen, "frozen" if frozen else "runs", f"{app} resume {name}")


def _stuck(found: list[Process]) -> Finding:
    for process in found:
        if process.state == "D" and "freezer" not in process.wchan and "refrigerator" not in process.wchan:
            return Finding(
                "processes",
                False,
                f"{process.pid} sleeps where no signal wakes it: {process.syscall} {process.wchan}".strip(),
                f"cat /proc/{process.pid}/stack   # a file system whose server is gone? umount -f",
            )
        if process.state in ("T", "t"):
            mend = f"kill -CONT {process.pid}"
            if process.state == "t":
                mend = f"grep TracerPid /proc/{process.pid}/status   # end that process"
            return Finding("processes", False, f"{process.pid} is {STATES[process.state]}", mend)
    return Finding("processes", True, f"{len(found)}, none of them stuck in the kernel or stopped")
