"""Landlock rules by annotation: an extension of ocirt's, described in docs/landlock.md.

    ocirt.landlock.ro, ocirt.landlock.rw          paths in the container, separated by colons
    ocirt.landlock.bind, ocirt.landlock.connect   TCP ports, separated by commas; "" for none
    ocirt.landlock.scope                          "signal", "abstract-unix-socket", separated by commas

landlock(7).
"""

from __future__ import annotations

import _stat as stat  # the public module is Python: 0.1 ms

from ocirt import log
from ocirt import system as os
from ocirt.errors import ConfigError, OcirtError
from ocirt.kernel import landlock as kernel
from ocirt.pipeline import Step

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from ocirt.box import Box

PREFIX = "ocirt.landlock."
READ_ONLY = kernel.EXECUTE | kernel.READ_FILE | kernel.READ_DIR
ALL = -1  # as rights: what the kernel knows
PORTS = {"bind": kernel.BIND_TCP, "connect": kernel.CONNECT_TCP}
LAST_PORT = 65535


class Restrict(Step):
    """In the container's root, with its privileges still.

    paths: (path, rights, pointer).  ports: (port, rights).  net, scoped: what is denied but for the ports.
    """

    __slots__ = ("net", "paths", "ports", "scoped")

    def __init__(
        self, paths: tuple[tuple[str, int, str], ...], net: int, ports: tuple[tuple[int, int], ...], scoped: int
    ) -> None:
        self.at = "/annotations"
        self.paths = paths
        self.net = net
        self.ports = ports
        self.scoped = scoped

    def describe(self) -> str:
        words = [f"{'all' if rights == ALL else 'read and execute'} below {path}" for path, rights, _ in self.paths]
        words += [
            f"{'bind to' if rights == kernel.BIND_TCP else 'connect to'} port {port}" for port, rights in self.ports
        ]
        return f"restrict the process by Landlock to: {', '.join(words) or 'nothing of what it handles'}"

    def apply(self, box: Box) -> None:
        abi = self._abi()
        handled = sum(rights for version, rights in kernel.FS_RIGHTS if version <= abi) if self.paths else 0
        ruleset = kernel.landlock_create_ruleset(abi, handled, self.net, self.scoped)
        try:
            for path, rights, at in self.paths:
                self._allow(ruleset, path, handled if rights == ALL else rights, at)
            for port, rights in self.ports:
                kernel.landlock_allow_port(ruleset, port, rights)
            kernel.landlock_restrict_self(ruleset)
        finally:
            box.kernel.close(ruleset)

    def _abi(self) -> int:
        needed = kernel.SCOPE_ABI if self.scoped else kernel.NET_ABI if self.net else 1
        try:
            abi = kernel.landlock_abi()
        except OSError as error:
            raise OcirtError(
                "unsupported",
                "this kernel has no Landlock",
                errno=error.errno or 0,
                remedy="boot with landlock in lsm=, or take the ocirt.landlock annotations out",
            ) from None
        if abi < needed:
            raise OcirtError("unsupported", f"this kernel's Landlock has version {abi}, these rules need {needed}")
        return abi

    def _allow(self, ruleset: int, path: str, rights: int, at: str) -> None:
        try:
            fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
        except OSError as error:
            raise OcirtError(
                "step-failed", f"open {path} in the container", at=at, call="open", errno=error.errno or 0
            ) from None
        try:
            if not stat.S_ISDIR(os.fstat(fd).st_mode):
                rights &= kernel.FILE_RIGHTS
            kernel.landlock_allow_path(ruleset, fd, rights)
        finally:
            os.close(fd)


def landlock(annotations: dict[str, str]) -> Iterator[Step]:
    """INIT, before the process gives its privileges away.  Raises ConfigError."""
    paths: list[tuple[str, int, str]] = []
    ports: list[tuple[int, int]] = []
    net = scoped = 0
    for name, value in annotations.items():
        if not name.startswith(PREFIX):
            continue
        kind = name.removeprefix(PREFIX)
        at = f"/annotations/{name.replace('~', '~0').replace('/', '~1')}"
        if kind in ("ro", "rw"):
            paths += [(path, READ_ONLY if kind == "ro" else ALL, at) for path in _paths(value, at)]
        elif kind in PORTS:
            net |= PORTS[kind]
            ports += [(port, PORTS[kind]) for port in _ports(value, at)]
        elif kind == "scope":
            scoped |= sum(_scopes(value, at))
        else:
            raise ConfigError("rule", f"{log.quote(name)} is not known", at, "ro, rw, bind, connect and scope are")
    yield Restrict(tuple(paths), net, tuple(ports), scoped)


def _paths(value: str, at: str) -> list[str]:
    paths = value.split(":")
    if not all(path.startswith("/") for path in paths):
        raise ConfigError("rule", "paths must be absolute, with a colon between two", at)
    return paths


def _ports(value: str, at: str) -> list[int]:
    ports = [word.strip() for word in value.split(",") if value.strip()]
    if not all(word.isascii() and word.isdecimal() and len(word) < 6 and int(word) <= LAST_PORT for word in ports):
        raise ConfigError("rule", f"ports are numbers from 0 to {LAST_PORT}, with a comma between two", at)
    return [int(word) for word in ports]


def _scopes(value: str, at: str) -> set[int]:
    words = [word.strip() for word in value.split(",")]
    if not all(word in kernel.SCOPES for word in words):
        raise ConfigError("rule", f"a scope is one of {', '.join(kernel.SCOPES)}", at)
    return {kernel.SCOPES[word] for word in words}
