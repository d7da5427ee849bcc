"""Where mounts go, and where they may not."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

import pytest

from ocirt.config.mountopts import parse_options
from ocirt.errors import OcirtError
from ocirt.kernel import flags as f
from ocirt.stages.targets import BELOW_PROC, MountStep, check_place, clean, open_mounted, place_in_root
from tests.support.recorder import kernel_error, recorded_box

if TYPE_CHECKING:
    from ocirt.box import Box


@pytest.mark.parametrize(
    ("destination", "path"),
    [("/a/b", "/a/b"), ("a", "/a"), ("//a/", "/a"), ("/a/../..", "/"), ("", "/"), ("../a/./b", "/a/b")],
)
def test_clean(destination: str, path: str) -> None:
    assert clean(destination) == path


@pytest.mark.parametrize(
    ("root", "path", "place"), [("/r", "/r/a", "/a"), ("/r", "/r", "/"), ("/", "/a", "/a"), ("/", "/", "/")]
)
def test_place_in_root(root: str, path: str, place: str) -> None:
    box, kernel = recorded_box(path_of=[root, path, path])
    assert [place_in_root(box, 5), place_in_root(box, 5)] == [place, place]
    assert kernel.calls == [("path_of", 1001, fd) for fd in (1002, 5, 5)]


def test_place_in_a_root_that_was_renamed() -> None:
    box, _ = recorded_box(path_of=["/old", "/old/a", "/new/b", "/new"])
    assert [place_in_root(box, 5), place_in_root(box, 5)] == ["/a", "/b"]


@pytest.mark.parametrize("path", ["/root2/a", "/", "/ro"])
def test_place_outside_of_the_root(path: str) -> None:
    box, _ = recorded_box(path_of=["/root", "/root/a", path, "/root"])
    place_in_root(box, 4)
    with pytest.raises(OcirtError, match="possible breakout"):
        place_in_root(box, 5)


@pytest.mark.parametrize("place", ["/a", "/procfs", "/dev", "/proc2/x", *sorted(BELOW_PROC)])
def test_places_for_any_mount(place: str) -> None:
    check_place(place, False)


def test_proc_only_for_procfs() -> None:
    check_place("/proc", True)
    with pytest.raises(OcirtError) as caught:
        check_place("/proc", False)
    assert caught.value.what == '"/proc" cannot be mounted because it is not of type proc'


@pytest.mark.parametrize("place", ["/proc/self", "/proc/sys/kernel", "/proc/cpuinfo/x"])
@pytest.mark.parametrize("procfs", [True, False])
def test_nothing_below_proc(place: str, procfs: bool) -> None:
    with pytest.raises(OcirtError) as caught:
        check_place(place, procfs)
    assert caught.value.what == f'"{place}" cannot be mounted because it is inside /proc'


def test_mounted_is_found_again() -> None:
    box, kernel = recorded_box(open_in_root=7, mount_id=[(20, True), (10, False)])
    assert open_mounted(box, "/a", 5) == 7
    assert kernel.names() == ["open_in_root", "mount_id", "mount_id"]


@pytest.mark.parametrize("answers", [[(20, False)], [(10, True), (10, False)]])
def test_exchanged_target_is_noticed(answers: list[tuple[int, bool]]) -> None:
    box, kernel = recorded_box(open_in_root=7, mount_id=answers)
    with pytest.raises(OcirtError, match="was exchanged"):
        open_mounted(box, "/a", 5)
    assert kernel.calls[-1] == ("close", 7)


class Failing(MountStep):
    __slots__ = ("error",)

    def __init__(self, error: Exception) -> None:
        super().__init__("/mounts/0", "s", "/t", parse_options(("rshared", "slave", "rro", "ro")))
        self.error = error

    def attach(self, box: Box) -> None:
        raise self.error


def test_system_calls_fail_in_the_words_of_engines() -> None:
    with pytest.raises(OcirtError) as caught:
        Failing(kernel_error(errno.ENODEV, "mount")).apply(recorded_box()[0])
    error = caught.value
    assert (error.what, error.call, error.errno) == ('error mounting "s" to rootfs at "/t"', "mount", errno.ENODEV)


def test_rules_fail_in_the_words_of_engines() -> None:
    with pytest.raises(OcirtError) as caught:
        Failing(OcirtError("step-failed", "no")).apply(recorded_box()[0])
    assert caught.value.what == 'error mounting "s" to rootfs at "/t": no'


def test_what_follows_a_mount() -> None:
    box, kernel = recorded_box()
    step = Failing(ValueError())
    step.set_attributes(box, 5)
    step.set_propagation(box, 5)
    assert kernel.calls == [
        ("mount_setattr", 5, "", f.AT_RECURSIVE, f.MOUNT_ATTR_RDONLY, 0),
        ("mount_setattr", 5, "", f.AT_RECURSIVE, 0, 0, f.MS_SHARED),
        ("mount_setattr", 5, "", 0, 0, 0, f.MS_SLAVE),
    ]
