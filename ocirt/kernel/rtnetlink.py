"""The network devices of one network namespace and their addresses, by rtnetlink(7).

Every answer is looked at and every wait ends.  The messages are made and read here, six kinds of them: the library that
knows all, pyroute2, takes 200 ms to load and C modules that the native launcher has not.
Imported only for a container with linux.netDevices.
"""

from __future__ import annotations

import _socket
import errno
from _struct import Struct  # built in; the public module is a file

from ocirt import system as os
from ocirt.errors import KernelError, OcirtError
from ocirt.kernel.flags import CLONE_NEWNET, IFF_LOOPBACK, IFF_UP
from ocirt.kernel.processes import setns

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

TIMEOUT = 30.0  # seconds for each answer: the kernel gives it at once unless something holds its lock of all devices
RECEIVED = 1 << 20  # bytes; an answer that does not fit is cut off and refused
DUMPS = 10  # tries, while others change what is listed

# <linux/netlink.h>
NLMSG_ERROR, NLMSG_DONE = 2, 3
NLM_F_REQUEST, NLM_F_ACK, NLM_F_DUMP_INTR = 1, 4, 0x10
NLM_F_EXCL, NLM_F_DUMP, NLM_F_CREATE = 0x200, 0x300, 0x400
_HEADER = Struct("=IHHII")  # struct nlmsghdr: length, type, flags, sequence number, port
_ERROR = Struct("=i")  # the beginning of struct nlmsgerr: minus an errno, or 0
_LINK = Struct("=BxHiII")  # struct ifinfomsg: family, type, index, flags, which of these to change
_ADDRESS = Struct("=BBBBI")  # struct ifaddrmsg: family, length of the prefix, flags, scope, index
_ROUTE = Struct("=BBBBBBBBI")  # struct rtmsg: family, ..., protocol (6th), ..., flags (last)
_ATTRIBUTE = Struct("=HH")  # struct rtattr: length, type
_NUMBER = Struct("=I")
_CACHEINFO = Struct("=IIII")  # struct ifa_cacheinfo: preferred and valid lifetime, when made, when changed

