"""Writing limits: order within a group, missing files, values that the kernel clamps."""

from __future__ import annotations

import errno

from ocirt import system as os
from ocirt.cgroups import Write
from ocirt.cgroups.files import read_file
from ocirt.errors import OcirtError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

CPUSETS = ("cpuset.cpus", "cpuset.mems")
IDLE, WEIGHTS = "cpu.idle", ("cpu.shares", "cpu.weight")


def write_all(paths: dict[str, str], writes: Iterable[Write]) -> None:
    """Apply the writes in their order.  paths: controller -> directory.

    Consecutive writes of a group are tried in turn; those refused are tried again as long as another one
    of the group succeeded since.  Raises OcirtError("cgroup") naming the file and the pointer.
    """
    opened: dict[str, int] = {}  # path -> fd: on v1 a dozen device rules go into one file, a write(2) each
    waiting: list[Write] = []
    try:
        for write in writes:
            if waiting and waiting[0].group != write.group:
                _write_group(paths, opened, waiting)
                waiting = []
            waiting.append(write)
            if not write.group:
                _write(paths, opened, write)
                waiting = []
        _write_group(paths, opened, waiting)
    finally:
        for fd in opened.values():
            os.close(fd)


def _write_group(paths: dict[str, str], opened: dict[str, int], group: list[Write]) -> None:
    while group:
        refused: list[tuple[Write, OcirtError]] = []
        for write in group:
            try:
                _write(paths, opened, write)
            except OcirtError as error:
                if error.errno not in (errno.EINVAL, errno.EBUSY):
                    raise
                refused.append((write, error))
        if len(refused) == len(group):
            raise refused[0][1]
        group = [write for write, _ in refused]


def read_all(paths: dict[str, str], writes: Iterable[Write]) -> tuple[Write, ...]:
    """What restores the present values of the files that the writes change.  Raises as write_all."""
    before = []
    for write in writes:
        if write.must_exceed:
            continue
        directory = _directory(paths, write)
        for file in filter(None, (write.file, write.instead)):
            try:
                text = read_file(directory, file)
            except FileNotFoundError:
                continue
            if not text and file in CPUSETS:  # none was chosen; the kernel takes no choice back while processes run
                text = _text_if_there(directory, f"{file}.effective")
            present = _present_value(write, text)  # of an empty file too: no device has a line
            before.append(Write(file, present, write.at, write.controller, group=write.group))
            break
    return tuple(_with_weight(paths, before))


def _with_weight(paths: dict[str, str], before: list[Write]) -> Iterator[Write]:
    """Idle takes the weight away, and what is idle takes none (EINVAL): the weight goes with the end of idleness."""
    touched = next((write for write in before if write.file in (IDLE, *WEIGHTS)), None)
    if touched is None:
        yield from before
        return
    directory = _directory(paths, touched)
    present = {file: text for file in (IDLE, *WEIGHTS) if (text := _text_if_there(directory, file))}
    for write in before:
        if write is touched:
            if IDLE in present:
                yield Write(IDLE, present[IDLE], write.at, write.controller, group=write.group)
            if present.get(IDLE, "0") == "0":
                for file in present.keys() & set(WEIGHTS):
                    yield Write(file, present[file], write.at, write.controller, group=write.group)
        elif write.file not in (IDLE, *WEIGHTS):
            yield write


def _text_if_there(directory: str, file: str) -> str:
    try:
        return read_file(directory, file)
    except FileNotFoundError:
        return ""


def _present_value(write: Write, text: str) -> str:
    """The part of a file's text that the same kind of write would set."""
    if write.file == "memory.oom_control":  # "oom_kill_disable 0", and lines that are no settings
        return text.split()[1]
    key, blank, _ = write.text.partition(" ")
    if not blank or write.whole:
        return text
    for line in text.splitlines():  # one line a device
        if line.startswith(f"{key} "):
            return line
    return f"{key} {write.absent}"


def _write(paths: dict[str, str], opened: dict[str, int], write: Write) -> None:
    directory = _directory(paths, write)
    if write.must_exceed:
        _check_usage(directory, write)
        return
    file, text = write.file, write.text
    try:
        try:
            fd = _open(f"{directory}/{file}", opened)
        except FileNotFoundError:
            if not write.instead:
                raise
            file, text = write.instead, write.instead_text
            fd = _open(f"{directory}/{file}", opened)
        os.write(fd, text.encode())
    except OSError as error:
        if error.errno == errno.ENOENT and write.optional:
            return
        raise _refused(write, directory, file, error) from error
    if write.clamped:
        _check_clamped(directory, write)


def _open(path: str, opened: dict[str, int]) -> int:
    if path not in opened:
        opened[path] = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    return opened[path]


def _directory(paths: dict[str, str], write: Write) -> str:
    if write.controller not in paths:
        raise not_mounted(write)
    return paths[write.controller]


def not_mounted(write: Write) -> OcirtError:
    """The error for a limit whose controller the host does not have."""
    return without_cgroup(write, f"the host has no {write.controller} hierarchy: mount it or remove the setting")


def without_cgroup(write: Write, remedy: str) -> OcirtError:
    """The error for a limit in a hierarchy in which the container has no cgroup."""
    return OcirtError(
        "cgroup",
        f"cannot set {write.controller} limit: container could not join or create cgroup",
        at=write.at,
        detail=f"controller {write.controller}",
        remedy=remedy,
    )


def _refused(write: Write, directory: str, file: str, error: OSError) -> OcirtError:
    what = f"write {write.text!r} to {file}"
    remedy = ""
    if error.errno == errno.ENOENT:
        names = f"{write.file} and {write.instead}" if write.instead else write.file
        remedy = f"this kernel offers no {names}: remove the setting"
    elif error.errno == errno.EBUSY and write.file.startswith("memory."):
        what = f"unable to set memory limit to {write.text} ({_memory_usage(directory)})"
        remedy = "raise the limit above what the container uses"
    return OcirtError(
        "cgroup", what, at=write.at, call="write", errno=error.errno or 0, detail=f"{directory}/{file}", remedy=remedy
    )


def _memory_usage(directory: str) -> str:
    try:
        usage = read_file(directory, "memory.usage_in_bytes")
        peak = read_file(directory, "memory.max_usage_in_bytes")
    except OSError:
        return "current usage not known"
    return f"current usage: {usage}, peak usage: {peak}"


def _check_usage(directory: str, write: Write) -> None:
    usage = sum(int(read_file(directory, file)) for file in write.file.split() if os.path.exists(f"{directory}/{file}"))
    if int(write.text) <= usage:
        raise OcirtError(
            "cgroup",
            f"rejecting {write.must_exceed} {write.text} <= usage {usage}",
            at=write.at,
            remedy="raise the limit above what the container uses",
        )


def _check_clamped(directory: str, write: Write) -> None:
    """Refuse a value that the kernel silently replaced by its minimum or maximum."""
    wanted, actual = int(write.text), int(read_file(directory, write.file))
    if wanted != actual:
        bound = "maximum" if wanted > actual else "minimum"
        raise OcirtError(
            "cgroup",
            f"the {bound} allowed {write.clamped} is {actual}",
            at=write.at,
            detail=f"{directory}/{write.file}",
        )
