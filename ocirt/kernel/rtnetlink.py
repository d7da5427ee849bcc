"""The network devices of one network namespace and their addresses, by rtnetlink(7).

The library pyroute2 makes and reads the messages; connect() loads it, so the first connection is made before the
clone.  What is said to the kernel, and when, is decided here: every answer is looked at and every wait ends.
Imported only for a container with linux.netDevices.
"""

from __future__ import annotations

import _socket
import errno
import sys
from _struct import Struct  # built in; the public module is a file

from ocirt import extras
from ocirt import system as os
from ocirt.errors import KernelError, OcirtError
from ocirt.kernel.flags import CLONE_NEWNET, IFF_LOOPBACK, IFF_UP
from ocirt.kernel.processes import setns

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType
    from typing import Any

TIMEOUT = 30.0  # seconds for each answer: the kernel gives it at once unless something holds its lock of all devices
RECEIVED = 1 << 20  # bytes; an answer that does not fit is cut off and refused
DUMPS = 10  # tries, while others change what is listed

# <linux/netlink.h>
NLMSG_ERROR, NLMSG_DONE = 2, 3
NLM_F_REQUEST, NLM_F_ACK, NLM_F_DUMP_INTR = 1, 4, 0x10
NLM_F_EXCL, NLM_F_DUMP, NLM_F_CREATE = 0x200, 0x300, 0x400
_HEADER = Struct("=IHHII")  # struct nlmsghdr: length, type, flags, sequence number, port
_ERROR = Struct("=i")  # the beginning of struct nlmsgerr: minus an errno, or 0
_ROUTE = Struct("=BBBBBBBBI")  # struct rtmsg: family, ..., protocol (6th), ..., flags (last)
_ATTRIBUTE = Struct("=HH")  # struct rtattr: length, type

# <linux/rtnetlink.h>, <linux/if_addr.h>
RTM_NEWLINK, RTM_GETLINK = 16, 18
RTM_NEWADDR, RTM_GETADDR = 20, 22
RTM_NEWROUTE, RTM_GETROUTE = 24, 26
RT_SCOPE_UNIVERSE = 0
RTPROT_KERNEL, RTPROT_RA = 2, 9  # who made the route: the kernel for an address, a router's advertisement
RTM_F_CLONED = 0x200
RTA_OIF = 4
IFA_F_TEMPORARY = 0x01  # of IPv6; of IPv4 it is IFA_F_SECONDARY
IFA_F_PERMANENT = 0x80
# What a user sets of an address's flags: NODAD, HOMEADDRESS, MANAGETEMPADDR, NOPREFIXROUTE, MCAUTOJOIN.
IFA_F_SET = 0x02 | 0x10 | 0x100 | 0x200 | 0x400
# What else makes an address: its label is the device's matter, the rest is the kernel's own book-keeping.
KEPT_ATTRIBUTES = ("IFA_LOCAL", "IFA_ADDRESS", "IFA_BROADCAST", "IFA_LABEL")

NAMES = {RTM_NEWLINK: "RTM_NEWLINK", RTM_GETLINK: "RTM_GETLINK", RTM_NEWADDR: "RTM_NEWADDR"}
NAMES |= {RTM_GETADDR: "RTM_GETADDR", RTM_NEWROUTE: "RTM_NEWROUTE", RTM_GETROUTE: "RTM_GETROUTE"}


class Link:
    """A network device.  index: its number in its namespace.  master: that of the bridge or bond it is in, or 0."""

    __slots__ = ("flags", "index", "master", "name")

    def __init__(self, name: str, index: int, flags: int, master: int) -> None:
        self.name = name
        self.index = index
        self.flags = flags
        self.master = master

    @property
    def up(self) -> bool:
        return bool(self.flags & IFF_UP)

    @property
    def loopback(self) -> bool:
        return bool(self.flags & IFF_LOOPBACK)


