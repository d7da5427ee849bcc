"""User and group id mappings of a new user namespace, written from outside (user_namespaces(7))."""

from __future__ import annotations

from ocirt.pipeline import Step

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from ocirt.box import Box
    from ocirt.config.views import IdMapping, Linux
    from ocirt.host import Host


class WriteMapping(Step):
    """name: uid_map, gid_map or setgroups; text: its whole content, one write(2)."""

    __slots__ = ("name", "text")

    def __init__(self, at: str, name: str, text: str) -> None:
        self.at = at
        self.name = name
        self.text = text

    def describe(self) -> str:
        return f"write {self.name}: {self.text.strip()!r}"

    def apply(self, box: Box) -> None:
        box.kernel.write_file(box.proc, f"{box.pid}/{self.name}", self.text.encode())


def mapping_text(mappings: tuple[IdMapping, ...]) -> str:
    """Lines 'first-id-inside first-id-outside count'."""
    return "".join(f"{one.container_id} {one.host_id} {one.size}\n" for one in mappings)


def mappings(linux: Linux | None, host: Host) -> Iterator[Step]:
    """BESIDE: uid_map and gid_map; without privileges setgroups(2) must be given up first."""
    if linux is None or not any(one.type == "user" and one.path is None for one in linux.namespaces):
        return
    if host.euid != 0:
        yield WriteMapping("/linux/gidMappings", "setgroups", "deny")
    if linux.uid_mappings:
        yield WriteMapping("/linux/uidMappings", "uid_map", mapping_text(linux.uid_mappings))
    if linux.gid_mappings:
        yield WriteMapping("/linux/gidMappings", "gid_map", mapping_text(linux.gid_mappings))
