"""ID-mapped mounts: what is planned, what the kernel is asked for, what its refusals mean."""

from __future__ import annotations

import errno
import os
from typing import Any

import pytest

from ocirt import remedies, system
from ocirt.config.views import Config
from ocirt.errors import ConfigError, KernelError, OcirtError
from ocirt.kernel import flags as f
from ocirt.pipeline import Step
from ocirt.stages.binds import CloseDescriptors, OpenSource
from ocirt.stages.idmap import MakeUserNamespace, OpenMappedSource, mapped_sources
from ocirt.stages.mounts import mount_sources, source_names
from tests.support.recorder import kernel_error, recorded_box

ONE = [{"containerID": 0, "hostID": 5000, "size": 10}]
TWO = [*ONE, {"containerID": 10, "hostID": 7, "size": 1}]
USER = {"namespaces": [{"type": "mount"}, {"type": "user"}], "uidMappings": ONE, "gidMappings": TWO}
JOINED = {"namespaces": [{"type": "mount"}, {"type": "user", "path": "/u"}]}


def entry(*options: str, uids: Any = None, gids: Any = None) -> dict[str, Any]:
    maps = {"uidMappings": uids, "gidMappings": gids} if uids else {}
    return {"destination": "/a", "source": "/s", "options": list(options), **maps}


def steps(*mounts: dict[str, Any], **linux: Any) -> list[Step]:
    linux.setdefault("namespaces", [{"type": "mount"}])
    config = Config({"mounts": list(mounts), "linux": linux})
    return [*mount_sources(config, "/bundle"), *mapped_sources(config, "/bundle")]


def told(planned: list[Step]) -> list[str]:
    return [step.describe() for step in planned]


def test_plan_makes_each_mapping_once() -> None:
    planned = steps(
        entry("bind", "idmap", uids=ONE, gids=TWO),
        entry("bind"),
        entry("rbind", "ridmap", uids=TWO, gids=ONE),
        {**entry("rbind", uids=ONE, gids=TWO), "source": "sub"},
    )
    assert [(step.at, step.describe()) for step in planned] == [
        ("/mounts/0", "make a user namespace for the maps '0 5000 10' and '0 5000 10\\n10 7 1'"),
        ("/mounts/0", "open the bind source /s and map its owners by idmap/0"),
        ("/mounts/2", "make a user namespace for the maps '0 5000 10\\n10 7 1' and '0 5000 10'"),
        ("/mounts/2", "open the bind source /s and map its owners, and below it by idmap/1"),
        ("/mounts/3", "open the bind source /bundle/sub and map its owners by idmap/0"),
        ("", "close the user namespaces made for maps"),
    ]


@pytest.mark.parametrize("linux", [USER, JOINED])
def test_with_a_user_namespace_every_source_is_opened_once(linux: dict[str, Any]) -> None:
    planned = steps(entry("bind"), entry("bind", "idmap"), **linux)
    opened = [step for step in planned if isinstance(step, OpenSource)]
    assert [(type(step), step.name) for step in opened] == [(OpenSource, "mount/0"), (OpenMappedSource, "mount/1")]


def test_the_mapping_of_the_container() -> None:
    assert told(steps(entry("bind", "idmap"), **USER))[0].endswith("'0 5000 10' and '0 5000 10\\n10 7 1'")
    assert told(steps(entry("bind", "idmap"), **JOINED)) == [
        "open the bind source /s and map its owners by namespace/user"
    ]


def test_own_mapping_goes_before_the_containers() -> None:
    planned = steps(entry("bind", "idmap", uids=TWO, gids=TWO), **USER)
    assert told(planned)[0].count("10 7 1") == 2


@pytest.mark.parametrize(
    ("options", "depth"),
    [
        (("bind",), 0),
        (("rbind", "idmap"), 0),
        (("rbind", "ridmap"), f.AT_RECURSIVE),
        (("rbind", "idmap", "ridmap"), f.AT_RECURSIVE),
        (("rbind", "ridmap", "idmap"), 0),
    ],
)
def test_depth(options: tuple[str, ...], depth: int) -> None:
    step = steps(entry(*options, uids=ONE, gids=ONE))[1]
    assert isinstance(step, OpenMappedSource)
    assert step.mapped == depth


