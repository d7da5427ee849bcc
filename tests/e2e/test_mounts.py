"""mounts: every class of option, as /proc/self/mountinfo inside the container tells it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.bundles import Bundle
from tests.support.runtime import Runtime


class MountInfo:
    """One line of /proc/PID/mountinfo (proc_pid_mountinfo(5))."""

    def __init__(self, line: str) -> None:
        left, _, right = line.partition(" - ")
        fields = left.split()
        self.root, self.target = fields[3], fields[4]
        self.options = set(fields[5].split(","))
        self.propagation = fields[6:]
        self.kind, self.source, super_options = right.split(" ", 2)
        self.super_options = set(super_options.split(","))


def mounted(runtime: Runtime, bundle: Bundle, target: str) -> MountInfo:
    """The topmost mount at the target, in the container."""
    out = runtime.inside(bundle, "cat /proc/self/mountinfo")
    found = [MountInfo(line) for line in out.splitlines() if line.split()[4] == target]
    assert found, out
    return found[-1]


@pytest.fixture
def source(bundle: Bundle) -> Path:
    path = bundle.path / "source"
    (path / "inner").mkdir(parents=True)
    (path / "file").write_text("of the host\n")
    return path


# --- file systems and their options

OPTIONS = [
    (["nosuid", "nodev", "noexec"], {"nosuid", "nodev", "noexec", "rw"}, set()),
    (["nosuid", "suid", "nodev", "dev", "noexec", "exec"], {"rw"}, {"nosuid", "nodev", "noexec"}),
    (["ro"], {"ro"}, {"rw"}),
    (["ro", "rw"], {"rw"}, {"ro"}),
    (["noatime"], {"noatime"}, {"relatime"}),
    (["noatime", "atime"], {"relatime"}, {"noatime"}),
    (["strictatime"], set(), {"relatime", "noatime"}),
    (["nodiratime"], {"nodiratime"}, set()),
    (["nodiratime", "diratime"], set(), {"nodiratime"}),
    (["relatime"], {"relatime"}, {"noatime"}),
    pytest.param(
        ["defaults"], {"rw"}, set(), marks=pytest.mark.differs(runc="1.1 hands it to the file system, for a tmpfs")
    ),
]


@pytest.mark.parametrize(("options", "present", "absent"), OPTIONS, ids=lambda value: ",".join(sorted(value)) or "none")
def test_flags_of_a_file_system(
    runtime: Runtime, bundle: Bundle, options: list[str], present: set[str], absent: set[str]
) -> None:
    seen = mounted(runtime, bundle.mount("/mnt", "tmpfs", "tmpfs", *options), "/mnt")
    assert (seen.kind, seen.options & (present | absent)) == ("tmpfs", present)


@pytest.mark.parametrize(("options", "present", "absent"), OPTIONS, ids=lambda value: ",".join(sorted(value)) or "none")
@pytest.mark.parametrize("bind", ["bind", "rbind"])
def test_flags_of_a_bind(
    runtime: Runtime, bundle: Bundle, source: Path, bind: str, options: list[str], present: set[str], absent: set[str]
) -> None:
    seen = mounted(runtime, bundle.bind(source, "/mnt", bind, *options), "/mnt")
    assert seen.options & (present | absent) == present


@pytest.mark.parametrize(
    ("options", "present"),
    [(["sync"], "sync"), (["dirsync"], "dirsync"), (["size=1m"], "size=1024k"), (["nr_inodes=100"], "nr_inodes=100")],
)
def test_options_of_the_super_block(runtime: Runtime, bundle: Bundle, options: list[str], present: str) -> None:
    assert present in mounted(runtime, bundle.mount("/mnt", "tmpfs", "tmpfs", *options), "/mnt").super_options


@pytest.mark.only_ocirt("runc 1.1 and crun 1.8 do not know all of these")
@pytest.mark.parametrize(
    "option", ["lazytime", "nolazytime", "iversion", "noiversion", "silent", "loud", "nosymfollow"]
)
def test_rare_flags(runtime: Runtime, bundle: Bundle, option: str) -> None:
    seen = mounted(runtime, bundle.mount("/mnt", "tmpfs", "tmpfs", option), "/mnt")
    if option in ("lazytime", "nosymfollow"):
        assert option in seen.options | seen.super_options


def test_unknown_file_system(runtime: Runtime, bundle: Bundle, host_unchanged: Callable) -> None:
    bundle.mount("/mnt", "nonesuchfs", "x").save()
    with host_unchanged():
        runtime.fails("create", "--bundle", str(bundle.path), bundle.id, says="no such device")


def test_unknown_option(runtime: Runtime, bundle: Bundle, host_unchanged: Callable) -> None:
    bundle.mount("/mnt", "tmpfs", "tmpfs", "nonesuch=1").save()
    with host_unchanged():
        runtime.fails("create", "--bundle", str(bundle.path), bundle.id, says="invalid argument")


@pytest.mark.differs(crun="other words")
def test_mount_error_names_source_and_destination(runtime: Runtime, bundle: Bundle, host_unchanged: Callable) -> None:
    bundle.bind("/no/such/source", "/mnt").save()
    with host_unchanged():
        result = runtime.fails("create", "--bundle", str(bundle.path), bundle.id, says="no such file or directory")
    assert "/no/such/source" in result.last_line


def test_tmpfs_mode_and_size(runtime: Runtime, bundle: Bundle) -> None:
    bundle.mount("/a", "tmpfs", "tmpfs", "mode=0751", "size=64k", "uid=5", "gid=6")
    out = runtime.inside(bundle, "stat -c '%a %u %g' /a; head -c 100000 /dev/zero > /a/x 2>/dev/null || echo full")
    assert out == "751 5 6\nfull\n"


def test_tmpfs_takes_the_mode_of_the_directory(runtime: Runtime, bundle: Bundle) -> None:
    (bundle.root / "srv").mkdir()
    (bundle.root / "srv").chmod(0o3711)
    assert runtime.inside(bundle.mount("/srv", "tmpfs", "tmpfs"), "stat -c %a /srv") == "3711\n"


def test_tmpfs_copy_up(runtime: Runtime, bundle: Bundle) -> None:
    (bundle.root / "srv/deep").mkdir(parents=True)
    (bundle.root / "srv/deep/file").write_text("copied\n")
    os.chown(bundle.root / "srv/deep/file", 7, 8)
    bundle.mount("/srv", "tmpfs", "tmpfs", "tmpcopyup")
    assert runtime.inside(bundle, "cat /srv/deep/file; stat -c %u:%g /srv/deep/file; touch /srv/new") == "copied\n7:8\n"
    assert not (bundle.root / "srv/new").exists()


def test_read_only_tmpfs(runtime: Runtime, bundle: Bundle) -> None:
    assert runtime.inside(bundle.mount("/srv", "tmpfs", "tmpfs", "ro"), "touch /srv/x 2>&1 || echo refused").endswith(
        "refused\n"
    )


# --- order and targets


def test_order_is_the_lists(runtime: Runtime, bundle: Bundle, source: Path) -> None:
    bundle.mount("/mnt", "tmpfs", "tmpfs").bind(source, "/mnt/bound").mount("/mnt/bound/inner", "tmpfs", "tmpfs")
    out = runtime.inside(bundle, "cat /mnt/bound/file; grep ' /mnt' /proc/self/mountinfo | cut -d' ' -f5")
    assert out.split("\n") == ["of the host", "/mnt", "/mnt/bound", "/mnt/bound/inner", ""]


def test_later_mount_covers_earlier(runtime: Runtime, bundle: Bundle, source: Path) -> None:
    bundle.bind(source, "/mnt").mount("/mnt", "tmpfs", "tmpfs")
    assert runtime.inside(bundle, "ls /mnt") == ""


def test_missing_targets_are_made(runtime: Runtime, bundle: Bundle, source: Path) -> None:
    bundle.bind(source, "/new/deep/dir").bind(source / "file", "/new/deep/file")
    assert runtime.inside(bundle, "cat /new/deep/dir/file /new/deep/file") == "of the host\n" * 2
    assert (bundle.root / "new/deep").stat().st_mode & 0o7777 == 0o755
    assert (bundle.root / "new/deep/file").is_file()
    assert (bundle.root / "new/deep/dir").is_dir()


@pytest.mark.parametrize("link", ["/srv/real", "real", "../../../../srv/real", "/srv/../srv/./real"])
def test_linked_target_is_followed_inside(runtime: Runtime, bundle: Bundle, source: Path, link: str) -> None:
    (bundle.root / "srv/real").mkdir(parents=True)
    (bundle.root / "srv/link").symlink_to(link)
    assert runtime.inside(bundle.bind(source, "/srv/link"), "cat /srv/real/file") == "of the host\n"


def test_dangling_link_as_target(runtime: Runtime, bundle: Bundle, source: Path) -> None:
    (bundle.root / "link").symlink_to("/made/by/runtime")
    assert runtime.inside(bundle.bind(source, "/link"), "cat /made/by/runtime/file") == "of the host\n"
    assert not Path("/made/by/runtime").exists()


def test_link_loop_as_target(runtime: Runtime, bundle: Bundle, source: Path, host_unchanged: Callable) -> None:
    (bundle.root / "a").symlink_to("b")
    (bundle.root / "b").symlink_to("a")
    bundle.bind(source, "/a").save()
    with host_unchanged():
        runtime.fails("create", "--bundle", str(bundle.path), bundle.id)


def test_relative_destination_is_from_the_root(runtime: Runtime, bundle: Bundle, source: Path) -> None:
    bundle.process["cwd"] = "/var"
    assert runtime.inside(bundle.bind(source, "srv/x"), "cat /srv/x/file") == "of the host\n"


def test_destination_with_dots_stays_inside(runtime: Runtime, bundle: Bundle, source: Path) -> None:
    assert runtime.inside(bundle.bind(source, "/srv/../../../x"), "cat /x/file") == "of the host\n"


def test_source_relative_to_the_bundle(runtime: Runtime, bundle: Bundle, source: Path) -> None:
    assert source.is_dir()
    assert runtime.inside(bundle.bind("source", "/mnt"), "cat /mnt/file", cwd="/") == "of the host\n"


def test_strange_names(runtime: Runtime, bundle: Bundle) -> None:
    name = "with space\ttab\\backslash ünïcode"
    (bundle.path / name).mkdir()
    (bundle.path / name / "f").write_text("found\n")
    assert runtime.inside(bundle.bind(bundle.path / name, f"/{name}"), "cat /with*/f") == "found\n"


def test_single_files(runtime: Runtime, bundle: Bundle, source: Path) -> None:
    """As engines do with resolv.conf and hosts."""
    bundle.bind(source / "file", "/etc/passwd", "bind", "ro")
    assert runtime.inside(bundle, "cat /etc/passwd; echo x >> /etc/passwd || echo refused") == "of the host\nrefused\n"


def test_socket_as_source(runtime: Runtime, bundle: Bundle, source: Path) -> None:
    os.mkfifo(source / "fifo")
    assert runtime.inside(bundle.bind(source / "fifo", "/run/fifo"), "test -p /run/fifo && echo fifo") == "fifo\n"


# --- binds


def test_bind_is_the_same_directory(runtime: Runtime, bundle: Bundle, source: Path) -> None:
    runtime.inside(bundle.bind(source, "/mnt"), "echo from inside > /mnt/new")
    assert (source / "new").read_text() == "from inside\n"


def test_read_only_bind(runtime: Runtime, bundle: Bundle, source: Path) -> None:
    out = runtime.inside(
        bundle.bind(source, "/mnt", "bind", "ro"), "touch /mnt/new 2>&1 || echo refused; cat /mnt/file"
    )
    assert "refused\nof the host\n" in out
    assert not (source / "new").exists()


@pytest.fixture
def nested(source: Path) -> object:
    """A source with another mount below it."""
    mount("-t", "tmpfs", "tmpfs", source / "inner")
    (source / "inner/below").write_text("below\n")
    yield source
    assert os.spawnlp(os.P_WAIT, "umount", "umount", str(source / "inner")) == 0


def mount(*args: object) -> None:
    assert os.spawnvp(os.P_WAIT, "mount", ["mount", *map(str, args)]) == 0


def test_bind_leaves_out_what_is_mounted_below(runtime: Runtime, bundle: Bundle, nested: Path) -> None:
    assert runtime.inside(bundle.bind(nested, "/mnt", "bind"), "ls /mnt/inner") == ""


def test_rbind_takes_it_along(runtime: Runtime, bundle: Bundle, nested: Path) -> None:
    assert runtime.inside(bundle.bind(nested, "/mnt", "rbind"), "cat /mnt/inner/below") == "below\n"


def test_ro_is_for_the_top_only(runtime: Runtime, bundle: Bundle, nested: Path) -> None:
    script = "touch /mnt/x 2>/dev/null || echo top refused; touch /mnt/inner/x && echo below written"
    assert runtime.inside(bundle.bind(nested, "/mnt", "rbind", "ro"), script) == "top refused\nbelow written\n"


RECURSIVE = [
    ("rro", {"ro"}),
    ("rnosuid", {"nosuid"}),
    ("rnodev", {"nodev"}),
    ("rnoexec", {"noexec"}),
    ("rnoatime", {"noatime"}),
    ("rnodiratime", {"nodiratime"}),
]


@pytest.mark.parametrize(("option", "present"), RECURSIVE)
def test_recursive_attributes(runtime: Runtime, bundle: Bundle, nested: Path, option: str, present: set[str]) -> None:
    bundle.bind(nested, "/mnt", "rbind", option)
    assert present <= mounted(runtime, bundle, "/mnt").options
    assert present <= mounted(runtime, bundle, "/mnt/inner").options


# --- propagation

PROPAGATION = [
    (["shared"], "shared:"),
    (["rshared"], "shared:"),
    (["slave"], "master:"),
    (["rslave"], "master:"),
    (["private"], ""),
    (["rprivate"], ""),
    (["unbindable"], "unbindable"),
    (["runbindable"], "unbindable"),
]


@pytest.mark.parametrize(("options", "tag"), PROPAGATION, ids=lambda value: value[0] if value else "")
def test_propagation_of_a_bind(runtime: Runtime, bundle: Bundle, nested: Path, options: list[str], tag: str) -> None:
    mount("--make-shared", nested / "inner")
    bundle.config["linux"]["rootfsPropagation"] = "shared"
    seen = mounted(runtime, bundle.bind(nested / "inner", "/mnt", "rbind", *options), "/mnt")
    if tag:
        assert any(entry.startswith(tag) for entry in seen.propagation), seen.propagation
    else:
        assert seen.propagation == []


def test_slave_sees_new_mounts_of_the_host(runtime: Runtime, bundle: Bundle, nested: Path) -> None:
    mount("--make-shared", nested / "inner")
    (nested / "inner/sub").mkdir()
    bundle.linux["rootfsPropagation"] = "slave"
    runtime.launch(bundle.bind(nested / "inner", "/mnt", "rbind", "rslave").args("/bin/probe", "pause"))
    mount("-t", "tmpfs", "tmpfs", nested / "inner/sub")
    (nested / "inner/sub/late").touch()
    assert runtime.sh(bundle, "ls /mnt/sub") == "late\n"
    runtime.stop(bundle)
    assert os.spawnlp(os.P_WAIT, "umount", "umount", str(nested / "inner/sub")) == 0


def test_private_sees_none(runtime: Runtime, bundle: Bundle, nested: Path) -> None:
    mount("--make-shared", nested / "inner")
    (nested / "inner/sub").mkdir()
    runtime.launch(bundle.bind(nested / "inner", "/mnt", "rbind", "rprivate").args("/bin/probe", "pause"))
    mount("-t", "tmpfs", "tmpfs", nested / "inner/sub")
    (nested / "inner/sub/late").touch()
    assert runtime.sh(bundle, "ls /mnt/sub") == ""
    runtime.stop(bundle)
    assert os.spawnlp(os.P_WAIT, "umount", "umount", str(nested / "inner/sub")) == 0


def test_mounts_inside_do_not_reach_the_host(runtime: Runtime, bundle: Bundle, source: Path) -> None:
    """Every mount of the test's host is shared, as on a systemd machine."""
    bundle.capabilities("CAP_SYS_ADMIN")
    bundle.bind(source, "/mnt", "rbind")
    runtime.launch(bundle.script("mount -t tmpfs x /mnt/inner && touch /mnt/inner/seen && exec probe pause"))
    while not runtime.sh(bundle, "ls /mnt/inner"):
        pass
    assert list((source / "inner").iterdir()) == []
    runtime.stop(bundle)


