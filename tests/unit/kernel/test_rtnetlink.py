"""The conversation with the kernel about network devices, with a kernel that a test plays."""

from __future__ import annotations

import errno
import socket
import struct
import threading
from collections.abc import Iterator

import pytest

from ocirt.errors import KernelError, OcirtError
from ocirt.kernel import rtnetlink
from ocirt.kernel.rtnetlink import Address, Connection, connect

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
