"""linux.resources as writes to cgroup v2 files: pure, one section per controller.  The values are checked already.

Sources: config-linux.md (Control groups), cgroup-v2.rst.  0 and -1 mean what they mean on v1, see limits.py.
"""

from __future__ import annotations

from ocirt.cgroups import DEVICES, Write
from ocirt.cgroups.limits import NOT_SET_SWAPPINESS, device_rules, pids, rdma
from ocirt.errors import OcirtError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ocirt.config.views import BlockIo, Cpu, HugepageLimit, Memory, Network, Resources

    # What a file says now, "" when there is no such file.
    Present = Callable[[str], str]

DEFAULT_PERIOD = 100000  # microseconds, as in a new cgroup's cpu.max
MIN_SHARES, MAX_SHARES, MAX_WEIGHT = 2, 262144, 10000
# What a line says of a device that it does not name.
UNLIMITED_IO = "rbps=max wbps=max riops=max wiops=max"
ABSENT = {"io.max": UNLIMITED_IO, "rdma.max": "hca_handle=max hca_object=max"}


def limits(resources: Resources | None, present: Present, *, devices: bool = True) -> tuple[Write, ...]:
    """Every write that resources asks for, in order.

    present: for settings that depend on others, given by an earlier command.  devices: as for limits.limits().
    Raises OcirtError("unsupported") for what cgroup v2 does not have, OcirtError("cgroup") for a contradiction.
    """
    return tuple(_limits(resources, present, devices))


def _limits(resources: Resources | None, present: Present, devices: bool) -> Iterator[Write]:
    if resources is None:
        if devices:
            yield device_write(device_rules((), ""), "")
        return
    if devices:
        at = f"{resources.at}/devices"
        yield device_write(device_rules(resources.devices, at), at)
    if resources.memory is not None:
        yield from memory(resources.memory, present)
    if resources.cpu is not None:
        yield from cpu(resources.cpu, present)
    if resources.pids is not None:
        yield from pids(resources.pids)
    if resources.block_io is not None:
        yield from block_io(resources.block_io)
    for page in resources.hugepage_limits:
        yield from hugepages(page)
    if resources.network is not None:
        _refuse_network(resources.network)
    for name, device in resources.rdma.items():
        yield rdma(name, device)
    yield from unified(resources.unified, f"{resources.at}/unified")


def device_write(rules: Iterator[Write], at: str) -> Write:
    """The rules of v1 as one text, "deny a; allow c 1:3 rwm": the input of devices_bpf.program()."""
    text = "; ".join(f"{rule.file.removeprefix('devices.')} {rule.text}" for rule in rules)
    return Write(DEVICES, text, at, DEVICES)


def memory(memory: Memory, present: Present) -> Iterator[Write]:
    """Swap first: when the limit arrives, the kernel may have to make room."""
    if memory.swappiness is not None and memory.swappiness != NOT_SET_SWAPPINESS:
        raise _not_on_v2("cannot set memory swappiness with cgroup v2", f"{memory.at}/swappiness")
    if memory.disable_oom_killer:
        raise _not_on_v2("cannot disable the OOM killer with cgroup v2", f"{memory.at}/disableOOMKiller")
    limit = memory.limit or 0
    swap = _swap(memory, limit, memory.swap or 0, present)
    if memory.check_before_update:
        yield from _checks(memory, limit)
    if swap:
        at = f"{memory.at}/swap" if memory.swap else f"{memory.at}/limit"
        # Without swap the file may be missing, and neither is anything else then.
        yield Write("memory.swap.max", swap, at, "memory", optional=swap in ("0", "max"))
    if limit:
        yield Write("memory.max", _amount(limit), f"{memory.at}/limit", "memory")
    if memory.reservation:
        yield Write("memory.low", _amount(memory.reservation), f"{memory.at}/reservation", "memory")


def _swap(memory: Memory, limit: int, swap: int, present: Present) -> str:
    """memory.swap counts memory and swap together, memory.swap.max swap alone.  "" when nothing is to be written.

    An update of swap alone takes the limit from its file; an update of the limit alone leaves swap alone.
    """
    if swap == -1 or (limit == -1 and not swap):
        return "max"
    if not swap:
        return ""
    limit = limit or _number(present("memory.max"))
    if limit < 0:
        return str(swap)
    if swap < limit:
        raise OcirtError("cgroup", "memory+swap limit should be >= memory limit", at=f"{memory.at}/swap")
    return str(swap - limit)


def _checks(memory: Memory, limit: int) -> Iterator[Write]:
    """The kernel takes any limit and kills what is above it."""
    if limit > 0:
        yield Write("memory.current", str(limit), f"{memory.at}/limit", "memory", must_exceed="memory limit")
    if (memory.swap or 0) > 0:
        files = "memory.current memory.swap.current"
        yield Write(files, str(memory.swap), f"{memory.at}/swap", "memory", must_exceed="memory+swap limit")