class Address:
    """One address of a device.  attributes: those of KEPT_ATTRIBUTES that it has, as text; lifetime: (preferred,
    valid) in seconds, 2**32-1 for ever."""

    __slots__ = ("attributes", "family", "flags", "lifetime", "prefix", "scope")

    def __init__(
        self, family: int, prefix: int, scope: int, flags: int, attributes: dict[str, str], lifetime: tuple[int, int]
    ) -> None:
        self.family = family
        self.prefix = prefix
        self.scope = scope
        self.flags = flags
        self.attributes = attributes
        self.lifetime = lifetime

    @property
    def permanent_and_global(self) -> bool:
        """RFC 3549, 2.3.3.2: given by an administrator, and of meaning beyond the host."""
        return bool(self.flags & IFA_F_PERMANENT) and self.scope == RT_SCOPE_UNIVERSE

    @property
    def temporary(self) -> bool:
        """Made by the kernel of another address (RFC 8981); nobody else may."""
        return self.family == _socket.AF_INET6 and bool(self.flags & IFA_F_TEMPORARY)

    def relabelled(self, old: str, new: str) -> Address:
        """The same for a device of another name: a label, which begins with it, goes along as far as it fits."""
        label = self.attributes.get("IFA_LABEL", "")
        if label != old and not label.startswith(f"{old}:"):
            return self
        attributes = {**self.attributes, "IFA_LABEL": new + label[len(old) :]}
        if len(attributes["IFA_LABEL"].encode()) > 15:  # IFNAMSIZ with the final 0
            del attributes["IFA_LABEL"]
        return Address(self.family, self.prefix, self.scope, self.flags, attributes, self.lifetime)


def connect(namespace: int = -1) -> Connection:
    """To the network namespace that a descriptor names, or the process's own.

    Raises OSError, and OcirtError("unsupported") without the library.
    """
    library()
    if namespace < 0:
        return Connection(_route_socket())
    own = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        setns(namespace, CLONE_NEWNET)
        try:
            return Connection(_route_socket())
        finally:
            setns(own, CLONE_NEWNET)
    finally:
        os.close(own)


def _route_socket() -> _socket.socket:
    """It stays in the namespace in which it was made."""
    sock = _socket.socket(_socket.AF_NETLINK, _socket.SOCK_RAW | _socket.SOCK_CLOEXEC, _socket.NETLINK_ROUTE)
    sock.settimeout(TIMEOUT)
    return sock


