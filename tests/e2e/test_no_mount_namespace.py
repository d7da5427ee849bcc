"""Containers in the runtime's own mount namespace: all their mounts work, and none stays on the host.

That the host is as before is compared after every test; host_unchanged compares where delete, or the failing
command, must have cleaned up by itself.
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.bundles import Bundle
from tests.support.runtime import Runtime, poll

pytestmark = pytest.mark.only_ocirt("runc 1.1 refuses masks and needs a /proc; crun 1.8 leaves its mounts on the host")


@pytest.fixture
def open_bundle(bundle: Bundle) -> Bundle:
    """The usual mounts, masks and read-only paths, but no mount namespace."""
    return bundle.without_namespace("mount")


def mounts_below(path: Path, pid: int | str = "self") -> list[str]:
    """The mount points at and below path, in the order of mountinfo."""
    points = [line.split(" ")[4] for line in Path(f"/proc/{pid}/mountinfo").read_text().splitlines()]
    return [point for point in points if point == str(path) or point.startswith(f"{path}/")]


@contextmanager
def peer() -> Iterator[int]:
    """A process in a mount namespace that receives the host's mounts, as a service of systemd has one."""
    command = ["unshare", "--mount", "--propagation", "unchanged", "sh", "-c", "echo ready; exec sleep 60"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        try:
            yield process.pid
        finally:
            process.kill()


def umount(path: Path | str) -> None:
    subprocess.run(["umount", str(path)], check=True, timeout=30)


def mount_tmpfs(path: Path | str) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(path)], check=True, timeout=30)


def test_mounts_masks_and_read_only_root(runtime: Runtime, open_bundle: Bundle, host_unchanged: Callable) -> None:
    open_bundle.config["root"]["readonly"] = True
    (open_bundle.path / "data").mkdir()
    (open_bundle.root / "data").mkdir()
    open_bundle.bind("data", "/data", "rbind", "rw").mount("/tmp", "tmpfs", "tmpfs", "size=64k")
    script = (
        "touch /x 2>/dev/null || echo read-only; touch /dev/shm/x /data/x /tmp/x && echo writable; cat /proc/keys; "
        "(echo 1 > /proc/sys/kernel/sysrq) 2>/dev/null || echo closed; readlink /proc/self/ns/mnt; ls /dev/pts"
    )
    with host_unchanged():
        out = runtime.inside(open_bundle, script).split()
    assert out == ["read-only", "writable", "closed", os.readlink("/proc/self/ns/mnt"), "ptmx"]
    assert (open_bundle.path / "data/x").exists()
    assert not (open_bundle.root / "tmp/x").exists()


def test_delete_unmounts_what_is_seen_until_then(
    runtime: Runtime, open_bundle: Bundle, host_unchanged: Callable
) -> None:
    with host_unchanged():
        runtime.launch(open_bundle.args("/bin/sleep", "1000"))
        mounted = mounts_below(open_bundle.root)
        assert mounted[:2] == [str(open_bundle.root)] * 2
        assert {f"{open_bundle.root}/proc", f"{open_bundle.root}/dev/shm"} <= set(mounted)
        assert runtime.sh(open_bundle, "ls /proc/1/root/dev/shm; hostname") == "ocirt-e2e\n"
        runtime.stop(open_bundle)
        assert mounts_below(open_bundle.root) == []


def test_rootfs_that_is_the_bundle(runtime: Runtime, open_bundle: Bundle, host_unchanged: Callable) -> None:
    for entry in list(open_bundle.root.iterdir()):
        entry.rename(open_bundle.path / entry.name)
    open_bundle.config["root"]["path"] = "."
    with host_unchanged():
        runtime.create(open_bundle.script("ls /config.json"))
        runtime.start(open_bundle)
        assert runtime.wait(open_bundle) == 0
        runtime.ok("delete", open_bundle.id)


def test_nothing_to_mount_mounts_nothing(runtime: Runtime, open_bundle: Bundle) -> None:
    open_bundle.config["mounts"] = []
    del open_bundle.linux["maskedPaths"], open_bundle.linux["readonlyPaths"]
    runtime.create(open_bundle.args("/bin/sleep", "1000"))
    assert mounts_below(open_bundle.root) == []
    runtime.ok("delete", "--force", open_bundle.id)


