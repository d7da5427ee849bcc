"""ocirt kill: a signal for the container's init; SIGKILL for every process when init's end would leave some."""

from __future__ import annotations

from ocirt.container import Container
from ocirt.errors import StateError
from ocirt.kernel.signals import signal_number
from ocirt.options import Option

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ocirt.options import Globals, Parsed

SUMMARY = "send a signal to a container's init process"
ARGUMENTS = "<container-id> [signal]"
OPTIONS = (Option("all", "a", help="obsolete: no error when the container is not running"),)
MIN_ARGS, MAX_ARGS = 1, 2
STOP_AT_POSITIONAL = True

SIGKILL = 9


def main(g: Globals, options: Parsed) -> int:
    container_id, *name = options.args
    signal = signal_number(name[0] if name else "SIGTERM")
    container = Container.load(g.root, container_id)
    sent = _kill(container) if signal == SIGKILL else container.send_signal(signal)
    if not sent and not options.all:
        raise StateError("status", "container not running")
    return 0


def _kill(container: Container) -> bool:
    """SIGKILL; whether anything was there to be killed."""
    sent = container.send_signal(SIGKILL)
    manager = container.manager()
    if manager is None or not manager.exists() or not (sent or manager.ours()):
        return sent
    try:
        alone = _has_own_pid_namespace(container)
    except FileNotFoundError:  # `run` in the foreground saw init's end, and has removed the container
        return sent
    if not alone and manager.pids():
        manager.kill(SIGKILL)  # with init's pid namespace the kernel would have ended them all (pid_namespaces(7))
        sent = True
    if manager.frozen():
        manager.freeze(False)  # on cgroup v1 a frozen process dies when it is thawed
    return sent


def _has_own_pid_namespace(container: Container) -> bool:
    linux = container.config().linux
    return linux is not None and any(ns.type == "pid" and ns.path is None for ns in linux.namespaces)
