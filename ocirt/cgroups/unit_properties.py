"""Limits in systemd's words: the properties of a unit that say what the writes to its files say.  Pure.

systemd writes a unit's files again whenever it thinks fit (daemon-reload, set-property), so what it can say is
said to it too, and a limit that it would round is rounded in the file as well.
Sources: systemd.resource-control(5), systemd.scope(5), org.freedesktop.systemd1(5).
"""

from __future__ import annotations

from ocirt.cgroups import Write, gvariant
from ocirt.config.lists import is_list, members
from ocirt.errors import ConfigError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

INFINITY = 2**64 - 1
NOT_SET = 2**64 - 1  # CGROUP_WEIGHT_INVALID
DEFAULT_PERIOD = 100_000  # microseconds, the kernel's
SECOND = 1_000_000  # microseconds
PERCENT = SECOND // 100
MOST_DIGITS = 20  # of 2**64; Python refuses to convert thousands
SHIFTS = {"": 0, "K": 10, "M": 20, "G": 30, "T": 40, "P": 50, "E": 60}
ANNOTATION = "org.systemd.property."

# file -> property, for a number of bytes or of processes; "max" and v1's -1 are infinity.
NUMBERS = {
    "memory.max": "MemoryMax",
    "memory.high": "MemoryHigh",
    "memory.low": "MemoryLow",
    "memory.min": "MemoryMin",
    "memory.swap.max": "MemorySwapMax",
    "cpu.weight": "CPUWeight",
    "memory.limit_in_bytes": "MemoryLimit",
    "cpu.shares": "CPUShares",
    "blkio.weight": "BlockIOWeight",
}
CPUSETS = {"cpuset.cpus": "AllowedCPUs", "cpuset.mems": "AllowedMemoryNodes"}


class Property:
    """One property of a unit.

    signature, value: as D-Bus and the library have them.  at: JSON pointer of the setting.
    since: the version of systemd that has it; an older one is not told.
    """

    __slots__ = ("at", "name", "signature", "since", "value")

    def __init__(self, name: str, signature: str, value: object, at: str = "", since: int = 0) -> None:
        self.name = name
        self.signature = signature
        self.value = value
        self.at = at
        self.since = since

    def __repr__(self) -> str:
        return f"Property({self.name!r}, {self.signature!r}, {self.value!r}, {self.at!r})"

    def describe(self) -> str:
        value = self.value
        if value == INFINITY:
            return f"{self.name}=infinity"
        if isinstance(value, bytes):
            return f"{self.name}={value.hex() or '-'}"
        if isinstance(value, bool):
            return f"{self.name}={'yes' if value else 'no'}"
        if isinstance(value, list):
            return f"{self.name}=" + ",".join(
                " ".join(item) if isinstance(item, tuple) else str(item) for item in value
            )
        return f"{self.name}={value}"


# -- from limits ---------------------------------------------------------------------------------


def properties_of(writes: Iterable[Write], *, scope: bool = True) -> tuple[Property, ...]:
    """What of these writes systemd can say.  scope: the unit is one, not a slice.  Raises ConfigError."""
    return tuple(_properties({write.file: write for write in writes}, scope))


def _properties(by_file: dict[str, Write], scope: bool) -> Iterator[Property]:
    idle = by_file.get("cpu.idle")
    for file, write in by_file.items():
        if file == "cpu.weight" and idle is not None and idle.text == "1":
            continue  # an idle group has no weight
        if file in NUMBERS:
            yield Property(NUMBERS[file], "t", _number(write), write.at)
        elif file == "pids.max":  # TasksMax=0 is refused: the file alone says it
            yield Property("TasksMax", "t", max(1, _number(write)), write.at)
        elif file in CPUSETS and is_list(write.text):
            yield Property(CPUSETS[file], "ay", bit_mask(write.text), write.at, since=244)
        elif file == "memory.oom.group" and scope:
            yield Property("OOMPolicy", "s", "kill" if write.text == "1" else "continue", write.at, since=253)
    if idle is not None and (idle.text == "1" or "cpu.weight" not in by_file):
        yield Property("CPUWeight", "t", 0 if idle.text == "1" else NOT_SET, idle.at, since=252)
    yield from _quota(by_file)


def _quota(by_file: dict[str, Write]) -> Iterator[Property]:
    write = by_file.get("cpu.max") or by_file.get("cpu.cfs_quota_us") or by_file.get("cpu.cfs_period_us")
    if write is None:
        return
    quota, period = _quota_and_period(by_file)
    if period:
        yield Property("CPUQuotaPeriodUSec", "t", period, write.at, since=242)
    value = per_second(quota, period) if quota > 0 else INFINITY
    yield Property("CPUQuotaPerSecUSec", "t", value, write.at)


def _quota_and_period(by_file: dict[str, Write]) -> tuple[int, int]:
    """In microseconds; -1 for no quota, 0 for a period that is not set."""
    write = by_file.get("cpu.max")
    if write is not None:
        quota, period = (*write.text.split(), "0", "0")[:2]
    else:
        write = by_file.get("cpu.cfs_quota_us") or by_file["cpu.cfs_period_us"]
        quota, period = (
            by_file[name].text if name in by_file else "0" for name in ("cpu.cfs_quota_us", "cpu.cfs_period_us")
        )
    return -1 if quota == "max" else _integer(quota, write), _integer(period, write)