# --- the usual file systems


def test_proc_is_of_the_pid_namespace(runtime: Runtime, bundle: Bundle) -> None:
    seen = mounted(runtime, bundle, "/proc")
    assert (seen.kind, seen.source, seen.root) == ("proc", "proc", "/")
    assert runtime.inside(bundle, "echo /proc/[0-9]*") == "/proc/1\n"


def test_the_base_mounts(runtime: Runtime, bundle: Bundle) -> None:
    out = runtime.inside(bundle, "cat /proc/self/mountinfo")
    seen = {info.target: info for info in map(MountInfo, out.splitlines())}
    assert {target: info.kind for target, info in seen.items() if target.startswith(("/dev", "/sys"))} == {
        "/dev": "tmpfs",
        "/dev/pts": "devpts",
        "/dev/shm": "tmpfs",
        "/dev/mqueue": "mqueue",
        "/sys": "sysfs",
        "/sys/firmware": "tmpfs",
    }
    assert {"mode=755", "size=65536k"} <= seen["/dev"].super_options
    assert {"nosuid"} <= seen["/dev"].options
    assert {"gid=5", "mode=620", "ptmxmode=666"} <= seen["/dev/pts"].super_options
    assert {"ro", "nosuid", "nodev", "noexec"} <= seen["/sys"].options


