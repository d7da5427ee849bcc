"""Counters of capabilities: what means that the kernel cannot, and what is a failure like any other."""

from __future__ import annotations

import errno
import os

import pytest

from ocirt.errors import KernelError, OcirtError
from ocirt.kernel.perf import read_counter
from ocirt.stages import cap_audit
from ocirt.stages.cap_audit import Audit, CountCapabilities
from tests.support.recorder import kernel_error, recorded_box


def failure(monkeypatch: pytest.MonkeyPatch, number: int) -> OSError | OcirtError:
    def refuse(event: int, filter: str, pid: int) -> int:
        raise kernel_error(number, "perf_event_open")

    monkeypatch.setattr(cap_audit, "tracepoint", lambda event: 7)
    monkeypatch.setattr(cap_audit, "open_counter", refuse)
    box, _ = recorded_box()
    with pytest.raises((OSError, OcirtError)) as caught:
        CountCapabilities(Audit()).apply(box)
    return caught.value


@pytest.mark.parametrize("name", ["ENOENT", "EPERM", "EACCES", "ENOSYS"])
def test_a_kernel_that_does_not_tell(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    error = failure(monkeypatch, getattr(errno, name))
    assert isinstance(error, OcirtError)
    assert (error.code, error.call, error.errno) == ("unsupported", "perf_event_open", getattr(errno, name))


@pytest.mark.parametrize("name", ["EMFILE", "ENOMEM", "ENOSPC"])
def test_another_failure_is_told_as_what_it_is(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    error = failure(monkeypatch, getattr(errno, name))
    assert isinstance(error, KernelError)
    assert (error.call, error.errno) == ("perf_event_open", getattr(errno, name))


@pytest.mark.parametrize("data", [b"", b"1234"])
def test_a_counter_that_the_kernel_has_given_up(data: bytes) -> None:
    reading, writing = os.pipe()
    os.write(writing, data)
    os.close(writing)
    with pytest.raises(KernelError) as caught:
        read_counter(reading)
    os.close(reading)
    assert (caught.value.errno, caught.value.call) == (errno.EIO, "read")
