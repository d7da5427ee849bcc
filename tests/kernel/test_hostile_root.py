"""Root file systems made to escape from: each attack by its CVE.  The host must be the same afterwards."""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.inside import DEV, PROC, PTS, Failed, configuration, inside, mountinfo

pytestmark = pytest.mark.root

TERMINAL = {"terminal": True, "cwd": "/", "args": ["x"], "user": {"uid": 0, "gid": 0}}


def snapshot(directory: Path) -> list[tuple[Any, ...]]:
    """Every file below directory: what it is, whose it is, what is in it."""
    found = []
    for path in sorted(directory.rglob("*")):
        status = path.lstat()
        content = path.read_bytes() if stat.S_ISREG(status.st_mode) else b""
        found.append(
            (path.name, status.st_ino, status.st_mode, status.st_uid, status.st_gid, status.st_mtime_ns, content)
        )
    return found


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    for name in ("proc", "dev", "sys", "etc"):
        (tmp_path / "rootfs" / name).mkdir(parents=True)
    return tmp_path


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Path]:
    """A directory of the host; it and the kernel's knobs must come out untouched."""
    directory = tmp_path / "host"
    directory.mkdir()
    (directory / "ptmx").write_text("mark")
    (directory / "mark").write_text("mark")
    before = snapshot(directory), Path("/proc/sys/kernel/core_pattern").read_text()
    yield directory
    assert (snapshot(directory), Path("/proc/sys/kernel/core_pattern").read_text()) == before


def failure(bundle: Path, config: dict[str, Any], **more: Any) -> Failed:
    with pytest.raises(Failed) as caught:
        inside(bundle, config, **more)
    return caught.value


@pytest.mark.parametrize("name", ["proc", "sys"])
@pytest.mark.parametrize("kind", ["link out", "link in", "dangling link", "file"])
def test_cve_2019_19921_proc_or_sys_is_a_link(bundle: Path, host: Path, name: str, kind: str) -> None:
    place = bundle / "rootfs" / name
    place.rmdir()
    if kind == "file":
        place.touch()
    else:
        place.symlink_to({"link out": host, "link in": "etc", "dangling link": "/nothing"}[kind])
    fstype = {"proc": "proc", "sys": "sysfs"}[name]
    mount = {"destination": f"/{name}", "type": fstype, "source": fstype}
    error = failure(bundle, configuration(mount))
    assert error.what.endswith(f'filesystem "{fstype}" must be mounted on ordinary directory')


@pytest.mark.parametrize("target", ["{host}", "../../../../../../../../{host}"])
def test_cve_2019_18837_target_behind_a_link(bundle: Path, host: Path, target: str) -> None:
    (bundle / "rootfs/link").symlink_to(target.format(host=host))
    tmpfs = {"destination": "/link/new", "type": "tmpfs", "source": "tmpfs"}
    (bundle / "file").write_text("content")
    bind = {"destination": "/link/file", "source": "file", "options": ["bind"]}
    mounted = inside(bundle, configuration(PROC, tmpfs, bind), lambda: mountinfo(str(host)))
    assert [line.split(" ")[0] for line in mounted] == [f"{host}/new", f"{host}/file"]


def test_cve_2019_16884_tmpfs_over_proc(bundle: Path) -> None:
    error = failure(bundle, configuration(PROC, {"destination": "/proc/self/attr", "type": "tmpfs", "source": "t"}))
    assert error.what.startswith('error mounting "t" to rootfs at "/proc/self/attr": "/proc/')
    assert error.what.endswith("cannot be mounted because it is inside /proc")


@pytest.mark.parametrize("target", ["{host}", "../host", "/etc", "/nothing"])
def test_cve_2026_41579_dev_is_a_link(bundle: Path, host: Path, target: str) -> None:
    (bundle / "rootfs/dev").rmdir()
    (bundle / "rootfs/dev").symlink_to(target.format(host=host))
    assert failure(bundle, configuration(PROC)).what == "/dev must be an ordinary directory, not a symbolic link"
    assert os.listdir(bundle / "rootfs/etc") == []


def test_device_below_a_link(bundle: Path, host: Path) -> None:
    (bundle / "rootfs/dev/net").symlink_to(host)
    device = {"type": "c", "path": "/dev/net/tun", "major": 10, "minor": 200}
    error = failure(bundle, configuration(PROC, devices=[device]))
    assert (error.what, error.at) == (
        "/dev/net must be an ordinary directory, not a symbolic link",
        "/linux/devices/0",
    )


@pytest.mark.parametrize("kind", ["link", "file"])
def test_cve_2026_88265_null_is_something_else(bundle: Path, host: Path, kind: str) -> None:
    null = bundle / "rootfs/dev/null"
    if kind == "link":
        null.symlink_to(host / "mark")
    else:
        null.write_text("")
    assert failure(bundle, configuration(PROC)).what.startswith("/dev/null exists and is another file")


