"""linux.mountLabel: the SELinux label of what a file system of the container holds, whoever made it.

config-linux.md, "Mount Label"; mount(8), "context=".
"""

from __future__ import annotations

from ocirt import log
from ocirt import system as os
from ocirt.errors import ConfigError, OcirtError
from ocirt.pipeline import Step
from ocirt.stages.aside import MountDisk
from ocirt.stages.cgroup_mounts import MountCgroups
from ocirt.stages.masks import MaskPath
from ocirt.stages.mounts import Mount
from ocirt.stages.tmpcopyup import split_options

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ocirt.box import Box
    from ocirt.host import Host

QUEUES = "mqueue"
# The policy labels each file of the first two for itself; of the third the root directory is labelled.
WITHOUT_OPTION = ("proc", "sysfs", QUEUES)
MQUEUE_MAGIC = 0x19800202  # linux/magic.h
ATTRIBUTE = "security.selinux"


class LabelQueues(Step):
    """Label the root directory of the message queues' file system."""

    __slots__ = ("label", "target")

    def __init__(self, at: str, target: str, label: str) -> None:
        self.at = at
        self.target = target
        self.label = label

    def describe(self) -> str:
        return f"label {self.target} {self.label}"

    def apply(self, box: Box) -> None:
        kernel = box.kernel
        fd = kernel.open_in_root(box.root, self.target, os.O_PATH | os.O_DIRECTORY)
        try:
            if kernel.statfs_type(fd) != MQUEUE_MAGIC:
                raise OcirtError("step-failed", f"{self.target} is not the message queues' file system")
            kernel.fchdir(fd)
            kernel.setxattr(".", ATTRIBUTE, self.label.encode())
        finally:
            kernel.close(fd)


def labelled(steps: Iterable[Step], label: str, at: str, host: Host) -> Iterator[Step]:
    """The steps, each new file system with the label.  A bind keeps what its files have.

    Without SELinux there are no labels, and nothing is to be done.  Raises ConfigError for what is no label.
    """
    if '"' in label:
        raise ConfigError("rule", f"{log.quote(label)} is not an SELinux label", at)
    if not host.selinux:
        log.debug("linux.mountLabel is left out: this kernel has no SELinux")
        yield from steps
        return
    for step in steps:
        kind = step.fstype if isinstance(step, Mount) else ""
        if isinstance(step, (Mount, MountDisk, MountCgroups, MaskPath)) and kind not in WITHOUT_OPTION:
            step.data = with_label(step.data, label)
        yield step
        if isinstance(step, Mount) and kind == QUEUES:
            yield LabelQueues(at, step.target, label)


def with_label(data: str, label: str) -> str:
    """The mount's data with its label, in quotes for the commas; a label that it has already counts."""
    if any(option.startswith("context=") for option in split_options(data)):
        return data
    return f'{data},context="{label}"' if data else f'context="{label}"'
