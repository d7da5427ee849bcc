"""Records between two processes."""

from __future__ import annotations

import errno
import os
import socket

import pytest

from ocirt.channel import EOF, ERROR, GO, MAX_FIELD, READY, channel_pair
from ocirt.errors import KernelError, OcirtError


def test_a_record_arrives_as_it_was_sent() -> None:
    here, there = channel_pair()
    here.send("LOG", "debug", "größe\nzwei")
    record = there.receive()
    assert (record.kind, record.fields) == ("LOG", ["debug", "größe\nzwei"])


def test_nul_and_length_in_a_field_do_not_break_the_record() -> None:
    here, there = channel_pair()
    here.send("LOG", "a\0b", "x" * (MAX_FIELD + 1))
    assert there.receive().fields == ["a\\0b", "x" * MAX_FIELD]


def test_the_longest_error_is_one_record() -> None:
    here, there = channel_pair()
    long = "\udc80\U0001f600" * MAX_FIELD
    here.send_error(OcirtError("hook", long, stage=long, step=long, at=long, call=long, detail=long, remedy=long))
    record = there.receive()
    assert (record.kind, len(record.fields), len(record.fields[1])) == (ERROR, 9, len("\\udc80\U0001f600") * 640)


@pytest.mark.parametrize("data", [b"LOG", b"ERROR\0x", b"GO\0", b"WHAT", b"PID\0001", b"\xff"])
def test_what_is_no_record_is_refused(data: bytes) -> None:
    here, there = channel_pair()
    os.write(here.fileno(), data)
    with pytest.raises(OcirtError) as caught:
        there.receive()
    assert (caught.value.code, caught.value.what) == ("internal", f"received {len(data)} bytes that are no record")


@pytest.mark.parametrize("errno", ["", "-1", "x", "\u0662", "9" * 5000])
def test_a_strange_code_or_errno_of_the_peer_is_not_passed_on(errno: str) -> None:
    error = OcirtError.from_record(["evil", "w", "", "", "", "", errno, "", ""])
    assert (error.code, error.errno, error.what) == ("internal", 0, "w")


def test_the_end_of_the_peer_is_a_record() -> None:
    here, there = channel_pair()
    here.close()
    assert there.receive().kind == EOF


def test_an_error_crosses_with_all_its_fields() -> None:
    here, there = channel_pair()
    error = OcirtError(
        "step-failed",
        "mount",
        stage="mounts",
        step="mount x",
        at="/mounts/1",
        call="mount",
        errno=2,
        detail="d",
        remedy="r",
    )
    here.send_error(error)
    record = there.receive()
    assert record.kind == ERROR
    assert vars(OcirtError.from_record(record.fields)) == vars(error)


def test_a_foreign_exception_is_reported_as_internal() -> None:
    here, there = channel_pair()
    here.send_error(KeyError("x"))
    error = OcirtError.from_record(there.receive().fields)
    assert (error.code, error.what) == ("internal", "KeyError: 'x'")


def test_a_system_call_that_failed_keeps_its_name_and_errno() -> None:
    here, there = channel_pair()
    here.send_error(KernelError(errno.ENOSYS, "Function not implemented", "clone3", "CLONE_NEWPID"))
    error = OcirtError.from_record(there.receive().fields)
    assert (error.code, error.call, error.errno) == ("step-failed", "clone3", errno.ENOSYS)
    here.send_error(OSError(errno.ENOMEM, "Cannot allocate memory"))
    error = OcirtError.from_record(there.receive().fields)
    assert (error.code, error.what, error.errno) == ("step-failed", "a system call", errno.ENOMEM)


def test_the_wrong_record_is_refused() -> None:
    here, there = channel_pair()
    here.send(READY)
    with pytest.raises(OcirtError) as caught:
        there.expect(GO)
    assert (caught.value.code, caught.value.what) == ("internal", "expected the record GO, received READY")


def test_a_descriptor_comes_with_a_record() -> None:
    here, there = channel_pair()
    reading, writing = os.pipe()
    with socket.socket(fileno=os.dup(here.fileno())) as sock:
        socket.send_fds(sock, [b"it"], [writing])
    os.close(writing)
    received = there.receive_descriptor()
    assert not os.get_inheritable(received)
    os.write(received, b"through")
    assert os.read(reading, 100) == b"through"
    os.close(received)
    os.close(reading)


def test_a_record_without_the_descriptor_is_refused() -> None:
    here, there = channel_pair()
    here.send(GO)
    here.close()
    for received in ("GO", "the end"):
        with pytest.raises(OcirtError) as caught:
            there.receive_descriptor()
        assert (caught.value.code, caught.value.what) == ("internal", f"expected a descriptor, received {received}")


def test_a_silent_peer_is_waited_for_as_long_as_the_bound_says() -> None:
    here, there = channel_pair()
    there.bound = 0.01, OcirtError("timeout", "it is silent")
    for receive in (there.receive, there.receive_descriptor):
        with pytest.raises(OcirtError) as caught:
            receive()
        assert caught.value.what == "it is silent"
    here.send(GO)
    assert there.receive().kind == GO
