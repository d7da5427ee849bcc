"""Planning mounts, and mounting file systems."""

from __future__ import annotations

import errno
import stat
from types import SimpleNamespace
from typing import Any

import pytest

from ocirt import log
from ocirt.config.mountopts import FLAG, TABLE
from ocirt.config.views import Config
from ocirt.errors import ConfigError, OcirtError
from ocirt.host import Host
from ocirt.kernel import flags as f
from ocirt.pipeline import Step
from ocirt.stages.mounts import mount_sources, mounts
from tests.support.recorder import kernel_error, recorded_box

HOST = Host(cgroup="hybrid", cgroup_mounts={"memory": "/sys/fs/cgroup/memory"})


def config(*entries: dict[str, Any], kinds: tuple[str, ...] = ("mount",)) -> Config:
    namespaces: list[dict[str, str]] = []
    for kind in kinds:
        name, _, path = kind.partition("=")
        namespaces.append({"type": name, "path": path} if path else {"type": name})
    return Config({"mounts": list(entries), "linux": {"namespaces": namespaces}})


def entry(destination: str, kind: str = "tmpfs", *options: str, source: str = "source") -> dict[str, Any]:
    return {"destination": destination, "type": kind, "source": source, "options": list(options)}


def steps(*entries: dict[str, Any], kinds: tuple[str, ...] = ("mount",), userns: bool = False) -> list[Step]:
    return list(mounts(config(*entries, kinds=kinds), Host(userns=True) if userns else HOST, "/bundle"))


def test_plan_keeps_the_order() -> None:
    planned = steps(
        entry("/proc", "proc"),
        entry("/dev/", "tmpfs", "nosuid", "size=4k"),
        entry("/data", "none", "rbind", "ro", source="sub"),
        entry("/abs", "bind", "bind", source="/host/dir"),
        entry("/data", "none", "remount", "rw"),
        entry("/sys/fs/cgroup", "cgroup", "ro"),
        entry("/untyped", ""),
    )
    assert [(step.at, step.describe()) for step in planned] == [
        ("/mounts/0", "mount proc on /proc"),
        ("/mounts/1", "mount tmpfs on /dev (nosuid,size=4k)"),
        ("/mounts/2", "bind /bundle/sub on /data (rbind,ro)"),
        ("/mounts/3", "bind /host/dir on /abs (bind)"),
        ("/mounts/4", "remount /data (remount,rw)"),
        ("/mounts/5", "bind the container's own 1 cgroup hierarchies below /sys/fs/cgroup (ro)"),
        ("/mounts/6", "mount (no type) on /untyped"),
    ]


def test_relative_destination_is_taken_from_the_root() -> None:
    assert steps(entry("a/b"))[0].describe() == "mount tmpfs on /a/b"


@pytest.mark.parametrize(
    ("mount", "at"),
    [
        (entry("/a", "none", "bind", "ro", "size=1", "nsuid"), "/mounts/0/options"),
        ({"destination": "/a", "options": ["bind"]}, "/mounts/0"),
    ],
)
def test_refused(mount: dict[str, Any], at: str) -> None:
    with pytest.raises(ConfigError) as caught:
        steps(mount)
    assert (caught.value.code, caught.value.at) == ("rule", at)


def test_unknown_word_on_a_bind_is_refused_in_the_words_of_engines() -> None:
    with pytest.raises(ConfigError, match=r"bind mounts cannot have any filesystem-specific options applied: r0$"):
        steps(entry("/a", "none", "bind", "size=1", "r0"))


@pytest.mark.parametrize("options", [("bind",), ("bind", "remount")])
def test_data_on_a_bind_is_ignored(
    options: tuple[str, ...], capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log, "debugging", True)
    step = steps(entry("/a", "none", *options, "size=1", "mpol=bind:0,2"))[0]
    assert getattr(step, "data", "") == ""
    assert "/mounts/0/options: a bind mount ignores size=1,mpol=bind:0,2" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("kinds", "opened"),
    [(("mount",), 0), (("mount", "user"), 1), (("mount=/n",), 1), (("mount", "user=/n"), 1), ((), 1)],
)
def test_sources_that_only_the_runtime_reaches(kinds: tuple[str, ...], opened: int) -> None:
    entries = entry("/a"), entry("/b", "none", "rbind"), entry("/c", "none", "bind", "remount")
    planned = list(mount_sources(config(*entries, kinds=kinds), "/bundle"))
    assert [step.describe() for step in planned] == ["open the bind source /bundle/source"] * opened


ANSWERS: dict[str, Any] = {
    "make_in_root": (5, False),
    "path_of": ["/r", "/r/a"],
    "fstat": SimpleNamespace(st_mode=stat.S_IFDIR | 0o1731),
    "open_in_root": 6,
    "mount_id": [(20, True), (10, False)],
}


def test_mount_goes_to_the_verified_descriptor() -> None:
    box, kernel = recorded_box(**ANSWERS)
    steps(entry("/a", "proc", "nosuid", "rslave", "opt"))[0].apply(box)
    assert [call for call in kernel.calls if call[0] not in ("path_of", "mount_id", "open_in_root")] == [
        ("make_in_root", 1002, "/a", ("symlinks", False)),
        ("fchdir", 5),
        ("mount", "source", ".", "proc", f.MS_NOSUID, "opt"),
        ("close", 5),
        ("mount_setattr", 6, "", f.AT_RECURSIVE, 0, 0, f.MS_SLAVE),
        ("close", 6),
    ]


