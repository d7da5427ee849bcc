"""Where a process is born when the kernel does not take the first cgroup."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from ocirt.errors import KernelError
from ocirt.process import birth
from ocirt.stages.cgroup import BIRTH, BIRTH_INSTEAD
from tests.support.recorder import kernel_error, recorded_box


def test_without_a_cgroup() -> None:
    box, kernel = recorded_box(clone3=(9, -1))
    assert birth.clone(box, 3) == (9, False)
    assert kernel.calls == [("clone3", 3, ("cgroup", -1))]


def test_in_the_cgroup() -> None:
    box, kernel = recorded_box(clone3=(9, -1))
    box.fds = {BIRTH: 5, BIRTH_INSTEAD: 6}
    assert birth.clone(box, 3) == (9, False)
    assert kernel.calls == [("clone3", 3, ("cgroup", 5))]


@pytest.mark.parametrize("number", [errno.EBUSY, errno.EOPNOTSUPP, errno.ENODEV])
def test_in_the_other_cgroup(number: int) -> None:
    box, kernel = recorded_box(clone3=[kernel_error(number, "clone3"), (9, -1)])
    box.fds = {BIRTH: 5, BIRTH_INSTEAD: 6}
    assert birth.clone(box, 3) == (9, False)
    assert kernel.calls[1] == ("clone3", 3, ("cgroup", 6))


@pytest.mark.parametrize("number", [errno.EAGAIN, errno.ENOENT, errno.E2BIG, errno.EINVAL])
def test_outside_and_then_moved(number: int, tmp_path: Path) -> None:
    box, kernel = recorded_box(clone3=[kernel_error(number, "clone3"), (9, -1)])
    (tmp_path / "cgroup.procs").touch()
    box.fds = {BIRTH: os.open(tmp_path, os.O_RDONLY)}
    box.pid, outside = birth.clone(box, 3)
    assert outside
    assert kernel.calls[1] == ("clone3", 3)
    birth.move_in(box)
    assert (tmp_path / "cgroup.procs").read_text() == "9"
    os.close(box.fds[BIRTH])


@pytest.mark.parametrize(("number", "fds"), [(errno.EBUSY, {BIRTH: 5}), (errno.EPERM, {BIRTH: 5}), (errno.EAGAIN, {})])
def test_other_refusals_are_failures(number: int, fds: dict[str, int]) -> None:
    box, _ = recorded_box(clone3=kernel_error(number, "clone3"))
    box.fds = dict(fds)
    with pytest.raises(KernelError) as caught:
        birth.clone(box, 3)
    assert caught.value.errno == number
