"""Known attacks on runtimes, each a bundle that must not touch the host (the S numbers are the project's list)."""

from __future__ import annotations

import json
import os
import stat
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.bundles import Bundle
from tests.support.runtime import ConsoleSocket, Runtime


class Marked:
    """A host directory outside the bundle, and what it was like."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.mkdir()
        (path / "file").write_text("of the host\n")
        (path / "ptmx").write_text("marker\n")
        self.before = self._look()

    def _look(self) -> dict[str, tuple[object, ...]]:
        seen: dict[str, tuple[object, ...]] = {}
        for directory, names, files in os.walk(self.path):
            for name in (".", *names, *files):
                path = Path(directory, name)
                status = path.lstat()
                content = path.read_text() if stat.S_ISREG(status.st_mode) else ""
                seen[str(path)] = (
                    status.st_ino,
                    status.st_mode,
                    status.st_uid,
                    status.st_gid,
                    status.st_size,
                    status.st_mtime_ns,
                    status.st_ctime_ns,
                    content,
                )
        return seen

    def unchanged(self) -> bool:
        return self._look() == self.before

    def assert_unchanged(self) -> None:
        assert self._look() == self.before


@pytest.fixture
def marked(bundle: Bundle) -> Iterator[Marked]:
    mark = Marked(bundle.path / "outside")
    yield mark
    mark.assert_unchanged()


def try_to_run(runtime: Runtime, bundle: Bundle, script: str = "cat /proc/self/mountinfo") -> str:
    """Run it, whether the runtime refuses or contains it; what the payload printed."""
    result = runtime.run(bundle.script(script))
    assert "Traceback" not in result.err
    return result.out


# --- S07: mount targets through links that lead out (CVE-2019-18837)


@pytest.mark.parametrize("target", ["/a", "/a/b", "/up/b", "/etc/../a/c"])
def test_target_through_a_link_to_the_host(runtime: Runtime, bundle: Bundle, marked: Marked, target: str) -> None:
    (bundle.root / "a").symlink_to(marked.path)
    (bundle.root / "up").symlink_to("../../../../../../../.." + str(marked.path))
    bundle.mount(target, "tmpfs", "tmpfs")
    out = try_to_run(runtime, bundle, f"cat /proc/self/mountinfo; touch {target}/by-payload")
    assert not any(str(marked.path) == line.split()[4] for line in out.splitlines() if "rootfs" in line)


@pytest.mark.parametrize("kind", ["file", "directory"])
def test_bind_target_through_a_link_to_the_host(runtime: Runtime, bundle: Bundle, marked: Marked, kind: str) -> None:
    source = bundle.path / "source"
    source.mkdir()
    (source / "file").write_text("x")
    (bundle.root / "a").symlink_to(marked.path)
    bundle.bind(source / "file" if kind == "file" else source, "/a/new")
    try_to_run(runtime, bundle)


# --- S08: /proc or /sys is a link (CVE-2019-19921, CVE-2023-27561)


@pytest.mark.parametrize("name", ["proc", "sys"])
@pytest.mark.differs(crun="other words")
def test_proc_and_sys_must_be_ordinary_directories(
    runtime: Runtime, bundle: Bundle, name: str, host_unchanged: Callable
) -> None:
    (bundle.root / name).rmdir()
    (bundle.root / f"bad-{name}").mkdir()
    (bundle.root / name).symlink_to(f"/bad-{name}")
    bundle.save()
    with host_unchanged():
        runtime.fails("create", "--bundle", str(bundle.path), bundle.id, says="must be mounted on ordinary directory")


# --- S13: a working directory or an executable by a leaked descriptor (CVE-2024-21626)

LEAK = "\n".join(f"exec {number}</" for number in range(3, 21))


@pytest.mark.parametrize("number", [3, 5, 7, 8, 9, 12, 20, 33, 63])
@pytest.mark.differs(runc="1.1.5 is vulnerable", crun="1.8 is vulnerable")
def test_working_directory_of_the_host(runtime: Runtime, bundle: Bundle, number: int) -> None:
    bundle.process["cwd"] = f"/proc/self/fd/{number}"
    bundle.save()
    result = runtime.after(LEAK).run(bundle.script("pwd -P; ls; ls ../../../../work"))
    assert "work" not in result.out.split()
    assert result.code != 0


@pytest.mark.parametrize("number", range(3, 21, 3))
@pytest.mark.differs(runc="1.1.5 is vulnerable", crun="1.8 is vulnerable")
def test_working_directory_of_the_host_in_exec(runtime: Runtime, bundle: Bundle, number: int) -> None:
    (bundle.root / "link").symlink_to(f"/proc/self/fd/{number}")
    runtime.launch(bundle.args("/bin/probe", "pause"))
    for path in (f"/proc/self/fd/{number}", "/link"):
        result = runtime.after(LEAK).call("exec", "--cwd", path, bundle.id, "/bin/sh", "-c", "ls; ls ../../../work")
        assert result.code != 0, result
        assert "work" not in result.out.split()
    runtime.stop(bundle)


@pytest.mark.parametrize("number", [3, 7, 11])
def test_executable_of_the_host(runtime: Runtime, bundle: Bundle, number: int) -> None:
    bundle.args(f"/proc/self/fd/{number}/bin/bash", "-c", "echo escaped")
    result = runtime.after(LEAK).run(bundle)
    assert "escaped" not in result.out
    assert result.code != 0


# --- S14: what the waiting init holds open

ALLOWED_PREFIXES = ("pipe:", "socket:", "anon_inode:", "/dev/null", "/dev/pts/", "/memfd:")
PROC_SUPER_MAGIC = 0x9FA0


@pytest.mark.parametrize("leak", ["", LEAK], ids=["", "leaking caller"])
def test_descriptors_of_a_waiting_init(runtime: Runtime, bundle: Bundle, leak: str) -> None:
    """Nothing of the host's file systems: a socket, a pipe, procfs, and what is in the container's own state."""
    runtime.after(leak).create(bundle.args("/bin/probe", "pause"))
    directory = Path(f"/proc/{bundle.pid}/fd")
    found = {int(entry.name): (os.readlink(entry), file_system(entry)) for entry in directory.iterdir()}
    runtime.stop(bundle)
    for fd, (target, kind) in found.items():
        own = target.startswith(str(runtime.root / bundle.id))
        allowed = fd < 3 or own or kind == PROC_SUPER_MAGIC or target.startswith(ALLOWED_PREFIXES)
        assert allowed or runtime.name == "crun", found


def file_system(path: Path) -> int:
    """The magic number of the file system it is on (statfs(2))."""
    out = subprocess.run(
        ["stat", "-f", "-L", "-c", "%t", path], capture_output=True, check=False, text=True, timeout=10
    )
    return int(out.stdout or "0", 16)


def test_descriptors_of_a_running_container(runtime: Runtime, bundle: Bundle) -> None:
    runtime.after(LEAK).launch(bundle.args("/bin/probe", "pause"))
    assert sorted(os.listdir(f"/proc/{bundle.pid}/fd")) == ["0", "1", "2"]
    runtime.stop(bundle)


# --- S17: the null device that masks (CVE-2025-31133)


@pytest.fixture
def their_dev(bundle: Bundle) -> Path:
    """A host directory bound on /dev, as a volume that another container may have prepared."""
    for target in ("/dev", "/dev/pts", "/dev/shm", "/dev/mqueue"):
        bundle.without_mount(target)
    path = bundle.path / "their-dev"
    (path / "pts").mkdir(parents=True)
    bundle.bind(path, "/dev")
    return path


@pytest.mark.parametrize("null", ["link", "file", "missing"])
@pytest.mark.differs(runc="1.1.5 is vulnerable", crun="1.8 is vulnerable")
def test_false_null_device_masks_nothing(runtime: Runtime, bundle: Bundle, their_dev: Path, null: str) -> None:
    (bundle.root / "secret").write_text("secret\n")
    if null == "link":
        (their_dev / "null").symlink_to("/proc/sys/kernel/core_pattern")
    elif null == "file":
        (their_dev / "null").write_text("false\n")
    bundle.linux["maskedPaths"] = ["/secret"]
    bundle.linux["readonlyPaths"] = []
    result = runtime.run(bundle.script("cat /secret; stat -c %t:%T /secret"))
    if result.code == 0:
        assert result.out == "1:3\n"
    else:
        assert result.out == ""


# --- S18, S22: consoles and null devices that are links (CVE-2025-52565, CVE-2026-88264)


@pytest.fixture
def console(tmp_path: Path) -> Iterator[ConsoleSocket]:
    socket = ConsoleSocket(tmp_path / "console.sock")
    yield socket
    socket.close()


@pytest.mark.differs(runc="1.1.5 is vulnerable", crun="1.8 is vulnerable")
@pytest.mark.parametrize("target", ["file", "new"])
def test_console_is_a_link_to_the_host(
    runtime: Runtime, bundle: Bundle, marked: Marked, console: ConsoleSocket, their_dev: Path, target: str
) -> None:
    (their_dev / "console").symlink_to(marked.path / target)
    bundle.mount("/dev/pts", "devpts", "devpts", "newinstance", "ptmxmode=0666")
    bundle.process["terminal"] = True
    runtime.create_or_fail(bundle.script("true"), "--console-socket", str(console.path))
    assert not (marked.path / "new").exists()


@pytest.mark.differs(runc="1.1.5 is vulnerable", crun="1.8 is vulnerable")
def test_terminals_of_another(
    runtime: Runtime, bundle: Bundle, marked: Marked, console: ConsoleSocket, their_dev: Path, host_unchanged: Callable
) -> None:
    """/dev/pts is no devpts but a directory with prepared links."""
    (their_dev / "pts/0").symlink_to("/proc/sys/kernel/core_pattern")
    (their_dev / "pts/ptmx").write_text("")
    (their_dev / "ptmx").symlink_to("pts/ptmx")
    bundle.process["terminal"] = True
    bundle.save()
    with host_unchanged():
        runtime.fails("create", "--console-socket", str(console.path), "--bundle", str(bundle.path), bundle.id)


@pytest.mark.parametrize("readonly", [False, True])
@pytest.mark.parametrize("terminal", [False, True])
@pytest.mark.parametrize("uid", [0, 1000])
@pytest.mark.differs(crun="1.8 is vulnerable")
def test_links_in_the_images_dev(
    runtime: Runtime,
    bundle: Bundle,
    marked: Marked,
    console: ConsoleSocket,
    readonly: bool,
    terminal: bool,
    uid: int,
) -> None:
    """No mount on /dev: what the image has there is what the runtime finds."""
    for target in ("/dev", "/dev/pts", "/dev/shm", "/dev/mqueue"):
        bundle.without_mount(target)
    bundle.mount("/dev/pts", "devpts", "devpts", "newinstance", "ptmxmode=0666")
    (bundle.root / "dev/console").symlink_to(marked.path / "new")
    (bundle.root / "dev/null").symlink_to(marked.path / "file")
    bundle.config["root"]["readonly"] = readonly
    bundle.process.update(terminal=terminal, user={"uid": uid, "gid": uid})
    flags = ("--console-socket", str(console.path)) if terminal else ()
    runtime.create_or_fail(bundle.script("echo x > /dev/null"), *flags)
    assert not (marked.path / "new").exists()


# --- S21: /dev is a link (CVE-2026-41579, CVE-2026-47766)


@pytest.mark.differs(runc="1.1.5 is vulnerable", crun="1.8 is vulnerable")
@pytest.mark.parametrize("way", ["absolute", "relative"])
def test_dev_is_a_link_to_the_host(runtime: Runtime, bundle: Bundle, marked: Marked, way: str) -> None:
    for target in ("/dev", "/dev/pts", "/dev/shm", "/dev/mqueue", "/sys"):
        bundle.without_mount(target)
    bundle.linux["maskedPaths"] = bundle.linux["readonlyPaths"] = []
    (bundle.root / "dev").rmdir()
    (bundle.root / "dev").symlink_to(marked.path if way == "absolute" else "../outside")
    try_to_run(runtime, bundle, "true")


# --- others of the catalogue that one bundle shows


def test_script_that_runs_the_runtime_itself(runtime: Runtime, bundle: Bundle) -> None:
    """S04a, CVE-2019-5736: #!/proc/self/exe."""
    script = bundle.root / "bin/self"
    script.write_text("#!/proc/self/exe\n")
    script.chmod(0o755)
    before = os.stat("/usr/bin/python3.11")
    result = runtime.run(bundle.args("/bin/self"))
    assert result.code != 0
    after = os.stat("/usr/bin/python3.11")
    assert (after.st_ino, after.st_size, after.st_mtime_ns) == (before.st_ino, before.st_size, before.st_mtime_ns)


