"""Which namespaces are made, which are joined, and by whom."""

from __future__ import annotations

from typing import Any

import pytest

from ocirt.config.views import Linux
from ocirt.host import Host
from ocirt.kernel import flags
from ocirt.stages.namespaces import (
    clone_flags,
    enter_namespaces,
    join_namespaces,
    joined_namespaces,
    needs_joiner,
    new_namespaces,
    open_namespaces,
    prepare,
)
from tests.support.recorder import recorded_box


def linux(*kinds: str, **more: Any) -> Linux:
    """Namespaces from "pid" (new) or "pid=/proc/1/ns/pid" (joined)."""
    entries = []
    for kind in kinds:
        name, _, path = kind.partition("=")
        entries.append({"type": name, "path": path} if path else {"type": name})
    return Linux({"namespaces": entries, **more}, "/linux")


def test_new_and_joined_are_told_apart() -> None:
    both = linux("pid", "network=/n")
    assert (new_namespaces(both), joined_namespaces(both)) == ({"pid"}, {"network"})
    assert (new_namespaces(None), joined_namespaces(None)) == (set(), set())


def test_clone_flags_are_those_of_the_new_ones() -> None:
    assert clone_flags(linux("pid", "mount", "ipc=/i")) == flags.CLONE_NEWPID | flags.CLONE_NEWNS


def test_the_cgroup_namespace_is_made_after_the_cgroup_is_joined() -> None:
    assert clone_flags(linux("cgroup", "uts")) == flags.CLONE_NEWUTS


def test_a_time_namespace_with_offsets_is_not_cloned_into() -> None:
    assert clone_flags(linux("time")) == flags.CLONE_NEWTIME
    assert clone_flags(linux("time", timeOffsets={"boottime": {"secs": 5}})) == 0
    with_user = linux("time", "user", "pid", timeOffsets={"boottime": {"secs": 5}})
    assert clone_flags(with_user) == flags.CLONE_NEWPID
    (step,) = join_namespaces(with_user, Host())
    box, kernel = recorded_box()
    step.apply(box)
    assert kernel.calls == [
        ("unshare", flags.CLONE_NEWUSER | flags.CLONE_NEWTIME),
        ("write_file", box.proc, "self/timens_offsets", b"boottime 5 0\n"),
    ]


@pytest.mark.parametrize(
    ("kinds", "needed"),
    [
        (("pid", "mount", "user"), False),
        (("network=/n", "mount=/m"), False),
        (("pid=/p",), True),
        (("time=/t",), True),
        (("user=/u",), True),
        (("user", "network=/n"), True),
    ],
)
def test_a_joiner_only_where_the_kernel_forces_one(kinds: tuple[str, ...], needed: bool) -> None:
    assert needs_joiner(linux(*kinds)) is needed


def test_time_offsets_force_a_joiner_and_are_written_before_anyone_is_inside() -> None:
    config = linux("time", timeOffsets={"monotonic": {"secs": 1, "nanosecs": 2}, "boottime": {"secs": -3}})
    assert needs_joiner(config)
    (step,) = join_namespaces(config, Host())
    assert step.describe() == "make a time namespace with offsets 'boottime -3 0\\nmonotonic 1 2'"


def test_the_user_namespace_is_joined_last() -> None:
    config = linux("user=/u", "pid=/p", "network=/n")
    assert [step.describe() for step in join_namespaces(config, Host())] == [
        "join the network namespace",
        "join the pid namespace",
        "join the user namespace",
    ]


def test_a_user_has_no_rights_but_those_that_the_user_namespace_gives() -> None:
    config = linux("user=/u", "pid=/p", "network=/n")
    assert [step.describe() for step in join_namespaces(config, Host(euid=1000))] == [
        "join the user namespace",
        "join the network namespace",
        "join the pid namespace",
    ]


def test_root_hides_from_who_is_in_there() -> None:
    """A user cannot: its runtime writes to files of init below /proc."""
    config = linux("user=/u", "pid=/p")
    hidden, *_ = enter_namespaces(config, Host())
    assert hidden.describe() == "make init non-dumpable until it executes the program"
    for host in (Host(euid=1000), Host(userns=True)):
        assert [step.describe() for step in enter_namespaces(config, host)] == [
            step.describe() for step in join_namespaces(config, host)
        ]


def test_opening_names_the_pointer_of_the_path() -> None:
    (step,) = open_namespaces(linux("pid", "network=/n"))
    assert (step.at, step.describe()) == ("/linux/namespaces/1/path", "open the network namespace /n")


USER = {"namespaces": [{"type": "user"}]}


def becomes_root(value: Linux) -> bool:
    return any("user 0" in step.describe() for step in prepare(value))


def test_root_of_the_user_namespace_only_where_there_is_one() -> None:
    assert not any("user 0" in step.describe() for step in prepare(linux("pid")))
    maps = {"uidMappings": [{"containerID": 0, "hostID": 5, "size": 1}]}
    assert becomes_root(Linux({**USER, **maps, "gidMappings": maps["uidMappings"]}, "/linux"))
    others = {"gidMappings": [{"containerID": 7, "hostID": 5, "size": 1}]}
    assert not becomes_root(Linux({**USER, **maps, **others}, "/linux"))
    assert becomes_root(Linux({"namespaces": [{"type": "user", "path": "/u"}]}, "/linux"))
