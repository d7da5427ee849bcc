"""The conversation with the kernel about network devices, with a kernel that a test plays."""

from __future__ import annotations

import errno
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from pyroute2.netlink.rtnl.ifaddrmsg import ifaddrmsg
from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg

from ocirt.errors import KernelError, OcirtError
from ocirt.kernel import rtnetlink
from ocirt.kernel.rtnetlink import Address, Connection, Link, connect

MULTI = 2


@pytest.fixture
def pair() -> Iterator[tuple[Connection, socket.socket]]:
    ours, kernels = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.settimeout(5)
    with ours, kernels:
        yield Connection(ours), kernels  # type: ignore[arg-type]  # of the same C class


def message(kind: int, sequence: int, body: bytes = b"", flags: int = MULTI) -> bytes:
    return struct.pack("=IHHII", 16 + len(body), kind, flags, sequence, 0) + body


def done(sequence: int, number: int = 0, flags: int = MULTI) -> bytes:
    return message(rtnetlink.NLMSG_DONE, sequence, struct.pack("=i", -number), flags)


def refusal(sequence: int, number: int) -> bytes:
    return message(rtnetlink.NLMSG_ERROR, sequence, struct.pack("=i", -number) + bytes(16), 0)


def play(kernels: socket.socket, *answers: list[bytes]) -> threading.Thread:
    """Answer one request after the other, each with some datagrams."""

    def kernel() -> None:
        for datagrams in answers:
            kernels.recv(65536)
            for data in datagrams:
                kernels.send(data)

    thread = threading.Thread(target=kernel, daemon=True)
    thread.start()
    return thread


def link(sequence: int, index: int) -> bytes:
    name = struct.pack("=HH", 8, 3) + b"x%d\0\0" % index
    return message(rtnetlink.RTM_NEWLINK, sequence, struct.pack("=BBHiII", 0, 0, 1, index, 1, 0) + name)


def test_a_list_in_parts(pair: tuple[Connection, socket.socket]) -> None:
    connection, kernels = pair
    play(kernels, [link(1, 1) + link(1, 7), link(1, 5) + done(1)])
    assert connection.free_index() == 8


def test_a_list_that_changed_meanwhile_is_asked_for_again(pair: tuple[Connection, socket.socket]) -> None:
    connection, kernels = pair
    changed = MULTI | rtnetlink.NLM_F_DUMP_INTR
    play(kernels, [link(1, 9) + done(1, flags=changed)], [link(2, 3) + done(2)])
    assert connection.free_index() == 4


def test_not_for_ever(pair: tuple[Connection, socket.socket]) -> None:
    connection, kernels = pair
    changed = MULTI | rtnetlink.NLM_F_DUMP_INTR
    play(kernels, *([done(number, flags=changed)] for number in range(1, rtnetlink.DUMPS + 1)))
    with pytest.raises(KernelError) as caught:
        connection.free_index()
    assert (caught.value.errno, caught.value.call) == (errno.EINTR, "RTM_GETLINK")


def test_the_rest_of_an_older_answer_is_passed_over(pair: tuple[Connection, socket.socket]) -> None:
    connection, kernels = pair
    play(kernels, [link(1, 2) + done(1)], [link(1, 99), link(2, 4) + done(2)])
    assert (connection.free_index(), connection.free_index()) == (3, 5)


def test_a_refusal_says_what_was_asked(pair: tuple[Connection, socket.socket]) -> None:
    connection, kernels = pair
    play(kernels, [refusal(1, errno.EPERM)])
    with pytest.raises(KernelError) as caught:
        connection.move(3, 9, "eth0", 4)
    assert (caught.value.errno, caught.value.call) == (errno.EPERM, "RTM_NEWLINK")
    assert caught.value.detail == "eth0, index 4"


def test_no_device_is_no_error(pair: tuple[Connection, socket.socket]) -> None:
    connection, kernels = pair
    play(kernels, [refusal(1, errno.ENODEV)])
    assert connection.link("eth7") is None