@pytest.mark.parametrize("kind", ["link", "file", "missing"])
def test_cve_2025_31133_masking_with_a_false_null(bundle: Path, host: Path, kind: str) -> None:
    """/dev comes from the host, so no nodes are made in it; the mask must be a real null device all the same."""
    if kind == "link":
        (bundle / "host/null").symlink_to("/proc/sys/kernel/core_pattern")
    elif kind == "file":
        (bundle / "host/null").write_text("")
    (bundle / "rootfs/etc/secret").write_text("secret")
    bind = {"destination": "/dev", "source": str(host), "options": ["bind"]}
    config = configuration(PROC, bind, maskedPaths=["/etc/secret", "/proc/keys"])

    def look() -> list[tuple[bool, int]]:
        masked = [os.stat(path) for path in ("/etc/secret", "/proc/keys")]
        return [(stat.S_ISCHR(status.st_mode), status.st_rdev) for status in masked]

    try:
        assert inside(bundle, config, look) == [(True, os.makedev(1, 3))] * 2
    finally:
        (bundle / "host/null").unlink(missing_ok=True)


def test_masked_path_is_a_link_out(bundle: Path, host: Path) -> None:
    (bundle / "rootfs/etc/link").symlink_to(host / "mark")
    config = configuration(PROC, maskedPaths=["/etc/link"], readonlyPaths=["/etc/link"])
    assert [line.split(" ")[0] for line in inside(bundle, config, mountinfo)] == ["/", "/proc"]


def test_cve_2025_52881_sysctl_through_what_covers_it(bundle: Path, host: Path) -> None:
    """What is mounted over the container's /proc does not matter: writes go through the runtime's own."""
    (bundle / "fake").write_text("")
    bind = {"destination": "/proc/sys/kernel/ns_last_pid", "source": "fake", "options": ["bind"]}
    config = configuration(PROC, bind, sysctl={"kernel.msgmax": "4096"})
    assert inside(bundle, config, lambda: Path("/proc/sys/kernel/msgmax").read_text()) == "4096\n"
    assert (bundle / "fake").read_bytes() == b""


class TestConsole:
    @pytest.fixture
    def sockets(self) -> Iterator[tuple[socket.socket, socket.socket]]:
        ours, theirs = socket.socketpair()
        with ours, theirs:
            yield ours, theirs

    def test_terminal(self, bundle: Path, sockets: tuple[socket.socket, socket.socket]) -> None:
        process = {
            **TERMINAL,
            "consoleSize": {"height": 33, "width": 99},
            "user": {"uid": 1000, "gid": 0},
        }

        def look() -> tuple[Any, ...]:
            streams = [os.fstat(fd).st_rdev for fd in (0, 1, 2)]
            console = os.stat("/dev/console")
            return (
                os.get_terminal_size(0),
                streams == [console.st_rdev] * 3,
                (console.st_uid, console.st_gid),
                os.ttyname(0),
                os.tcgetpgrp(0) == os.getpgrp(),
            )

        ours, theirs = sockets
        answer = inside(bundle, configuration(PROC, DEV, PTS, process=process), look, console_socket=theirs.fileno())
        assert answer == ((99, 33), True, (1000, 5), "/dev/pts/0", True)
        name, fds, _, _ = socket.recv_fds(ours, 100, 1)
        assert name == b"/dev/pts/0"
        assert os.get_terminal_size(fds[0]) == (99, 33)
        os.close(fds[0])

    def test_nobody_to_give_it_to(self, bundle: Path) -> None:
        error = failure(bundle, configuration(PROC, DEV, PTS, process=TERMINAL))
        assert (error.code, error.at) == ("console", "/process/terminal")

    @pytest.mark.parametrize("kind", ["file", "link", "pts is a link", "other device"])
    def test_cve_2025_52565_false_ptmx(
        self, bundle: Path, host: Path, sockets: tuple[socket.socket, socket.socket], kind: str
    ) -> None:
        pts = bundle / "rootfs/dev/pts"
        if kind == "pts is a link":
            pts.symlink_to(host)
        else:
            pts.mkdir()
        if kind == "file":
            (pts / "ptmx").touch()
        elif kind == "link":
            (pts / "ptmx").symlink_to("/proc/sys/kernel/core_pattern")
        elif kind == "other device":
            os.mknod(pts / "ptmx", stat.S_IFCHR | 0o666, os.makedev(5, 2))
        error = failure(bundle, configuration(PROC, process=TERMINAL), console_socket=sockets[1].fileno())
        assert error.stage == "console"
        assert (error.code, error.call) in (("console", ""), ("step-failed", "openat2"))

    def test_cve_2026_88264_console_is_a_link(
        self, bundle: Path, host: Path, sockets: tuple[socket.socket, socket.socket]
    ) -> None:
        (bundle / "rootfs/dev/pts").mkdir()
        for target in (host / "new", host / "mark", "/etc/new"):
            (bundle / "rootfs/dev/console").symlink_to(target)
            config = configuration(PROC, PTS, process=TERMINAL)
            error = failure(bundle, config, console_socket=sockets[1].fileno())
            assert error.what == "/dev/console is a symbolic link or a directory"
            (bundle / "rootfs/dev/console").unlink()
        assert os.listdir(bundle / "rootfs/etc") == []