@pytest.mark.cgroup_v1("one mount per hierarchy")
@pytest.mark.parametrize("cgroup_namespace", [False, True])
def test_cgroup_mount(runtime: Runtime, bundle: Bundle, cgroup_namespace: bool) -> None:
    bundle.mount("/sys/fs/cgroup", "cgroup", "cgroup", "nosuid", "noexec", "nodev", "relatime", "ro")
    if cgroup_namespace:
        bundle.namespace("cgroup")
    script = (
        "ls /sys/fs/cgroup; cat /sys/fs/cgroup/pids/cgroup.procs; "
        "mkdir /sys/fs/cgroup/pids/x 2>/dev/null || echo refused; grep /sys/fs/cgroup/ /proc/self/mountinfo"
    )
    out = runtime.inside(bundle, script)
    assert {"cpu", "memory", "pids", "freezer", "devices", "systemd"} <= set(out.split("\n"))
    assert "\n1\n" in out
    assert "\nrefused\n" in out
    controllers = [MountInfo(line) for line in out.splitlines() if " - cgroup " in line]
    assert len(controllers) >= 8
    for info in controllers:
        assert "ro" in info.options, info.target
        assert info.root == ("/" if cgroup_namespace else info.root)


def test_nothing_of_the_host_is_left(runtime: Runtime, bundle: Bundle) -> None:
    out = runtime.inside(bundle, "cut -d' ' -f4,5 /proc/self/mountinfo")
    roots = {line.split()[1]: line.split()[0] for line in out.splitlines()}
    assert roots["/"].endswith(f"{bundle.id}/rootfs")
    assert not [target for target in roots if target.startswith(("/tmp", "/mnt"))]


