"""The root file system: read-only, masked and read-only paths, propagation, --no-pivot."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest

from tests.support.bundles import Bundle
from tests.support.runtime import Runtime


def test_writable_by_default(runtime: Runtime, bundle: Bundle) -> None:
    runtime.inside(bundle, "echo x > /written")
    assert (bundle.root / "written").read_text() == "x\n"


def test_read_only(runtime: Runtime, bundle: Bundle) -> None:
    bundle.config["root"]["readonly"] = True
    (bundle.path / "data").mkdir()
    bundle.bind(bundle.path / "data", "/data").mount("/made/by/runtime", "tmpfs", "tmpfs")
    script = (
        "touch /x 2>&1; touch /dev/x && echo dev; touch /dev/shm/x && echo shm; touch /data/x && echo data; "
        "touch /made/by/runtime/x && echo tmpfs"
    )
    out = runtime.inside(bundle, script).splitlines()
    assert "Read-only file system" in out[0]
    assert out[1:] == ["dev", "shm", "data", "tmpfs"]
    assert not (bundle.root / "x").exists()


def test_read_only_root_may_be_shared(runtime: Runtime, bundle: Bundle) -> None:
    """The read-only flag is the mount's, not the file system's: the host still writes."""
    bundle.config["root"]["readonly"] = True
    runtime.launch(bundle.args("/bin/probe", "pause"))
    (bundle.root / "by-host").write_text("x")
    assert runtime.sh(bundle, "cat /by-host") == "x"
    runtime.stop(bundle)


@pytest.mark.parametrize("flags", [(), ("--no-pivot",)], ids=["pivot_root", "no-pivot"])
def test_host_root_is_gone(runtime: Runtime, bundle: Bundle, flags: tuple[str, ...]) -> None:
    out = runtime.inside(bundle, "ls / | sort | tr '\\n' ' '; cut -d' ' -f5 /proc/self/mountinfo; ls -di /..", *flags)
    first, *rest = out.splitlines()
    assert "work" not in first.split()
    assert set(first.split()[:6]) <= {"bin", "dev", "etc", "home", "proc", "root", "sys", "tmp", "usr", "var"}
    assert rest[-1].split()[0] == str(bundle.root.stat().st_ino)


def test_no_pivot_escapes_are_shut(runtime: Runtime, bundle: Bundle) -> None:
    """No bare /proc or /sys of the host may be reached: MS_MOVE and chroot leave the old mounts behind."""
    assert runtime.inside(bundle, "cat /proc/1/comm; ls /proc | grep -c '^[0-9]'", "--no-pivot").split()[0] == "sh"


def test_no_pivot_create(runtime: Runtime, bundle: Bundle) -> None:
    runtime.create(bundle.script("echo x > /ran"), "--no-pivot")
    runtime.start(bundle)
    runtime.wait(bundle)
    assert (bundle.root / "ran").exists()
    runtime.ok("delete", bundle.id)


NOT_IN_11 = pytest.mark.differs(runc="1.1 sets it on the host's side only, or fails")


@pytest.mark.parametrize(
    ("value", "tag"),
    [
        ("", ""),
        ("private", ""),
        ("rprivate", ""),
        ("slave", "master:"),
        ("rslave", "master:"),
        pytest.param("shared", "shared:", marks=NOT_IN_11),
        pytest.param("rshared", "shared:", marks=NOT_IN_11),
        pytest.param("unbindable", "unbindable", marks=NOT_IN_11),
        pytest.param("runbindable", "unbindable", marks=NOT_IN_11),
    ],
)
def test_root_propagation(runtime: Runtime, bundle: Bundle, value: str, tag: str) -> None:
    if value:
        bundle.linux["rootfsPropagation"] = value
    out = runtime.inside(bundle, "grep -E '^[0-9]+ [0-9]+ [0-9:]+ [^ ]+ / ' /proc/self/mountinfo")
    optional = out.split(" - ")[0].split()[6:]
    if tag in ("shared:", "unbindable"):
        assert any(entry.startswith(tag) for entry in optional), out
    else:
        assert not any(entry.startswith(("shared:", "unbindable")) for entry in optional), out


def test_unknown_propagation(runtime: Runtime, bundle: Bundle, host_unchanged: Callable) -> None:
    bundle.linux["rootfsPropagation"] = "sideways"
    bundle.save()
    with host_unchanged():
        runtime.fails("create", "--bundle", str(bundle.path), bundle.id, says="rootfsPropagation")


# --- maskedPaths and readonlyPaths


@pytest.fixture
def secrets(bundle: Bundle) -> Bundle:
    (bundle.root / "secret/deep").mkdir(parents=True)
    (bundle.root / "secret/deep/file").write_text("secret\n")
    (bundle.root / "plain").write_text("secret\n")
    os.mkfifo(bundle.root / "fifo")
    return bundle


def test_masked(runtime: Runtime, secrets: Bundle) -> None:
    secrets.linux["maskedPaths"] = ["/secret", "/plain", "/fifo", "/not/there", "/plain"]
    script = "ls /secret; touch /secret/x 2>/dev/null || echo refused; cat /plain; stat -c %t:%T /plain /fifo"
    assert runtime.inside(secrets, script).split() == ["refused", "1:3", "1:3"]
    assert not (secrets.root / "not").exists()


def test_masked_file_in_a_directory(runtime: Runtime, secrets: Bundle) -> None:
    secrets.linux["maskedPaths"] = ["/secret/deep/file"]
    assert runtime.inside(secrets, "cat /secret/deep/file; ls /secret/deep") == "file\n"


def test_masked_proc(runtime: Runtime, bundle: Bundle) -> None:
    script = "cat /proc/keys /proc/timer_list /proc/kcore | wc -c; ls /sys/firmware | wc -l"
    assert runtime.inside(bundle, script).split() == ["0", "0"]


def test_masks_hold_against_privilege(runtime: Runtime, secrets: Bundle) -> None:
    secrets.linux["maskedPaths"] = ["/plain"]
    assert runtime.inside(secrets, "umount /plain 2>/dev/null; cat /plain; echo end") == "end\n"


def test_read_only_paths(runtime: Runtime, secrets: Bundle) -> None:
    secrets.linux["readonlyPaths"] = ["/secret", "/plain", "/not/there"]
    script = (
        "cat /plain /secret/deep/file; (echo x > /plain) 2>/dev/null || echo refused; "
        "touch /secret/deep/x 2>/dev/null || echo refused"
    )
    assert runtime.inside(secrets, script).split() == ["secret", "secret", "refused", "refused"]


def test_read_only_proc_sys(runtime: Runtime, bundle: Bundle) -> None:
    script = "(echo 1 > /proc/sys/net/ipv4/ip_forward) 2>/dev/null || echo refused"
    assert runtime.inside(bundle, script) == "refused\n"


def test_both_on_one_path(runtime: Runtime, secrets: Bundle) -> None:
    secrets.linux["maskedPaths"] = secrets.linux["readonlyPaths"] = ["/plain", "/secret"]
    assert runtime.inside(secrets, "cat /plain; ls /secret") == ""


@pytest.mark.only_ocirt("config-linux.md wants absolute paths; runc and crun skip the others")
@pytest.mark.parametrize("name", ["maskedPaths", "readonlyPaths"])
def test_relative_is_refused(runtime: Runtime, secrets: Bundle, name: str, host_unchanged: Callable) -> None:
    secrets.linux[name] = ["plain"]
    secrets.save()
    with host_unchanged():
        runtime.fails("create", "--bundle", str(secrets.path), secrets.id, says=f"[/linux/{name}/0")
