"""The stages rootfs, mounts, devices, pivot, masks and sysctl on a real kernel, seen from inside."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

import pytest

from tests.support.inside import DEV, PROC, PTS, SYS, Failed, configuration, inside, mountinfo

pytestmark = pytest.mark.root

ON_TOP = "mountpoint / is on the top of rootfs"
NOT_PROC = '"/proc" cannot be mounted because it is not of type proc'
IN_PROC = '"/proc/bus" cannot be mounted because it is inside /proc'


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    for name in ("proc", "dev", "sys", "tmp", "etc"):
        (tmp_path / "rootfs" / name).mkdir(parents=True)
    return tmp_path


def failure(bundle: Path, config: dict[str, Any], **more: Any) -> Failed:
    with pytest.raises(Failed) as caught:
        inside(bundle, config, **more)
    return caught.value


class TestRoot:
    @pytest.mark.parametrize("no_pivot", [False, True])
    def test_root_is_entered(self, bundle: Path, no_pivot: bool) -> None:
        def look() -> tuple[list[str], list[str], str]:
            return sorted(os.listdir("/")), mountinfo(), os.getcwd()

        names, mounted, cwd = inside(bundle, configuration(PROC), look, no_pivot=no_pivot)
        assert names == ["dev", "etc", "proc", "sys", "tmp"]
        assert [line.split()[0] for line in mounted] == ["/", "/proc"]
        assert cwd == "/"

    def test_readonly(self, bundle: Path) -> None:
        config = configuration(PROC, DEV, root={"path": "rootfs", "readonly": True})
        root, dev = inside(bundle, config, lambda: (os.statvfs("/").f_flag, os.statvfs("/dev").f_flag))
        assert root & os.ST_RDONLY
        assert not dev & os.ST_RDONLY

    def test_missing_root(self, bundle: Path) -> None:
        error = failure(bundle, configuration(root={"path": "nothing"}))
        assert (error.what, error.at, error.errno) == (f'invalid rootfs "{bundle}/nothing"', "/root/path", "2")

    def test_root_that_is_a_file(self, bundle: Path) -> None:
        (bundle / "file").touch()
        error = failure(bundle, configuration(root={"path": "file"}))
        assert (error.at, error.errno) == ("/root/path", "20")

    @pytest.mark.parametrize(
        ("value", "root"),
        [
            ("", ""),
            ("rprivate", ""),
            ("slave", ""),
            ("shared", "shared:"),
            ("rshared", "shared:"),
            ("unbindable", "unbindable"),
        ],
    )
    def test_propagation(self, bundle: Path, value: str, root: str) -> None:
        def look() -> str:
            line = next(x for x in Path("/proc/self/mountinfo").read_text().splitlines() if x.split()[4] == "/")
            return " ".join(line.split()[6:]).partition("- ")[0]

        more = {"rootfsPropagation": value} if value else {}
        assert inside(bundle, configuration(PROC, **more), look).startswith(root)

    def test_without_a_mount_namespace(self, bundle: Path) -> None:
        config = configuration(namespaces=["uts"])
        assert sorted(inside(bundle, config, lambda: os.listdir("/"))) == ["dev", "etc", "proc", "sys", "tmp"]
        assert str(bundle) not in Path("/proc/self/mountinfo").read_text()

    def test_standard_streams_on_null(self, bundle: Path) -> None:
        def look() -> tuple[bool, str]:
            return os.stat("/dev/null").st_dev == os.fstat(0).st_dev, os.readlink("/proc/self/fd/0")

        saved, null = os.dup(0), os.open("/dev/null", os.O_RDWR)
        os.dup2(null, 0)
        try:
            assert inside(bundle, configuration(PROC, DEV), look) == (True, "/dev/null")
        finally:
            os.dup2(saved, 0)
            os.close(null)
            os.close(saved)


class TestMounts:
    def test_options_reach_the_mount(self, bundle: Path) -> None:
        mounted = inside(bundle, configuration(PROC, DEV, PTS, SYS), lambda: mountinfo()[1:])
        assert mounted == [
            "/proc rw,relatime proc",
            "/dev rw,nosuid tmpfs",
            "/dev/pts rw,nosuid,noexec,relatime devpts",
            "/sys ro,nosuid,nodev,noexec,relatime sysfs",
        ]

    def test_tmpfs_looks_like_what_it_covers(self, bundle: Path) -> None:
        os.chmod(bundle / "rootfs/tmp", 0o1731)
        plain = {"destination": "/tmp", "type": "tmpfs", "source": "tmpfs"}
        chosen = {"destination": "/etc", "type": "tmpfs", "source": "tmpfs", "options": ["mode=0700"]}
        new = {"destination": "/new", "type": "tmpfs", "source": "tmpfs"}
        config = configuration(plain, chosen, new)
        modes = inside(bundle, config, lambda: [stat.S_IMODE(os.stat(x).st_mode) for x in ("/tmp", "/etc", "/new")])
        assert modes == [0o1731, 0o700, 0o1777]

    def test_read_only_tmpfs_waits(self, bundle: Path) -> None:
        outer = {"destination": "/a", "type": "tmpfs", "source": "tmpfs", "options": ["ro"]}
        inner = {"destination": "/a/b", "type": "tmpfs", "source": "tmpfs"}
        mounted = inside(bundle, configuration(PROC, outer, inner), lambda: mountinfo("/a"))
        assert mounted == ["/a ro,relatime tmpfs", "/a/b rw,relatime tmpfs"]

    def test_tmpcopyup(self, bundle: Path) -> None:
        etc = bundle / "rootfs/etc"
        (etc / "sub").mkdir(mode=0o711)
        (etc / "sub/file").write_text("content")
        os.chown(etc / "sub/file", 1000, 1001)
        os.chmod(etc / "sub/file", 0o4755)
        (etc / "link").symlink_to("/etc/shadow")
        os.mkfifo(etc / "fifo", 0o600)
        os.chown(etc, 7, 8)
        mount = {"destination": "/etc", "type": "tmpfs", "source": "tmpfs", "options": ["tmpcopyup", "size=1m"]}

        def look() -> tuple[Any, ...]:
            file, top = os.stat("/etc/sub/file"), os.stat("/etc")
            return (
                Path("/etc/sub/file").read_text(),
                (file.st_uid, file.st_gid, stat.S_IMODE(file.st_mode)),
                stat.S_IMODE(os.stat("/etc/sub").st_mode),
                os.readlink("/etc/link"),
                stat.S_ISFIFO(os.stat("/etc/fifo").st_mode),
                (top.st_uid, top.st_gid),
                mountinfo("/etc"),
            )

        assert inside(bundle, configuration(PROC, mount), look) == (
            "content",
            (1000, 1001, 0o4755),
            0o711,
            "/etc/shadow",
            True,
            (7, 8),
            ["/etc rw,relatime tmpfs"],
        )

    def test_binds(self, bundle: Path) -> None:
        (bundle / "source").mkdir()
        (bundle / "source/file").write_text("content")

        def bind(destination: str, source: str, *options: str) -> dict[str, Any]:
            return {"destination": destination, "type": "none", "source": source, "options": ["rbind", *options]}

        config = configuration(
            PROC,
            bind("/a/dir", "source"),
            bind("/a/ro", str(bundle / "source"), "ro", "noexec"),
            bind("a/file", "source/file", "rro"),
            bind("/a/shared", "source", "private", "rshared"),
        )
        content, mounted = inside(bundle, config, lambda: (Path("/a/file").read_text(), mountinfo("/a")))
        assert content == "content"
        assert [line.rpartition(" ")[0] for line in mounted] == [
            "/a/dir rw,relatime",
            "/a/ro ro,noexec,relatime",
            "/a/file ro,relatime",
            "/a/shared rw,relatime",
        ]
        assert (bundle / "rootfs/a/file").read_bytes() == b""

    def test_bind_flags_replace_those_of_the_source(self, bundle: Path) -> None:
        tmpfs = {"destination": "/etc", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "nodev", "noatime"]}
        sources = (("/p", []), ("/q", ["nodev"]), ("/r", ["exec"]), ("/s", ["strictatime"]))
        binds = [
            {"destination": name, "source": str(bundle / "rootfs/etc"), "options": ["bind", *options]}
            for name, options in sources
        ]
        mounted = inside(bundle, configuration(PROC, tmpfs, *binds), mountinfo)
        assert [line.rpartition(" ")[0] for line in mounted[3:]] == [
            "/p rw,nosuid,nodev,noatime",
            "/q rw,nodev,noatime",
            "/r rw,noatime",
            "/s rw",
        ]

    def test_dangling_link_as_target(self, bundle: Path) -> None:
        (bundle / "rootfs/link").symlink_to("/far/away")
        mount = {"destination": "/link/end", "type": "tmpfs", "source": "tmpfs"}
        assert inside(bundle, configuration(PROC, mount), lambda: mountinfo("/far")) == [
            "/far/away/end rw,relatime tmpfs"
        ]

    @pytest.mark.parametrize(
        ("mount", "what", "number"),
        [
            ({"destination": "/", "type": "tmpfs"}, ON_TOP, "0"),
            ({"destination": "/tmp/..", "type": "tmpfs"}, ON_TOP, "0"),
            (
                {"destination": "/proc", "type": "tmpfs"},
                NOT_PROC,
                "0",
            ),
            (
                {"destination": "/proc/bus", "type": "tmpfs"},
                IN_PROC,
                "0",
            ),
            (
                {"destination": "/p/bus", "type": "tmpfs"},
                IN_PROC,
                "0",
            ),
            ({"destination": "/x", "type": "nofs"}, "", "19"),
            ({"destination": "/x"}, "", "19"),
            ({"destination": "/x", "source": "/does/not/exist", "options": ["bind"]}, "", "2"),
        ],
    )
    def test_refused(self, bundle: Path, mount: dict[str, Any], what: str, number: str) -> None:
        (bundle / "rootfs/p").symlink_to("proc")
        mount = {"source": "source", **mount}
        error = failure(bundle, configuration(PROC, mount))
        destination = os.path.normpath(mount["destination"])
        expected = f'error mounting "{mount["source"]}" to rootfs at "{destination}"' + (what and f": {what}")
        assert (error.what, error.errno, error.stage, error.at) == (expected, number, "mounts", "/mounts/1")

    def test_lxcfs_may_mount_below_proc(self, bundle: Path) -> None:
        (bundle / "uptime").write_text("1 1\n")
        bind = {"destination": "/proc/uptime", "source": "uptime", "options": ["bind"]}
        assert inside(bundle, configuration(PROC, bind), lambda: Path("/proc/uptime").read_text()) == "1 1\n"

    def test_proc_of_the_host(self, bundle: Path) -> None:
        bind = {"destination": "/proc", "source": "/proc", "options": ["rbind"]}
        assert inside(bundle, configuration(bind), lambda: os.path.exists("/proc/self/mountinfo"))

    def test_cgroup(self, bundle: Path) -> None:
        mount = {"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": ["ro"]}
        for kinds in (("mount", "pid", "network"), ("mount", "pid", "network", "cgroup")):
            mounted = inside(
                bundle, configuration(PROC, SYS, mount, namespaces=kinds), lambda: mountinfo("/sys/fs/cgroup")
            )
            assert mounted[0] == "/sys/fs/cgroup ro,nosuid,nodev,noexec,relatime tmpfs"
            assert "/sys/fs/cgroup/memory ro,nosuid,nodev,noexec,relatime cgroup" in mounted
            assert all(" ro," in line for line in mounted)


class TestDevices:
    def test_nodes_and_links(self, bundle: Path) -> None:
        own = {"type": "c", "path": "/dev/net/own", "major": 10, "minor": 200, "fileMode": 0o640, "uid": 5, "gid": 6}
        full = {"type": "c", "path": "/dev/full", "major": 1, "minor": 7, "fileMode": 0o600}
        pipe = {"type": "p", "path": "/dev/pipe"}

        def look() -> tuple[Any, ...]:
            nodes = {}
            for name in ("null", "zero", "full", "random", "urandom", "tty", "net/own", "pipe"):
                status = os.stat(f"/dev/{name}")
                nodes[name] = (stat.filemode(status.st_mode), os.major(status.st_rdev), os.minor(status.st_rdev))
            owner = os.stat("/dev/net/own")
            links = {name: os.readlink(f"/dev/{name}") for name in os.listdir("/dev") if os.path.islink(f"/dev/{name}")}
            return nodes, (owner.st_uid, owner.st_gid), links

        os.umask(0o077)
        try:
            nodes, owner, links = inside(bundle, configuration(PROC, DEV, devices=[own, full, pipe]), look)
        finally:
            os.umask(0o022)
        assert nodes == {
            "null": ("crw-rw-rw-", 1, 3),
            "zero": ("crw-rw-rw-", 1, 5),
            "full": ("crw-------", 1, 7),
            "random": ("crw-rw-rw-", 1, 8),
            "urandom": ("crw-rw-rw-", 1, 9),
            "tty": ("crw-rw-rw-", 5, 0),
            "net/own": ("crw-r-----", 10, 200),
            "pipe": ("prw-rw-rw-", 0, 0),
        }
        assert owner == (5, 6)
        if not os.path.exists("/proc/kcore"):
            links["core"] = "/proc/kcore"
        assert links == {
            "fd": "/proc/self/fd",
            "stdin": "/proc/self/fd/0",
            "stdout": "/proc/self/fd/1",
            "stderr": "/proc/self/fd/2",
            "core": "/proc/kcore",
            "ptmx": "pts/ptmx",
        }

    def test_same_node_is_kept_and_another_is_an_error(self, bundle: Path) -> None:
        os.mknod(bundle / "rootfs/dev/null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
        inside(bundle, configuration(PROC))
        os.unlink(bundle / "rootfs/dev/null")
        (bundle / "rootfs/dev/null").touch()
        error = failure(bundle, configuration(PROC))
        assert error.what == "/dev/null exists and is another file (-rw-r--r-- 0:0)"

    def test_bound_dev_is_left_alone(self, bundle: Path) -> None:
        (bundle / "dev").mkdir()
        bind = {"destination": "/dev/", "source": "dev", "options": ["bind"]}
        assert inside(bundle, configuration(PROC, bind), lambda: os.listdir("/dev")) == []


class TestMasks:
    def test_masked_and_readonly(self, bundle: Path) -> None:
        (bundle / "rootfs/etc/secret").write_text("secret")
        (bundle / "rootfs/etc/dir").mkdir()
        (bundle / "rootfs/etc/dir/file").touch()
        (bundle / "rootfs/tmp/dir").mkdir()
        config = configuration(
            PROC,
            DEV,
            maskedPaths=["/etc/secret", "/etc/dir", "/tmp/dir", "/proc/keys", "/missing", "/etc/secret/x", "/etc/dir"],
            readonlyPaths=["/proc/sys", "/missing"],
        )

        def look() -> tuple[Any, ...]:
            dirs = [os.stat(x) for x in ("/etc/dir", "/tmp/dir")]
            return (
                Path("/etc/secret").read_text(),
                os.stat("/proc/keys").st_rdev,
                os.listdir("/etc/dir"),
                dirs[0].st_dev == dirs[1].st_dev,
                bool(os.statvfs("/etc/dir").f_flag & os.ST_RDONLY),
                bool(os.statvfs("/proc/sys").f_flag & os.ST_RDONLY),
                bool(os.statvfs("/proc").f_flag & os.ST_RDONLY),
            )

        assert inside(bundle, config, look) == ("", os.makedev(1, 3), [], True, True, True, False)


class TestSysctl:
    def test_namespaced_parameters(self, bundle: Path) -> None:
        names = ("net/ipv4/ip_forward", "kernel/msgmax", "fs/mqueue/msg_max", "kernel/domainname")
        before = [Path("/proc/sys", name).read_text() for name in names]
        config = configuration(
            PROC,
            sysctl={
                "net.ipv4.ip_forward": "1",
                "kernel/msgmax": "4096",
                "fs.mqueue.msg_max": "11",
                "kernel.domainname": "d",
            },
        )
        values = inside(bundle, config, lambda: [Path("/proc/sys", name).read_text().strip() for name in names])
        assert values == ["1", "4096", "11", "d"]
        assert [Path("/proc/sys", name).read_text() for name in names] == before

    def test_unknown_parameter(self, bundle: Path) -> None:
        error = failure(bundle, configuration(PROC, sysctl={"net.ipv4.nothing": "1"}))
        assert (error.call, error.errno, error.at) == ("openat2", "2", "/linux/sysctl/net.ipv4.nothing")

    def test_refused_value(self, bundle: Path) -> None:
        error = failure(bundle, configuration(PROC, sysctl={"kernel.msgmax": "many"}))
        assert (error.call, error.errno) == ("write", "22")


class TestUserNamespace:
    """Only user 0 is mapped; the host's mounts are locked and its devices cannot be made."""

    KINDS = ("user", "mount", "pid", "ipc", "network", "uts")

    def test_devices_are_bound(self, bundle: Path) -> None:
        config = configuration(PROC, DEV, SYS, namespaces=self.KINDS, maskedPaths=["/proc/keys", "/sys/firmware"])

        def look() -> tuple[Any, ...]:
            status = os.stat("/dev/null")
            return status.st_rdev, os.stat("/proc/keys").st_rdev, [x for x in mountinfo("/dev") if "null" in x]

        device, masked, mounted = inside(bundle, config, look)
        assert (device, masked) == (os.makedev(1, 3), os.makedev(1, 3))
        assert [line.split(" ")[0] for line in mounted] == ["/dev/null"]

    def test_source_that_only_the_runtime_may_walk_to(self, bundle: Path) -> None:
        (bundle / "closed/source").mkdir(parents=True)
        (bundle / "closed/source/file").write_text("content")
        os.chown(bundle / "closed", 1000, 1000)
        os.chmod(bundle / "closed", 0o700)
        bind = {"destination": "/data", "source": "closed/source", "options": ["rbind", "ro", "rshared"]}
        config = configuration(PROC, bind, namespaces=self.KINDS)
        content, mounted = inside(bundle, config, lambda: (Path("/data/file").read_text(), mountinfo("/data")))
        assert content == "content"
        assert mounted[0].startswith("/data ro,")

    def test_sysfs_without_a_network_namespace(self, bundle: Path) -> None:
        config = configuration(PROC, SYS, namespaces=("user", "mount", "pid"))
        mounted = inside(bundle, config, lambda: mountinfo("/sys"))
        assert mounted[0].startswith("/sys ro,")
        assert all(" ro," in line for line in mounted)