@pytest.mark.parametrize("destination", ["/proc/self/attr", "/proc/sys", "/proc/1/root", "/proc/x"])
def test_inside_proc_is_refused(
    runtime: Runtime, bundle: Bundle, source: Path, destination: str, host_unchanged: Callable
) -> None:
    """CVE-2019-16884: a label written to a fake file."""
    bundle.bind(source, destination).save()
    missing = destination in ("/proc/1/root", "/proc/x")
    text = "" if missing else "cannot be mounted because it is inside /proc"
    with host_unchanged():
        runtime.fails("create", "--bundle", str(bundle.path), bundle.id, says=text)


@pytest.mark.parametrize("name", ["cpuinfo", "meminfo", "stat", "uptime", "loadavg", "diskstats", "swaps"])
def test_what_lxcfs_provides_is_accepted(runtime: Runtime, bundle: Bundle, source: Path, name: str) -> None:
    assert runtime.inside(bundle.bind(source / "file", f"/proc/{name}"), f"cat /proc/{name}") == "of the host\n"


@pytest.mark.differs(crun="takes it")
def test_the_root_itself_is_refused(runtime: Runtime, bundle: Bundle, source: Path, host_unchanged: Callable) -> None:
    bundle.bind(source, "/").save()
    with host_unchanged():
        runtime.fails("create", "--bundle", str(bundle.path), bundle.id)
