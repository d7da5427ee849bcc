"""AppArmor and SELinux: written where, refused when."""

from __future__ import annotations

import errno

import pytest

from ocirt.config.views import Process
from ocirt.errors import KernelError, OcirtError
from ocirt.host import Host
from ocirt.stages.lsm import SetProfile, lsm
from tests.support.recorder import kernel_error, recorded_box

BOTH = Host(apparmor=True, selinux=True)


def test_both_are_written_through_the_hosts_proc() -> None:
    process = Process({"apparmorProfile": "web", "selinuxLabel": "u:r:t:s0"}, "/process")
    steps = list(lsm(process, BOTH))
    box, kernel = recorded_box()
    for step in steps:
        step.apply(box)
    assert kernel.calls == [
        ("write_file", 1001, "self/attr/apparmor/exec", b"exec web"),
        ("write_file", 1001, "self/attr/exec", b"u:r:t:s0"),
    ]
    assert [step.at for step in steps] == ["/process/apparmorProfile", "/process/selinuxLabel"]


def test_an_old_kernel_has_only_the_shared_file() -> None:
    box, kernel = recorded_box(write_file=[kernel_error(errno.ENOENT, "openat"), None])
    SetProfile("", "web").apply(box)
    assert kernel.calls[1] == ("write_file", 1001, "self/attr/exec", b"exec web")


def test_a_profile_that_is_not_loaded_is_an_error() -> None:
    box, kernel = recorded_box(write_file=kernel_error(errno.ENOENT, "write"))
    with pytest.raises(KernelError):
        SetProfile("", "web").apply(box)
    assert len(kernel.calls) == 1


@pytest.mark.parametrize(
    ("member", "what"),
    [
        ("apparmorProfile", "apparmor: config provided but apparmor not supported"),
        ("selinuxLabel", "selinux label is specified in config, but selinux is disabled or not supported"),
    ],
)
def test_a_host_without_the_module_refuses(member: str, what: str) -> None:
    with pytest.raises(OcirtError) as caught:
        list(lsm(Process({member: "x"}, "/process"), Host()))
    assert (caught.value.code, caught.value.what, caught.value.at) == ("unsupported", what, f"/process/{member}")


def test_nothing_asked_for_is_nothing_done() -> None:
    assert list(lsm(Process({"apparmorProfile": ""}, "/process"), Host())) == list(lsm(None, Host())) == []
