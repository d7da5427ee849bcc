"""Restoring: the process that becomes criu, and the root file system that it finds.

It has a mount namespace of its own, so that what is mounted for criu is gone when it ends, whatever happens.
Source: criu(8), restore: --root must be a mount point whose parent is not covered.
"""

from __future__ import annotations

from ocirt import system as os
from ocirt.config.mountopts import parse_options
from ocirt.errors import KernelError
from ocirt.kernel.flags import (
    AT_EMPTY_PATH,
    AT_FDCWD,
    AT_RECURSIVE,
    CLONE_NEWNET,
    CLONE_NEWNS,
    MNT_DETACH,
    MOUNT_ATTR_RDONLY,
    MS_BIND,
    MS_NODEV,
    MS_NOEXEC,
    MS_NOSUID,
    MS_REMOUNT,
    OPEN_TREE_CLONE,
)
from ocirt.pipeline import Step
from ocirt.stages.binds import Bind
from ocirt.stages.mounts import host_source, options_of
from ocirt.stages.namespaces import open_namespaces
from ocirt.stages.payload import FIRST_FREE_FD, AnnounceExecution, CloseDescriptors, ResetSignals
from ocirt.stages.rootfs import PROPAGATION, SetPropagation, open_root
from ocirt.stages.targets import check_place, clean, place_in_root
from ocirt.stages.umask import UMASK, SetUmask

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import NoReturn

    from ocirt.box import Box
    from ocirt.config.views import Config
    from ocirt.host import Host

SOCKET = "criu"  # box.fds: criu's end of the conversation


class AttachRoot(Step):
    """INIT: a copy of the root file system's mounts at `place`, an empty directory of ours; box.root is its root."""

    __slots__ = ("path", "place")

    def __init__(self, at: str, path: str, place: str) -> None:
        self.at = at
        self.path = path
        self.place = place

    def describe(self) -> str:
        return f"bind the root file system {self.path} on {self.place}"

    def apply(self, box: Box) -> None:
        kernel = box.kernel
        directory = open_root(box, self.path)
        try:
            box.root = kernel.open_tree(directory, "", OPEN_TREE_CLONE | AT_RECURSIVE | AT_EMPTY_PATH)
            kernel.move_mount(box.root, "", AT_FDCWD, self.place)
        finally:
            kernel.close(directory)


class DetachRoot(Step):
    """INIT: away with what AttachRoot attached and all that was mounted on it; what was made in the root stays."""

    __slots__ = ("place",)

    def __init__(self, at: str, place: str) -> None:
        self.at = at
        self.place = place

    def describe(self) -> str:
        return f"detach {self.place}"

    def apply(self, box: Box) -> None:
        box.kernel.close(box.root)
        box.kernel.umount2(self.place, MNT_DETACH)


class MakeMountPoint(Step):
    """INIT: a directory for what CRIU will mount there."""

    __slots__ = ("target",)

    def __init__(self, at: str, target: str) -> None:
        self.at = at
        self.target = target

    def describe(self) -> str:
        return f"make the mount point {self.target}"

    def apply(self, box: Box) -> None:
        fd = box.kernel.mkdir_in_root(box.root, self.target)
        try:
            check_place(place_in_root(box, fd), True)
        finally:
            box.kernel.close(fd)