class Connection:
    """To one network namespace.  Every method raises KernelError, and OcirtError("timeout")."""

    def __init__(self, sock: _socket.socket) -> None:
        self._sock = sock
        self._sequence = 0

    def close(self) -> None:
        self._sock.close()

    # -- devices ---------------------------------------------------------------------------------

    def link(self, name: str = "", index: int = 0) -> Link | None:
        """A device by its name, which may be one of its other names, or by its number; None when there is none."""
        try:
            (data,) = self._ask(RTM_GETLINK, self._link_message(index, {"IFLA_IFNAME": name} if name else {}), name)
        except KernelError as error:
            if error.errno != errno.ENODEV:
                raise
            return None
        return self._read_link(data)

    def free_index(self) -> int:
        """A number above those of all devices."""
        found = self._list(RTM_GETLINK, self._link_message(0, {}))
        return max(self._read_link(data).index for data in found) + 1

    def move(self, index: int, namespace: int, name: str, new_index: int) -> None:
        """Into another namespace, under a name and a number there.

        name: with a %d the kernel completes it.  When the name is refused after the move, the device is there under
        the old one.  The device is down then, and without addresses.
        """
        wanted: dict[str, str | int] = {"IFLA_IFNAME": name, "IFLA_NET_NS_FD": namespace, "IFLA_NEW_IFINDEX": new_index}
        self._do(RTM_NEWLINK, self._link_message(index, wanted), f"{name}, index {new_index}")

    def set_up(self, index: int) -> None:
        message = self._link_message(index, {})
        message["flags"] = message["change"] = IFF_UP
        self._do(RTM_NEWLINK, message, "IFF_UP")

    def set_master(self, index: int, master: int) -> None:
        self._do(RTM_NEWLINK, self._link_message(index, {"IFLA_MASTER": master}), "IFLA_MASTER")

    @staticmethod
    def _link_message(index: int, attributes: dict[str, str | int]) -> Any:
        message = library()[0].ifinfmsg()
        message["index"] = index
        message["attrs"] = list(attributes.items())
        return message

    @staticmethod
    def _read_link(data: bytes) -> Link:
        message = library()[0].ifinfmsg(data)
        message.decode()
        name, master = message.get_attr("IFLA_IFNAME"), message.get_attr("IFLA_MASTER")
        return Link(name, message["index"], message["flags"], master or 0)

    # -- addresses -------------------------------------------------------------------------------

    def addresses(self, index: int) -> list[Address]:
        """Of all families, in an order in which they can be added again."""
        found = [self._read_address(data) for data in self._list(RTM_GETADDR, library()[1].ifaddrmsg())]
        own = [address for number, address in found if number == index]
        # The kernel lists IPv4 in the order of addition, which says which one is the primary; IPv6 the other way round.
        newest_first = [address for address in own if address.family == _socket.AF_INET6]
        return [address for address in own if address.family != _socket.AF_INET6] + newest_first[::-1]

    def add_address(self, index: int, address: Address) -> None:
        message = library()[1].ifaddrmsg()
        message["family"] = address.family
        message["prefixlen"] = address.prefix
        message["scope"] = address.scope
        message["index"] = index
        preferred, valid = address.lifetime
        message["attrs"] = [
            *address.attributes.items(),
            ("IFA_FLAGS", address.flags & IFA_F_SET),
            ("IFA_CACHEINFO", {"ifa_preferred": preferred, "ifa_valid": valid, "cstamp": 0, "tstamp": 0}),
        ]
        self._do(RTM_NEWADDR, message, f"{address.attributes.get('IFA_ADDRESS')}/{address.prefix}", new=True)

    @staticmethod
    def _read_address(data: bytes) -> tuple[int, Address]:
        message = library()[1].ifaddrmsg(data)
        message.decode()
        kept = {name: message.get_attr(name) for name in KEPT_ATTRIBUTES if message.get_attr(name) is not None}
        times = message.get_attr("IFA_CACHEINFO")
        flags = message.get_attr("IFA_FLAGS")
        return message["index"], Address(
            message["family"],
            message["prefixlen"],
            message["scope"],
            message["flags"] if flags is None else flags,
            kept,
            (times["ifa_preferred"], times["ifa_valid"]),
        )

    # -- routes ----------------------------------------------------------------------------------

    def routes(self, index: int) -> list[bytes]:
        """Those through a device that are somebody's setting, as the kernel tells them."""
        request = self._list(RTM_GETROUTE, library()[0].ifinfmsg())  # of all families: only the first byte is looked at
        return [data for data in request if _is_set_route(data, index)]

    def add_route(self, route: bytes) -> None:
        flags = NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE
        self._converse(RTM_NEWROUTE, flags, route[_HEADER.size :], "")

    # -- messages --------------------------------------------------------------------------------

    def _ask(self, kind: int, message: Any, detail: str) -> list[bytes]:
        return self._converse(kind, NLM_F_REQUEST, _body(message), detail)

    def _do(self, kind: int, message: Any, detail: str, *, new: bool = False) -> None:
        flags = NLM_F_REQUEST | NLM_F_ACK | (NLM_F_CREATE | NLM_F_EXCL if new else 0)
        self._converse(kind, flags, _body(message), detail)

    def _list(self, kind: int, message: Any) -> list[bytes]:
        for attempt in range(DUMPS):
            try:
                return self._converse(kind, NLM_F_REQUEST | NLM_F_DUMP, _body(message), "")
            except KernelError as error:
                if error.errno != errno.EINTR or attempt == DUMPS - 1:
                    raise
        raise AssertionError("unreachable")

    def _converse(self, kind: int, flags: int, body: bytes, detail: str) -> list[bytes]:
        """Send one request; the messages of its answer, without the one that ends a list.  EINTR: a list that
        changed while it was told."""
        self._sequence += 1
        call = NAMES[kind]
        try:
            self._sock.send(_HEADER.pack(_HEADER.size + len(body), kind, flags, self._sequence, 0) + body)
            return self._receive(call, detail, bool(flags & NLM_F_DUMP))
        except TimeoutError:
            raise OcirtError("timeout", f"waited {TIMEOUT:g} s for the kernel's answer to {call}") from None
        except KernelError:
            raise
        except OSError as error:
            raise KernelError(error.errno or 0, os.strerror(error.errno or 0), call, detail) from None

    def _receive(self, call: str, detail: str, is_list: bool) -> list[bytes]:
        found: list[bytes] = []
        interrupted = False
        while True:
            data, _, cut, _ = self._sock.recvmsg(RECEIVED)
            if cut & _socket.MSG_TRUNC:
                raise KernelError(errno.EMSGSIZE, os.strerror(errno.EMSGSIZE), call, detail)
            for kind, flags, sequence, message in _messages(data):
                if sequence != self._sequence:
                    continue  # the rest of an answer that was given up
                interrupted |= bool(flags & NLM_F_DUMP_INTR)
                if kind not in (NLMSG_ERROR, NLMSG_DONE):
                    found.append(message)
                    continue
                number = -_ERROR.unpack_from(message, _HEADER.size)[0]
                if interrupted and not number:
                    number = errno.EINTR
                if number:
                    raise KernelError(number, os.strerror(number), call, detail)
                return found
            if found and not is_list:
                return found


