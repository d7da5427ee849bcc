"""checkpoint: have CRIU write a container's processes to images; afterwards it is gone, unless it shall go on."""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # the public module imports enum: 4 ms
import fcntl

from ocirt import system as os
from ocirt.cgroups.layout import lines_of
from ocirt.config import jsontext
from ocirt.criu import program, wire
from ocirt.criu.mounts import at_checkpoint, parse_mountinfo
from ocirt.criu.request import DESCRIPTORS, DUMP_LOG, check_parent, config_file, options_of, page_server
from ocirt.errors import OcirtError, StateError, UsageError
from ocirt.host import probe_host
from ocirt.pipeline import ENDING_SIGNALS, interrupted
from ocirt.process.criu import EXTERNAL, Directories, make_directory, make_yard, outside_mounts, remove_yard
from ocirt.process.lifecycle import destroy
from ocirt.restore_plan import require_restorable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ocirt.config.views import Config
    from ocirt.container import Container
    from ocirt.criu.mounts import MountLine, Outside
    from ocirt.host import Host
    from ocirt.options import Parsed

STREAMS = (0, 1, 2)


def checkpoint(container: Container, options: Parsed, images: str, work: str) -> None:
    """options: of the command.  images, work: absolute paths, work "" without --work-path.

    Raises StateError, UsageError, OcirtError; then the container is as before.
    """
    with container.lock():
        require_checkpointable(container.status())
        request = Request(container, options, images, work)
        request.perform()
        if not options.leave_running and not options.pre_dump:
            destroy(container)


def require_checkpointable(status: str) -> None:
    """Raise StateError in runc's words."""
    if status not in ("running", "paused"):
        raise StateError("status", f"Container cannot be checkpointed in {status} state")


class Request:
    """One checkpoint, decided; nothing has happened but that the directories are there.

    fields: criu_opts.  criu: its path.
    """

    def __init__(self, container: Container, options: Parsed, images: str, work: str) -> None:
        self._container = container
        self._options = options
        self.config: Config = container.config()
        require_restorable(self.config)
        self._server = page_server(options.page_server)
        self.criu = program.find_criu()
        self.fields = options_of(options, may_use_iptables=bool(program.find_program("iptables-restore")))
        self._status_fd = status_fd(options.status_fd)
        make_directory(images)  # first: the parent's path leads through it
        if options.parent_path:
            check_parent(images, options.parent_path)
        self.directories = Directories(images, work, DUMP_LOG, config_file(self.config.annotations))
        self.fields |= self.directories.fields
        self.fields["pid"] = container.pid
        self.fields["root"] = container.record["rootfs"]
        self._add_the_rest()

    def _add_the_rest(self) -> None:
        freezer = freezer_of(self._container)
        if freezer:
            self.fields["freeze_cgroup"] = freezer
        if self._server:
            self.fields["ps"] = {"address": self._server[0], "port": self._server[1]}
        if self._options.parent_path:
            self.fields |= {"parent_img": self._options.parent_path, "track_mem": True}
        self.fields["cg_root"] = cgroup_roots(self._container, probe_host())
        mounted = container_mounts(self._container)
        self.descriptors = standard_streams(self._container.pid, mounted)
        self.fields["external"] = [
            *external_namespaces(self.config, self._container.pid),
            *at_checkpoint(container_outside(self._container), mounted),
            *(name for name in self.descriptors if name.startswith("file[")),
        ]

    def perform(self) -> None:
        """Have it done.  Raises OcirtError; then the container runs on, and the log tells why."""
        program.version(self.criu)
        wanted = {"mem_track": self._options.pre_dump, "lazy_pages": self._options.lazy_pages}
        require_features(self.criu, [name for name, is_wanted in wanted.items() if is_wanted])
        if not self._options.pre_dump:
            write_descriptors(self.directories.images, self.descriptors)
        manager = self._container.manager()
        was_frozen = manager is not None and manager.frozen()
        for signal in ENDING_SIGNALS:
            _signal.signal(signal, interrupted)
        try:
            remove_yard(self._container)  # of a checkpoint that was killed
            self.fields["cgroup_yard"] = make_yard(self._container, probe_host())
            with program.start(self.criu) as conversation:
                kind = wire.PRE_DUMP if self._options.pre_dump else wire.DUMP
                conversation.perform(kind, self.fields, self._notified)
        except OcirtError as error:
            if error.code != "criu":
                raise
            raise self.directories.explained(error) from None
        finally:
            remove_yard(self._container)
            if manager is not None and manager.exists() and manager.frozen() and not was_frozen:
                manager.freeze(False)

    def _notified(self, script: str, pid: int, fds: list[int]) -> None:
        if script == "post-dump":
            # From here on the processes may be dead: too late to take it back.
            _signal.pthread_sigmask(_signal.SIG_BLOCK, ENDING_SIGNALS)
        elif script == "status-ready" and self._status_fd >= 0:
            os.write(self._status_fd, b"\0")
            os.close(self._status_fd)
            self._status_fd = -1