def test_long_strings(runtime: Runtime, bundle: Bundle, host_unchanged: Callable) -> None:
    """S10, CVE-2021-43784: what does not fit must not be cut."""
    bundle.bind("/" + "x" * 70_000, "/mnt").save()
    with host_unchanged():
        runtime.fails("create", "--bundle", str(bundle.path), bundle.id)


def test_target_is_a_fifo(runtime: Runtime, bundle: Bundle) -> None:
    """S15: opening it must not wait for a writer."""
    os.mkfifo(bundle.root / "fifo")
    source = bundle.path / "file"
    source.write_text("bound\n")
    bundle.bind(source, "/fifo")
    result = runtime.run(bundle.script("cat /fifo"), bound=10)
    assert result.out in ("bound\n", "")


def test_mounts_that_would_redirect_sysctls(runtime: Runtime, bundle: Bundle) -> None:
    """S19, CVE-2025-52881: a tmpfs on /proc/sys would swallow the write, a bind redirect it."""
    bundle.mount("/proc/sys/net", "tmpfs", "tmpfs")
    bundle.linux["sysctl"] = {"net.ipv4.ip_forward": "1"}
    bundle.save()
    runtime.fails("create", "--bundle", str(bundle.path), bundle.id)


def test_working_directory_is_made_below_a_link(runtime: Runtime, bundle: Bundle, marked: Marked) -> None:
    """S16: what the runtime makes in an image is made there."""
    (bundle.root / "link").symlink_to(marked.path)
    bundle.process["cwd"] = "/link/new"
    result = runtime.run(bundle.script("pwd -P"))
    assert result.code != 0 or result.out == f"{marked.path}/new\n"  # in the image: the host's has no such name