def cpu(cpu: Cpu, present: Present) -> Iterator[Write]:
    """Weight and idle depend on each other, and quota, period and burst do."""
    if cpu.realtime_period or cpu.realtime_runtime:
        name = "realtimePeriod" if cpu.realtime_period else "realtimeRuntime"
        raise _not_on_v2("realtime limits are not supported on cgroup v2", f"{cpu.at}/{name}")
    if cpu.idle is not None:
        yield Write("cpu.idle", str(cpu.idle), f"{cpu.at}/idle", "cpu", group="cpu.weight")
    if cpu.shares and cpu.idle != 1:  # an idle group has no weight: the kernel refuses it
        yield Write("cpu.weight", str(cpu_weight(cpu.shares)), f"{cpu.at}/shares", "cpu", group="cpu.weight")
    if cpu.quota or cpu.period:
        words = (present("cpu.max") or f"max {DEFAULT_PERIOD}").split()
        quota = (str(cpu.quota) if cpu.quota > 0 else "max") if cpu.quota else words[0]
        at = f"{cpu.at}/quota" if cpu.quota else f"{cpu.at}/period"
        yield Write("cpu.max", f"{quota} {cpu.period or words[1]}", at, "cpu", group="cpu.quota", whole=True)
    if cpu.burst is not None:
        yield Write("cpu.max.burst", str(cpu.burst), f"{cpu.at}/burst", "cpu", group="cpu.quota")
    if cpu.cpus:
        yield Write("cpuset.cpus", cpu.cpus, f"{cpu.at}/cpus", "cpuset")
    if cpu.mems:
        yield Write("cpuset.mems", cpu.mems, f"{cpu.at}/mems", "cpuset")


def cpu_weight(shares: int) -> int:
    """cpu.shares, 2 to 262144 with 1024 as the default, as cpu.weight, 1 to 10000 with 100 as the default.

    A parabola through the three pairs in logarithmic scale: what runc and crun agreed on in 2025.
    """
    if shares <= MIN_SHARES:
        return 1
    if shares >= MAX_SHARES:
        return MAX_WEIGHT
    from math import ceil, log2  # a C module: 0.1 ms, for those with shares alone

    power = log2(shares)
    return ceil(10 ** ((power * power + 125 * power) / 612 - 7 / 34))


def block_io(block_io: BlockIo) -> Iterator[Write]:
    """bfq keeps the weights of v1, io.weight has a wider scale."""
    leaves = [block_io.at] if block_io.leaf_weight else []
    leaves += [device.at for device in block_io.weight_device if device.leaf_weight]
    if leaves:
        raise _not_on_v2("leafWeight is not supported on cgroup v2", f"{leaves[0]}/leafWeight")
    if block_io.weight:
        yield _io_weight("default", block_io.weight, f"{block_io.at}/weight")
    for device in block_io.weight_device:
        if device.weight:
            yield _io_weight(f"{device.major}:{device.minor}", device.weight, f"{device.at}/weight")
    for name, devices in (
        ("rbps", block_io.throttle_read_bps_device),
        ("wbps", block_io.throttle_write_bps_device),
        ("riops", block_io.throttle_read_iops_device),
        ("wiops", block_io.throttle_write_iops_device),
    ):
        for throttle in devices:
            text = f"{throttle.major}:{throttle.minor} {name}={throttle.rate or 'max'}"
            yield Write("io.max", text, f"{throttle.at}/rate", "io", absent=UNLIMITED_IO)


def _io_weight(whose: str, weight: int, at: str) -> Write:
    """10 to 1000 becomes 1 to 10000."""
    wide = 1 + (weight - 10) * 9999 // 990
    return Write(
        "io.bfq.weight",
        f"{whose} {weight}",
        at,
        "io",
        instead="io.weight",
        instead_text=f"{whose} {wide}",
        absent="default",
    )


def hugepages(page: HugepageLimit) -> Iterator[Write]:
    """A size the machine does not have has no file: that is the error.  Reservations are limited since 5.7."""
    file = f"hugetlb.{page.page_size}"
    yield Write(f"{file}.max", str(page.limit), f"{page.at}/limit", "hugetlb")
    yield Write(f"{file}.rsvd.max", str(page.limit), f"{page.at}/limit", "hugetlb", optional=True)


def unified(files: dict[str, str], at: str) -> Iterator[Write]:
    """File names and what is written there; a value of several lines is several writes (io.max takes no more)."""
    for file, value in files.items():
        prefix = file.partition(".")[0]
        controller = "" if prefix == "cgroup" else prefix
        for line in value.rstrip("\n").split("\n"):
            yield Write(
                file,
                line,
                f"{at}/{file.replace('~', '~0')}",
                controller,
                whole=file == "cpu.max",
                absent=ABSENT.get(file, "default"),
            )


def _refuse_network(network: Network) -> None:
    if network.class_id is not None or network.priorities:
        name = "classID" if network.class_id is not None else "priorities"
        raise _not_on_v2("network limits are not supported on cgroup v2", f"{network.at}/{name}")


def _not_on_v2(what: str, at: str) -> OcirtError:
    return OcirtError("unsupported", what, at=at, remedy="remove the setting: it exists on cgroup v1 only")


def _amount(value: int) -> str:
    return "max" if value < 0 else str(value)


def _number(text: str) -> int:
    """-1 for "max" and for no file."""
    return int(text) if text not in ("", "max") else -1
