"""What checkpoint and restore have in common: the mounts from outside, the directories, the words of a failure."""

from __future__ import annotations

import errno

from ocirt import system as os
from ocirt.criu.criulog import excerpt, log_file_of
from ocirt.criu.mounts import MASK, Outside, below, parse_mountinfo
from ocirt.criu.rpc import CriuFailed
from ocirt.errors import OcirtError
from ocirt.kernel.files import open_in_root
from ocirt.kernel.flags import MS_BIND, MS_REC, MS_REMOUNT
from ocirt.stages.cgroup_mounts import hierarchies
from ocirt.stages.criu import hierarchy_names
from ocirt.stages.devices import DEFAULT_DEVICES
from ocirt.stages.mounts import host_source, options_of
from ocirt.stages.namespaces import new_namespaces
from ocirt.stages.targets import clean

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from ocirt.config.views import Config, Mount
    from ocirt.container import Container
    from ocirt.criu.mounts import MountLine
    from ocirt.host import Host


YARD = "criu-yard"  # in the container's directory
EXTERNAL = {"network": "extRootNetNS", "pid": "extRootPidNS"}  # what CRIU calls a namespace that is not its business


class Directories:
    """Where CRIU works.  images, work: absolute paths, the same without --work-path.  log: the log's path.

    fields: what CRIU is told of it; it opens our descriptors through /proc.
    """

    __slots__ = ("fields", "images", "log", "work")

    def __init__(self, images: str, work: str, log_name: str, config_file: str) -> None:
        """Opens both; work is made when it is missing.  Raises OcirtError("criu")."""
        self.images = images
        self.work = work or images
        self.fields: dict[str, Any] = {"images_dir_fd": open_directory(images), "log_file": log_name}
        if work:
            make_directory(work)
            self.fields["work_dir_fd"] = open_directory(work)
        self.log = os.path.join(self.work, log_name)
        if config_file:
            self.fields["config_file"] = config_file
            if os.path.exists(config_file):
                text = os.read_whole(config_file).decode("utf-8", "replace")
                self.log = os.path.join(self.work, log_file_of(text) or log_name)

    def explained(self, error: OcirtError) -> OcirtError:
        """The error with what the log says, and where it is."""
        said = excerpt(self.log)
        if said:
            failed = error.request if isinstance(error, CriuFailed) else error.what
            error.what = f"{failed}: {said}"
        error.detail = f"log file: {self.log}"
        return error


def make_directory(path: str) -> None:
    """With its parents; for root alone: images hold the memory of the container.  Raises OcirtError("criu")."""
    try:
        os.makedirs(path, 0o700)
    except OSError as error:
        raise OcirtError("criu", f"make the directory {path}", call="mkdir", errno=error.errno or 0) from None


def open_directory(path: str) -> int:
    """A descriptor that stays open until we end.  Raises OcirtError("criu")."""
    try:
        return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise OcirtError("criu", f"open {path}", call="open", errno=error.errno or 0) from None


def make_yard(container: Container, host: Host) -> str:
    """Where CRIU finds the cgroup hierarchies: a directory with a link for each, of the container's own; its path.

    Without it CRIU mounts them, and a new mount of the v2 hierarchy takes nsdelegate and its like from the whole host
    (cgroup-v2.rst, Mounting).  At restore it is made of mounts, see stages/criu.py.
    """
    os.mkdir(YARD, 0o700, dir_fd=container.dirfd)
    yard = os.readlink(f"/proc/self/fd/{container.dirfd}") + f"/{YARD}"
    for name, place in hierarchy_names(host).items():
        os.symlink(place, f"{yard}/{name}")
    return yard


def remove_yard(container: Container) -> None:
    """Nothing when it is not there."""
    yard = f"/proc/self/fd/{container.dirfd}/{YARD}"
    if os.path.isdir(yard):
        for name in os.listdir(yard):
            os.unlink(f"{yard}/{name}")
        os.rmdir(YARD, dir_fd=container.dirfd)


def outside_mounts(config: Config, bundle: str, rootfs: str, host: Host, cgroups: dict[str, str]) -> list[Outside]:
    """Every mount that create would make of something of the host.

    rootfs: absolute path.  cgroups: controller -> directory of the container's own cgroup.
    """
    root = os.open(rootfs, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        found = [each for mount in config.mounts for each in _of_mount(mount, config, bundle, root, host, cgroups)]
    finally:
        os.close(root)
    linux = config.linux
    if linux is not None:
        nodes = [path for path, _, _ in DEFAULT_DEVICES] + [clean(device.path) for device in linux.devices]
        found += [Outside(path, path) for path in nodes]  # bound in a user namespace, where nobody can make nodes
        found += [Outside(clean(path), MASK, MASK) for path in linux.masked_paths]
    return found


def _of_mount(
    mount: Mount, config: Config, bundle: str, root: int, host: Host, cgroups: dict[str, str]
) -> Iterator[Outside]:
    options = options_of(mount)
    if options.flags & MS_REMOUNT:
        return
    point = resolve(root, clean(mount.destination))
    if options.flags & MS_BIND:
        source = os.path.abspath(host_source(mount, bundle))
        yield Outside(point, source)
        if options.flags & MS_REC:
            for rest in below(_real(source), [line.point for line in own_mounts()]):
                yield Outside(f"{point.rstrip('/')}{rest}", f"{source.rstrip('/')}{rest}")
    elif mount.type in ("cgroup", "cgroup2") and "cgroup" not in new_namespaces(config.linux):
        if host.cgroup == "v2":
            yield Outside(point, host.unified_mount)
            return
        for name, controllers, directory in hierarchies(host):
            yield Outside(f"{point}/{name}", cgroups.get(controllers.split(",")[0], directory))


def own_mounts() -> list[MountLine]:
    return parse_mountinfo(os.read_text("/proc/self/mountinfo"))


def _real(path: str) -> str:
    """Without symbolic links, as mountinfo has it; a path that leads nowhere as it is."""
    try:
        fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return path
    try:
        return os.readlink(f"/proc/self/fd/{fd}")
    finally:
        os.close(fd)


def resolve(root: int, destination: str) -> str:
    """The mount point that a destination leads to.  What is not in the image lies on another mount: kept as it is."""
    there, rest = destination, ""
    while there != "/":
        try:
            fd = open_in_root(root, there, os.O_PATH)
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ENOTDIR):
                raise
            there, _, name = there.rpartition("/")
            there, rest = there or "/", f"/{name}{rest}"
            continue
        try:
            place = os.readlink(f"/proc/self/fd/{fd}")
        finally:
            os.close(fd)
        top = os.readlink(f"/proc/self/fd/{root}").rstrip("/")
        return f"{place.removeprefix(top)}{rest}"
    return rest or "/"
