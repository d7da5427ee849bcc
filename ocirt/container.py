"""Container: the directory <root>/<id>, its record, its lock, and its status.

    <root>/<id>/            mode 0711; its flock(2) is the container's lock
        config.json         exact copy of the bundle's: later edits have no effect (runtime.md, create)
        state.json          the record, written whole to a temporary name, then renamed
        state.json.new      that name; while init is set up, what becomes the record when it is ready; then what was it
        start.sock          init listens here from `created` on; `start` removes it; a `run` has none
        trace               only with --trace: what init notes of its steps, for create and start (trace/recorder.py)
        notify/             only with NOTIFY_SOCKET: bound into the container; `start` makes notify.sock in it

The status is derived from facts, never stored: a record may outlive a crash or a reboot.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # the public module imports enum: 4 ms
import _socket
import errno
import fcntl
import select

from ocirt import system as os
from ocirt.channel import Channel
from ocirt.config import jsontext
from ocirt.errors import ConfigError, StateError
from ocirt.filelock import lock_within

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from ocirt.cgroups import Manager
    from ocirt.config.views import Config

RECORD_VERSION = 1
LOCK_DEADLINE = 10.0  # seconds a command waits for another command on the same container
CONFIG, RECORD, START_SOCKET, NOTIFY = "config.json", "state.json", "start.sock", "notify"
NEW = ".new"  # what is written until it is whole
BORN = ("pid", "start_time")  # of the record: what is not known before init is born
CGROUP_MANAGERS = ("v1", "v2")  # what cgroups.manager_from_record() knows, with or without systemd around it

PF_FORKNOEXEC = 0x40  # linux/sched.h
_ID_PUNCTUATION = "_+-."

# name -> type of every value of state.json but "cgroup", which is a dict or, for none, absent
_RECORD_TYPES = {
    "version": int,
    "id": str,
    "oci_version": str,
    "bundle": str,
    "rootfs": str,
    "created": str,
    "owner": int,
    "pid": int,
    "start_time": int,
    "boot_id": str,
    "root_mount": list,
    "annotations": dict,
    "poststop": bool,
}


def check_id(container_id: str) -> None:
    """Raise StateError unless the ID is of the form [A-Za-z0-9_+.-]+ and neither "." nor ".."."""
    if not container_id:
        raise StateError("container-id", "container id cannot be empty")
    plain = all((c.isascii() and c.isalnum()) or c in _ID_PUNCTUATION for c in container_id)
    if not plain or container_id in (".", "..") or len(container_id) > 255:
        raise StateError(
            "container-id",
            f"invalid container ID format: {container_id!r}",
            remedy="use up to 255 letters, digits, '_', '+', '-' and '.'",
        )


class Container:
    """One container on disk.

    id: the container ID.  dirfd: O_PATH-like fd of its directory.  record: the plain values of state.json:
    version, id, oci_version, bundle, rootfs, created (RFC 3339), owner (uid), pid, start_time (clock ticks
    since boot), boot_id, cgroup (the manager's record or None), cgroup_wanted (directories that create is about to
    make, empty when cgroup says which it made), root_mount (path and marks of
    what stages/root_mount.py has mounted on the host, or empty), resctrl (stages/resctrl.py, only with
    linux.intelRdt), annotations, poststop (hooks to run at delete).
    conversation: with an init that waits in it for GO, not for a `start`; only in the command that made it.
    """

    __slots__ = ("root", "id", "dirfd", "record", "known_config", "conversation", "locked", "_dumped", "_seen")

    def __init__(self, root: str, container_id: str, dirfd: int, record: dict[str, Any]) -> None:
        self.root = root
        self.id = container_id
        self.dirfd = dirfd
        self.record = record
        self.known_config: Config | None = None
        self.conversation: Channel | None = None
        self.locked = False  # by this process
        self._dumped = ""
        self._seen: tuple[int, int] | None = None

    @classmethod
    def make(cls, root: str, container_id: str, record: dict[str, Any], config: bytes) -> Container:
        """Make the directory with a record that has no pid yet.  Raises StateError("exists") or OSError."""
        check_id(container_id)
        facts = {"version": RECORD_VERSION, "id": container_id, "boot_id": boot_id(), "pid": 0, "start_time": 0}
        path = os.path.join(root, container_id)
        _make_directory(root, container_id)
        try:
            dirfd = _open_directory(root, container_id)
        except OSError:  # no descriptor is left
            os.rmdir(path)
            raise
        container = cls(root, container_id, dirfd, {**facts, "cgroup_wanted": [], **record})
        try:
            _wait_for_lock(dirfd, container_id)  # until the creating process ends: others wait or say "busy"
            container.locked = True
            os.fchmod(dirfd, 0o711)  # whatever the caller's umask took away
            _write(dirfd, CONFIG, config)  # whole as soon as there is a record; without, nobody reads it
            container.save()
        except (OSError, StateError):
            container.remove()
            raise
        return container

    @classmethod
    def load(cls, root: str, container_id: str) -> Container:
        """The container with this ID.  Raises StateError not-found, container-id or record."""
        check_id(container_id)
        try:
            dirfd = _open_directory(root, container_id)
        except (FileNotFoundError, NotADirectoryError):
            raise StateError(
                "not-found",
                "container does not exist",
                remedy=f"ocirt --root {root} list shows those that do",
            ) from None
        try:
            return cls(root, container_id, dirfd, _read_record(dirfd))
        except StateError:  # `list` and `gc` go on to the next one
            os.close(dirfd)
            raise

    @classmethod
    def salvage(cls, root: str, container_id: str, seconds: float = LOCK_DEADLINE) -> Container | None:
        """What is left under this ID without a record that can be read, locked; None when there is no such thing.

        Its record holds what the damaged one still tells, and else as much as nothing.  Raises StateError("busy"):
        a create that has not come to its record yet.
        """
        try:
            dirfd = _open_directory(root, container_id)
        except (FileNotFoundError, NotADirectoryError):
            return None
        try:
            _wait_for_lock(dirfd, container_id, seconds)
        except StateError:
            os.close(dirfd)
            raise
        record: dict[str, Any] = {name: kind() for name, kind in _RECORD_TYPES.items()} | {"cgroup_wanted": []}
        try:
            _read_record(dirfd)
        except StateError:
            pass
        else:  # a create had not come to its record yet, but now it has
            os.close(dirfd)
            return None
        try:
            found = _read_values(dirfd, RECORD)
        except StateError:
            found = None
        if isinstance(found, dict):
            record |= {name: found[name] for name, kind in _RECORD_TYPES.items() if type(found.get(name)) is kind}
            if _is_cgroup(found.get("cgroup")):
                record["cgroup"] = found["cgroup"]
            if _is_list_of_text(found.get("cgroup_wanted")):
                record["cgroup_wanted"] = found["cgroup_wanted"]
            if _is_resctrl(found.get("resctrl")):
                record["resctrl"] = found["resctrl"]
        return cls(root, container_id, dirfd, record)

    def save(self) -> None:
        self.dump()
        self.save_ahead()
        self._rename()

    def dump(self) -> None:
        """Prepare the text of the record but for pid and start_time, which alone change when init is born: after that
        each page that we write to is copied first."""
        unborn = {name: value for name, value in self.record.items() if name not in BORN}
        self._dumped = jsontext.dump(unborn)[:-1]

    def save_ahead(self) -> None:
        """Write what dump() has seen, and pid and start_time as they are now.

        Until publish() it is no record to others but for what was made, see _read_record().
        """
        born = "".join(f',"{name}":{self.record[name]}' for name in BORN)
        _write(self.dirfd, RECORD + NEW, f"{self._dumped}{born}}}".encode())

    def publish(self) -> None:
        """Let what save_ahead() wrote be the record.

        The old one takes its name: to rename a file over another one makes ext4 and btrfs write it to the disk, for
        which remove() would wait, for milliseconds.
        """
        from ocirt.kernel.files import exchange

        try:
            exchange(self.dirfd, RECORD + NEW, RECORD)
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.ENOSYS):  # not every file system can
                raise
            self._rename()

    def _rename(self) -> None:
        os.rename(RECORD + NEW, RECORD, src_dir_fd=self.dirfd, dst_dir_fd=self.dirfd)

    def remember(self) -> None:
        """As long as the file is the one that it is now, lock() need not read it again."""
        self._seen = self._file()

    def unchanged(self) -> bool:
        """Whether remember() saw what is there still."""
        return self._seen is not None and self._seen == self._file()

    def _file(self) -> tuple[int, int] | None:
        """What tells a record from the one that takes its name."""
        try:
            status = os.stat(RECORD, dir_fd=self.dirfd, follow_symlinks=False)
        except FileNotFoundError:
            return None
        return status.st_ino, status.st_mtime_ns

    def remove(self) -> None:
        """Remove the directory.  Nothing of it is left when this returns; missing files are no error.

        A container that another command has given the same ID since then is not touched.
        """
        for name in (CONFIG, RECORD, RECORD + NEW):  # one by one: to list them takes a descriptor
            _unlink_if_there(self.dirfd, name)
        if self.conversation is None:  # a `run` has none
            _unlink_if_there(self.dirfd, START_SOCKET)
        path = os.path.join(self.root, self.id)
        if not os.is_at(self.dirfd, path):
            return
        try:
            os.rmdir(path)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.ENOENT):
                raise
            if error.errno == errno.ENOTEMPTY:
                _remove_tree(path)

    def close(self) -> None:
        """Let go of the directory, and so of the lock; the container is not used any more."""
        os.close(self.dirfd)

    def unlock(self) -> None:
        """End what make() or lock() began: other commands may work on the container."""
        try:
            fcntl.flock(self.dirfd, fcntl.LOCK_UN)
        except OSError:
            pass  # what was to be done is done, and must not look as if it had failed: the lock ends with the process
        self.locked = False

    def lock(self, seconds: float = LOCK_DEADLINE) -> Lock:
        """The container's lock, for a `with` block.  Raises StateError("busy") after so many seconds."""
        return Lock(self, seconds)

    # -- what it was made from -------------------------------------------------------------------

    def config_text(self) -> bytes:
        return os.read_whole(CONFIG, self.dirfd)

    def config(self) -> Config:
        """The configuration as it was at create; it was checked then."""
        if self.known_config is None:
            from ocirt.config.views import Config

            self.known_config = Config(jsontext.parse(self.config_text(), CONFIG))  # type: ignore[arg-type]
        return self.known_config

    def manager(self) -> Manager | None:
        """The cgroup manager, None when the container has no cgroup of its own."""
        from ocirt.cgroups import manager_from_record

        record = self.record.get("cgroup")
        return manager_from_record(record) if record else None

    # -- status ----------------------------------------------------------------------------------

    @property
    def pid(self) -> int:
        """init's pid, 0 when it was never born.  It may be gone: ask status()."""
        pid: int = self.record["pid"]
        return pid

    def status(self) -> str:
        """creating, created, running, paused or stopped; derived from the kernel's facts."""
        if not self.pid:
            return "creating"
        if not self.alive():
            return "stopped"
        if self.has_start_socket():
            return "created"
        manager = self.manager()
        return "paused" if manager is not None and manager.frozen() else "running"

    def alive(self) -> bool:
        """Whether the recorded init still runs: same boot, same start time, not a zombie."""
        if not self.pid or not self.same_boot():
            return False
        found = process_start(self.pid)
        return found is not None and found == self.record["start_time"]

    def same_boot(self) -> bool:
        """Whether the numbers of processes and mounts in the record still mean something."""
        return bool(self.record["boot_id"] == boot_id())

    def has_start_socket(self) -> bool:
        try:
            os.stat(START_SOCKET, dir_fd=self.dirfd, follow_symlinks=False)
        except FileNotFoundError:
            return False
        return True

    def state(self, status: str | None = None) -> dict[str, Any]:
        """The OCI state (runtime.md, State) with runc's additions rootfs, created and owner, in runc's order."""
        status = status or self.status()
        record = self.record
        state = {
            "ociVersion": record["oci_version"],
            "id": self.id,
            "pid": 0 if status == "stopped" else self.pid,
            "status": status,
            "bundle": record["bundle"],
            "rootfs": record["rootfs"],
            "created": record["created"],
        }
        if record["annotations"]:
            state["annotations"] = record["annotations"]
        state["owner"] = ""
        return state

    # -- init ------------------------------------------------------------------------------------

    def open_pidfd(self) -> int | None:
        """A pidfd of init, None when it is gone.  The start time is compared after opening: no pid reuse."""
        try:
            pidfd = os.pidfd_open(self.pid) if self.pid else -1
        except OSError as error:
            # EINVAL: the number is still that of a session, whose leader init was.
            if error.errno not in (errno.ESRCH, errno.EINVAL):
                raise
            return None
        if pidfd >= 0 and self.alive():
            return pidfd
        if pidfd >= 0:
            os.close(pidfd)
        return None

    def send_signal(self, signal: int) -> bool:
        """Send to init; False when init is gone."""
        pidfd = self.open_pidfd()
        if pidfd is None:
            return False
        try:
            _signal.pidfd_send_signal(pidfd, signal)
        except ProcessLookupError:
            return False
        finally:
            os.close(pidfd)
        return True

    def wait_gone(self, seconds: float) -> bool:
        """Wait until init has ended, at most so many seconds; whether it has."""
        pidfd = self.open_pidfd()
        if pidfd is None:
            return True
        poll = select.poll()
        poll.register(pidfd, select.POLLIN)
        ended = bool(poll.poll(seconds * 1000))
        os.close(pidfd)
        return ended

    def listen(self) -> int:
        """Make start.sock; the listening fd.  Bound through /proc/self/fd: sun_path holds 108 bytes only."""
        sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_SEQPACKET | _socket.SOCK_CLOEXEC)
        sock.bind(f"/proc/self/fd/{self.dirfd}/{START_SOCKET}")
        os.chmod(START_SOCKET, 0o600, dir_fd=self.dirfd)
        sock.listen(1)
        return sock.detach()

    def connect(self) -> Channel:
        """The conversation with the waiting init.  Raises OSError."""
        sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_SEQPACKET | _socket.SOCK_CLOEXEC)
        sock.connect(f"/proc/self/fd/{self.dirfd}/{START_SOCKET}")
        return Channel(sock)

    def remove_start_socket(self) -> None:
        _unlink_if_there(self.dirfd, START_SOCKET)

    def make_notify_directory(self) -> None:
        """For sd_notify(3): what the container's program may walk into, but not write."""
        os.mkdir(NOTIFY, 0o755, dir_fd=self.dirfd)
        os.chmod(NOTIFY, 0o755, dir_fd=self.dirfd)  # whatever the caller's umask took away

    def wants_notify(self) -> bool:
        """Whether create was told to make the container's program notify."""
        try:
            os.stat(NOTIFY, dir_fd=self.dirfd, follow_symlinks=False)
        except FileNotFoundError:
            return False
        return True

    def notify_socket(self) -> str:
        return f"/proc/self/fd/{self.dirfd}/{NOTIFY}/notify.sock"


