"""Reads what goes into a report.  Nothing is changed or waited for; the report says what could not be read."""

from __future__ import annotations

import _stat as stat  # the public module is Python: 0.1 ms
import errno
import re
import sys

from ocirt import __version__
from ocirt import system as os
from ocirt.config import jsontext
from ocirt.config.bundle import MAX_SIZE, read_config
from ocirt.container import CONFIG, RECORD, Container
from ocirt.errors import OcirtError, StateError
from ocirt.host import probe_host
from ocirt.plan import Options, make_plan

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from ocirt.bugreport.redact import Redactor

LARGEST = 1 << 20  # bytes of a text; of a longer one its end
LARGEST_ADDED = 16 << 20  # of a file that --add names
KERNEL_LINES = 200
# Lines of the kernel that tell why a container does not start, or was ended.
KERNEL_WORDS = (
    *("oom", "out of memory", "memory cgroup", "cgroup:", "apparmor", "selinux", "avc:", "audit", "seccomp"),
    *("segfault", "overlayfs", "blocked for more than", "bpf", "userns"),
)
MACHINE = (
    *("/etc/os-release", "/proc/version", "/proc/self/mountinfo", "/proc/self/cgroup", "/proc/self/status"),
    *("/proc/filesystems", "/proc/cgroups", "/proc/pressure/cpu", "/proc/pressure/memory", "/proc/pressure/io"),
    *("/proc/meminfo", "/proc/loadavg", "/sys/kernel/security/lsm", "/sys/fs/cgroup/cgroup.controllers"),
    *("/proc/sys/kernel/seccomp/actions_avail", "/proc/sys/user/max_user_namespaces", "/proc/key-users"),
)
OF_INIT = ("status", "cgroup", "mountinfo", "limits", "uid_map", "gid_map", "oom_score_adj", "wchan", "stack")
# Where engines let the runtime write: containerd into the bundle, podman beside these files that it binds.
LOGS = ("log.json", "oci-log")
PODMANS = ("hostname", "hosts", "resolv.conf", ".containerenv")
# No FIFO may keep us waiting, no terminal become ours.
READING = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY


class Missing(Exception):
    """A part that there is not; says why."""


class Report:
    """parts: name in the archive -> text.  problems: name -> why there is nothing."""

    def __init__(self, redactor: Redactor) -> None:
        self.redactor = redactor
        self.parts: dict[str, str] = {}
        self.problems: dict[str, str] = {}
        self._read: dict[str, tuple[Any, Callable[[Any], str]]] = {}  # name -> what was read, and what hides in it

    def json(self, name: str, read: Callable[[], object]) -> None:
        self._add(name, read, lambda value: jsontext.dump(self.redactor.value(value), 2) + "\n")

    def text(self, name: str, read: Callable[[], str]) -> None:
        self._add(name, read, self.redactor.text)

    def hide_again(self) -> None:
        """A part may hold what only a later one told to be a secret."""
        self.redactor.count = 0
        self.parts.clear()
        for name, why in self.problems.items():
            self.problems[name] = self.redactor.text(why)
        for name, (value, hide) in self._read.items():
            self._add(name, lambda value=value: value, hide)  # type: ignore[misc]

    def _add(self, name: str, read: Callable[[], Any], hide: Callable[[Any], str]) -> None:
        """Whatever is wrong with one part, there are the others."""
        try:
            value = read()
            self.parts[name] = hide(value)
            self._read[name] = value, hide
        except Exception as error:
            if isinstance(error, OSError):
                why = error.strerror or str(error)
            elif isinstance(error, (OcirtError, Missing)):
                why = str(error)
            else:
                why = f"{type(error).__name__}: {error}"
            self.problems[name] = self.redactor.text(why)


