"""linux.resources as writes to cgroup v1 files: pure, one section per controller.  The values are checked already.

Sources: config-linux.md (Control groups), Documentation/admin-guide/cgroup-v1/ of the kernel.  Where the
specification is silent a 0 means "not set", as callers of runc rely on; it is honoured for pids.limit
(the specification), swappiness, burst, idle, the throttle rates and network.classID.
"""

from __future__ import annotations

from ocirt.cgroups import Write
from ocirt.errors import OcirtError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from ocirt.config.views import BlockIo, Cpu, DeviceCgroup, HugepageLimit, Memory, Network, Pids, Rdma, Resources

NOT_SET_SWAPPINESS = 2**64 - 1  # -1 in a uint64

# What every container may use, after the configuration's own rules: making any node, the default
# devices, the pseudo-terminals, /dev/ptmx and /dev/net/tun.
DEFAULT_DEVICES = (
    "c *:* m",
    "b *:* m",
    "c 1:3 rwm",
    "c 1:5 rwm",
    "c 1:7 rwm",
    "c 1:8 rwm",
    "c 1:9 rwm",
    "c 5:0 rwm",
    "c 5:2 rwm",
    "c 136:* rwm",
    "c 10:200 rwm",
)


def limits(resources: Resources | None, *, devices: bool = True) -> tuple[Write, ...]:
    """Every write that resources asks for, in order.

    devices: write the device rules too: not in a user namespace, where the kernel refuses it, and not
    for `update`, which leaves them alone.  Without resources only the default devices are allowed.
    Raises OcirtError("unsupported").
    """
    return tuple(_limits(resources, devices))


def _limits(resources: Resources | None, devices: bool) -> Iterator[Write]:
    if resources is None:
        if devices:
            yield from device_rules((), "")
        return
    if resources.unified:
        raise OcirtError(
            "unsupported",
            "invalid configuration: cannot use unified on cgroup v1",
            at=f"{resources.at}/unified",
            remedy="name the limits by their own properties, memory.limit and so on",
        )
    if devices:
        yield from device_rules(resources.devices, f"{resources.at}/devices")
    if resources.memory is not None:
        yield from memory(resources.memory)
    if resources.cpu is not None:
        yield from cpu(resources.cpu)
    if resources.pids is not None:
        yield from pids(resources.pids)
    if resources.block_io is not None:
        yield from block_io(resources.block_io)
    for page in resources.hugepage_limits:
        yield from hugepages(page)
    if resources.network is not None:
        yield from network(resources.network)
    for name, device in resources.rdma.items():
        yield rdma(name, device)


def memory(memory: Memory) -> Iterator[Write]:
    """Limit and limit with swap depend on each other: raising needs the one first, lowering the other."""
    limit, swap = memory.limit or 0, memory.swap or 0
    group = "memory.limit"
    if limit:
        yield Write("memory.limit_in_bytes", str(limit), f"{memory.at}/limit", "memory", group=group)
    if swap:
        yield Write(
            "memory.memsw.limit_in_bytes", str(swap), f"{memory.at}/swap", "memory", group=group, optional=swap < 0
        )
    elif limit == -1:  # an unlimited memory with a forgotten swap limit would still be limited
        yield Write("memory.memsw.limit_in_bytes", "-1", f"{memory.at}/limit", "memory", group=group, optional=True)
    if memory.reservation:
        yield Write("memory.soft_limit_in_bytes", str(memory.reservation), f"{memory.at}/reservation", "memory")
    if memory.swappiness is not None and memory.swappiness != NOT_SET_SWAPPINESS:
        yield Write("memory.swappiness", str(memory.swappiness), f"{memory.at}/swappiness", "memory")
    if memory.disable_oom_killer is not None:
        text = "1" if memory.disable_oom_killer else "0"
        yield Write("memory.oom_control", text, f"{memory.at}/disableOOMKiller", "memory")
    if memory.use_hierarchy:  # always so since Linux 5.11; false cannot be had
        yield Write("memory.use_hierarchy", "1", f"{memory.at}/useHierarchy", "memory", optional=True)


def cpu(cpu: Cpu) -> Iterator[Write]:
    """Shares and idle depend on each other, and quota, period and burst do."""
    if cpu.idle is not None:
        yield Write("cpu.idle", str(cpu.idle), f"{cpu.at}/idle", "cpu", group="cpu.weight")
    if cpu.shares and cpu.idle != 1:  # an idle group has no shares: the kernel refuses them
        yield Write("cpu.shares", str(cpu.shares), f"{cpu.at}/shares", "cpu", group="cpu.weight", clamped="cpu-shares")
    if cpu.period:
        yield Write("cpu.cfs_period_us", str(cpu.period), f"{cpu.at}/period", "cpu", group="cpu.quota")
    if cpu.quota:
        yield Write("cpu.cfs_quota_us", str(cpu.quota), f"{cpu.at}/quota", "cpu", group="cpu.quota")
    if cpu.burst is not None:
        yield Write("cpu.cfs_burst_us", str(cpu.burst), f"{cpu.at}/burst", "cpu", group="cpu.quota")
    if cpu.realtime_period:
        yield Write("cpu.rt_period_us", str(cpu.realtime_period), f"{cpu.at}/realtimePeriod", "cpu", group="cpu.rt")
    if cpu.realtime_runtime:
        yield Write("cpu.rt_runtime_us", str(cpu.realtime_runtime), f"{cpu.at}/realtimeRuntime", "cpu", group="cpu.rt")
    if cpu.cpus:
        yield Write("cpuset.cpus", cpu.cpus, f"{cpu.at}/cpus", "cpuset")
    if cpu.mems:
        yield Write("cpuset.mems", cpu.mems, f"{cpu.at}/mems", "cpuset")


