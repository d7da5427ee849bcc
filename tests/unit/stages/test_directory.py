"""The working directory: made, entered twice if need be, and inside the container."""

from __future__ import annotations

import errno

import pytest

from ocirt.config.views import Process
from ocirt.errors import KernelError, OcirtError
from ocirt.stages.directory import (
    EnterDeniedDirectory,
    EnterDirectory,
    MakeDirectory,
    denied_directory,
    make_directory,
    working_directory,
)
from tests.support.recorder import kernel_error, recorded_box

OUTSIDE = (
    "current working directory is outside of container mount namespace root -- possible container breakout detected"
)


def test_it_is_made_below_the_root() -> None:
    box, kernel = recorded_box(mkdir_in_root=9)
    MakeDirectory("", "/w").apply(box)
    assert kernel.calls == [("mkdir_in_root", 1002, "/w", 0o755), ("close", 9)]


def test_where_root_may_not_look_nothing_is_made() -> None:
    box, kernel = recorded_box(mkdir_in_root=kernel_error(errno.EACCES))
    MakeDirectory("", "/w").apply(box)
    assert kernel.names() == ["mkdir_in_root"]


def test_a_file_in_the_way_is_an_error() -> None:
    box, _ = recorded_box(mkdir_in_root=kernel_error(errno.ENOTDIR))
    with pytest.raises(KernelError) as caught:
        MakeDirectory("", "/w").apply(box)
    assert caught.value.errno == errno.ENOTDIR


def test_it_is_entered_by_descriptor_and_not_through_procfs() -> None:
    box, kernel = recorded_box(openat2=9, getcwd="/w")
    EnterDirectory("", "/w").apply(box)
    EnterDeniedDirectory("", "/w").apply(box)
    assert [call[0] for call in kernel.calls] == ["openat2", "fchdir", "close", "getcwd"]
    assert kernel.calls[0][-1] == ("resolve", 2)
    assert "chdir" not in box.facts


def test_a_missing_one_is_named_in_words_engines_know() -> None:
    box, _ = recorded_box(openat2=kernel_error(errno.ENOENT))
    with pytest.raises(OcirtError) as caught:
        EnterDirectory("", "/w").apply(box)
    assert caught.value.what == 'chdir to cwd ("/w") set in config.json failed: no such file or directory'
    assert (caught.value.call, caught.value.errno) == ("chdir", errno.ENOENT)


def test_what_root_may_not_enter_the_user_may() -> None:
    box, kernel = recorded_box(openat2=[kernel_error(errno.EACCES), 9], getcwd="/w")
    EnterDirectory("", "/w").apply(box)
    EnterDeniedDirectory("", "/w").apply(box)
    assert kernel.names() == ["openat2", "openat2", "fchdir", "close", "getcwd"]


def test_what_nobody_may_enter_is_an_error() -> None:
    box, _ = recorded_box(openat2=kernel_error(errno.EACCES))
    EnterDirectory("", "/w").apply(box)
    with pytest.raises(OcirtError) as caught:
        EnterDeniedDirectory("", "/w").apply(box)
    assert caught.value.what == 'chdir to cwd ("/w") set in config.json failed: permission denied'


@pytest.mark.parametrize("answer", ["(unreachable)/w", kernel_error(errno.ENOENT)])
def test_a_directory_that_the_root_does_not_reach_is_refused(answer: object) -> None:
    box, _ = recorded_box(openat2=9, getcwd=answer)
    with pytest.raises(OcirtError) as caught:
        EnterDirectory("", "/w").apply(box)
    assert caught.value.what == OUTSIDE


def test_steps_point_to_cwd() -> None:
    process = Process({"cwd": "/w"}, "/process")
    for plan in (make_directory(process), working_directory(process), denied_directory(process)):
        assert [step.at for step in plan] == ["/process/cwd"]
    assert list(make_directory(None)) == list(make_directory(Process({"cwd": "/"}, "/process"))) == []