class Subject:
    """What the report is about.  container: None for a bundle alone, or where the record cannot be read.

    directory: of the container, "" for a bundle alone.  bundle: "" where the record does not say.
    """

    def __init__(self, root: str, container_id: str, bundle: str) -> None:
        self.id = container_id
        self.container: Container | None = None
        self.directory = ""
        self.bundle = bundle
        if bundle:
            return
        self.directory = os.path.join(root, container_id)
        try:
            self.container = Container.load(root, container_id)
        except StateError as error:
            if error.code != "record":
                raise
        else:
            self.bundle = self.container.record["bundle"]

    def config_text(self) -> bytes:
        return whole(os.path.join(self.directory or self.bundle, CONFIG))


def gather(report: Report, subject: Subject, options: Options, root: str, added: list[str]) -> None:
    """All parts.  root: where containers are recorded.  added: more files."""
    report.json("config.json", lambda: jsontext.parse(subject.config_text(), CONFIG))
    report.json("versions.json", versions)
    report.text("plan.txt", lambda: plan(subject, options))
    if subject.directory:
        report.json("container/record.json", lambda: jsontext.parse(whole(f"{subject.directory}/{RECORD}"), RECORD))
    if subject.container is not None:
        _container(report, subject.container)
    for name in LOGS:
        report.text(f"container/{name}", lambda name=name: log_of(subject, name))  # type: ignore[misc]
    report.json("host/findings.json", lambda: findings(root))
    report.json("host/probe.json", probe)
    for path in MACHINE:
        report.text(f"host{path}", lambda path=path: end_of(path))  # type: ignore[misc]
    pid = subject.container.pid if subject.container else 0
    report.text("host/kernel.log", lambda: kernel_log(KERNEL_WORDS, (subject.id, *([str(pid)] if pid else []))))
    for number, path in enumerate(added):
        name = f"added/{number}-{os.path.basename(path)}"
        report.text(name, lambda path=path: end_of(path, LARGEST_ADDED))  # type: ignore[misc]
    report.hide_again()


def _container(report: Report, container: Container) -> None:
    report.json("container/state.json", container.state)
    report.json("container/findings.json", lambda: patient(container))
    report.json("container/usage.json", lambda: used(container))
    if container.alive():
        for name in OF_INIT:
            report.text(f"container/init/{name}", lambda name=name: end_of(f"/proc/{container.pid}/{name}"))  # type: ignore[misc]


def log_of(subject: Subject, name: str) -> str:
    """The first log of that name that is a regular file: a link may lead to what nobody may see.  Raises Missing."""
    for directory in log_directories(subject):
        try:
            fd = os.open(f"{directory}/{name}", READING | os.O_NOFOLLOW)
        except FileNotFoundError:
            continue
        try:
            _only_regular(fd, name)
            return _end_of(fd, LARGEST)
        finally:
            os.close(fd)
    raise Missing("the engine has written none, or elsewhere")


def log_directories(subject: Subject) -> list[str]:
    """The bundle, and the directory of podman's own files: DRIVER-containers/ID/userdata of its storage.

    No other source of a mount: containers may write there, and put a log in as well."""
    try:
        config = jsontext.parse(subject.config_text(), CONFIG)
    except (OSError, OcirtError):
        config = None
    mounts = config.get("mounts") if isinstance(config, dict) else None
    sources = [mount.get("source") for mount in (mounts if isinstance(mounts, list) else ()) if isinstance(mount, dict)]
    podmans = re.compile(rf"(/.*/[a-z0-9]+-containers/{re.escape(subject.id)}/userdata)/([^/]*)", re.DOTALL)
    matches = [podmans.fullmatch(source) for source in sources if isinstance(source, str)]
    found = [match[1] for match in matches if match is not None and match[2] in PODMANS]
    return list(dict.fromkeys(directory for directory in (subject.bundle, *found) if directory))


def versions() -> dict[str, Any]:
    system = os.uname()
    return {
        "ocirt": __version__,
        "python": sys.version,
        "executable": sys.executable or os.readlink("/proc/self/exe"),
        "kernel": system.release,
        "machine": system.machine,
        "user": os.geteuid(),
    }


