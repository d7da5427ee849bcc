"""User and group id mappings of a new user namespace, written from outside (user_namespaces(7)).

A user may map nothing but their own user and group; whatever else /etc/subuid and /etc/subgid give them is mapped
by newuidmap(1) and newgidmap(1).  These two are the only programs with more rights than the user that ocirt calls.
"""

from __future__ import annotations

from ocirt import system as os
from ocirt.errors import OcirtError
from ocirt.hooks import Program, run_program
from ocirt.pipeline import Step

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from ocirt.box import Box
    from ocirt.config.views import IdMapping, Linux
    from ocirt.host import Host

# The caller's environment is no business of a program with more rights; LC_ALL keeps its messages in English.
TOOL_ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C"}
TOOL_DEADLINE = 30.0  # seconds; a user database in the network may be slow


class WriteMapping(Step):
    """Write one file of init's user namespace, by one write(2).

    name: uid_map, gid_map or setgroups; text: its whole content.
    """

    __slots__ = ("name", "text")

    def __init__(self, at: str, name: str, text: str) -> None:
        self.at = at
        self.name = name
        self.text = text

    def describe(self) -> str:
        return f"write {self.name}: {self.text.strip()!r}"

    def apply(self, box: Box) -> None:
        box.kernel.write_file(box.proc, f"{box.pid}/{self.name}", self.text.encode())


class RunMappingTool(Step):
    """Let newuidmap or newgidmap write the map of init's user namespace.

    tool: its absolute path.  text: lines 'first-id-inside first-id-outside count'.
    """

    __slots__ = ("text", "tool")

    def __init__(self, at: str, tool: str, text: str) -> None:
        self.at = at
        self.tool = tool
        self.text = text

    def describe(self) -> str:
        return f"run {self.tool} to map {self.text.strip()!r}"

    def apply(self, box: Box) -> None:
        name = os.path.basename(self.tool)
        arguments = (self.tool, str(box.pid), *self.text.split())
        run_program(Program(name, self.at, self.tool, arguments, TOOL_ENVIRONMENT, TOOL_DEADLINE), b"")


def mapping_text(mappings: tuple[IdMapping, ...]) -> str:
    """Lines 'first-id-inside first-id-outside count'."""
    return "".join(f"{one.container_id} {one.host_id} {one.size}\n" for one in mappings)


def mappings(linux: Linux, host: Host) -> Iterator[Step]:
    """BESIDE, with a new user namespace: its uid_map and gid_map.

    Raises OcirtError("unsupported") when a tool is needed that is not there.
    """
    if linux.uid_mappings:
        yield _map("uid", linux.uid_mappings, host, host.euid)
    if linux.gid_mappings:
        if is_own(linux.gid_mappings, host, host.egid):
            # The kernel's condition for a map that is written without privileges.
            yield WriteMapping("/linux/gidMappings", "setgroups", "deny")
        yield _map("gid", linux.gid_mappings, host, host.egid)


def is_own(mapping: tuple[IdMapping, ...], host: Host, own: int) -> bool:
    """Whether it is what a user may write: their own id and no other."""
    return host.euid != 0 and [(one.host_id, one.size) for one in mapping] == [(own, 1)]


def _map(kind: str, mapping: tuple[IdMapping, ...], host: Host, own: int) -> Step:
    at, text = f"/linux/{kind}Mappings", mapping_text(mapping)
    if host.euid == 0 or is_own(mapping, host, own):
        return WriteMapping(at, f"{kind}_map", text)
    name = f"new{kind}map"
    if name not in host.mapping_tools:
        raise OcirtError(
            "unsupported",
            f"mapping ids other than your own needs {name}, which is not installed",
            at=at,
            remedy="install newuidmap and newgidmap (package uidmap or shadow-utils), or map one id:"
            f' {{"containerID": 0, "hostID": {own}, "size": 1}}',
        )
    return RunMappingTool(at, host.mapping_tools[name], text)
