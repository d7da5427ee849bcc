"""Mount options of config.json (config.md, "Linux mount options"): the table and its parser.

Sources of the words: mount(8), mount(2), mount_setattr(2) and the runtime specification.
"""

from __future__ import annotations

from ocirt.kernel import flags as f

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ocirt.config.views import Mount

# Kinds of options.
FLAG = "flag"  # bits of mount(2): set and clear
PROPAGATION = "propagation"  # a mount(2) call of its own, after the mount
RECURSIVE = "recursive"  # bits of mount_setattr(2) with AT_RECURSIVE
EXTENSION = "extension"  # a word to ocirt, not to the kernel

# name, bits set, bits cleared, kind
TABLE = (
    ("defaults", 0, 0, FLAG),
    ("ro", f.MS_RDONLY, 0, FLAG),
    ("rw", 0, f.MS_RDONLY, FLAG),
    ("suid", 0, f.MS_NOSUID, FLAG),
    ("nosuid", f.MS_NOSUID, 0, FLAG),
    ("dev", 0, f.MS_NODEV, FLAG),
    ("nodev", f.MS_NODEV, 0, FLAG),
    ("exec", 0, f.MS_NOEXEC, FLAG),
    ("noexec", f.MS_NOEXEC, 0, FLAG),
    ("sync", f.MS_SYNCHRONOUS, 0, FLAG),
    ("async", 0, f.MS_SYNCHRONOUS, FLAG),
    ("dirsync", f.MS_DIRSYNC, 0, FLAG),
    ("remount", f.MS_REMOUNT, 0, FLAG),
    ("mand", f.MS_MANDLOCK, 0, FLAG),
    ("nomand", 0, f.MS_MANDLOCK, FLAG),
    ("atime", 0, f.MS_NOATIME, FLAG),
    ("noatime", f.MS_NOATIME, 0, FLAG),
    ("diratime", 0, f.MS_NODIRATIME, FLAG),
    ("nodiratime", f.MS_NODIRATIME, 0, FLAG),
    ("relatime", f.MS_RELATIME, 0, FLAG),
    ("norelatime", 0, f.MS_RELATIME, FLAG),
    ("strictatime", f.MS_STRICTATIME, 0, FLAG),
    ("nostrictatime", 0, f.MS_STRICTATIME, FLAG),
    ("iversion", f.MS_I_VERSION, 0, FLAG),
    ("noiversion", 0, f.MS_I_VERSION, FLAG),
    ("lazytime", f.MS_LAZYTIME, 0, FLAG),
    ("nolazytime", 0, f.MS_LAZYTIME, FLAG),
    ("silent", f.MS_SILENT, 0, FLAG),
    ("loud", 0, f.MS_SILENT, FLAG),
    ("symfollow", 0, f.MS_NOSYMFOLLOW, FLAG),
    ("nosymfollow", f.MS_NOSYMFOLLOW, 0, FLAG),
    ("bind", f.MS_BIND, 0, FLAG),
    ("rbind", f.MS_BIND | f.MS_REC, 0, FLAG),
    ("private", f.MS_PRIVATE, 0, PROPAGATION),
    ("shared", f.MS_SHARED, 0, PROPAGATION),
    ("slave", f.MS_SLAVE, 0, PROPAGATION),
    ("unbindable", f.MS_UNBINDABLE, 0, PROPAGATION),
    ("rprivate", f.MS_PRIVATE | f.MS_REC, 0, PROPAGATION),
    ("rshared", f.MS_SHARED | f.MS_REC, 0, PROPAGATION),
    ("rslave", f.MS_SLAVE | f.MS_REC, 0, PROPAGATION),
    ("runbindable", f.MS_UNBINDABLE | f.MS_REC, 0, PROPAGATION),
    ("rro", f.MOUNT_ATTR_RDONLY, 0, RECURSIVE),
    ("rrw", 0, f.MOUNT_ATTR_RDONLY, RECURSIVE),
    ("rnosuid", f.MOUNT_ATTR_NOSUID, 0, RECURSIVE),
    ("rsuid", 0, f.MOUNT_ATTR_NOSUID, RECURSIVE),
    ("rnodev", f.MOUNT_ATTR_NODEV, 0, RECURSIVE),
    ("rdev", 0, f.MOUNT_ATTR_NODEV, RECURSIVE),
    ("rnoexec", f.MOUNT_ATTR_NOEXEC, 0, RECURSIVE),
    ("rexec", 0, f.MOUNT_ATTR_NOEXEC, RECURSIVE),
    ("rnodiratime", f.MOUNT_ATTR_NODIRATIME, 0, RECURSIVE),
    ("rdiratime", 0, f.MOUNT_ATTR_NODIRATIME, RECURSIVE),
    ("rnosymfollow", f.MOUNT_ATTR_NOSYMFOLLOW, 0, RECURSIVE),
    ("rsymfollow", 0, f.MOUNT_ATTR_NOSYMFOLLOW, RECURSIVE),
    # The access time settings are one field of values, not bits: changing one clears the field
    # (mount_setattr(2)); relatime is the value 0.
    ("rrelatime", f.MOUNT_ATTR_RELATIME, f.MOUNT_ATTR__ATIME, RECURSIVE),
    ("rnorelatime", 0, f.MOUNT_ATTR__ATIME, RECURSIVE),
    ("rnoatime", f.MOUNT_ATTR_NOATIME, f.MOUNT_ATTR__ATIME, RECURSIVE),
    ("ratime", 0, f.MOUNT_ATTR__ATIME, RECURSIVE),
    ("rstrictatime", f.MOUNT_ATTR_STRICTATIME, f.MOUNT_ATTR__ATIME, RECURSIVE),
    ("rnostrictatime", 0, f.MOUNT_ATTR__ATIME, RECURSIVE),
    # crun's words: a file system has these as a whole.
    ("rsync", f.MS_SYNCHRONOUS, 0, FLAG),
    ("rasync", 0, f.MS_SYNCHRONOUS, FLAG),
    ("rdirsync", f.MS_DIRSYNC, 0, FLAG),
    ("rmand", f.MS_MANDLOCK, 0, FLAG),
    ("rnomand", 0, f.MS_MANDLOCK, FLAG),
    ("tmpcopyup", 0, 0, EXTENSION),
    ("copy-symlink", 0, 0, EXTENSION),
    ("src-nofollow", 0, 0, EXTENSION),
    ("dest-nofollow", 0, 0, EXTENSION),
    ("idmap", 0, 0, EXTENSION),
    ("ridmap", 0, 0, EXTENSION),
)

