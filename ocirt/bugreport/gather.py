"""Reads what goes into a report.  Nothing is changed or waited for; the report says what could not be read."""

from __future__ import annotations

import errno
import sys

from ocirt import __version__
from ocirt import system as os
from ocirt.config import jsontext
from ocirt.config.bundle import read_config
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
# Where engines let the runtime write: containerd into the bundle, podman beside the files that it binds.
LOGS = ("log.json", "oci-log")


class Missing(Exception):
    """A part that there is not; says why."""


class Report:
    """parts: name in the archive -> text.  problems: name -> why there is nothing."""

    def __init__(self, redactor: Redactor) -> None:
        self.redactor = redactor
        self.parts: dict[str, str] = {}
        self.problems: dict[str, str] = {}

    def add(self, name: str, read: Callable[[], str]) -> None:
        try:
            self.parts[name] = read()
        except (OSError, OcirtError, Missing) as error:
            self.problems[name] = error.strerror or str(error) if isinstance(error, OSError) else str(error)

    def json(self, name: str, read: Callable[[], object]) -> None:
        self.add(name, lambda: jsontext.dump(self.redactor.value(read()), 2) + "\n")

    def text(self, name: str, read: Callable[[], str]) -> None:
        self.add(name, lambda: self.redactor.text(read()))


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
        return os.read_whole(os.path.join(self.directory or self.bundle, CONFIG))


def gather(report: Report, subject: Subject, options: Options, root: str, added: list[str]) -> None:
    """All parts.  root: where containers are recorded.  added: more files.

    The configuration comes first: what is secret there is looked for in all that follows."""
    report.json("config.json", lambda: jsontext.parse(subject.config_text(), CONFIG))
    report.json("versions.json", versions)
    report.text("plan.txt", lambda: plan(subject, options))
    if subject.directory:
        report.json(
            "container/record.json", lambda: jsontext.parse(os.read_whole(f"{subject.directory}/{RECORD}"), RECORD)
        )
    if subject.container is not None:
        _container(report, subject.container)
    for name in LOGS:
        report.text(f"container/{name}", lambda name=name: log_of(subject, name))  # type: ignore[misc]
    report.json("host/findings.json", lambda: findings(root))
    report.json("host/probe.json", probe)
    for path in MACHINE:
        report.text(f"host{path}", lambda path=path: end_of(path))  # type: ignore[misc]
    wanted = (
        *KERNEL_WORDS,
        subject.id.lower(),
        str(subject.container.pid) if subject.container else subject.id.lower(),
    )
    report.text("host/kernel.log", lambda: kernel_log(wanted))
    for number, path in enumerate(added):
        name = f"added/{number}-{os.path.basename(path)}"
        report.text(name, lambda path=path: end_of(path, LARGEST_ADDED))  # type: ignore[misc]


def _container(report: Report, container: Container) -> None:
    report.json("container/state.json", container.state)
    report.json("container/findings.json", lambda: patient(container))
    report.json("container/usage.json", lambda: used(container))
    if container.alive():
        for name in OF_INIT:
            report.text(f"container/init/{name}", lambda name=name: end_of(f"/proc/{container.pid}/{name}"))  # type: ignore[misc]


def log_of(subject: Subject, name: str) -> str:
    """The first log of that name.  Raises Missing."""
    for directory in log_directories(subject):
        try:
            return end_of(f"{directory}/{name}")
        except FileNotFoundError:
            continue
    raise Missing("the engine has written none, or elsewhere")


def log_directories(subject: Subject) -> list[str]:
    """The bundle, and where mounts come from that have the container's id in their path."""
    try:
        config = jsontext.parse(subject.config_text(), CONFIG)
    except (OSError, OcirtError):
        config = None
    mounts = config.get("mounts") if isinstance(config, dict) else None
    sources = [mount.get("source") for mount in (mounts if isinstance(mounts, list) else ()) if isinstance(mount, dict)]
    found = [os.path.split(one)[0] for one in sources if isinstance(one, str) and f"/{subject.id}/" in one]
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


def end_of(path: str, most: int = LARGEST) -> str:
    """The end of a file, at a line's beginning when it is cut."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)  # no FIFO may keep us waiting
    try:
        data, length = b"", 0
        while block := os.read(fd, 65536):
            length += len(block)
            data = (data + block)[-most:]
    finally:
        os.close(fd)
    if length > most:
        data = b"[...]\n" + data.partition(b"\n")[2]
    return data.decode("utf-8", "replace")


def kernel_log(words: tuple[str, ...]) -> str:
    """The last lines of /dev/kmsg (its own format) with one of these words, in lower case."""
    fd = os.open("/dev/kmsg", os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    lines: list[str] = []
    try:
        for record in _records(fd):
            line = record.decode("utf-8", "replace").partition("\n")[0]
            if any(word in line.lower() for word in words if word):
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
