"""Network devices of the host that the container gets (config-linux.md, Network Devices).

The runtime moves them while init waits for GO: a new namespace is there by then, and hooks find the devices in it.
Nothing brings them back but the undo of a create that fails; after that they belong to the namespace, and whoever
owns that.

User documentation: rtnetlink(7), ip-link(8).
"""

from __future__ import annotations

import errno

from ocirt import log
from ocirt import system as os
from ocirt.errors import ConfigError, OcirtError
from ocirt.kernel import rtnetlink
from ocirt.pipeline import Step

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ocirt.box import Box
    from ocirt.config.views import Linux
    from ocirt.kernel.rtnetlink import Address, Connection, Link

ATTEMPTS = 8  # at a number that is free in the container's namespace, where others may make devices meanwhile


class Network:
    """The connections that the steps share: box.network.

    own: fd of the runtime's network namespace.  host: the connection to it.
    namespace: fd of the container's, which lives as long as this, so that a device can be brought back from the
    namespace of an init that died; -1 before enter().  inside: the connection to it.
    moved: by its name on the host, each device that was moved, or may have been.
    """

    __slots__ = ("host", "inside", "moved", "namespace", "own")

    inside: Connection

    def __init__(self, own: int, host: Connection) -> None:
        self.own = own
        self.host = host
        self.namespace = -1
        self.moved: dict[str, Moved] = {}

    def enter(self, box: Box) -> None:
        """Connect to the container's namespace; nothing when that is done."""
        if self.namespace < 0:
            joined = box.fds.get("namespace/network")
            if joined is None:
                self.namespace = box.kernel.openat(box.proc, f"{box.pid}/ns/net", os.O_RDONLY)
            else:
                self.namespace = os.dup(joined)
            self.inside = rtnetlink.connect(self.namespace)

    def close(self) -> None:
        self.host.close()
        os.close(self.own)
        if self.namespace >= 0:
            self.inside.close()
            os.close(self.namespace)


class Moved:
    """A device as it was on the host, and its number in the container's namespace."""

    __slots__ = ("addresses", "index", "link", "routes")

    def __init__(self, link: Link, addresses: list[Address], routes: list[bytes]) -> None:
        self.link = link
        self.addresses = addresses
        self.routes = routes
        self.index = link.index


class FindDevices(Step):
    """Host: connect to the kernel, and make sure that each device is there and can be moved.

    devices: name on the host and JSON pointer.
    """

    __slots__ = ("devices",)

    def __init__(self, at: str, devices: tuple[tuple[str, str], ...]) -> None:
        self.at = at
        self.devices = devices

    def describe(self) -> str:
        return f"find the network devices {' '.join(name for name, _ in self.devices)}"

    def apply(self, box: Box) -> None:
        own = box.kernel.openat(box.proc, "self/ns/net", os.O_RDONLY)
        box.network = Network(own, rtnetlink.connect())
        joined = box.fds.get("namespace/network")
        if joined is not None and os.fstat(joined).st_ino == os.fstat(own).st_ino:
            raise ConfigError("rule", "the container has the runtime's network namespace with its devices", self.at)
        for name, at in self.devices:
            find(box.network, name, at)


class MoveDevice(Step):
    """Beside: move one device, give it back its addresses there and set it up.

    wanted: its name in the container; with a %d the kernel completes it.
    """

    __slots__ = ("name", "wanted")

    def __init__(self, at: str, name: str, wanted: str) -> None:
        self.at = at
        self.name = name
        self.wanted = wanted

    def describe(self) -> str:
        renamed = f" as {self.wanted}" if self.wanted != self.name else ""
        return f"move the network device {self.name} into the container{renamed}"

    def apply(self, box: Box) -> None:
        network = box.network
        assert network is not None
        network.enter(box)
        link = find(network, self.name, self.at)
        if "%" not in self.wanted and network.inside.link(self.wanted) is not None:
            raise self._taken()
        host = network.host
        moved = Moved(link, host.addresses(link.index), host.routes(link.index))
        network.moved[self.name] = moved
        self._move(network, moved)
        arrived = network.inside.link(index=moved.index)
        if arrived is None:
            raise OcirtError("unsupported", "the kernel gave the device another number than asked: it needs Linux 5.13")
        for address in moved.addresses:
            if address.permanent_and_global:
                network.inside.add_address(moved.index, address.relabelled(self.name, arrived.name))
        network.inside.set_up(moved.index)
        log.debug(f"network device {self.name} is {arrived.name} in the container")

    def _move(self, network: Network, moved: Moved) -> None:
        """Under its old number, by which things inside a joined namespace may know it, or one that is free."""
        for left in reversed(range(ATTEMPTS)):
            if network.inside.link(index=moved.index) is not None:
                moved.index = network.inside.free_index()
            try:
                network.host.move(moved.link.index, network.namespace, self.wanted, moved.index)
                return
            except OSError as error:
                if error.errno == errno.EEXIST:
                    raise self._taken() from None
                if error.errno != errno.EBUSY or not left:
                    raise

    def _taken(self) -> OcirtError:
        return OcirtError(
            "network",
            f"a network device {log.quote(self.wanted)} is in the container's namespace already",
            at=self.at,
            remedy='give it another "name", or a pattern such as "eth%d" that the kernel completes',
        )

    def undo(self, box: Box) -> None:
        if box.network is not None:
            moved = box.network.moved.pop(self.name, None)
            if moved is not None:
                give_back(box.network, moved)


def find(network: Network, name: str, at: str) -> Link:
    """The device on the host.  Raises OcirtError("network")."""
    link = network.host.link(name)
    if link is None or link.name != name:
        other = f": it is another name of {log.quote(link.name)}" if link else ""
        raise OcirtError(
            "network",
            f"no network device is called {log.quote(name)}{other}",
            at=at,
            remedy="ip link shows those of the runtime's network namespace",
        )
    if link.loopback:
        raise OcirtError("network", "a loopback device cannot be moved: each namespace has its own", at=at)
    return link


def give_back(network: Network, moved: Moved) -> None:
    """Undo a move: name, number, addresses, up or down, bridge or bond, and the routes through the device.

    Nothing when it was not moved.  What of that the kernel refuses by now is said in a warning.
    """
    host, link = network.host, moved.link
    if host.link(index=link.index) is not None:
        return
    network.inside.move(moved.index, network.own, link.name, link.index)
    for address in moved.addresses:
        if not address.temporary:
            _bear(lambda address=address: _add(host, link.index, address))  # type: ignore[misc]
    if link.master:
        _bear(lambda: host.set_master(link.index, link.master))
    if link.up:
        _bear(lambda: host.set_up(link.index))
    for route in moved.routes:
        _bear(lambda route=route: host.add_route(route))  # type: ignore[misc]


def _add(host: Connection, index: int, address: Address) -> None:
    try:
        host.add_address(index, address)
    except OSError as error:
        if error.errno != errno.EEXIST:  # the kernel makes some by itself
            raise


def _bear(act: Callable[[], object]) -> None:
    try:
        act()
    except (OSError, OcirtError) as error:
        log.warning(f"a network device is not quite as it was: {error}")


def find_devices(linux: Linux) -> Iterator[Step]:
    """HOST: so that most faults are found before anything is made."""
    yield FindDevices("/linux/netDevices", tuple((name, device.at) for name, device in linux.net_devices.items()))


def move_devices(linux: Linux) -> Iterator[Step]:
    """BESIDE, last: what fails before leaves the devices alone."""
    for name, device in linux.net_devices.items():
        yield MoveDevice(f"{device.at}/name" if device.name else device.at, name, device.name or name)
