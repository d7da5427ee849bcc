"""Box: what steps may touch while they run."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType

    from ocirt.cgroups import Manager
    from ocirt.channel import Channel
    from ocirt.kernel.processes import ExecImage
    from ocirt.stages.network_devices import Network

START_SOCKET = "start"  # Box.fds: where init listens for `start`
WATCHER = "watcher"  # Box.fds: init's connection to the watcher of its system calls (stages/watch.py)

# Box.facts: what stages/root_mount.py mounts on the host; recorded as "root_mount".
ROOT_PATH, ROOT_SHIELD, ROOT_TREE = ROOT_FACTS = ("root/path", "root/shield", "root/tree")


class Box:
    """The mutable part of a launch, handed to every Step.apply.

    kernel:  ocirt.kernel.live, or a recorder in tests.  Steps reach the system through it only.
    proc:    fd on the host's /proc, opened before the clone; nothing found inside the container
             is trusted to be procfs.  -1 until opened.
    root:    O_PATH fd of the container's rootfs (set by stage rootfs); -1 before.
    root_path: how this process reaches it, without a trailing slash; None until a mount asks, of no use after the pivot
    fds:     further descriptors by name, e.g. "seccomp", "cgroup/memory", "console".
    channel: the conversation with the other process (channel.py).
    pid:     init's process id in the runtime's pid namespace; in init itself 0.
    manager: the container's cgroup manager, None when the container has no cgroup of its own.
    network: the connections to the host's and the container's network devices, None without linux.netDevices.
    image:   the program's arguments and environment in memory, ready for execve.
    facts:   what steps found out and the record keeps (strings and numbers only).
    """

    __slots__ = ("kernel", "proc", "root", "root_path", "fds", "channel", "pid", "manager", "network", "image", "facts")

    kernel: ModuleType
    channel: Channel
    manager: Manager | None
    network: Network | None
    image: ExecImage

    def __init__(self, kernel: ModuleType) -> None:
        self.kernel = kernel
        self.proc = -1
        self.root = -1
        self.root_path: str | None = None
        self.fds: dict[str, int] = {}
        self.pid = 0
        self.manager = None
        self.network = None
        self.facts: dict[str, str | int] = {}