def pids(pids: Pids) -> Iterator[Write]:
    if pids.limit is not None:
        yield Write("pids.max", "max" if pids.limit < 0 else str(pids.limit), f"{pids.at}/limit", "pids")


def block_io(block_io: BlockIo) -> Iterator[Write]:
    """The weights are in files of the bfq scheduler on kernels without cfq (since 5.0)."""
    if block_io.weight:
        yield Write("blkio.weight", str(block_io.weight), f"{block_io.at}/weight", "blkio", instead="blkio.bfq.weight")
    if block_io.leaf_weight:
        yield Write("blkio.leaf_weight", str(block_io.leaf_weight), f"{block_io.at}/leafWeight", "blkio")
    for device in block_io.weight_device:
        number = f"{device.major}:{device.minor}"
        if device.weight:
            yield Write(
                "blkio.weight_device",
                f"{number} {device.weight}",
                f"{device.at}/weight",
                "blkio",
                instead="blkio.bfq.weight_device",
            )
        if device.leaf_weight:
            text = f"{number} {device.leaf_weight}"
            yield Write("blkio.leaf_weight_device", text, f"{device.at}/leafWeight", "blkio")
    for file, devices in (
        ("blkio.throttle.read_bps_device", block_io.throttle_read_bps_device),
        ("blkio.throttle.write_bps_device", block_io.throttle_write_bps_device),
        ("blkio.throttle.read_iops_device", block_io.throttle_read_iops_device),
        ("blkio.throttle.write_iops_device", block_io.throttle_write_iops_device),
    ):
        for throttle in devices:
            text = f"{throttle.major}:{throttle.minor} {throttle.rate or 0}"
            yield Write(file, text, f"{throttle.at}/rate", "blkio")


def hugepages(page: HugepageLimit) -> Iterator[Write]:
    """A size the machine does not have has no file: that is the error.  Reservations are limited since 5.7."""
    file = f"hugetlb.{page.page_size}"
    yield Write(f"{file}.limit_in_bytes", str(page.limit), f"{page.at}/limit", "hugetlb")
    yield Write(f"{file}.rsvd.limit_in_bytes", str(page.limit), f"{page.at}/limit", "hugetlb", optional=True)


def network(network: Network) -> Iterator[Write]:
    if network.class_id is not None:
        yield Write("net_cls.classid", str(network.class_id), f"{network.at}/classID", "net_cls")
    for priority in network.priorities:
        yield Write("net_prio.ifpriomap", f"{priority.name} {priority.priority}", priority.at, "net_prio")


def rdma(name: str, device: Rdma) -> Write:
    parts = [name]
    if device.hca_handles is not None:
        parts.append(f"hca_handle={device.hca_handles}")
    if device.hca_objects is not None:
        parts.append(f"hca_object={device.hca_objects}")
    return Write("rdma.max", " ".join(parts), device.at, "rdma")


def device_rules(rules: tuple[DeviceCgroup, ...], at: str) -> Iterator[Write]:
    """Deny all, the rules in their listed order, the default devices.

    A rule for all devices makes the ones before it, and the first denial, ineffective: they are left out,
    so that no running container loses a device for a moment.
    """
    ordered: list[tuple[bool, str, str]] = [(False, "a", at)]  # allow, text, pointer
    for rule in rules:
        for text in _device_texts(rule):
            if text == "a":
                ordered.clear()
            ordered.append((rule.allow, text, rule.at))
    everything = all(allow for allow, _, _ in ordered)
    if everything:  # what an allowed everything allows beside is nothing
        del ordered[1:]
    else:
        ordered += [(True, text, "") for text in DEFAULT_DEVICES]
    for allow, text, pointer in ordered:
        yield Write("devices.allow" if allow else "devices.deny", text, pointer, "devices")


def _device_texts(rule: DeviceCgroup) -> tuple[str, ...]:
    """A rule in the kernel's words.

    "a" there means every device with every access, whatever follows: a rule of type "a" that says less
    becomes one for character and one for block devices.
    """
    kind, access = rule.type or "a", rule.access or ""
    rest = f"{_device_number(rule.major)}:{_device_number(rule.minor)} {access}"
    if kind != "a":
        return (f"{kind} {rest}",)
    if rest.startswith("*:* ") and set(access) == set("rwm"):
        return ("a",)
    return (f"c {rest}", f"b {rest}")


def _device_number(number: int | None) -> str:
    """-1 is runc's word for every number."""
    return "*" if number is None or number == -1 else str(number)