@pytest.mark.parametrize("length", [0, 15, 17, 4000])
def test_a_length_that_is_not_true(pair: tuple[Connection, socket.socket], length: int) -> None:
    connection, kernels = pair
    play(kernels, [struct.pack("=IHHII", length, rtnetlink.NLMSG_DONE, MULTI, 1, 0)])
    with pytest.raises(KernelError) as caught:
        connection.free_index()
    assert caught.value.errno == errno.EBADMSG


def test_the_wait_ends(pair: tuple[Connection, socket.socket]) -> None:
    connection, _ = pair
    connection._sock.settimeout(0.01)
    with pytest.raises(OcirtError) as caught:
        connection.set_up(3)
    assert (caught.value.code, caught.value.what) == ("timeout", "waited 30 s for the kernel's answer to RTM_NEWLINK")


ADDRESSES = [
    Address(2, 24, 0, 0x80, {"IFA_LOCAL": "10.0.0.1", "IFA_ADDRESS": "10.0.0.9", "IFA_LABEL": "eth0:a"}, (10, 20)),
    Address(2, 8, 253, 0x280, {"IFA_LOCAL": "10.0.0.1", "IFA_BROADCAST": "10.255.255.255"}, (2**32 - 1, 2**32 - 1)),
    Address(10, 64, 0, 0x182, {"IFA_ADDRESS": "fe80::1:2"}, (0, 5)),
]


def made(message: Any, fields: dict[str, int], attributes: dict[str, Any]) -> bytes:
    """What pyroute2 makes, without the header."""
    for name, value in fields.items():
        message[name] = value
    message["attrs"] = list(attributes.items())
    message.encode()
    return bytes(message.data)[16:]


def made_address(index: int, address: Address, flags: int) -> bytes:
    fields = {"family": address.family, "prefixlen": address.prefix, "scope": address.scope, "index": index}
    preferred, valid = address.lifetime
    times = {"ifa_preferred": preferred, "ifa_valid": valid, "cstamp": 0, "tstamp": 0}
    return made(ifaddrmsg(), fields, {**address.attributes, "IFA_FLAGS": flags, "IFA_CACHEINFO": times})