@pytest.mark.parametrize(
    ("propagation", "kinds", "wanted"),
    [
        ("", ("mount",), f.MS_SLAVE),
        ("rslave", ("mount",), f.MS_SLAVE),
        ("rshared", ("mount",), 0),
        ("rshared", ("mount", "user"), f.MS_SLAVE),
        ("rshared", (), f.MS_SLAVE),
        ("rprivate", ("mount",), f.MS_PRIVATE),
        ("rprivate", ("mount", "user"), f.MS_PRIVATE),
    ],
)
def test_propagation(propagation: str, kinds: tuple[str, ...], wanted: int) -> None:
    linux: dict[str, Any] = {"namespaces": [{"type": kind} for kind in kinds]}
    if propagation:
        linux["rootfsPropagation"] = propagation
    step = steps(entry("bind", "idmap", uids=ONE, gids=ONE), **linux)[1]
    assert isinstance(step, OpenMappedSource)
    assert step.propagation == wanted


def test_crun_has_the_mapping_in_the_option() -> None:
    planned = told(steps(entry("bind", "idmap=uids=0-1-2#5-6-1;gids=@3-10-1"), **USER))
    assert planned[0] == "make a user namespace for the maps '0 1 2\\n5 6 1' and '3 7 1'"


@pytest.mark.parametrize(
    "word",
    [
        "idmap=",
        "idmap=uids=0-0-1",
        "idmap=uids=0-0-1;gids=",
        "idmap=uids=0-0-1;uids=0-0-1",
        "idmap=uids=0-0-1;gids=0-0-1;x=0-0-1",
        "idmap=uids=0-0;gids=0-0-1",
        "idmap=uids=0-0-0;gids=0-0-1",
        "idmap=uids=0-x-1;gids=0-0-1",
        "idmap=uids=0-4294967295-1;gids=0-0-1",
        "idmap=uids=99999999999-0-1;gids=0-0-1",
        "ridmap=uids=0--1-1;gids=0-0-1",
        "ridmap=uids=@0-10-1;gids=0-0-1",
        "ridmap=uids=@0-9-2;gids=0-0-1",
    ],
)
def test_bad_mapping_in_the_option(word: str) -> None:
    with pytest.raises(ConfigError) as caught:
        steps(entry("bind", word), **USER)
    assert (caught.value.code, caught.value.at) == ("rule", "/mounts/0/options")


@pytest.mark.parametrize(
    ("mount", "at", "what"),
    [
        (entry("idmap", uids=ONE, gids=ONE), "/mounts/0/options", "only supported for bind-mounts"),
        (entry(uids=ONE, gids=ONE), "/mounts/0/uidMappings", "only supported for bind-mounts"),
        (entry("bind", "remount", "idmap", uids=ONE, gids=ONE), "/mounts/0/options", "only supported for bind-mounts"),
        (entry("bind", "idmap"), "/mounts/0/options", "which has no user namespace"),
        (entry("bind", "ridmap"), "/mounts/0/options", "which has no user namespace"),
        (entry("bind", "idmap=uids=0-0-1;gids=0-0-1", uids=ONE, gids=ONE), "/mounts/0/options", "of its own"),
    ],
)
def test_refused(mount: dict[str, Any], at: str, what: str) -> None:
    with pytest.raises(ConfigError, match=what) as caught:
        steps(mount)
    assert (caught.value.code, caught.value.at) == ("rule", at)


def test_what_an_earlier_mount_brings_cannot_be_mapped() -> None:
    brought = {**entry("bind", "idmap", uids=ONE, gids=ONE), "source": "/bundle/rootfs/a/b"}
    value = Config({"root": {"path": "rootfs"}, "mounts": [entry("bind"), brought], "linux": {}})
    with pytest.raises(OcirtError) as caught:
        list(mapped_sources(value, "/bundle"))
    assert (caught.value.code, caught.value.at) == ("unsupported", "/mounts/1/source")


