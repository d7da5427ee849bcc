"""ocirt update: change the limits of a container that exists; what is not given stays as it is."""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # the public module imports enum: 4 ms

from ocirt import log
from ocirt import system as os
from ocirt.cgroups import require
from ocirt.cgroups.layout import parse_resctrl_mount
from ocirt.config import checks, schema
from ocirt.config.bundle import read_file, read_resources
from ocirt.config.views import Resources
from ocirt.container import Container
from ocirt.errors import OcirtError, StateError, UsageError
from ocirt.options import VALUE, Option
from ocirt.pipeline import ENDING_SIGNALS
from ocirt.units import parse_size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from ocirt.cgroups import Manager, Write
    from ocirt.options import Globals, Parsed
    from ocirt.resctrl import Group

SUMMARY = "change the resource limits of a container"
ARGUMENTS = "<container-id>"
MIN_ARGS = MAX_ARGS = 1

# option -> where its value stands in linux.resources, how it is read, help
SETTINGS = {
    "blkio-weight": ("blockIO", "weight", "number", "block IO weight, 10 to 1000"),
    "cpu-period": ("cpu", "period", "number", "CFS period in microseconds"),
    "cpu-quota": ("cpu", "quota", "number", "CFS run time per period in microseconds, -1: unlimited"),
    "cpu-burst": ("cpu", "burst", "number", "CFS run time that may be saved up, in microseconds"),
    "cpu-share": ("cpu", "shares", "number", "CPU weight among other containers, 2 to 262144"),
    "cpu-rt-period": ("cpu", "realtimePeriod", "number", "realtime period in microseconds"),
    "cpu-rt-runtime": ("cpu", "realtimeRuntime", "number", "realtime run time per period in microseconds"),
    "cpuset-cpus": ("cpu", "cpus", "text", "processors to run on, as 0-2,4"),
    "cpuset-mems": ("cpu", "mems", "text", "memory nodes to use"),
    "cpu-idle": ("cpu", "idle", "number", "1: run only when nothing else wants to"),
    "memory": ("memory", "limit", "size", "memory limit: bytes, or 512m, 1g; -1: unlimited"),
    "memory-reservation": ("memory", "reservation", "size", "soft memory limit"),
    "memory-swap": ("memory", "swap", "size", "limit of memory and swap together; -1: unlimited"),
    "pids-limit": ("pids", "limit", "number", "how many processes at most; -1: unlimited"),
}

# option -> resource of resctrl, what runc says where the kernel does not control it
LINES = ("blkio.", "io.", "net_prio.", "rdma.")  # files with a line for each device

RDT = {
    "l3-cache-schema": ("L3", "Intel RDT/CAT: l3 cache schema is not enabled"),
    "mem-bw-schema": ("MB", "Intel RDT/MBA: memory bandwidth schema is not enabled"),
}

OPTIONS = (
    Option("resources", "r", VALUE, "linux.resources as JSON, - for standard input; other options are ignored", "FILE"),
    *(Option(name, "", VALUE, help) for name, (_, _, _, help) in SETTINGS.items()),
    *(Option(name, "", VALUE, "line for schemata in the container's resctrl group") for name in RDT),
    *(Option(name, "", VALUE, "obsolete", hidden=True) for name in ("kernel-memory", "kernel-memory-tcp")),
)


def main(g: Globals, options: Parsed) -> int:
    container = Container.load(g.root, options.args[0])
    resources = _from_file(options.resources) if options.resources else _from_options(options)
    schemata = {} if options.resources else _schemata(options)
    with container.lock():
        if not container.alive():
            raise StateError("status", "container not running")
        if schemata:
            # a container without a cgroup may have a group there
            rest = (lambda: _change(container, resources)) if resources.raw else (lambda: None)
            _change_schemata(_resctrl_group(container, schemata), schemata, rest)
        else:
            _change(container, resources)
    return 0