@pytest.mark.parametrize("target", ["/proc", "/proc/self/attr", "/proc/sys/kernel"])
@pytest.mark.differs(runc="1.1.5 mounts it, and writes the sysctl to the tmpfs", crun="1.8 mounts it")
def test_what_is_written_to_proc_is_written_to_procfs(runtime: Runtime, bundle: Bundle, target: str) -> None:
    """S06, S19: a tmpfs in its place must not swallow it; refused, or done all the same and nothing in the tmpfs."""
    if target == "/proc":
        bundle.without_mount("/proc")
        bundle.linux["maskedPaths"] = bundle.linux["readonlyPaths"] = []
    bundle.mount(target, "tmpfs", "tmpfs")
    bundle.linux["sysctl"] = {"kernel.msgmax": "4096"}
    bundle.process["oomScoreAdj"] = 77
    result = runtime.create_or_fail(bundle.script(f"ls -R {target}"))
    assert result.code != 0
    assert "cannot be mounted because" in result.err


def test_no_inheritable_capabilities_by_default(runtime: Runtime, bundle: Bundle) -> None:
    """S11, CVE-2022-29162."""
    directory = bundle.path / "new"
    directory.mkdir()
    runtime.ok("spec", "--bundle", str(directory))
    capabilities = json.loads((directory / "config.json").read_text())["process"]["capabilities"]
    assert capabilities["bounding"]
    assert not capabilities.get("inheritable")
