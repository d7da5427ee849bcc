"""AppArmor and SELinux: written where, refused when."""

from __future__ import annotations

import errno

import pytest

from ocirt.config.views import Process
from ocirt.errors import KernelError, OcirtError
from ocirt.host import Host
from ocirt.stages.keyring import session_keyring
from ocirt.stages.lsm import SetProfile, labelled_keys, lsm
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


def test_a_keyring_gets_the_programs_label_and_what_follows_does_not() -> None:
    steps = list(labelled_keys(session_keyring("_ses.web"), Process({"selinuxLabel": "u:r:t:s0"}, "/process")))
    box, kernel = recorded_box(join_session_keyring=42, keyctl_describe="keyring;0;0;3f130000;_ses.web")
    for step in steps:
        step.apply(box)
    assert kernel.calls == [
        ("write_file", 1001, "self/attr/keycreate", b"u:r:t:s0"),
        ("join_session_keyring", "_ses.web"),
        ("keyctl_describe", 42),
        ("keyctl_setperm", 42, 0x3F1B0000),
        ("write_file", 1001, "self/attr/keycreate", b""),
    ]
    assert [(step.at, step.describe()) for step in (steps[0], steps[-1])] == [
        ("/process/selinuxLabel", "use SELinux label u:r:t:s0 for new keys"),
        ("/process/selinuxLabel", "let new keys have their own labels"),
    ]
