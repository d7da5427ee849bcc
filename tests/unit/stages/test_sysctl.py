"""Kernel parameters."""

from __future__ import annotations

import errno
import os

import pytest

from ocirt.config.views import Linux
from ocirt.errors import KernelError
from ocirt.kernel import flags as f
from ocirt.stages.sysctl import SetSysctl, sysctl
from tests.support.recorder import kernel_error, recorded_box


def test_plan_points_at_each_key() -> None:
    steps = sysctl(Linux({"sysctl": {"net/a~b": "1", "kernel.x": "2"}}, "/linux"))
    assert [(step.at, step.describe()) for step in steps] == [
        ("/linux/sysctl/net~1a~0b", "set net/a~b to '1'"),
        ("/linux/sysctl/kernel.x", "set kernel.x to '2'"),
    ]
    assert list(sysctl(None)) == []


def test_written_through_the_trusted_proc() -> None:
    box, kernel = recorded_box(openat2=5)
    SetSysctl("", "net.x", "1 2").apply(box)
    resolve = f.RESOLVE_BENEATH | f.RESOLVE_NO_XDEV | f.RESOLVE_NO_SYMLINKS | f.RESOLVE_NO_MAGICLINKS
    assert kernel.calls == [
        ("openat2", 1001, "sys/net/x", os.O_WRONLY, ("resolve", resolve)),
        ("write_fd", 5, b"1 2"),
        ("close", 5),
    ]


def test_failure_names_the_file_and_closes_it() -> None:
    box, kernel = recorded_box(openat2=5, write_fd=kernel_error(errno.EINVAL, "write"))
    with pytest.raises(KernelError) as caught:
        SetSysctl("", "net.x", "1").apply(box)
    assert caught.value.detail == "/proc/sys/net/x"
    assert kernel.names()[-1] == "close"