def _messages(data: bytes) -> Iterator[tuple[int, int, int, bytes]]:
    """Type, flags, sequence number, and the whole message with its header."""
    at = 0
    while at + _HEADER.size <= len(data):
        length, kind, flags, sequence, _ = _HEADER.unpack_from(data, at)
        if not _HEADER.size <= length <= len(data) - at:
            raise KernelError(errno.EBADMSG, os.strerror(errno.EBADMSG), "recvmsg")
        yield kind, flags, sequence, data[at : at + length]
        at += length + 3 & ~3  # messages are aligned to 4 bytes


def _body(message: Any) -> bytes:
    """What pyroute2 makes of a message, without the header, which is ours."""
    message.encode()
    return bytes(message.data)[_HEADER.size :]


def _is_set_route(data: bytes, index: int) -> bool:
    fields = _ROUTE.unpack_from(data, _HEADER.size)
    if fields[5] in (RTPROT_KERNEL, RTPROT_RA) or fields[8] & RTM_F_CLONED:
        return False
    at = _HEADER.size + _ROUTE.size
    while at + _ATTRIBUTE.size <= len(data):
        length, kind = _ATTRIBUTE.unpack_from(data, at)
        if kind == RTA_OIF:
            return int.from_bytes(data[at + 4 : at + 8], sys.byteorder) == index
        at += max(length, _ATTRIBUTE.size) + 3 & ~3
    return False


# -- the library ---------------------------------------------------------------------------------

_library: tuple[ModuleType, ...] = ()


def library() -> tuple[ModuleType, ...]:
    """pyroute2's messages of links and of addresses, loaded at the first call.  Raises OcirtError("unsupported")."""
    global _library
    if not _library:
        modules = ("pyroute2.netlink.rtnl.ifinfmsg", "pyroute2.netlink.rtnl.ifaddrmsg")
        _library = extras.load("moving network devices needs", *modules)
    return _library