_OPTIONS = {row[0]: row[1:] for row in TABLE}
_DATA = (0, 0, "")

# What `features` says of mountOptions.
RECOGNISED = tuple(sorted(_OPTIONS))

# MS_* of one mount -> MOUNT_ATTR_*.  MS_RELATIME is the value 0 of the access time field.
_ATTRIBUTES = (
    (f.MS_RDONLY, f.MOUNT_ATTR_RDONLY),
    (f.MS_NOSUID, f.MOUNT_ATTR_NOSUID),
    (f.MS_NODEV, f.MOUNT_ATTR_NODEV),
    (f.MS_NOEXEC, f.MOUNT_ATTR_NOEXEC),
    (f.MS_NODIRATIME, f.MOUNT_ATTR_NODIRATIME),
    (f.MS_NOSYMFOLLOW, f.MOUNT_ATTR_NOSYMFOLLOW),
)

ATIME_FLAGS = f.MS_NOATIME | f.MS_RELATIME | f.MS_STRICTATIME


class MountOptions:
    """One mount's options, sorted by who gets them.

    flags, cleared:     MS_* bits that options set and cleared; the last word on a bit counts.
    propagation:        MS_SHARED, MS_SLAVE | MS_REC, ... one mount(2) call each, in order.
    attr_set, attr_clr: MOUNT_ATTR_* bits for the whole tree (rro and its like).
    data:               what the file system gets: the unknown options, joined by commas.
    extensions:         the words of kind EXTENSION.
    text:               the options as they were given, for messages.
    """

    __slots__ = ("attr_clr", "attr_set", "cleared", "data", "extensions", "flags", "propagation", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        self.flags = 0
        self.cleared = 0
        self.propagation: tuple[int, ...] = ()
        self.attr_set = 0
        self.attr_clr = 0
        self.data = ""
        self.extensions: tuple[str, ...] = ()

    @property
    def bind(self) -> bool:
        return bool(self.flags & f.MS_BIND)


def parse_options(options: tuple[str, ...]) -> MountOptions:
    """Sort a mount's options by the table; what is not in it is file system data."""
    result = MountOptions(",".join(options))
    flags = cleared = 0
    data = []
    for option in options:
        bits_set, bits_cleared, kind = _OPTIONS.get(option, _DATA)
        if kind == FLAG:
            flags = flags & ~bits_cleared | bits_set
            cleared = cleared & ~bits_set | bits_cleared
        elif kind == PROPAGATION:
            result.propagation += (bits_set,)
        elif kind == RECURSIVE:
            result.attr_set = result.attr_set & ~bits_cleared | bits_set
            result.attr_clr = result.attr_clr & ~bits_set | bits_cleared
        elif kind == EXTENSION or is_mapping_option(option):
            result.extensions += (option,)
        elif option:
            data.append(option)
    result.flags, result.cleared, result.data = flags, cleared, ",".join(data)
    return result


def is_mapping_option(option: str) -> bool:
    """Whether it asks for ids to be mapped; crun has the mapping in the word itself, idmap=uids=0-1000-1;gids=..."""
    return option.removeprefix("r").partition("=")[0] == "idmap"


def wants_mapping(mount: Mount) -> bool:
    """Whether the mount is to be id-mapped (stages/idmap.py).  Every mount is asked: quick where the answer is no."""
    if mount.raw.get("uidMappings") or mount.raw.get("gidMappings"):
        return True
    return "idmap" in ",".join(mount.options) and any(map(is_mapping_option, mount.options))


def mapping_pointer(mount: Mount) -> str:
    """The JSON pointer of what asks for it."""
    return f"{mount.at}/options" if any(map(is_mapping_option, mount.options)) else f"{mount.at}/uidMappings"


def mount_attributes(flags: int) -> int:
    """The MOUNT_ATTR_* bits of the MS_* bits that belong to a mount (and not to its superblock)."""
    attributes = 0
    for flag, attribute in _ATTRIBUTES:
        if flags & flag:
            attributes |= attribute
    if flags & f.MS_NOATIME:
        attributes |= f.MOUNT_ATTR_NOATIME
    elif flags & f.MS_STRICTATIME:
        attributes |= f.MOUNT_ATTR_STRICTATIME
    return attributes