class Lock:
    """with container.lock(): ...   Waits a bounded time for another command.

    A lock that make() has taken is gone on with.
    """

    def __init__(self, container: Container, seconds: float) -> None:
        self._container = container
        self._seconds = seconds

    def __enter__(self) -> None:
        if self._container.locked:
            return
        _wait_for_lock(self._container.dirfd, self._container.id, self._seconds)
        # The record may have changed, or the container may be gone, while this command waited.
        if not self._container.unchanged():
            self._container.record = _read_record(self._container.dirfd)
        self._container.locked = True

    def __exit__(self, *_: object) -> None:
        self._container.unlock()


def _wait_for_lock(dirfd: int, container_id: str, seconds: float = LOCK_DEADLINE) -> None:
    if lock_within(dirfd, seconds):
        return
    from ocirt.lockholder import describe_holder

    raise StateError(
        "busy",
        f"another command has held the lock of {container_id} for {seconds:.0f} s{describe_holder(dirfd)}",
        remedy="wait for it, or end it; ocirt delete --force ends it and removes the container",
    )


def list_containers(root: str) -> Iterator[Container]:
    """Every container under root in the order of their IDs; what is damaged or vanishes meanwhile is left out.

    Each is open until the next one is asked for: there may be more of them than a process may have descriptors.
    """
    for name in sorted(os.listdir(root)):
        try:
            container = Container.load(root, name)
        except StateError:
            continue
        try:
            yield container
        finally:
            container.close()


