"""Devices: the default ones, those of the configuration, links, and who may open them."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable

import pytest

from tests.support.bundles import Bundle
from tests.support.runtime import Runtime

DEFAULT = {"null": "1:3", "zero": "1:5", "full": "1:7", "random": "1:8", "urandom": "1:9", "tty": "5:0"}


def test_default_devices(runtime: Runtime, bundle: Bundle) -> None:
    out = runtime.inside(
        bundle, "cd /dev; for d in null zero full random urandom tty; do stat -c '%n %t:%T %F %a %u:%g' $d; done"
    )
    assert out.splitlines() == [f"{name} {number} character special file 666 0:0" for name, number in DEFAULT.items()]


def test_links(runtime: Runtime, bundle: Bundle) -> None:
    out = runtime.inside(bundle, "cd /dev; for l in fd stdin stdout stderr ptmx core; do echo $l $(readlink $l); done")
    links = dict(line.split() for line in out.splitlines() if " " in line)
    links.pop("core", None)  # only with CONFIG_PROC_KCORE
    assert links == {
        "fd": "/proc/self/fd",
        "stdin": "/proc/self/fd/0",
        "stdout": "/proc/self/fd/1",
        "stderr": "/proc/self/fd/2",
        "ptmx": "pts/ptmx",
    }


def test_they_work(runtime: Runtime, bundle: Bundle) -> None:
    script = (
        "echo x > /dev/null && head -c 4 /dev/zero | wc -c && head -c 5 /dev/urandom | wc -c; "
        "echo x > /dev/full 2>/dev/null || echo full; exec 3<>/dev/ptmx && ls /dev/pts; echo via >> /dev/stdout"
    )
    assert runtime.inside(bundle, script).split() == ["4", "5", "full", "0", "ptmx", "via"]


def test_nothing_else(runtime: Runtime, bundle: Bundle) -> None:
    names = set(runtime.inside(bundle, "ls /dev").split())
    assert names - {"core", "console"} == {*DEFAULT, "fd", "stdin", "stdout", "stderr", "ptmx", "pts", "shm", "mqueue"}


@pytest.mark.parametrize(("kind", "letter"), [("c", "character special file"), ("b", "block special file")])
def test_devices_of_the_configuration(runtime: Runtime, bundle: Bundle, kind: str, letter: str) -> None:
    bundle.linux["devices"] = [
        {"path": "/dev/test1", "type": kind, "major": 10, "minor": 666, "fileMode": 0o660, "uid": 11, "gid": 12},
        # podman --device: st_mode as it is, with the type of the file
        {"path": "/dev/deep/er/test2", "type": kind, "major": 8, "minor": 0, "fileMode": 0o20600},
    ]
    out = runtime.inside(bundle, "umask 077; stat -c '%t:%T %F %a %u:%g' /dev/test1 /dev/deep/er/test2")
    assert out.splitlines() == [f"a:29a {letter} 660 11:12", f"8:0 {letter} 600 0:0"]


def test_fifo_of_the_configuration(runtime: Runtime, bundle: Bundle) -> None:
    bundle.linux["devices"] = [{"path": "/dev/queue", "type": "p", "fileMode": 0o622, "uid": 1, "gid": 2}]
    assert runtime.inside(bundle, "stat -c '%F %a %u:%g' /dev/queue") == "fifo 622 1:2\n"


@pytest.mark.differs(runc="1.1 has mode 0", crun="1.8 has mode 0")
def test_mode_is_0666_by_default(runtime: Runtime, bundle: Bundle) -> None:
    bundle.linux["devices"] = [{"path": "/dev/test", "type": "c", "major": 1, "minor": 3}]
    before = os.umask(0o077)
    try:
        assert runtime.inside(bundle, "stat -c '%a' /dev/test") == "666\n"
    finally:
        os.umask(before)


def test_configuration_overrides_a_default(runtime: Runtime, bundle: Bundle) -> None:
    bundle.linux["devices"] = [
        {"path": "/dev/full", "type": "c", "major": 1, "minor": 7, "fileMode": 0o600, "uid": 3, "gid": 4}
    ]
    assert runtime.inside(bundle, "stat -c '%t:%T %a %u:%g' /dev/full") == "1:7 600 3:4\n"


def test_device_outside_dev(runtime: Runtime, bundle: Bundle) -> None:
    bundle.linux["devices"] = [{"path": "/srv/null", "type": "c", "major": 1, "minor": 3, "fileMode": 0o666}]
    assert runtime.inside(bundle, "stat -c %t:%T /srv/null") == "1:3\n"
    assert stat.S_ISCHR((bundle.root / "srv/null").lstat().st_mode)


@pytest.mark.only_ocirt("config-linux.md: MUST generate an error; runc and crun take what is there or not")
def test_existing_file_that_is_no_such_device(runtime: Runtime, bundle: Bundle, host_unchanged: Callable) -> None:
    (bundle.root / "srv").mkdir()
    (bundle.root / "srv/null").write_text("a file")
    bundle.linux["devices"] = [{"path": "/srv/null", "type": "c", "major": 1, "minor": 3}]
    bundle.save()
    with host_unchanged():
        runtime.fails("create", "--bundle", str(bundle.path), bundle.id, says="[/linux/devices/0")


def test_root_without_a_mount_on_dev(runtime: Runtime, bundle: Bundle) -> None:
    for target in ("/dev", "/dev/pts", "/dev/shm", "/dev/mqueue"):
        bundle.without_mount(target)
    bundle.mount("/dev/pts", "devpts", "devpts", "newinstance", "ptmxmode=0666")
    (bundle.root / "dev/ptmx").write_text("replaced")
    out = runtime.inside(bundle, "stat -c %t:%T /dev/null; readlink /dev/ptmx")
    assert out == "1:3\npts/ptmx\n"


def test_bind_mount_on_dev_is_left_alone(runtime: Runtime, bundle: Bundle) -> None:
    """needsSetupDev of runc: no nodes, no links are put into somebody else's directory."""
    for target in ("/dev", "/dev/pts", "/dev/shm", "/dev/mqueue"):
        bundle.without_mount(target)
    theirs = bundle.path / "their-dev"
    theirs.mkdir()
    os.mknod(theirs / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    runtime.inside(bundle.bind(theirs, "/dev"), "true")
    assert sorted(os.listdir(theirs)) == ["null"]


# --- the device cgroup


def rules(bundle: Bundle, *more: dict) -> Bundle:
    return bundle.resources(devices=[{"allow": False, "access": "rwm"}, *more])


def test_default_devices_are_allowed(runtime: Runtime, bundle: Bundle) -> None:
    rules(bundle)
    script = (
        "for d in null zero full random urandom; do head -c 0 /dev/$d && echo $d; done; test -c /dev/tty && echo tty"
    )
    assert runtime.inside(bundle, script).split() == list(DEFAULT)


FUSE = {"type": "c", "major": 10, "minor": 229}  # a device that needs no capability to be opened
OPEN = (
    "mknod /tmp/fuse c 10 229 || echo not made; (exec 3</tmp/fuse) 2>/dev/null && echo read; "
    "(exec 3>/tmp/fuse) 2>/dev/null && echo write; true"
)


@pytest.fixture
def maker(bundle: Bundle) -> Bundle:
    return bundle.capabilities("CAP_MKNOD", "CAP_DAC_OVERRIDE")


def test_others_are_denied(runtime: Runtime, maker: Bundle) -> None:
    assert runtime.inside(rules(maker), OPEN) == ""


@pytest.mark.parametrize(("access", "seen"), [("r", "read\n"), ("w", "write\n"), ("rw", "read\nwrite\n")])
def test_rule_of_the_configuration(runtime: Runtime, maker: Bundle, access: str, seen: str) -> None:
    assert runtime.inside(rules(maker, {"allow": True, **FUSE, "access": access}), OPEN) == seen


def test_later_rule_wins(runtime: Runtime, maker: Bundle) -> None:
    allow, deny = ({"allow": wanted, **FUSE, "access": "rwm"} for wanted in (True, False))
    assert "read" not in runtime.inside(rules(maker, allow, deny), OPEN)


def test_any_minor(runtime: Runtime, maker: Bundle) -> None:
    allow = {"allow": True, "type": "c", "major": 10, "access": "rw"}
    assert runtime.inside(rules(maker, allow), OPEN) == "read\nwrite\n"


def test_all_may_be_allowed(runtime: Runtime, maker: Bundle) -> None:
    maker.resources(devices=[{"allow": True, "access": "rwm"}])
    assert runtime.inside(maker, OPEN) == "read\nwrite\n"