def test_namespace_is_made_and_its_process_reaped(monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[tuple[int, int]] = []
    monkeypatch.setattr(system, "waitpid", lambda pid, how: waited.append((pid, how)))
    box, kernel = recorded_box(clone3=(77, -1), openat=9)
    MakeUserNamespace("", "idmap/0", ("0 1 2\n", "3 4 5\n")).apply(box)
    assert kernel.calls == [
        ("clone3", f.CLONE_NEWUSER),
        ("write_file", 1001, "77/uid_map", b"0 1 2\n"),
        ("write_file", 1001, "77/gid_map", b"3 4 5\n"),
        ("openat", 1001, "77/ns/user", os.O_RDONLY),
    ]
    assert (waited, box.fds) == ([(77, 0)], {"idmap/0": 9})
    CloseDescriptors(("idmap/0", "idmap/1"), "both").apply(box)
    assert (kernel.calls[-1], box.fds) == (("close", 9), {})


def test_process_is_reaped_when_the_map_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[int] = []
    monkeypatch.setattr(system, "waitpid", lambda pid, how: waited.append(pid))
    box, kernel = recorded_box(clone3=(77, -1), write_file=kernel_error(errno.EPERM, "write"))
    step = MakeUserNamespace("", "idmap/0", ("0 1 2\n", "3 4 5\n"))
    with pytest.raises(KernelError):
        step.apply(box)
    step.undo(box)
    assert (waited, box.fds, "close" in kernel.names()) == ([77], {}, False)


def mapped_source() -> OpenMappedSource:
    return OpenMappedSource(
        "/mounts/0", "mount/0", "/s", f.OPEN_TREE_CLONE | f.AT_RECURSIVE, "idmap/0", f.AT_RECURSIVE, f.MS_SLAVE
    )


def test_source_is_mapped_before_anybody_sees_it() -> None:
    box, kernel = recorded_box(open_tree=8)
    box.fds["idmap/0"] = 9
    mapped_source().apply(box)
    assert kernel.calls == [
        ("open_tree", f.AT_FDCWD, "/s", f.OPEN_TREE_CLONE | f.AT_RECURSIVE),
        ("mount_setattr", 8, "", f.AT_RECURSIVE, 0, 0, f.MS_SLAVE),
        ("mount_setattr", 8, "", f.AT_RECURSIVE, f.MOUNT_ATTR_IDMAP, 0, 0, 9),
    ]
    assert box.fds == {"idmap/0": 9, "mount/0": 8}


@pytest.mark.parametrize(
    ("number", "code", "what", "remedy"),
    [
        (errno.ENOSYS, "unsupported", "this kernel has no id-mapped mounts", "Linux 5.12"),
        (errno.EINVAL, "unsupported", "cannot be id-mapped", "ext4"),
        (errno.EPERM, "step-failed", "id-mapped already", "CAP_SYS_ADMIN"),
        (errno.ENOMEM, "step-failed", "cannot map the ids of the bind source /s", "memory"),
    ],
)
def test_refusal_of_the_kernel(number: int, code: str, what: str, remedy: str) -> None:
    box, kernel = recorded_box(open_tree=8, mount_setattr=[None, kernel_error(number, "mount_setattr")])
    box.fds["idmap/0"] = 9
    step = mapped_source()
    with pytest.raises(OcirtError, match=what) as caught:
        step.apply(box)
    error = caught.value
    assert (error.code, error.call, error.errno) == (code, "mount_setattr", number)
    error.stage, error.step = "sources", step.describe()
    assert remedy in remedies.find(error)
    step.undo(box)
    assert (kernel.calls[-1], box.fds) == (("close", 8), {"idmap/0": 9})


def test_without_the_right_to_copy_a_mount_init_must_not_try_without_the_mapping() -> None:
    box, _ = recorded_box(open_tree=kernel_error(errno.EPERM, "open_tree"))
    with pytest.raises(KernelError):
        mapped_source().apply(box)


def test_the_runtime_lets_go_of_the_sources() -> None:
    closing = CloseDescriptors(source_names(Config({"mounts": [entry("bind"), entry(), entry("bind")]})), "them")
    box, kernel = recorded_box()
    box.fds = {"mount/0": 8, "mount/2": 9, "other": 10}
    closing.apply(box)
    assert (kernel.calls, box.fds) == ([("close", 8), ("close", 9)], {"other": 10})