class MountYard(Step):
    """INIT: the cgroup hierarchies where criu, and what it makes, find them.

    Mounts, not links as at checkpoint: a process that is being restored looks in there by descriptor when its root is
    the container's already, and would follow a link from that root.

    hierarchies: name in there -> mount point.
    """

    __slots__ = ("hierarchies", "yard")

    def __init__(self, yard: str, hierarchies: dict[str, str]) -> None:
        self.at = ""
        self.yard = yard
        self.hierarchies = hierarchies

    def describe(self) -> str:
        return f"bind the cgroup hierarchies below {self.yard}"

    def apply(self, box: Box) -> None:
        kernel = box.kernel
        kernel.mount("tmpfs", self.yard, "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, "mode=700")
        for name, mounted in self.hierarchies.items():
            place = f"{self.yard}/{name}"
            kernel.mkdirat(AT_FDCWD, place, 0o700)
            tree = kernel.open_tree(AT_FDCWD, mounted, OPEN_TREE_CLONE)
            try:
                kernel.move_mount(tree, "", AT_FDCWD, place)
            finally:
                kernel.close(tree)


def hierarchy_names(host: Host) -> dict[str, str]:
    """What CRIU calls the cgroup hierarchies -> where they are: controllers joined by commas, and each alone."""
    places: dict[str, list[str]] = {}
    for controller, place in host.cgroup_mounts.items():
        places.setdefault(place, []).append(controller.removeprefix("name="))
    names = {name: place for place, names in places.items() for name in (*names, ",".join(names))}
    if host.unified_mount:
        names["unified"] = host.unified_mount
    return names


class BringLoopbackUpFor(Step):
    """The runtime, in answer to criu: the loopback of the new namespace of process box.pid.

    CRIU leaves the network to whoever made it; the loopback of a new namespace we bring up ourselves at create.
    """

    __slots__ = ()

    def __init__(self, at: str) -> None:
        self.at = at

    def describe(self) -> str:
        return "bring the loopback up"

    def apply(self, box: Box) -> None:
        kernel = box.kernel
        own = kernel.openat(box.proc, "self/ns/net", os.O_RDONLY)
        theirs = kernel.openat(box.proc, f"{box.pid}/ns/net", os.O_RDONLY)
        try:
            kernel.setns(theirs, CLONE_NEWNET)
            try:
                kernel.loopback_up()
            finally:
                kernel.setns(own, CLONE_NEWNET)
        finally:
            kernel.close(theirs)
            kernel.close(own)


class MakeRootReadonly(Step):
    """The runtime, in answer to criu: the root of process box.pid, which criu leaves writable.

    Only in the mount namespace itself can it be done: a child of ours enters it.
    """

    __slots__ = ()

    def __init__(self, at: str) -> None:
        self.at = at

    def describe(self) -> str:
        return "make / read-only"

    def apply(self, box: Box) -> None:
        kernel = box.kernel
        namespace = kernel.openat(box.proc, f"{box.pid}/ns/mnt", os.O_RDONLY)
        child, _ = kernel.clone3(0)
        if child == 0:
            self._enter(box, namespace)
        kernel.close(namespace)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if status:
            raise KernelError(max(status, 0), os.strerror(max(status, 0)), "mount_setattr", "/ of the container")

    def _enter(self, box: Box, namespace: int) -> NoReturn:
        """The child.  Its exit status is an errno."""
        status = 1
        try:
            box.kernel.setns(namespace, CLONE_NEWNS)
            box.kernel.mount_setattr(AT_FDCWD, "/", 0, MOUNT_ATTR_RDONLY, 0)
            status = 0
        except OSError as error:
            status = error.errno or 1
        finally:
            os._exit(status)


class ExecuteCriu(Step):
    """START: become `criu swrk`, which gets its end of the conversation and the namespaces it must know.

    program: absolute path.  env: "NAME=value" texts.
    """

    __slots__ = ("env", "program")

    def __init__(self, program: str, env: tuple[str, ...]) -> None:
        self.at = ""
        self.program = program
        self.env = env

    def describe(self) -> str:
        return f"execute {self.program}"

    def apply(self, box: Box) -> None:
        kernel = box.kernel
        kept = [fd for name, fd in box.fds.items() if name == SOCKET or name.startswith("namespace/")]
        image = kernel.prepare_exec((self.program, "swrk", str(box.fds[SOCKET])), self.env)
        for fd in kept:
            kernel.set_inheritable(fd, True)
        kernel.execve(self.program, image)


def namespaces(config: Config) -> Iterator[Step]:
    """HOST: those that are joined by path."""
    yield from open_namespaces(config.linux)


def prepare_root(config: Config, bundle: str, path: str, place: str) -> Iterator[Step]:
    """INIT: see to it that every mount point is there, as create does by mounting; then the root for criu at place.

    What is mounted on a file system of the container's own needs none: it is made anew with its content.
    Binds are mounted meanwhile, for there may be mount points in them.
    """
    yield SetUmask("", UMASK)
    yield SetPropagation("", PROPAGATION[""])
    yield AttachRoot("/root/path", path, place)
    hidden: list[str] = []
    for number, mount in enumerate(config.mounts):
        target = clean(mount.destination)
        options = options_of(mount)
        if options.flags & MS_REMOUNT or any(f"{target}/".startswith(f"{other}/") for other in hidden):
            continue
        if options.flags & MS_BIND:
            plain = parse_options(("rbind",) if "rbind" in mount.options else ("bind",))
            yield Bind(mount.at, host_source(mount, bundle), target, plain, f"mount/{number}")
        else:
            yield MakeMountPoint(mount.at, target)
            hidden.append(target)
    yield DetachRoot("/root/path", place)
    yield AttachRoot("/root/path", path, place)


def execute(program: str, environment: dict[str, str]) -> Iterator[Step]:
    """START."""
    yield ResetSignals()
    yield CloseDescriptors(FIRST_FREE_FD)
    yield AnnounceExecution()
    yield ExecuteCriu(program, tuple(f"{name}={value}" for name, value in environment.items()))
