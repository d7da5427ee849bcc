"""Which cgroup hierarchies there are and where, from the text of /proc files: pure.

Sources: proc_pid_mountinfo(5), cgroups(7).
"""

from __future__ import annotations

# A host is "v2" when the unified hierarchy is mounted here, whatever named v1 hierarchies lie beside it.
CGROUP_ROOT = "/sys/fs/cgroup"


def parse_own_cgroups(text: str) -> dict[str, str]:
    """/proc/<pid>/cgroup as controller -> path; "" is the v2 hierarchy (cgroups(7))."""
    own: dict[str, str] = {}
    for line in lines_of(text):
        _, controllers, path = line.split(":", 2)
        for controller in controllers.split(","):
            own[controller] = path
    return own


def parse_cgroup_mounts(mountinfo: str, own: dict[str, str]) -> tuple[dict[str, str], dict[str, str], str]:
    """(controller -> mount point, controller -> shown root, v2 mount point) from the text of mountinfo.

    own tells controllers from mount options.  Of several mounts of a hierarchy the first counts.
    """
    mounts: dict[str, str] = {}
    roots: dict[str, str] = {}
    unified = ""
    for line in lines_of(mountinfo):
        if " - cgroup" not in line:
            continue
        before, after = line.split(" - ", 1)
        root, point = before.split(" ")[3:5]
        kind, _, options = after.split(" ", 2)
        if kind == "cgroup2" and not unified:
            unified = unescape(point)
            _note_root(roots, "", root)
        elif kind == "cgroup":
            for controller in options.split(","):
                if controller in own and controller not in mounts:
                    mounts[controller] = unescape(point)
                    _note_root(roots, controller, root)
    return mounts, roots, unified


def parse_resctrl_mount(mountinfo: str) -> str:
    """The mount point of the resctrl file system, the first of several; "" when there is none.

    After the separator, which a path cannot hold, stands the type; it is looked for as text: hardly any host has one.
    """
    before, found, _ = mountinfo.partition(" - resctrl ")
    return unescape(before.rpartition("\n")[2].split(" ")[4]) if found else ""


def lines_of(text: str) -> list[str]:
    """The lines of a file of the kernel.  splitlines() would cut at ten more characters, which names may hold."""
    return [line for line in text.split("\n") if line]


def cgroup_layout(mounts: dict[str, str], unified: str) -> str:
    """ "v1", "hybrid", "v2" or "none"."""
    if unified == CGROUP_ROOT or (unified and not mounts):
        return "v2"
    if mounts:
        return "hybrid" if unified else "v1"
    return "none"


def _note_root(roots: dict[str, str], controller: str, root: str) -> None:
    if root != "/":
        roots[controller] = unescape(root)


def unescape(name: str) -> str:
    """A path of mountinfo: space, tab, newline and backslash are octal there (proc_pid_mountinfo(5))."""
    if "\\" not in name:
        return name
    first, *rest = name.split("\\")
    return first + "".join(chr(int(part[:3], 8)) + part[3:] for part in rest)