def plan(subject: Subject, options: Options) -> str:
    """As `ocirt plan` prints it, made anew: of this version, on the host as it is now."""
    here = os.getcwd()
    os.chdir(subject.bundle or "/")  # as create, to which relative paths of config.json refer
    try:
        return make_plan(read_config(subject.config_text()), probe_host(), options).describe()
    finally:
        os.chdir(here)


def patient(container: Container) -> dict[str, Any]:
    from ocirt.doctor import container as doctor

    processes = doctor.processes(container, os.uname().machine)
    return {
        "processes": [{**process.document(), "command": process.command.split(" ")} for process in processes],
        "findings": [_finding(one) for one in doctor.findings(container, "ocirt", processes)],
    }


def findings(root: str) -> list[dict[str, Any]]:
    from ocirt.doctor import host as doctor

    return [_finding(one) for one in doctor.findings(probe_host(), root)]


def _finding(one: Any) -> dict[str, Any]:
    return {"subject": one.subject, "fine": one.fine, "what": one.what, "mend": one.mend}


def used(container: Container) -> dict[str, Any]:
    from ocirt.stats import look

    sample = look(container)
    if sample is None:
        raise Missing(f"the container is {container.status()}")
    return sample.document()


def probe() -> dict[str, Any]:
    """What `features --probe` tries in children of its own, which nothing is left of."""
    from ocirt.probe import report

    return report.document(*report.try_all())


def whole(path: str) -> bytes:
    """A regular file.  Raises OSError: EINVAL for another, EFBIG for more than MAX_SIZE bytes."""
    fd = os.open(path, READING)
    try:
        _only_regular(fd, path)
        data = _read(fd, MAX_SIZE + 1)
    finally:
        os.close(fd)
    if len(data) > MAX_SIZE:
        raise OSError(errno.EFBIG, os.strerror(errno.EFBIG), path)
    return data


def end_of(path: str, most: int = LARGEST) -> str:
    """The end of a file, at a line's beginning when it is cut.

    Of what has no size, such as a device and files of procfs, it is the beginning: the end may never come."""
    fd = os.open(path, READING)
    try:
        return _end_of(fd, most)
    finally:
        os.close(fd)


def _end_of(fd: int, most: int) -> str:
    status = os.fstat(fd)
    start = status.st_size - most if stat.S_ISREG(status.st_mode) else 0
    if start > 0:
        os.lseek(fd, start, 0)  # SEEK_SET
        data = b"[...]\n" + _read(fd, most).partition(b"\n")[2]
    else:
        data = _read(fd, most + 1)
        if len(data) > most:
            data = data[:most].rpartition(b"\n")[0] + b"\n[...]\n"
    return data.decode("utf-8", "replace")


def _only_regular(fd: int, path: str) -> None:
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        raise OSError(errno.EINVAL, "not a regular file", path)


def _read(fd: int, most: int) -> bytes:
    blocks = []
    while most and (block := os.read(fd, min(most, 65536))):
        blocks.append(block)
        most -= len(block)
    return b"".join(blocks)


def kernel_log(words: tuple[str, ...], names: tuple[str, ...]) -> str:
    """The last lines of /dev/kmsg (its own format: numbers;message) with one of these.

    words: in lower case, found within others too.  names: found as whole words."""
    whole_names = [rf"(?<!\w){re.escape(name)}(?!\w)" for name in names]
    wanted = re.compile("|".join([*map(re.escape, words), *whole_names]), re.IGNORECASE)
    fd = os.open("/dev/kmsg", os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    lines: list[str] = []
    try:
        for record in _records(fd):
            line = record.decode("utf-8", "replace").partition("\n")[0]
            if wanted.search(line.partition(";")[2]):
                lines = [*lines[1 - KERNEL_LINES :], line]
    finally:
        os.close(fd)
    return "".join(f"{line}\n" for line in lines)


def _records(fd: int) -> Iterator[bytes]:
    """Up to now.  EPIPE: the oldest was overwritten while we read, and reading goes on with the next."""
    while True:
        try:
            yield os.read(fd, 8192)
        except BlockingIOError:
            return
        except OSError as error:
            if error.errno != errno.EPIPE:
                raise
