"""Where cgroups are: from linux.cgroupsPath, from /proc/<pid>/cgroup, from `exec --cgroup`."""

from __future__ import annotations

from ocirt.cgroups.files import read_file
from ocirt.cgroups.layout import parse_own_cgroups
from ocirt.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ocirt.host import Host


def v1_paths(host: Host, cgroups_path: str | None, container_id: str) -> dict[str, str]:
    """controller -> directory for every hierarchy of the host; see open_manager for the rules."""
    path = _normal(cgroups_path or container_id)
    absolute = (cgroups_path or "").startswith("/")
    mounts = dict(host.cgroup_mounts)
    if host.unified_mount:
        mounts[""] = host.unified_mount
    return {
        controller: (mount if absolute else own_directory(host, controller)) + path
        for controller, mount in mounts.items()
    }


def v2_path(host: Host, cgroups_path: str | None, container_id: str) -> str:
    """The directory in the only hierarchy of the host; see open_manager for the rules.

    A relative path is beside the runtime's own cgroup, not below it: a cgroup with a process in it cannot give
    controllers to its children (cgroup-v2.rst, No Internal Process Constraint).
    """
    path = _normal(cgroups_path or container_id)
    if (cgroups_path or "").startswith("/"):
        return host.unified_mount + path
    own = own_directory(host, "")
    return (own if own == host.unified_mount else own.rpartition("/")[0]) + path


def nearest_above(own: str, directory: str) -> str:
    """The nearest directory above both, or `own` when that is above the other."""
    while not f"{directory}/".startswith(f"{own}/"):
        own = own.rpartition("/")[0]
    return own


def own_directory(host: Host, controller: str) -> str:
    """The runtime's own cgroup in a hierarchy, without a slash at the end."""
    return directory_of(host, controller, host.own_cgroups.get(controller, "/"))


def directory_of(host: Host, controller: str, path: str) -> str:
    """Where a cgroup that /proc/<pid>/cgroup calls path is in the file system.

    Inside a container the mount may show only a part of the hierarchy (its root), while /proc still
    says the whole path.
    """
    mount = host.cgroup_mounts[controller] if controller else host.unified_mount
    root = host.cgroup_roots.get(controller, "/")
    if root != "/" and (path == root or path.startswith(root + "/")):
        path = path[len(root) :]
    return (mount + "/" + path.strip("/")).rstrip("/")


def one_controller_each(paths: dict[str, str]) -> dict[str, str]:
    """directory -> controller, each directory once; memory is named wherever it is, others join it."""
    named = {directory: controller for controller, directory in reversed(paths.items())}
    if "memory" in paths:
        named[paths["memory"]] = "memory"
    return named


def _normal(path: str) -> str:
    """The path with one leading slash; ".." stops at the top (a cgroupsPath must not leave its hierarchy)."""
    parts: list[str] = []
    for part in path.split("/"):
        if part == "..":
            del parts[-1:]
        elif part not in ("", "."):
            parts.append(part)
    return "/" + "/".join(parts)


def current_paths(host: Host, pid: int) -> dict[str, str]:
    """controller -> directory of the cgroup in which a process is now.  Raises OSError when it is gone."""
    own = parse_own_cgroups(read_file(f"/proc/{pid}", "cgroup"))
    mounts = {**host.cgroup_mounts, "": host.unified_mount} if host.unified_mount else host.cgroup_mounts
    return {controller: directory_of(host, controller, own[controller]) for controller in mounts}


def sub_cgroups(paths: dict[str, str], wanted: tuple[str, ...]) -> dict[str, str]:
    """paths with the sub-cgroups of `exec --cgroup [CONTROLLER[,...]:]PATH`.  Raises UsageError."""
    chosen: dict[str, str] = {}
    for value in wanted:
        controllers, colon, path = value.rpartition(":")
        if not colon and len(wanted) > 1:
            raise UsageError(f"invalid --cgroup argument: {value} (missing <controller>: prefix)")
        for controller in controllers.split(",") if colon else paths:
            if colon and not controller:
                raise UsageError(f"invalid --cgroup argument: {value} (empty <controller> prefix)")
            if controller in chosen:
                raise UsageError(f"invalid --cgroup argument(s): controller {controller} specified multiple times")
            if controller not in paths:
                raise UsageError(f"unknown controller {controller} in --cgroup")
            chosen[controller] = path
    if any(".." in path.split("/") for path in chosen.values()):
        raise UsageError("bad sub cgroup path: .. leads out of the container's cgroup")
    return {name: (directory + _normal(chosen.get(name, ""))).rstrip("/") for name, directory in paths.items()}