def status_fd(text: str) -> int:
    """The descriptor to tell that the page server is ready, -1 for none.  Raises UsageError in runc's words."""
    if not text:
        return -1
    if not text.isdecimal():
        raise UsageError(f'invalid value "{text}" for flag -status-fd: not a number of a descriptor')
    try:
        flags = fcntl.fcntl(int(text), fcntl.F_GETFL)
    except (OSError, OverflowError):
        raise UsageError(f"invalid --status-fd argument {text}: bad file descriptor") from None
    if flags & os.O_ACCMODE == os.O_RDONLY:
        raise UsageError(f"invalid --status-fd argument {text}: not writable")
    return int(text)


def require_features(criu: str, names: list[str]) -> None:
    """Raises OcirtError("criu") for what criu or this kernel cannot do."""
    if not names:
        return
    with program.start(criu) as conversation:
        found = conversation.features(*names)
    missing = [name for name in names if not found[name]]
    if missing:
        raise OcirtError(
            "criu",
            f"criu is missing features: {', '.join(missing)}",
            remedy="the kernel needs CONFIG_MEM_SOFT_DIRTY for --pre-dump, CONFIG_USERFAULTFD for --lazy-pages",
        )


def container_mounts(container: Container) -> list[MountLine]:
    """The mount points as the container sees them."""
    return parse_mountinfo(os.read_text(f"/proc/{container.pid}/mountinfo"))


def container_outside(container: Container) -> list[Outside]:
    manager = container.manager()
    return outside_mounts(
        container.config(),
        container.record["bundle"],
        container.record["rootfs"],
        probe_host(),
        manager.paths if manager is not None else {},
    )


def external_namespaces(config: Config, pid: int) -> list[str]:
    """Values of CRIU's option external for network and pid namespaces that the container joined by path."""
    joined = {namespace.type for namespace in (config.linux.namespaces if config.linux else ()) if namespace.path}
    return [
        f"{name}[{os.stat(f'/proc/{pid}/ns/{name}').st_ino}]:{EXTERNAL[kind]}"
        for kind, name in (("network", "net"), ("pid", "pid"))
        if kind in joined
    ]


def freezer_of(container: Container) -> str:
    """The cgroup by which CRIU stops all processes at once; "" and it stops them one by one."""
    manager = container.manager()
    if manager is None or not manager.exists():
        return ""
    return manager.paths.get("", "") if "freezer" not in manager.paths else manager.paths["freezer"]


def cgroup_roots(container: Container, host: Host) -> list[dict[str, str]]:
    """The container's own cgroups, as CRIU names them: all below is saved, wherever in there init has gone."""
    manager = container.manager()
    paths = manager.paths if manager is not None else {}
    roots = []
    for line in lines_of(os.read_text(f"/proc/{container.pid}/cgroup")):
        _, controllers, path = line.split(":", 2)
        first = controllers.split(",")[0]
        mounted = host.cgroup_mounts.get(first, "") if first else host.unified_mount
        own = paths.get(first, "").removeprefix(mounted)
        if own and f"{path}/".startswith(f"{own}/"):
            roots.append({"ctrl": controllers, "path": own})
    return roots


def standard_streams(pid: int, mounted: list[MountLine]) -> list[str]:
    """What init has open as 0, 1 and 2, so that restore can put its own in place of it.

    "pipe:[N]", or "file[MOUNT:INODE]" (hexadecimal, as CRIU names it) for a file that is not in the container; what is
    there for restore without us keeps its name, "" for none.
    """
    inside = {mount.number for mount in mounted}
    return [_stream(f"/proc/{pid}/fd/{fd}", f"/proc/{pid}/fdinfo/{fd}", inside) for fd in STREAMS]


def _stream(link: str, info: str, inside: set[int]) -> str:
    try:
        name = os.readlink(link)
        if not name.startswith("/"):
            return name
        facts = dict(line.split(":", 1) for line in os.read_whole(info).decode().splitlines())
        mount = int(facts["mnt_id"])
        return name if mount in inside else f"file[{mount:x}:{os.stat(link).st_ino:x}]"
    except FileNotFoundError:
        return ""


def write_descriptors(images: str, names: list[str]) -> None:
    """As runc writes them: a JSON list, the place is the number of the descriptor."""
    fd = os.open(os.path.join(images, DESCRIPTORS), os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        os.write(fd, jsontext.dump(names).encode())
    finally:
        os.close(fd)
