"""The rules of cgroup resources, see checks.py.  What depends on the cgroup version is in ocirt/cgroups/."""

from __future__ import annotations

from ocirt import log
from ocirt.config.lists import is_list
from ocirt.errors import ConfigError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from ocirt.config.views import Resources

MIN_WEIGHT, MAX_WEIGHT = 10, 1000  # config-linux.md, Block IO


def memory(resources: Resources) -> Iterator[ConfigError]:
    """config-linux.md, Memory: -1 is unlimited; swappiness is a percentage."""
    m = resources.memory
    if m is None:
        return
    amounts = (("limit", m.limit), ("reservation", m.reservation), ("swap", m.swap))
    for name, value in amounts:
        if value is not None and value < -1:
            yield ConfigError(
                "rule", f"memory.{name} {value} is neither -1 (unlimited) nor an amount", at=f"{m.at}/{name}"
            )
    if (m.swappiness or 0) > 100:
        yield ConfigError("rule", f"swappiness {m.swappiness} is not from 0 to 100", at=f"{m.at}/swappiness")
    if (m.limit or 0) > 0 and 0 < (m.swap or 0) < (m.limit or 0):
        yield ConfigError("rule", "memory+swap limit should be >= memory limit", at=f"{m.at}/swap")


def swap_alone(resources: Resources) -> Iterator[ConfigError]:
    """memory.swap counts memory and swap together: alone it says nothing.  An update may rely on an earlier limit."""
    m = resources.memory
    if m is not None and (m.swap or 0) > 0 and not m.limit:
        yield ConfigError("rule", "unable to set swap limit without memory limit", at=f"{m.at}/swap")


def cpu(resources: Resources) -> Iterator[ConfigError]:
    c = resources.cpu
    if c is None:
        return
    if c.idle not in (None, 0, 1):
        yield ConfigError("rule", f"cpu.idle {c.idle} is neither 0 nor 1", at=f"{c.at}/idle")
    if (c.quota or 0) > 0 and (c.burst or 0) > (c.quota or 0):
        yield ConfigError("rule", f"cpu.burst {c.burst} is above cpu.quota {c.quota}", at=f"{c.at}/burst")
    for name, text in (("cpus", c.cpus), ("mems", c.mems)):
        if text and not is_list(text):
            yield ConfigError("rule", f"{log.quote(text)} is not a list such as 0-3,7", at=f"{c.at}/{name}")


def block_io(resources: Resources) -> Iterator[ConfigError]:
    """config-linux.md, Block IO: weights from 10 to 1000, at least one per device.  0 is Go's word for unset."""
    b = resources.block_io
    if b is None:
        return
    weights = [(b.at, "weight", b.weight), (b.at, "leafWeight", b.leaf_weight)]
    for device in b.weight_device:
        if device.weight is None and device.leaf_weight is None:
            yield ConfigError("rule", "one of weight and leafWeight must be given", at=device.at)
        weights += [(device.at, "weight", device.weight), (device.at, "leafWeight", device.leaf_weight)]
    for at, name, weight in weights:
        if weight and not MIN_WEIGHT <= weight <= MAX_WEIGHT:
            yield ConfigError("rule", f"{name} {weight} is not from {MIN_WEIGHT} to {MAX_WEIGHT}", at=f"{at}/{name}")
    throttles = (
        b.throttle_read_bps_device,
        b.throttle_write_bps_device,
        b.throttle_read_iops_device,
        b.throttle_write_iops_device,
    )
    for throttle in (device for devices in throttles for device in devices):
        if not throttle.has("rate"):
            yield ConfigError("rule", 'the required property "rate" is missing', at=throttle.at)
    for limited in (b.weight_device, *throttles):
        for device_of_any in limited:
            for name, number in (("major", device_of_any.major), ("minor", device_of_any.minor)):
                if number < 0:
                    yield ConfigError("rule", "a device number must not be negative", at=f"{device_of_any.at}/{name}")


def device_access(resources: Resources) -> Iterator[ConfigError]:
    """config-linux.md, Allowed Device list: type a, b or c; access of r, w and m; -1 is every number."""
    for i, entry in enumerate(resources.devices):
        if entry.type not in (None, "", "a", "b", "c"):
            yield ConfigError(
                "rule", f"the device type {log.quote(entry.type)} is not a, b or c", at=f"{entry.at}/type"
            )
        if not entry.access:
            yield ConfigError("rule", f"device access at {i} field cannot be empty", at=f"{entry.at}")
        elif entry.access.strip("rwm"):
            yield ConfigError(
                "rule", f"the access {log.quote(entry.access)} is not made of r, w and m", at=f"{entry.at}/access"
            )
        for name, number in (("major", entry.major), ("minor", entry.minor)):
            if number is not None and not -1 <= number < 2**32:
                yield ConfigError("rule", f"{name} {number} is not a device number", at=f"{entry.at}/{name}")


def hugepages(resources: Resources) -> Iterator[ConfigError]:
    seen = set()
    for limit in resources.hugepage_limits:
        if limit.page_size in seen:
            yield ConfigError("rule", f"the page size {limit.page_size} is given twice", at=f"{limit.at}/pageSize")
        seen.add(limit.page_size)


def interface_priorities(resources: Resources) -> Iterator[ConfigError]:
    if resources.network is not None:
        for priority in resources.network.priorities:
            if not is_interface(priority.name):
                yield ConfigError(
                    "rule",
                    f"{log.quote(priority.name)} is not the name of a network interface",
                    at=f"{priority.at}/name",
                )


def rdma(resources: Resources) -> Iterator[ConfigError]:
    """config-linux.md, RDMA: at least one of the two."""
    for limit in resources.rdma.values():
        if limit.hca_handles is None and limit.hca_objects is None:
            yield ConfigError("rule", "one of hcaHandles and hcaObjects must be given", at=limit.at)


def unified(resources: Resources) -> Iterator[ConfigError]:
    """config-linux.md, Unified: each key is a file of the cgroup's own directory."""
    for name in resources.unified:
        if "/" in name or name in ("", ".", ".."):
            pointer = name.replace("~", "~0").replace("/", "~1")
            yield ConfigError(
                "rule",
                f"unified resource {log.quote(name)} must be a file name (no slashes)",
                at=f"{resources.at}/unified/{pointer}",
            )


def is_interface(name: str) -> bool:
    """dev_valid_name() of the kernel: 1 to 15 bytes without slash, colon and white space."""
    return (
        0 < len(name.encode("utf-8")) < 16
        and name not in (".", "..")
        and not any(c in "/:" or c.isspace() for c in name)
    )


RULES = (
    ("memory", memory),
    ("cpu", cpu),
    ("blockIO", block_io),
    ("devices", device_access),
    ("hugepageLimits", hugepages),
    ("network", interface_priorities),
    ("rdma", rdma),
    ("unified", unified),
)
RULES_AT_CREATE = (("memory", swap_alone),)