@pytest.mark.parametrize("stage", ["mounts", "hooks", "executable"])
def test_failed_create(runtime: Runtime, open_bundle: Bundle, host_unchanged: Callable, stage: str) -> None:
    if stage == "mounts":
        open_bundle.mount("/tmp", "no-such-type", "none")
    elif stage == "hooks":
        open_bundle.hook("createRuntime", "/bin/false")
    else:
        open_bundle.args("/not/there")
    open_bundle.save()
    with host_unchanged():
        runtime.fails("create", "--bundle", str(open_bundle.path), open_bundle.id)


def test_interrupted_create(runtime: Runtime, open_bundle: Bundle, host_unchanged: Callable) -> None:
    """The runtime is killed while all is mounted: its record is enough for delete."""
    reached = open_bundle.path / "reached"
    open_bundle.hook("createRuntime", "/bin/sh", "-c", f"touch {reached}; exec sleep 1000").save()
    with host_unchanged():
        create = subprocess.Popen(
            runtime.arguments("create", "--bundle", str(open_bundle.path), open_bundle.id),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        poll(reached.exists, "the hook runs")
        os.killpg(create.pid, signal.SIGKILL)  # the hook too, which nobody would end
        create.wait()
        assert len(mounts_below(open_bundle.root)) > 2
        runtime.ok("delete", "--force", open_bundle.id)


def test_no_mount_reaches_the_peers_of_the_hosts(runtime: Runtime, open_bundle: Bundle) -> None:
    before = open_bundle.root / "home"
    source = open_bundle.path / "source"
    (source / "below").mkdir(parents=True)
    mount_tmpfs(before)
    open_bundle.bind(source, "/tmp", "rbind").mount("/tmp/below", "tmpfs", "tmpfs")
    with peer() as pid:
        assert mounts_below(open_bundle.root, pid) == [str(before)]
        runtime.launch(open_bundle.args("/bin/sleep", "1000"))
        assert sorted(mounts_below(open_bundle.root, pid)) == [str(open_bundle.root), str(before)]
        assert mounts_below(source) == []
        assert runtime.sh(open_bundle, "grep -c ' /home ' /proc/mounts") == "1\n"
        runtime.stop(open_bundle)
        assert mounts_below(open_bundle.root, pid) == [str(before)]
    assert mounts_below(open_bundle.root) == [str(before)]
    umount(before)


def test_what_the_container_mounts_goes_too(runtime: Runtime, open_bundle: Bundle, host_unchanged: Callable) -> None:
    open_bundle.capabilities("CAP_SYS_ADMIN")
    with host_unchanged():
        out = runtime.inside(open_bundle, "mount -t tmpfs x /home/user && touch /home/user/x && ls /home/user")
    assert out == "x\n"


def test_others_mounts_on_the_same_root_are_left(
    runtime: Runtime, open_bundle: Bundle, host_unchanged: Callable
) -> None:
    with host_unchanged():
        runtime.launch(open_bundle.args("/bin/sleep", "1000"))
        mount_tmpfs(open_bundle.root)
        runtime.fails("delete", "--force", open_bundle.id, says="another mount covers it")
        assert len(mounts_below(open_bundle.root)) > 3
        umount(open_bundle.root)
        runtime.ok("delete", open_bundle.id)


@pytest.mark.parametrize(("value", "tag"), [("shared", "shared:"), ("unbindable", "unbindable"), ("slave", "-")])
def test_root_propagation(runtime: Runtime, open_bundle: Bundle, value: str, tag: str) -> None:
    open_bundle.linux["rootfsPropagation"] = value
    out = runtime.inside(open_bundle, "grep -E '^[0-9]+ [0-9]+ [0-9:]+ [^ ]+ / ' /proc/self/mountinfo")
    assert out.split()[6].startswith(tag)


def test_root_of_the_host(runtime: Runtime, open_bundle: Bundle, host_unchanged: Callable) -> None:
    open_bundle.config["root"]["path"] = "/"
    open_bundle.save()
    with host_unchanged():
        runtime.fails("create", "--bundle", str(open_bundle.path), open_bundle.id, says="need a mount namespace")


def test_new_user_namespace(runtime: Runtime, open_bundle: Bundle, host_unchanged: Callable) -> None:
    open_bundle.user_namespace().save()
    with host_unchanged():
        runtime.fails("create", "--bundle", str(open_bundle.path), open_bundle.id, says="need a new mount namespace")
