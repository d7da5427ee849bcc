"""Groups of the resctrl file system: which share of the caches and of the memory bandwidth their tasks get.

Intel RDT in config-linux.md.  Source: Documentation/filesystems/resctrl.rst of the kernel.  A group is a directory
with the files `schemata` and `tasks`; below `mon_groups` it can have groups that only count.  There are few: as many
as the processor has numbers for.  The file system holds no symbolic links, so names are joined to paths as text.
Imported only for a container with linux.intelRdt.
"""

from __future__ import annotations

import errno

from ocirt import system as os
from ocirt.cgroups.files import read_file, write_file
from ocirt.errors import OcirtError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# What is in the root beside groups.
NOT_GROUPS = ("info", "mon_data", "mon_groups")
L3, MB = "L3", "MB"
# Where the kernel says that it controls a resource; with the mount option cdp the cache has two halves.
INFO = {L3: ("L3", "L3CODE"), MB: ("MB",)}


class Group:
    """root: mount point.  directory: of the group, the root's own for "/".  monitor: of its counting group, or ""."""

    __slots__ = ("directory", "monitor", "root")

    def __init__(self, root: str, directory: str, monitor: str = "") -> None:
        self.root = root
        self.directory = directory
        self.monitor = monitor

    def schemata(self) -> str:
        """One line for each resource: `    L3:0=ff;1=ff`.  Raises OSError."""
        return read_file(self.directory, "schemata")

    def write(self, lines: tuple[str, ...], at: str = "") -> None:
        """All lines in one write(2): the kernel takes all of them or none, and no domain twice.  Raises OcirtError."""
        text = "".join(f"{line}\n" for line in lines)
        try:
            write_file(self.directory, "schemata", text)
        except OSError as error:
            raise failure(self.root, f"write {text!r} to {self.directory}/schemata", error, at) from None

    def join(self, pid: int) -> None:
        """Put a process into the group, and then into the one that counts.  Raises OcirtError."""
        for directory in (self.directory, self.monitor):
            if directory:
                try:
                    write_file(directory, "tasks", str(pid))
                except OSError as error:
                    raise failure(self.root, f"add the process to {directory}", error) from None


def has(root: str, resource: str) -> bool:
    """Whether the kernel controls a resource: L3 or MB."""
    return any(os.path.isdir(f"{root}/info/{name}") for name in INFO[resource])


def failure(root: str, what: str, error: OSError, at: str = "") -> OcirtError:
    """The error with the kernel's own words on it."""
    try:
        said = read_file(root, "info/last_cmd_status")
    except OSError:
        said = ""
    return OcirtError("resctrl", what, at=at, errno=error.errno or 0, detail=said if said != "ok" else "")


def make(root: str, directory: str) -> bool:
    """Make a group; False when it is there already.  Raises OcirtError."""
    try:
        os.mkdir(directory, 0o755)
    except FileExistsError:
        if not os.path.isdir(directory):
            raise
        return False
    except OSError as error:
        raise failure(root, f"make the resctrl group {directory}", error) from None
    return True


def remove(directory: str) -> None:
    """Remove a group; its tasks go back to the group above.  Nothing when it is gone.  Raises OSError."""
    try:
        os.rmdir(directory)
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.ENOTDIR):
            raise


def remove_if_unused(directory: str) -> None:
    """Unlike a cgroup, a group that has tasks can be removed: it is left to whoever put them there."""
    try:
        tasks = read_file(directory, "tasks")
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.ENOTDIR):
            raise
        return
    if not tasks:
        remove(directory)


# -- the container's record -----------------------------------------------------------------------


def recorded_group(record: dict[str, Any]) -> Group:
    return Group(record["root"], record["group"], record["monitor"])


def remove_recorded(record: dict[str, Any]) -> None:
    """At delete: what create made for this container alone, and what it may have made if it did not come to its end."""
    for directory in reversed(record["made"]):
        remove(directory)
    for directory in reversed(record["wanted"]):
        remove_if_unused(directory)


# -- schemata -------------------------------------------------------------------------------------