@pytest.mark.parametrize(
    ("options", "made", "data", "flags"),
    [
        (("size=4k",), False, "mode=1731,size=4k", 0),
        ((), False, "mode=1731", 0),
        (("mode=700",), False, "mode=700", 0),
        (("size=4k", "mode=700"), False, "size=4k,mode=700", 0),
        (("size=4k",), True, "size=4k", 0),
        (("ro", "nodev"), True, "", f.MS_NODEV),
    ],
)
def test_tmpfs(options: tuple[str, ...], made: bool, data: str, flags: int) -> None:
    box, kernel = recorded_box(**{**ANSWERS, "make_in_root": (5, made)})
    steps(entry("/a", "tmpfs", *options))[0].apply(box)
    assert [call for call in kernel.calls if call[0] == "mount"] == [("mount", "source", ".", "tmpfs", flags, data)]


@pytest.mark.parametrize("fstype", ["proc", "sysfs"])
@pytest.mark.parametrize("number", [errno.ELOOP, errno.ENOTDIR])
def test_ordinary_directory(fstype: str, number: int) -> None:
    box, _ = recorded_box(make_in_root=kernel_error(number, "openat2"))
    with pytest.raises(OcirtError) as caught:
        steps(entry("/a", fstype))[0].apply(box)
    assert caught.value.what.endswith(f'filesystem "{fstype}" must be mounted on ordinary directory')
    assert caught.value.errno == number


def test_links_to_other_targets_are_followed() -> None:
    box, kernel = recorded_box(**ANSWERS)
    steps(entry("/a", "mqueue"))[0].apply(box)
    assert kernel.calls[0] == ("make_in_root", 1002, "/a", ("symlinks", True))


@pytest.mark.parametrize(
    ("kinds", "userns", "bound"),
    [
        (("mount", "user"), False, True),
        (("mount", "user", "network"), False, True),
        (("mount",), True, True),
        (("mount", "network"), False, False),
    ],
)
def test_sysfs_where_a_new_one_is_not_permitted(kinds: tuple[str, ...], userns: bool, bound: bool) -> None:
    box, kernel = recorded_box(**ANSWERS, mount=kernel_error(errno.EPERM, "mount"), open_tree=9)
    step = steps(entry("/a", "sysfs", "nosuid"), kinds=kinds, userns=userns)[0]
    if not bound:
        with pytest.raises(OcirtError) as caught:
            step.apply(box)
        assert (caught.value.call, caught.value.errno) == ("mount", errno.EPERM)
        return
    step.apply(box)
    wanted = f.MOUNT_ATTR_RDONLY | f.MOUNT_ATTR_NOSUID
    assert ("mount_setattr", 9, "", f.AT_RECURSIVE, wanted, 0) in kernel.calls
    assert ("move_mount", 9, "", 5, "") in kernel.calls


def test_remount() -> None:
    box, kernel = recorded_box(path_of=["/r", "/r/a"], open_in_root=6, statfs_type=1)
    steps(entry("/a", "none", "remount", "ro", "size=1"))[0].apply(box)
    assert kernel.calls[-3:] == [
        ("fchdir", 6),
        ("mount", "source", ".", "", f.MS_REMOUNT | f.MS_RDONLY, "size=1"),
        ("close", 6),
    ]


@pytest.mark.parametrize(
    ("kind", "options"), [("sysfs", ()), ("none", ("bind",)), ("tmpfs", ("bind",)), ("tmpfs", ("remount",)), ("", ())]
)
def test_copy_up_is_for_a_new_tmpfs(kind: str, options: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError) as caught:
        steps(entry("/a", kind, "tmpcopyup", *options))
    assert (caught.value.code, caught.value.at) == ("rule", "/mounts/0/options")


FLAGS = [
    row
    for row in TABLE
    if row[3] == FLAG and row[1] and row[0] not in ("bind", "rbind", "remount", "ro")  # these have tests of their own
]


@pytest.mark.parametrize("option", FLAGS)
def test_each_flag_reaches_the_kernel(option: tuple[str, int, int, str]) -> None:
    """Those that no container can see, as well: iversion, silent, mand."""
    box, kernel = recorded_box(**{**ANSWERS, "make_in_root": (5, True)})
    steps(entry("/a", "tmpfs", option[0]))[0].apply(box)
    assert [call for call in kernel.calls if call[0] == "mount"] == [("mount", "source", ".", "tmpfs", option[1], "")]


@pytest.mark.parametrize(
    ("source", "opened"),
    [
        ("/bundle/rootfs/a/b", 0),
        ("rootfs/a", 0),
        ("rootfs/../rootfs//a/", 0),
        ("/bundle/rootfs/ab", 1),
        ("/bundle/rootfs", 1),
        ("/bundle/rootfs/c", 1),
        ("/a", 1),
    ],
)
def test_source_in_the_container_waits_for_the_mount_that_brings_it(source: str, opened: int) -> None:
    value = Config(
        {
            "root": {"path": "rootfs"},
            "mounts": [entry("/a"), entry("/b", "none", "bind", source=source), entry("/c")],
            "linux": {"namespaces": [{"type": "mount"}, {"type": "user"}]},
        }
    )
    assert len(list(mount_sources(value, "/bundle"))) == opened