# <linux/rtnetlink.h>, <linux/if_link.h>, <linux/if_addr.h>
RTM_NEWLINK, RTM_GETLINK = 16, 18
RTM_NEWADDR, RTM_GETADDR = 20, 22
RTM_NEWROUTE, RTM_GETROUTE = 24, 26
RT_SCOPE_UNIVERSE = 0
FAMILIES = (_socket.AF_INET, _socket.AF_INET6)
RTPROT_KERNEL, RTPROT_RA = 2, 9  # who made the route: the kernel for an address, a router's advertisement
RTM_F_CLONED = 0x200
RTA_OIF = 4
IFLA_IFNAME, IFLA_MASTER, IFLA_NET_NS_FD, IFLA_NEW_IFINDEX = 3, 10, 28, 49
IFA_CACHEINFO, IFA_FLAGS = 6, 8
IFA_F_TEMPORARY = 0x01  # of IPv6; of IPv4 it is IFA_F_SECONDARY
IFA_F_PERMANENT = 0x80
# What a user sets of an address's flags: NODAD, HOMEADDRESS, MANAGETEMPADDR, NOPREFIXROUTE, MCAUTOJOIN.
IFA_F_SET = 0x02 | 0x10 | 0x100 | 0x200 | 0x400
# What else makes an address; the rest is the kernel's own book-keeping.  The label is the device's matter.
LABEL = "IFA_LABEL"
KEPT_ATTRIBUTES = {"IFA_LOCAL": 2, "IFA_ADDRESS": 1, "IFA_BROADCAST": 4, LABEL: 3}

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
    """To the network namespace that a descriptor names, or the process's own.  Raises OSError."""
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
            (data,) = self._ask(RTM_GETLINK, _link(index, _text(IFLA_IFNAME, name) if name else b""), name)
        except KernelError as error:
            if error.errno != errno.ENODEV:
                raise
            return None
        return self._read_link(data)

    def free_index(self) -> int:
        """A number above those of all devices."""
        return max(self._read_link(data).index for data in self._list(RTM_GETLINK, _link(0))) + 1

    def move(self, index: int, namespace: int, name: str, new_index: int) -> None:
        """Into another namespace, under a name and a number there.

        name: with a %d the kernel completes it.  When the name is refused after the move, the device is there under
        the old one.  The device is down then, and without addresses.
        """
        there = _text(IFLA_IFNAME, name) + _number(IFLA_NET_NS_FD, namespace) + _number(IFLA_NEW_IFINDEX, new_index)
        self._do(RTM_NEWLINK, _link(index, there), f"{name}, index {new_index}")

    def set_up(self, index: int) -> None:
        self._do(RTM_NEWLINK, _link(index, flags=IFF_UP), "IFF_UP")

    def set_master(self, index: int, master: int) -> None:
        self._do(RTM_NEWLINK, _link(index, _number(IFLA_MASTER, master)), "IFLA_MASTER")

    @staticmethod
    def _read_link(data: bytes) -> Link:
        (_, _, index, flags, _), attributes = _read(_LINK, data)
        (master,) = _NUMBER.unpack(attributes.get(IFLA_MASTER, bytes(4)))
        return Link(_text_of(attributes[IFLA_IFNAME]), index, flags, master)

    # -- addresses -------------------------------------------------------------------------------

    def addresses(self, index: int) -> list[Address]:
        """Of IPv4 and IPv6, in an order in which they can be added again."""
        found = self._list(RTM_GETADDR, _ADDRESS.pack(_socket.AF_UNSPEC, 0, 0, 0, 0))
        read = [self._read_address(data) for data in found if data[_HEADER.size] in FAMILIES]
        own = [address for number, address in read if number == index]
        # The kernel lists IPv4 in the order of addition, which says which one is the primary; IPv6 the other way round.
        newest_first = [address for address in own if address.family == _socket.AF_INET6]
        return [address for address in own if address.family != _socket.AF_INET6] + newest_first[::-1]

    def add_address(self, index: int, address: Address) -> None:
        attributes = b"".join(
            _text(kind, address.attributes[name])
            if name == LABEL
            else _attribute(kind, _socket.inet_pton(address.family, address.attributes[name]))
            for name, kind in KEPT_ATTRIBUTES.items()
            if name in address.attributes
        )
        attributes += _number(IFA_FLAGS, address.flags & IFA_F_SET)
        attributes += _attribute(IFA_CACHEINFO, _CACHEINFO.pack(*address.lifetime, 0, 0))
        message = _ADDRESS.pack(address.family, address.prefix, 0, address.scope, index) + attributes
        self._do(RTM_NEWADDR, message, f"{address.attributes.get('IFA_ADDRESS')}/{address.prefix}", new=True)

    @staticmethod
    def _read_address(data: bytes) -> tuple[int, Address]:
        (family, prefix, flags, scope, index), attributes = _read(_ADDRESS, data)
        kept = {
            name: _text_of(attributes[kind]) if name == LABEL else _socket.inet_ntop(family, attributes[kind])
            for name, kind in KEPT_ATTRIBUTES.items()
            if kind in attributes
        }
        (flags,) = _NUMBER.unpack(attributes.get(IFA_FLAGS, _NUMBER.pack(flags)))
        preferred, valid, _, _ = _CACHEINFO.unpack(attributes[IFA_CACHEINFO])
        return index, Address(family, prefix, scope, flags, kept, (preferred, valid))

    # -- routes ----------------------------------------------------------------------------------

    def routes(self, index: int) -> list[bytes]:
        """Those through a device that are somebody's setting, as the kernel tells them."""
        request = self._list(RTM_GETROUTE, _link(0))  # of all families: only the first byte is looked at
        return [data for data in request if _is_set_route(data, index)]

    def add_route(self, route: bytes) -> None:
        flags = NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE
        self._converse(RTM_NEWROUTE, flags, route[_HEADER.size :], "")

    # -- messages --------------------------------------------------------------------------------

    def _ask(self, kind: int, body: bytes, detail: str) -> list[bytes]:
        return self._converse(kind, NLM_F_REQUEST, body, detail)

    def _do(self, kind: int, body: bytes, detail: str, *, new: bool = False) -> None:
        flags = NLM_F_REQUEST | NLM_F_ACK | (NLM_F_CREATE | NLM_F_EXCL if new else 0)
        self._converse(kind, flags, body, detail)

    def _list(self, kind: int, body: bytes) -> list[bytes]:
        for attempt in range(DUMPS):
            try:
                return self._converse(kind, NLM_F_REQUEST | NLM_F_DUMP, body, "")
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


def _link(index: int, attributes: bytes = b"", flags: int = 0) -> bytes:
    """flags: to set."""
    return _LINK.pack(_socket.AF_UNSPEC, 0, index, flags, flags) + attributes


def _attribute(kind: int, value: bytes) -> bytes:
    return _ATTRIBUTE.pack(_ATTRIBUTE.size + len(value), kind) + value + bytes(-len(value) % 4)


def _number(kind: int, value: int) -> bytes:
    return _attribute(kind, _NUMBER.pack(value))


def _text(kind: int, value: str) -> bytes:
    return _attribute(kind, os.fsencode(value) + b"\0")


def _text_of(value: bytes) -> str:
    return os.fsdecode(value.partition(b"\0")[0])


def _read(struct: Struct, data: bytes) -> tuple[tuple[int, ...], dict[int, bytes]]:
    """What a message begins with, and its attributes by their types."""
    fields = struct.unpack_from(data, _HEADER.size)
    at = _HEADER.size + struct.size
    found = {}
    while at + _ATTRIBUTE.size <= len(data):
        length, kind = _ATTRIBUTE.unpack_from(data, at)
        if not _ATTRIBUTE.size <= length <= len(data) - at:
            raise KernelError(errno.EBADMSG, os.strerror(errno.EBADMSG), "recvmsg")
        found[kind] = data[at + _ATTRIBUTE.size : at + length]
        at += length + 3 & ~3
    return fields, found


def _is_set_route(data: bytes, index: int) -> bool:
    fields, attributes = _read(_ROUTE, data)
    if fields[5] in (RTPROT_KERNEL, RTPROT_RA) or fields[8] & RTM_F_CLONED:
        return False
    return attributes.get(RTA_OIF) == _NUMBER.pack(index)
