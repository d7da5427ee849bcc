"""Names of systemd's units and where their cgroups are: pure.

Sources: systemd.unit(5), systemd.slice(5), systemd.scope(5).
"""

from __future__ import annotations

from ocirt.cgroups.unit_properties import Property
from ocirt.errors import ConfigError

AT = "/linux/cgroupsPath"
PREFIX = "ocirt"
SLICE, SCOPE = ".slice", ".scope"
LONGEST = 255  # UNIT_NAME_MAX - 1
_PUNCTUATION = ":-_.\\@"


def slice_and_unit(cgroups_path: str | None, container_id: str, user: bool) -> tuple[str, str]:
    """The unit and the slice it belongs to, from cgroupsPath "slice:prefix:name".

    prefix-name.scope in slice; a name that ends in .slice is the unit itself.  user: the user's own systemd, whose
    default slice is another.  Raises ConfigError.
    """
    slice_, prefix, name = "", PREFIX, container_id
    if cgroups_path:
        parts = cgroups_path.split(":")
        if len(parts) != 3:
            raise ConfigError(
                "rule",
                'expected cgroupsPath to be of format "slice:prefix:name" for systemd cgroups, got '
                f'"{cgroups_path}" instead',
                at=AT,
                remedy="write it so, or leave out --systemd-cgroup",
            )
        slice_, prefix, name = parts
    slice_ = slice_ or ("user.slice" if user else "system.slice")
    unit = name if name.endswith(SLICE) else f"{prefix}-{name}{SCOPE}"
    slice_path(slice_)
    if not _is_unit_name(unit):
        raise ConfigError("rule", f"invalid unit name: {unit}", at=AT if cgroups_path else "")
    return slice_, unit


def slice_path(slice_: str) -> str:
    """Where a slice is: "a-b.slice" is /a.slice/a-b.slice, "-.slice" the root, "".  Raises ConfigError."""
    name = slice_.removesuffix(SLICE)
    if name == "-":
        return ""
    parts = name.split("-")
    if name == slice_ or not all(parts) or not _is_unit_name(slice_):
        raise ConfigError("rule", f"invalid slice name: {slice_}", at=AT)
    return "".join("/" + "-".join(parts[: depth + 1]) + SLICE for depth in range(len(parts)))


def unit_path(slice_: str, unit: str) -> str:
    """Where the cgroup of a unit is, below that of its systemd."""
    return slice_path(unit) if unit.endswith(SLICE) else f"{slice_path(slice_)}/{unit}"


def _is_unit_name(name: str) -> bool:
    plain = all((sign.isascii() and sign.isalnum()) or sign in _PUNCTUATION for sign in name)
    return plain and len(name) <= LONGEST


def unit_properties(slice_: str, unit: str, container_id: str, *, unified: bool) -> tuple[Property, ...]:
    """What every container's unit has.  unified: the host's hierarchy is v2's."""
    scope = not unit.endswith(SLICE)
    described = Property("Description", "s", f"libcontainer container {container_id}")
    place = Property("Slice", "s", slice_) if scope else Property("Wants", "as", [slice_])
    accounting = ("MemoryAccounting", "CPUAccounting", "IOAccounting" if unified else "BlockIOAccounting")
    return (
        described,
        place,
        *((Property("Delegate", "b", True),) if scope else ()),  # else systemd would tidy up below
        Property("DefaultDependencies", "b", False),  # a shutdown would wait for it
        *(Property(name, "b", True) for name in (*accounting, "TasksAccounting")),
    )
