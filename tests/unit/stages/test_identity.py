"""Who the process becomes, and in which order."""

from __future__ import annotations

import errno
import os
import stat
from types import SimpleNamespace
from typing import Any

import pytest

from ocirt.config.views import Process
from ocirt.errors import KernelError, OcirtError
from ocirt.stages.identity import (
    FindHome,
    OwnStandardStreams,
    SetGroup,
    SetGroups,
    SetUser,
    home,
    home_of,
    identity,
    umask,
)
from ocirt.stages.umask import SetUmask
from tests.support.recorder import kernel_error, recorded_box


def process(**members: Any) -> Process:
    return Process({"cwd": "/", "args": ["sh"], **members}, "/process")


def status(mode: int, uid: int = 0, device: int = 0) -> Any:
    return SimpleNamespace(st_mode=mode, st_uid=uid, st_rdev=device)


PIPE = status(stat.S_IFIFO)
NULL = status(stat.S_IFCHR, 0, os.makedev(1, 3))


def test_the_order_is_the_kernels() -> None:
    steps = [type(step).__name__ for step in identity(process(env=["HOME="]), False)]
    assert steps == [
        "LimitBoundingSet",
        "KeepCapabilities",
        "OwnStandardStreams",
        "SetGroups",
        "SetGroup",
        "SetUser",
        "EnterDeniedDirectory",
        "SetCapabilities",
    ]


@pytest.mark.parametrize(
    ("env", "wanted"),
    [([], True), (["HOME="], True), (["HOME=/x"], False), (["HOME=/x", "HOME="], True), (["HOME=", "HOME=/x"], False)],
)
def test_home_is_looked_up_unless_the_last_setting_of_it_has_a_value(env: list[str], wanted: bool) -> None:
    assert any(isinstance(step, FindHome) for step in home(process(env=env))) is wanted


@pytest.mark.parametrize(
    ("user", "mask", "at"),
    [({}, 0o022, ""), ({"umask": 0}, 0, "/process/user/umask"), ({"umask": 0o77}, 0o77, "/process/user/umask")],
)
def test_umask_is_the_configured_one_or_0022(user: dict[str, int], mask: int, at: str) -> None:
    (step,) = umask(process(user=user))
    box, kernel = recorded_box()
    step.apply(box)
    assert isinstance(step, SetUmask)
    assert (kernel.calls, step.at) == ([("umask", mask)], at)


def test_streams_become_the_users_but_not_dev_null_nor_what_is_already() -> None:
    box, kernel = recorded_box(fstat=[NULL, PIPE, status(stat.S_IFIFO, 7)])
    OwnStandardStreams("", 7).apply(box)
    assert [call for call in kernel.calls if call[0] == "fchown"] == [("fchown", 1, 7, -1)]


@pytest.mark.parametrize("number", [errno.EINVAL, errno.EPERM, errno.EROFS])
def test_a_stream_that_cannot_change_hands_stays_as_it_is(number: int) -> None:
    box, kernel = recorded_box(fstat=PIPE, fchown=kernel_error(number))
    OwnStandardStreams("", 7).apply(box)
    assert kernel.names().count("fchown") == 3


def test_a_stream_with_an_input_output_error_is_an_error() -> None:
    box, _ = recorded_box(fstat=PIPE, fchown=kernel_error(errno.EIO))
    with pytest.raises(KernelError) as caught:
        OwnStandardStreams("", 7).apply(box)
    assert caught.value.errno == errno.EIO


PASSWD = b"""root:x:0:0:root:/root:/bin/sh
short:x:5
+nis::::::
bin:x:2:2::/bin-home:/bin/sh
again:x:2:2::/second:/bin/sh
empty:x:3:3:::/bin/sh
nul:x:4:4::/a\0b:/bin/sh
last:x:6:6::/last"""


@pytest.mark.parametrize(
    ("uid", "home"), [(0, "/root"), (2, "/bin-home"), (3, "/"), (4, "/"), (5, "/"), (6, "/last"), (99, "/")]
)
def test_home_is_the_sixth_field_of_the_first_line_with_the_uid(uid: int, home: str) -> None:
    assert home_of(uid, PASSWD) == home


def test_a_missing_passwd_means_the_root_directory() -> None:
    box, kernel = recorded_box(openat2=kernel_error(errno.ENOENT))
    FindHome("", 0).apply(box)
    assert (box.facts["home"], kernel.names()) == ("/", ["openat2"])


def test_passwd_is_opened_without_waiting_and_without_the_links_of_procfs() -> None:
    box, kernel = recorded_box(openat2=9, fstat=status(stat.S_IFREG), read=[PASSWD, b""])
    FindHome("", 0).apply(box)
    _, _, name, flags, resolve = kernel.calls[0]
    assert (name, resolve) == ("/etc/passwd", ("resolve", 2))
    assert flags & os.O_NONBLOCK
    assert kernel.calls[-1] == ("close", 9)
    assert box.facts["home"] == "/root"


def test_a_passwd_that_is_no_file_is_not_read() -> None:
    box, kernel = recorded_box(openat2=9, fstat=PIPE)
    FindHome("", 0).apply(box)
    assert kernel.names() == ["openat2", "fstat", "close"]


def test_an_endless_passwd_is_read_to_one_mebibyte() -> None:
    box, kernel = recorded_box(openat2=9, fstat=status(stat.S_IFREG), read=lambda fd, size: b"x" * min(size, 1 << 18))
    FindHome("", 0).apply(box)
    assert kernel.names().count("read") == 4


def test_no_groups_drops_the_runtimes_own() -> None:
    box, kernel = recorded_box()
    SetGroups("", (), False).apply(box)
    assert kernel.calls == [("setgroups", ())]


def test_where_setgroups_is_denied_nothing_is_dropped() -> None:
    box, kernel = recorded_box(setgroups=kernel_error(errno.EPERM, "setgroups"))
    SetGroups("", (), True).apply(box)
    assert kernel.calls == [("setgroups", ())]


def test_where_setgroups_is_denied_groups_are_refused() -> None:
    box, _ = recorded_box(setgroups=kernel_error(errno.EPERM, "setgroups"))
    with pytest.raises(OcirtError) as caught:
        SetGroups("/g", (5,), True).apply(box)
    assert caught.value.what == "cannot set any additional groups in a rootless container"


@pytest.mark.parametrize(
    ("step", "answers", "what"),
    [
        (SetUser("", 7, True), "setresuid", "cannot setuid to unmapped uid 7 in user namespace"),
        (SetGroup("", 8, True), "setresgid", "cannot setgid to unmapped gid 8 in user namespace"),
        (SetGroups("", (8, 9), True), "setgroups", "cannot setgroups to unmapped gid 8, 9 in user namespace"),
    ],
)
def test_an_id_without_a_mapping_is_named(step: Any, answers: str, what: str) -> None:
    box, _ = recorded_box(**{answers: kernel_error(errno.EINVAL, answers)})
    with pytest.raises(OcirtError) as caught:
        step.apply(box)
    assert (caught.value.what, caught.value.errno) == (what, errno.EINVAL)


def test_outside_a_user_namespace_the_kernels_answer_stays() -> None:
    box, _ = recorded_box(setresuid=kernel_error(errno.EINVAL, "setresuid"))
    with pytest.raises(KernelError):
        SetUser("", 7, False).apply(box)


def test_all_three_ids_change() -> None:
    box, kernel = recorded_box()
    SetGroup("", 8, False).apply(box)
    SetUser("", 7, False).apply(box)
    assert kernel.calls == [("setresgid", 8, 8, 8), ("setresuid", 7, 7, 7)]