_boot_id = ""


def boot_id() -> str:
    """The kernel's random id of this boot (proc_sys_kernel(5), random/boot_id)."""
    global _boot_id
    _boot_id = _boot_id or os.read_record("/proc/sys/kernel/random/boot_id").strip()
    return _boot_id


def _stat_fields(pid: int) -> list[str]:
    """proc_pid_stat(5) from field 3, the state, on; nothing when the process is gone."""
    try:
        stat = os.read_record(f"/proc/{pid}/stat")
    except (FileNotFoundError, ProcessLookupError):
        return []
    return stat[stat.rindex(")") + 2 :].split()  # the command name may hold blanks and brackets


def process_start(pid: int) -> int | None:
    """Start time in clock ticks since boot (proc_pid_stat(5), field 22); None when gone, zombie or dead."""
    fields = _stat_fields(pid)
    return None if not fields or fields[0] in ("Z", "X", "x") else int(fields[19])


def never_executed(pid: int) -> bool:
    """Whether the process is what fork made of it still, dying or dead; False when it is gone.

    proc_pid_stat(5), field 9: execve(2) takes PF_FORKNOEXEC away before it closes what is close-on-exec.
    """
    fields = _stat_fields(pid)
    return bool(fields) and bool(int(fields[6]) & PF_FORKNOEXEC)