def _change(container: Container, resources: Resources) -> None:
    """The limits of the cgroup."""
    manager = require(container.manager())
    apply_or_take_back(manager, manager.limits(resources, devices=False))


def _change_schemata(group: Group, schemata: dict[str, str], rest: Callable[[], None]) -> None:
    """Write the lines, then do the rest of the update; the lines are taken back when that fails.  Raises OcirtError."""
    before = group.schemata()
    group.write(tuple(schemata.values()))
    try:
        rest()
    except OcirtError:
        try:
            group.write(tuple(before.split("\n")))
        except OcirtError as error:
            log.warning(f"the old schemata could not be restored: {error.what}")
        raise


def apply_or_take_back(manager: Manager, writes: tuple[Write, ...]) -> None:
    """Apply all writes or none, whoever wants to end the command meanwhile.  Raises OcirtError."""
    before = manager.read(writes)
    mask = _signal.pthread_sigmask(_signal.SIG_BLOCK, ENDING_SIGNALS)
    try:
        manager.change(writes)
    except OcirtError:
        try:
            manager.change(without_lines(before, manager.read(writes)))
        except OcirtError as error:
            log.warning(f"the old limits could not be restored: {error.what}")
        raise
    finally:
        _signal.pthread_sigmask(_signal.SIG_SETMASK, mask)


def without_lines(before: tuple[Write, ...], now: tuple[Write, ...]) -> list[Write]:
    """What there is to take back: a line that is as before may be that of a device that is not there.  All else is
    said again: systemd answers before it writes."""
    present = {(write.file, write.text) for write in now}
    return [write for write in before if not write.file.startswith(LINES) or (write.file, write.text) not in present]


def _from_file(path: str) -> Resources:
    resources = read_resources(read_file(path, "resources"), "resources")
    memory = resources.memory
    if memory is not None and (memory.kernel is not None or memory.kernel_tcp is not None):
        _warn_of_kernel_memory()
    return resources


def _from_options(options: Parsed) -> Resources:
    given: dict[str, Any] = {}
    for name, (section, member, kind, _) in SETTINGS.items():
        text = getattr(options, name.replace("-", "_"))
        if text:
            given.setdefault(section, {})[member] = _read(name, kind, text)
    if options.kernel_memory or options.kernel_memory_tcp:
        _warn_of_kernel_memory()
    schema.validate(given, "resources")
    resources = Resources(given)
    checks.check_resources(resources)
    return resources


def _schemata(options: Parsed) -> dict[str, str]:
    """Option -> line, in the order in which they are written.  Raises UsageError."""
    given = {name: text for name in RDT if (text := getattr(options, name.replace("-", "_")))}
    for name, text in given.items():
        if "\n" in text or (name == "mem-bw-schema" and not text.startswith("MB:")):
            raise UsageError(f"invalid value for {name}: {log.quote(text)} is not one line of its resource")
    return given


def _resctrl_group(container: Container, schemata: dict[str, str]) -> Group:
    """Raises OcirtError("unsupported"), in runc's words."""
    from ocirt.resctrl import has, recorded_group

    record = container.record.get("resctrl")
    root = record["root"] if record else _resctrl_mount()
    for name in schemata:
        resource, what = RDT[name]
        if not root or not has(root, resource):
            raise OcirtError("unsupported", what)
    if not record:
        raise OcirtError("unsupported", "updating a non-existent Intel RDT configuration is not supported")
    return recorded_group(record)


def _resctrl_mount() -> str:
    return parse_resctrl_mount(os.read_text("/proc/self/mountinfo"))


def _read(option: str, kind: str, text: str) -> int | str:
    if kind == "text":
        return text
    if kind == "size" and text != "-1":
        return parse_size(text)
    digits = text.removeprefix("-")
    if not (digits.isascii() and digits.isdigit() and len(digits) <= 20):
        raise UsageError(f'invalid value for {option}: parsing "{text}": invalid syntax')
    return int(text)


def _warn_of_kernel_memory() -> None:
    log.warning("Kernel memory settings are ignored and will be removed")