def parse(text: str) -> dict[tuple[str, str], str]:
    """(resource, domain) -> value of lines `L3:0=ff;1=0f`, numbers without leading zeros."""
    found = {}
    for line in text.split("\n"):
        resource, _, domains = line.partition(":")
        for domain in domains.split(";"):
            number, _, value = domain.partition("=")
            found[resource.strip(), _plain(number)] = _plain(value)
    return found


def _plain(number: str) -> str:
    return number.strip().lstrip("0").lower() or "0"


def difference(root: str, wanted: str, there: str) -> str:
    """What of a wanted schema is otherwise in a group's schemata, in words; "" when nothing is."""
    present = parse(there)
    for (resource, domain), value in parse(wanted).items():
        found = present.get((resource, domain))
        if found is None:
            return f"it has no {resource}:{domain}"
        if found not in (value, _rounded(root, value) if resource == MB else value):
            return f"it has {resource}:{domain}={found}"
    return ""


def _rounded(root: str, value: str) -> str:
    """What the kernel makes of a bandwidth: a multiple of what the processor knows."""
    try:
        step = int(read_file(root, "info/MB/bandwidth_gran"))
    except (OSError, ValueError):
        return value
    return str(-(-int(value) // step) * step) if value.isascii() and value.isdigit() and step > 0 else value


# -- statistics -----------------------------------------------------------------------------------


def usage(group: Group) -> dict[str, Any]:
    """The member intel_rdt of `events`, as runc has it; nothing when the group is gone.  Raises OSError."""
    if not os.path.isdir(group.directory):
        return {}
    root, lines = (_lines(directory) for directory in (group.root, group.directory))
    found: dict[str, Any] = {}
    if has(group.root, L3):
        name = next(name for name in INFO[L3] if os.path.isdir(f"{group.root}/info/{name}"))
        directory = f"{group.root}/info/{name}"
        numbers = {name: _number(directory, name) for name in ("min_cbm_bits", "num_closids")}
        found["l3_cache_info"] = {"cbm_mask": read_file(directory, "cbm_mask"), **numbers}
        found["l3_cache_schema_root"], found["l3_cache_schema"] = _schema(root, L3), _schema(lines, L3)
    if has(group.root, MB):
        names = ("bandwidth_gran", "delay_linear", "min_bandwidth", "num_closids")
        found["mem_bw_info"] = {name: _number(f"{group.root}/info/MB", name) for name in names}
        found["mem_bw_schema_root"], found["mem_bw_schema"] = _schema(root, MB), _schema(lines, MB)
    found["schemata"] = lines
    return {name: value for name, value in found.items() if value} | _counters(group)


def _counters(group: Group) -> dict[str, Any]:
    """Of each cache: what the group, or its counting group, has of it.  Empty where the processor does not count."""
    try:
        features = read_file(group.root, "info/L3_MON/mon_features").split()
    except OSError:
        return {}
    data = f"{group.monitor or group.directory}/mon_data"
    domains = [f"{data}/{name}" for name in sorted(os.listdir(data)) if os.path.isdir(f"{data}/{name}")]
    bandwidth = [name for name in ("mbm_total_bytes", "mbm_local_bytes") if name in features]
    found: dict[str, Any] = {}
    if bandwidth:
        found["mbm_stats"] = [
            {name: _number(domain, name) if name in bandwidth else 0 for name in ("mbm_total_bytes", "mbm_local_bytes")}
            for domain in domains
        ]
    if "llc_occupancy" in features:
        found["cmt_stats"] = [{"llc_occupancy": _number(domain, "llc_occupancy")} for domain in domains]
    return found


def _number(directory: str, name: str) -> int:
    """0 for what the kernel does not have at the moment: "Unavailable", "Error"."""
    try:
        text = read_file(directory, name).strip()
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.EIO):
            raise
        return 0
    return int(text) if text.isascii() and text.isdigit() else 0


def _lines(directory: str) -> list[str]:
    return [line.strip() for line in read_file(directory, "schemata").split("\n") if line.strip()]


def _schema(lines: list[str], resource: str) -> str:
    return next((line for line in reversed(lines) if line.startswith(resource)), "")