def _make_directory(root: str, container_id: str) -> None:
    """The container's, and root where it is missing.  Raises StateError("exists"), OSError."""
    try:
        os.mkdir(os.path.join(root, container_id), 0o711)
    except (FileNotFoundError, NotADirectoryError):
        os.makedirs(root, 0o700)
        _make_directory(root, container_id)
    except FileExistsError:
        raise StateError(
            "exists",
            "container with given ID already exists",
            remedy=f"choose another ID, or remove the old one with: ocirt --root {root} delete {container_id}",
        ) from None


def _open_directory(root: str, container_id: str) -> int:
    return os.open(os.path.join(root, container_id), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW)


def _read_record(dirfd: int) -> dict[str, Any]:
    """The record; of a container that is being created what it will be, without init.  Raises StateError."""
    record = _checked(_read_values(dirfd, RECORD))
    if record["pid"]:
        return record
    try:
        return {**_checked(_read_values(dirfd, RECORD + NEW)), **dict.fromkeys(BORN, 0)}
    except StateError:  # init is not born; or it is ready just now, and the file has the other name
        return record


def _checked(record: object) -> dict[str, Any]:
    """Raises StateError."""
    if not isinstance(record, dict) or record.get("version") != RECORD_VERSION:
        raise _damaged(f"{RECORD} is not a record of version {RECORD_VERSION}")
    for name, kind in _RECORD_TYPES.items():
        if type(record.get(name)) is not kind:
            raise _damaged(f"{RECORD} is damaged: {name} is missing or of another type")
    if record.get("cgroup") and not _is_cgroup(record["cgroup"]):
        raise _damaged(f"{RECORD} is damaged: cgroup")
    if not _is_list_of_text(record.setdefault("cgroup_wanted", [])):
        raise _damaged(f"{RECORD} is damaged: cgroup_wanted")
    if "resctrl" in record and not _is_resctrl(record["resctrl"]):
        raise _damaged(f"{RECORD} is damaged: resctrl")
    record.setdefault("cgroup", None)  # null is dropped by the parser
    return record