def per_second(quota: int, period: int) -> int:
    """Microseconds of run time a second, in whole percents of a processor: systemd has no smaller unit."""
    wanted = quota * SECOND // (period or DEFAULT_PERIOD)
    return -(-wanted // PERCENT) * PERCENT


def rounded(writes: Iterable[Write]) -> tuple[Write, ...]:
    """The writes with the CPU quota that systemd will write too.

    It answers before it writes, so both write the file; with the same text the order does not matter.
    """
    writes = tuple(writes)
    by_file = {write.file: write for write in writes}
    file = "cpu.max" if "cpu.max" in by_file else "cpu.cfs_quota_us"
    if file not in by_file:
        return writes
    quota, period = _quota_and_period(by_file)
    if quota <= 0:
        return writes
    text = str(per_second(quota, period) * (period or DEFAULT_PERIOD) // SECOND)
    if file == "cpu.max" and period:
        text += f" {period}"
    return tuple(_with_text(write, text) if write.file == file else write for write in writes)


def _with_text(write: Write, text: str) -> Write:
    other = Write(write.file, text, write.at, write.controller)
    for name in Write.__slots__:
        if name != "text":
            setattr(other, name, getattr(write, name))
    return other


def _number(write: Write) -> int:
    return INFINITY if write.text in ("max", "-1") else _integer(write.text, write)


def _integer(text: str, write: Write) -> int:
    """Also with the letter that the kernel takes in linux.resources.unified: "1G".  Raises ConfigError."""
    letter = text[-1:].upper() if text[-1:].isalpha() else ""
    digits = text.removesuffix(text[-1:]) if letter else text
    plain = digits.removeprefix("-")
    known = plain.isascii() and plain.isdigit() and len(plain) <= MOST_DIGITS and letter in SHIFTS
    number = int(digits) << SHIFTS[letter] if known else INFINITY + 1
    if number > INFINITY:
        raise ConfigError("rule", f"{write.file}: {text!r} is no number that systemd understands", at=write.at)
    return number


def bit_mask(text: str) -> bytes:
    """A list as in cpuset.cpus, "0-2,4", as the bits that systemd takes: number n is bit n % 8 of byte n // 8."""
    mask = 0
    for number in members(text):
        mask |= 1 << number
    return mask.to_bytes((mask.bit_length() + 7) // 8, "little")


# -- from device rules ---------------------------------------------------------------------------


def device_properties(rules: Iterable[Write]) -> tuple[Property, ...]:
    """From the writes of limits.device_rules().

    systemd knows a list of what is allowed and nothing else.  Rules that no such list can say (all devices but
    one, "*:5") make its own filter let everything through: then the runtime's alone decides.
    """
    rules = tuple(rules)
    at = rules[0].at if rules else ""
    entries = _allowed(rules)
    everything = entries is None
    return (
        Property("DevicePolicy", "s", "auto" if everything else "strict", at, since=240),
        Property("DeviceAllow", "a(ss)", [] if entries is None else _device_entries(entries), at, since=240),
    )


def _allowed(rules: Iterable[Write]) -> dict[tuple[str, str, str], str] | None:
    """(type, major, minor) -> access; None for everything and for what is no list of the allowed."""
    entries: dict[tuple[str, str, str], str] | None = {}
    for rule in rules:
        allow = rule.file == "devices.allow"
        if rule.text == "a":
            entries = None if allow else {}
        elif entries is None:
            return None
        else:
            kind, number, access = rule.text.split(" ")
            major, minor = number.split(":")
            if (allow and major == "*" != minor) or not _apply(entries, allow, (kind, major, minor), access):
                return None
    return entries


def _apply(entries: dict[tuple[str, str, str], str], allow: bool, device: tuple[str, str, str], access: str) -> bool:
    """Whether it could be done."""
    if allow:
        entries[device] = "".join(letter for letter in "rwm" if letter in entries.get(device, "") + access)
        return True
    for entry, allowed in list(entries.items()):
        left = "".join(letter for letter in allowed if letter not in access)
        if left == allowed or not all(a == b or "*" in (a, b) for a, b in zip(entry, device, strict=True)):
            continue
        if not all(b in (a, "*") for a, b in zip(entry, device, strict=True)):
            return False  # a part of what an entry allows
        if left:
            entries[entry] = left
        else:
            del entries[entry]
    return True


def _device_entries(entries: dict[tuple[str, str, str], str]) -> list[tuple[str, str]]:
    found = []
    for (kind, major, minor), access in entries.items():
        name = "char" if kind == "c" else "block"
        path = f"{name}-{major}" if minor == "*" else f"/dev/{name}/{major}:{minor}"
        found.append((path, access))
    return found


# -- from annotations ----------------------------------------------------------------------------


def annotated(annotations: dict[str, str]) -> tuple[Property, ...]:
    """The properties that annotations org.systemd.property.NAME=VALUE ask for; VALUE is GVariant text.

    A name in seconds, TimeoutStopSec, becomes the one in microseconds that D-Bus has.  Raises ConfigError.
    """
    return tuple(
        _annotated(key, key.removeprefix(ANNOTATION), text)
        for key, text in annotations.items()
        if key.startswith(ANNOTATION)
    )


def _annotated(key: str, name: str, text: str) -> Property:
    at = f"/annotations/{key}"
    if len(name) < 3 or not (name.isascii() and name.isalpha()):
        raise ConfigError("rule", f"annotation {key} name incorrect: {name!r} is no property of a unit", at=at)
    try:
        signature, value = gvariant.parse(text)
        if name.endswith("Sec") and name[-4:-3].islower():
            return Property(f"{name[:-3]}USec", "t", _microseconds(value), at)
    except ValueError as error:
        raise ConfigError(
            "rule",
            f"annotation {key}={text} value parse error: {error}",
            at=at,
            remedy="write the value as GVariant text: uint64 30, 'text', true, ['a', 'b']",
        ) from None
    return Property(name, signature, value, at)


def _microseconds(seconds: object) -> int:
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)):
        raise ValueError("not a number")
    if not 0 <= seconds <= INFINITY // SECOND:
        raise ValueError("out of range")
    return int(seconds * SECOND)