def read(message: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Fields and attributes that pyroute2 reads."""
    message.decode()
    fields = {name: message[name] for name, _ in message.fields}
    return fields, dict(message["attrs"])


def said(kernels: socket.socket, action: Callable[[], None]) -> bytes:
    """The request that this makes, which is granted."""
    requests = []

    def kernel() -> None:
        requests.append(kernels.recv(65536))
        kernels.send(refusal(struct.unpack_from("=8xI", requests[0])[0], 0))

    thread = threading.Thread(target=kernel, daemon=True)
    thread.start()
    action()
    thread.join(5)
    return requests[0]


@pytest.mark.parametrize("one", ADDRESSES)
def test_an_address_is_read_and_said_as_by_pyroute2(pair: tuple[Connection, socket.socket], one: Address) -> None:
    connection, kernels = pair
    of_another_kind = message(rtnetlink.RTM_NEWADDR, 1, bytes([socket.AF_CAN]) + bytes(7))
    of_another_device = message(rtnetlink.RTM_NEWADDR, 1, made_address(6, one, 0))
    own = message(rtnetlink.RTM_NEWADDR, 1, made_address(7, one, one.flags))
    play(kernels, [of_another_kind, of_another_device + own + done(1)])
    (found,) = connection.addresses(7)
    for name in Address.__slots__:
        assert getattr(found, name) == getattr(one, name), name
    request = said(kernels, lambda: connection.add_address(7, one))
    body = made_address(7, one, one.flags & rtnetlink.IFA_F_SET)
    assert struct.unpack_from("=IHHI", request) == (len(request), 20, 0x605, 2)
    assert read(ifaddrmsg(request)) == read(ifaddrmsg(message(rtnetlink.RTM_NEWADDR, 2, body)))


LINKS: list[tuple[Callable[[Connection], None], dict[str, int], dict[str, Any]]] = [
    (
        lambda here: here.move(7, 33, "net%d\u00e9", 12),
        {"index": 7},
        {"IFLA_IFNAME": "net%d\u00e9", "IFLA_NET_NS_FD": 33, "IFLA_NEW_IFINDEX": 12},
    ),
    (lambda here: here.set_up(7), {"index": 7, "flags": 1, "change": 1}, {}),
    (lambda here: here.set_master(7, 70000), {"index": 7}, {"IFLA_MASTER": 70000}),
]


@pytest.mark.parametrize(("action", "fields", "attributes"), LINKS)
def test_what_is_done_to_a_device_is_said_as_by_pyroute2(
    pair: tuple[Connection, socket.socket],
    action: Callable[[Connection], None],
    fields: dict[str, int],
    attributes: dict[str, Any],
) -> None:
    connection, kernels = pair
    request = said(kernels, lambda: action(connection))
    assert struct.unpack_from("=IHHI", request) == (len(request), 16, 5, 1)
    assert read(ifinfmsg(request)) == read(ifinfmsg(message(16, 1, made(ifinfmsg(), fields, attributes))))


def test_a_device_is_read_as_pyroute2_made_it(pair: tuple[Connection, socket.socket]) -> None:
    connection, kernels = pair
    attributes = {"IFLA_IFNAME": "net\u00e9", "IFLA_MASTER": 70000, "IFLA_MTU": 1500}
    play(kernels, [message(16, 1, made(ifinfmsg(), {"index": 70001, "flags": 0x11043}, attributes))])
    found = connection.link("other")
    assert found is not None
    assert [getattr(found, name) for name in Link.__slots__] == [0x11043, 70001, 70000, "net\u00e9"]


@pytest.mark.parametrize("length", [0, 3, 9, 65535])
def test_an_attribute_whose_length_is_not_true(pair: tuple[Connection, socket.socket], length: int) -> None:
    connection, kernels = pair
    play(kernels, [message(16, 1, bytes(16) + struct.pack("=HHI", length, 3, 0))])
    with pytest.raises(KernelError) as caught:
        connection.link("eth0")
    assert caught.value.errno == errno.EBADMSG


def test_the_real_kernel_knows_the_loopback() -> None:
    connection = connect()
    found = connection.link("lo")
    assert found is not None
    assert (found.name, found.index, found.loopback, found.master) == ("lo", 1, True, 0)
    assert connection.link(index=1) is not None
    assert connection.link("no-such-device") is None
    connection.close()


def address(label: str, family: int = socket.AF_INET, flags: int = 0x80, scope: int = 0) -> Address:
    attributes = {"IFA_LOCAL": "10.0.0.1", **({"IFA_LABEL": label} if label else {})}
    return Address(family, 8, scope, flags, attributes, (2**32 - 1, 2**32 - 1))


@pytest.mark.parametrize(
    ("label", "new", "wanted"),
    [
        ("eth0", "net0", "net0"),
        ("eth0:web", "net0", "net0:web"),
        ("eth0:web", "eleven-long", "eleven-long:web"),
        ("eth0:web", "twelve-longx", None),
        ("eth01", "net0", "eth01"),
        ("other", "net0", "other"),
        ("", "net0", None),
    ],
)
def test_a_label_follows_the_name(label: str, new: str, wanted: str | None) -> None:
    assert address(label).relabelled("eth0", new).attributes.get("IFA_LABEL") == wanted


def test_which_addresses_go_along() -> None:
    assert address("").permanent_and_global
    assert not address("", flags=0).permanent_and_global
    assert not address("", scope=253).permanent_and_global
    assert address("", socket.AF_INET6, flags=0x81).temporary
    assert not address("", socket.AF_INET, flags=0x81).temporary