def _is_cgroup(value: object) -> bool:
    """Whether cgroups.manager_from_record() understands it."""
    if isinstance(value, dict) and value.get("kind") == "systemd" != value.get("files"):
        return _is_unit(value) and _is_cgroup({**value, "kind": value.get("files")})
    return (
        isinstance(value, dict)
        and value.get("kind") in CGROUP_MANAGERS
        and isinstance(value.get("paths"), dict)
        and (value["kind"] != "v2" or list(value["paths"]) == [""])
        and isinstance(value.get("token", ""), str)
        and _is_list_of_text(value.get("made"))
        and _is_list_of_text([*value["paths"].values()])
    )


def _is_resctrl(value: object) -> bool:
    """Whether ocirt/resctrl.py understands it."""
    return (
        isinstance(value, dict)
        and all(isinstance(value.get(name), str) for name in ("root", "group", "monitor"))
        and all(_is_list_of_text(value.get(name)) for name in ("made", "wanted"))
    )


def _is_list_of_text(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(text, str) for text in value)


def _is_unit(value: dict[str, Any]) -> bool:
    named = isinstance(value.get("slice"), str) and isinstance(value.get("unit"), str)
    return named and isinstance(value.get("user"), bool)


def _damaged(what: str) -> StateError:
    return StateError("record", what, remedy="ocirt delete --force removes what can still be found of the container")


def _read_values(dirfd: int, name: str) -> object:
    """state.json, or what is to be it, as it is.  Raises StateError."""
    try:
        text = os.read_whole(name, dirfd)
    except FileNotFoundError:
        raise StateError(
            "not-found",
            "container does not exist",
            remedy="ocirt delete --force removes what an interrupted create left",
        ) from None
    try:
        return jsontext.parse(text, name)
    except ConfigError as error:
        raise _damaged(f"{name} is damaged: {error.what}") from None


def _write(dirfd: int, name: str, data: bytes) -> None:
    fd = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600, dir_fd=dirfd)
    try:
        os.write_all(fd, data)
    finally:
        os.close(fd)


def _unlink_if_there(dirfd: int, name: str) -> None:
    try:
        os.unlink(name, dir_fd=dirfd)
    except FileNotFoundError:
        pass


def _remove_tree(path: str) -> None:
    """The directory and what others put into it; symbolic links are removed, not followed."""
    for name in os.listdir(path):
        full = os.path.join(path, name)
        if os.path.isdir(full) and not os.path.islink(full):
            _remove_tree(full)
        else:
            os.unlink(full)
    os.rmdir(path)
