"""The container's network: the loopback of a new namespace.

Devices that are moved into it are in network_devices.py.  Everything else is the engine's (CNI) business.

User documentation: network_namespaces(7), netdevice(7).
"""

from __future__ import annotations

from ocirt.pipeline import Step

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from ocirt.box import Box
    from ocirt.config.views import Config


class BringLoopbackUp(Step):
    """A new network namespace has lo, switched off: netdevice(7); one that was made ahead (process/birth.py) on."""

    __slots__ = ()

    def __init__(self, at: str) -> None:
        self.at = at

    def describe(self) -> str:
        return "bring the loopback up"

    def apply(self, box: Box) -> None:
        box.kernel.loopback_up()


def network(config: Config) -> Iterator[Step]:
    """INIT: for a new network namespace; one that is joined has its owner."""
    for namespace in config.linux.namespaces if config.linux else ():
        if namespace.type == "network" and namespace.path is None:
            yield BringLoopbackUp(namespace.at)
