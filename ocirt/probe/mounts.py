"""Mounts: file systems, the calls of the mount API, and what is done to a root file system."""

from __future__ import annotations

import errno
import os
import stat

from ocirt.kernel import flags as f
from ocirt.kernel import mounts as m
from ocirt.kernel.files import openat2
from ocirt.probe import Check, Unavailable
from ocirt.probe.attempt import in_child
from ocirt.probe.namespaces import map_many
from ocirt.probe.places import Held, enter_mounts, require

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

AT = "/mounts"
# type, namespaces its new instance needs, data
FILE_SYSTEMS = (
    ("tmpfs", 0, ""),
    ("sysfs", f.CLONE_NEWNET, ""),
    ("mqueue", f.CLONE_NEWIPC, ""),
    ("devpts", 0, "newinstance,ptmxmode=0666"),
    ("cgroup2", f.CLONE_NEWCGROUP, ""),
)
NULL_DEVICE = os.makedev(1, 3)


def checks() -> Iterator[Check]:
    yield Check("mount.proc", AT, proc)
    for kind, flags, data in FILE_SYSTEMS:
        yield Check(f"mount.{kind}", AT, file_system(kind, flags, data))
    yield Check("mount.overlay", AT, overlay)
    yield Check("mount.bind", f"{AT}/*/options", bind_read_only)
    yield Check("mount.propagation", f"{AT}/*/options", propagation)
    yield Check("mount.api", "", api)
    yield Check("mount.recursive", f"{AT}/*/options", recursive)
    yield Check("mount.nosymfollow", f"{AT}/*/options", nosymfollow)
    yield Check("mount.idmap", f"{AT}/*/uidMappings", idmap)
    yield Check("pivot_root", "/root/path", pivot_root)
    yield Check("openat2", "", safe_lookup)
    yield Check("mknod", "/linux/devices", device_node)


def proc() -> str:
    """It shows the pid namespace of who mounts it, so a child in the new one does."""
    note = enter_mounts(f.CLONE_NEWPID)
    os.mkdir("proc")
    in_child(lambda: m.mount("proc", "proc", "proc"))
    return note


def file_system(kind: str, flags: int, data: str) -> Callable[[], str]:
    def trial() -> str:
        note = enter_mounts(flags)
        os.mkdir("new")
        m.mount(kind, "new", kind, data=data)
        return note

    return trial


def overlay() -> str:
    note = enter_mounts()
    for name in ("lower", "upper", "work", "merged"):
        os.mkdir(name)
    m.mount("overlay", "merged", "overlay", data="lowerdir=lower,upperdir=upper,workdir=work")
    return note


def bind_read_only() -> str:
    note = enter_mounts()
    for name in ("source", "target"):
        os.mkdir(name)
    m.mount("source", "target", flags=f.MS_BIND)
    m.mount("", "target", flags=f.MS_BIND | f.MS_REMOUNT | f.MS_RDONLY)
    try:
        os.mkdir("target/new")
    except OSError as error:
        require(error.errno == errno.EROFS, error.strerror or "")
        return note
    raise Unavailable("what is mounted read-only can be written to")


def propagation() -> str:
    note = enter_mounts()
    for kind in (f.MS_SHARED, f.MS_SLAVE, f.MS_PRIVATE, f.MS_UNBINDABLE):
        m.mount("none", ".", flags=kind | f.MS_REC)
    return note


def api() -> str:
    """fsopen to move_mount (Linux 5.2), and a detached copy of a mount."""
    note = enter_mounts()
    os.mkdir("new")
    context = m.fsopen("tmpfs")
    m.fsconfig_create(context)
    m.move_mount(m.fsmount(context), "", f.AT_FDCWD, "new")
    m.move_mount(m.open_tree(f.AT_FDCWD, "new", f.OPEN_TREE_CLONE), "", f.AT_FDCWD, "new")
    return note


def recursive() -> str:
    """mount_setattr(2) with AT_RECURSIVE, Linux 5.12: rro and its like."""
    note = enter_mounts()
    os.mkdir("below")
    m.mount("tmpfs", "below", "tmpfs")
    m.mount_setattr(f.AT_FDCWD, ".", f.AT_RECURSIVE, f.MOUNT_ATTR_RDONLY, 0)
    require(os.statvfs("below").f_flag & os.ST_RDONLY, "what is mounted below stayed writable")
    return note


def nosymfollow() -> str:
    """Linux 5.10."""
    note = enter_mounts()
    m.mount("tmpfs", ".", "tmpfs", f.MS_REMOUNT | f.MS_NOSYMFOLLOW)
    return note


def idmap() -> str:
    """mount_setattr(2) with MOUNT_ATTR_IDMAP, Linux 5.12; every file system says for itself whether it can."""
    note = enter_mounts()
    require(not note, "an id-mapped mount is root's to make")
    with Held(f.CLONE_NEWUSER) as child:
        map_many(child.pid)
        namespace = os.open(f"/proc/{child.pid}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
    can, cannot = [], []
    for path, what in (("/", "the root's file system"), (".", "tmpfs")):
        tree = m.open_tree(f.AT_FDCWD, path, f.OPEN_TREE_CLONE)
        try:
            m.mount_setattr(tree, "", 0, f.MOUNT_ATTR_IDMAP, 0, userns_fd=namespace)
            can.append(what)
        except OSError as error:
            cannot.append(f"not of {what}: {(error.strerror or '').lower()}")
    require(can, "; ".join(cannot))
    return "; ".join([f"of {' and '.join(can)}", *cannot])


def pivot_root() -> str:
    note = enter_mounts()
    os.mkdir("root")
    m.mount("tmpfs", "root", "tmpfs")
    os.chdir("root")
    m.pivot_root(".", ".")
    m.umount2(".", f.MNT_DETACH)
    return note


def safe_lookup() -> str:
    """Linux 5.6; without it paths in the container are walked step by step."""
    os.close(openat2(f.AT_FDCWD, ".", os.O_PATH, resolve=f.RESOLVE_IN_ROOT))
    return ""


def device_node() -> str:
    """In a user namespace the host's device is bound instead."""
    enter_mounts()
    try:
        os.mknod("null", stat.S_IFCHR | 0o666, NULL_DEVICE)
    except PermissionError:
        open("null", "w", encoding="ascii").close()
        m.mount("/dev/null", "null", flags=f.MS_BIND)
        return "not here: bound from the host"
    os.close(os.open("null", os.O_WRONLY))
    return ""
