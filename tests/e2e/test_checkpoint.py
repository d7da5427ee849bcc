"""checkpoint and restore around CRIU: a criu that plays a part stands in its place, on every kernel.

What CRIU itself does is shown in the guest: tests/guest/root/test_checkpoint.py.
"""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ocirt.criu.program import DIRECTORIES, find_program
from tests.support.bundles import Bundle
from tests.support.host import Place
from tests.support.runtime import BOUND, CHECKOUT, Runtime, poll

pytestmark = pytest.mark.only_ocirt("the part is played for ocirt's use of CRIU")

WHERE = Path("/usr/local/sbin")  # the first place that is searched
DUMP, RESTORE = 1, 2
SOFT, FULL = 3, 4  # modes of cgroups
LOOP = "while :; do echo on; sleep 0.1; done"


class Criu:
    """The criu that plays a part."""

    def plays(self, then: str, *notify: str) -> None:
        (WHERE / "part").write_text(json.dumps({"then": then, "notify": notify}))
        (WHERE / "seen").unlink(missing_ok=True)

    def wait(self) -> dict[str, Any]:
        """What it saw; it waits for its part now."""
        poll((WHERE / "seen").exists, "criu asked")
        return json.loads((WHERE / "seen").read_text())  # type: ignore[no-any-return]


@pytest.fixture
def criu(place: Place) -> Iterator[Criu]:
    """On a tmpfs over /usr/local/sbin, in the tests' own mount namespace."""
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", WHERE], check=True, timeout=10)
    try:
        shutil.copy(CHECKOUT / "tests/support/fakecriu.py", WHERE / "criu")
        (WHERE / "criu").chmod(0o755)
        (WHERE / "checkout").write_text(str(CHECKOUT))
        yield Criu()
    finally:
        subprocess.run(["umount", "--lazy", WHERE], check=True, timeout=10)


def images(bundle: Bundle) -> Path:
    return bundle.path / "images"


def goes_on(runtime: Runtime, bundle: Bundle) -> None:
    assert runtime.status(bundle) == "running"
    assert runtime.sh(bundle, "echo in") == "in\n"


def make_images(bundle: Bundle) -> tuple[str, ...]:
    """The words for a restore from images that hold nothing."""
    images(bundle).mkdir()
    (images(bundle) / "descriptors.json").write_text('["pipe:[1]","/dev/null","file[1f:2a]"]')
    bundle.save()
    return ("restore", "--detach", "--image-path", str(images(bundle)), "--bundle", str(bundle.path), bundle.id)


@pytest.mark.skipif(find_program("criu") != "", reason="CRIU is installed here")
def test_without_criu(runtime: Runtime, bundle: Bundle, host_unchanged: Callable[[], object]) -> None:
    says = f"CRIU is not installed ({':'.join(DIRECTORIES)}) - install the package criu (criu.org)"
    with host_unchanged():  # type: ignore[attr-defined]
        assert says in runtime.fails(*make_images(bundle)).last_line
    shutil.rmtree(images(bundle))
    runtime.launch(bundle.script(LOOP))
    result = runtime.fails("checkpoint", "--image-path", str(images(bundle)), bundle.id)
    assert result.last_line == f"ocirt checkpoint {bundle.id}: {says}"
    assert not images(bundle).exists()
    goes_on(runtime, bundle)
    runtime.stop(bundle)


def test_what_criu_is_told_at_checkpoint(runtime: Runtime, bundle: Bundle, criu: Criu, place: Place) -> None:
    bundle.bind("/etc/hostname", "/etc/name", "bind", "ro").script(LOOP)
    bundle.config["annotations"] = {"org.criu.config": "/no/file"}
    runtime.launch(bundle)
    criu.plays("dump", "pre-dump", "post-dump")
    words = ("--tcp-established", "--leave-running", "--work-path", str(bundle.path / "work"))
    runtime.ok("checkpoint", "--image-path", str(images(bundle)), *words, bundle.id)
    seen = criu.wait()
    opts = seen["opts"]
    assert seen["kind"] == DUMP
    assert opts["pid"] == bundle.pid
    assert opts["root"] == str(bundle.root)
    assert opts["log_file"] == "dump.log"
    assert opts["config_file"] == "/no/file"
    assert opts["freeze_cgroup"] == str(place.cgroup("freezer") / bundle.id)
    assert opts["cg_root"]["path"].endswith(f"/{bundle.id}")
    assert opts["tcp_established"] is opts["leave_running"] is opts["orphan_pts_master"] is True
    assert seen["environment"] == {"PATH": ":".join(DIRECTORIES), "LC_CTYPE": "C.UTF-8"}
    assert seen["descriptors"] == [0, 1, 2, 3, 4]  # its socket, and the listing's own
    assert seen["yard"]["freezer"] == str(place.cgroup("freezer").parent)
    assert (images(bundle) / "descriptors.json").exists()
    assert images(bundle).stat().st_mode & 0o777 == 0o700
    assert not (runtime.root / bundle.id / "criu-yard").exists()
    goes_on(runtime, bundle)
    runtime.stop(bundle)


def test_a_container_that_was_saved_is_gone(runtime: Runtime, bundle: Bundle, criu: Criu) -> None:
    runtime.launch(bundle.script(LOOP))
    criu.plays("dump", "post-dump")
    runtime.ok("checkpoint", "--image-path", str(images(bundle)), bundle.id)
    assert "does not exist" in runtime.call("state", bundle.id).err


def test_a_pre_dump_leaves_it(runtime: Runtime, bundle: Bundle, criu: Criu) -> None:
    runtime.launch(bundle.script(LOOP))
    criu.plays("dump")
    runtime.ok("checkpoint", "--pre-dump", "--image-path", str(images(bundle)), bundle.id)
    assert not (images(bundle) / "descriptors.json").exists()
    goes_on(runtime, bundle)
    words = ("checkpoint", "--lazy-pages", "--image-path", str(images(bundle)), bundle.id)
    assert "criu is missing features: lazy_pages" in runtime.fails(*words).last_line
    runtime.stop(bundle)


def test_a_parent_of_images_that_are_still_to_be_made(runtime: Runtime, bundle: Bundle, criu: Criu) -> None:
    runtime.launch(bundle.script(LOOP))
    criu.plays("dump")
    (bundle.path / "before").mkdir()
    words = ("checkpoint", "--leave-running", "--image-path", str(images(bundle)), "--parent-path")
    runtime.fails(*words, "/before", bundle.id, says="--parent-path must be relative")
    runtime.fails(*words, "../none", bundle.id, says="invalid --parent-path: stat ")
    images(bundle).rmdir()
    runtime.ok(*words, "../before", bundle.id)
    opts = criu.wait()["opts"]
    assert (opts["parent_img"], opts["track_mem"]) == ("../before", True)
    runtime.stop(bundle)


def test_a_criu_that_refuses(runtime: Runtime, bundle: Bundle, criu: Criu) -> None:
    runtime.launch(bundle.script(LOOP))
    criu.plays("refuse", "pre-dump")
    result = runtime.fails("checkpoint", "--image-path", str(images(bundle)), bundle.id)
    log = f"(log file: {images(bundle)}/dump.log)"
    assert f"criu failed: dump: criu/fake.c:1: I do not want to {log}: no such process" in result.last_line
    assert (images(bundle) / "dump.log").read_text().endswith("last words\n")
    goes_on(runtime, bundle)
    runtime.stop(bundle)


def test_a_criu_that_dies(runtime: Runtime, bundle: Bundle, criu: Criu) -> None:
    runtime.launch(bundle.script(LOOP))
    criu.plays("die")
    result = runtime.fails("checkpoint", "--image-path", str(images(bundle)), bundle.id)
    assert "criu ended without an answer (signal 6)" in result.last_line
    goes_on(runtime, bundle)
    runtime.stop(bundle)


def test_a_checkpoint_that_is_interrupted(runtime: Runtime, bundle: Bundle, criu: Criu, tmp_path: Path) -> None:
    runtime.launch(bundle.script(LOOP))
    criu.plays("wait", "pre-dump")
    command = runtime.arguments("checkpoint", "--image-path", str(images(bundle)), bundle.id)
    with (tmp_path / "said").open("w") as said:
        running = subprocess.Popen(command, stderr=said)
        criu.wait()
        running.send_signal(signal.SIGTERM)
        assert running.wait(BOUND) == 1
    assert "interrupted by signal 15" in (tmp_path / "said").read_text()
    goes_on(runtime, bundle)
    runtime.stop(bundle)


def test_what_criu_is_told_at_restore(
    runtime: Runtime, bundle: Bundle, criu: Criu, place: Place, host_unchanged: Callable[[], object]
) -> None:
    (bundle.path / "data/inner").mkdir(parents=True)
    bundle.bind("/etc/hostname", "/opt/new/name", "bind").bind("data", "/opt/data", "rbind").script("true")
    words = make_images(bundle)
    criu.plays("refuse")
    with host_unchanged():  # type: ignore[attr-defined]
        result = runtime.fails(*words, "--lsm-profile", "apparmor:x")
    assert f"(log file: {images(bundle)}/restore.log)" in result.last_line
    seen = criu.wait()
    opts = seen["opts"]
    assert seen["kind"] == RESTORE
    assert opts["rst_sibling"] is opts["evasive_devices"] is True
    assert opts["lsm_profile"] == "apparmor:x"
    assert opts["root"] == f"{runtime.root}/{bundle.id}/criu-root"
    assert {"proc", "sys", "opt/new/name", "opt/data"} <= set(seen["root"])
    assert "opt/data/inner" not in seen["root"]  # what was bound meanwhile is not there any more
    assert [path for path in seen["mounts"] if "criu-root" in path] == [opts["root"]]
    assert f"/{bundle.id}\n" in seen["cgroup"]
    mounted = place.cgroup("pids").parent.stat()
    assert seen["yard"]["pids"] == [mounted.st_dev, mounted.st_ino]  # no link: processes look in from another root
    assert opts["manage_cgroups_mode"] == SOFT
    criu.plays("refuse")
    runtime.fails(*words, "--manage-cgroups-mode", "strict", says="I do not want to")
    assert criu.wait()["opts"]["manage_cgroups_mode"] == FULL


def test_strict_mode_wants_a_new_cgroup(
    runtime: Runtime, bundle: Bundle, criu: Criu, place: Place, host_unchanged: Callable[[], object]
) -> None:
    words = make_images(bundle.script("true"))
    criu.plays("die")
    (place.cgroup("pids") / bundle.id).mkdir()
    with host_unchanged():  # type: ignore[attr-defined]
        result = runtime.fails(*words, "--manage-cgroups-mode", "strict")
    assert f"the cgroup {place.cgroup('pids') / bundle.id} is there already" in result.last_line
    (place.cgroup("pids") / bundle.id).rmdir()


def test_the_images_of_a_container_in_a_user_namespace(
    runtime: Runtime, bundle: Bundle, criu: Criu, host_unchanged: Callable[[], object]
) -> None:
    """Its root may read what criu is given; on the disk they are root's alone as before."""
    words = make_images(bundle.user_namespace().script("true"))
    images(bundle).chmod(0o700)
    (images(bundle) / "core-1.img").touch(0o600)
    criu.plays("refuse")
    with host_unchanged():  # type: ignore[attr-defined]
        result = runtime.fails(*words)
    assert f"(log file: {images(bundle)}/restore.log)" in result.last_line
    shown = criu.wait()["images"]
    assert {name: shown[name] for name in (".", "core-1.img")} == {".": 0o755, "core-1.img": 0o644}
    assert images(bundle).stat().st_mode & 0o777 == 0o700
    assert (images(bundle) / "core-1.img").stat().st_mode & 0o777 == 0o600
    runtime.fails(*words, "--auto-dedup", says="--auto-dedup has no effect")
    (images(bundle) / "parent").symlink_to("../before")
    with host_unchanged():  # type: ignore[attr-defined]
        runtime.fails(*words, says="images with a parent cannot be restored into a user namespace")


def test_a_restore_in_which_criu_dies(
    runtime: Runtime, bundle: Bundle, criu: Criu, host_unchanged: Callable[[], object]
) -> None:
    words = make_images(bundle)
    for before in ((), ("setup-namespaces",), ("setup-namespaces", "post-restore")):
        criu.plays("die", *before)
        with host_unchanged():  # type: ignore[attr-defined]
            assert "criu ended without an answer (signal 6)" in runtime.fails(*words).last_line


def test_a_restore_that_is_interrupted(
    runtime: Runtime, bundle: Bundle, criu: Criu, host_unchanged: Callable[[], object]
) -> None:
    words = make_images(bundle)
    criu.plays("wait", "setup-namespaces")
    with host_unchanged():  # type: ignore[attr-defined]
        running = subprocess.Popen(runtime.arguments(*words), stderr=subprocess.PIPE, text=True)
        criu.wait()
        running.send_signal(signal.SIGINT)
        _, said = running.communicate(timeout=BOUND)
    assert (running.returncode, "interrupted by signal 2" in said) == (1, True)


def test_a_restore_that_is_killed_can_be_deleted(runtime: Runtime, bundle: Bundle, criu: Criu) -> None:
    words = make_images(bundle)
    criu.plays("wait", "setup-namespaces")
    running = subprocess.Popen(runtime.arguments(*words))
    criu.wait()
    running.kill()
    running.wait(BOUND)
    runtime.ok("delete", "--force", bundle.id)


def test_what_restore_refuses(
    runtime: Runtime, bundle: Bundle, criu: Criu, host_unchanged: Callable[[], object]
) -> None:
    words = make_images(bundle)
    criu.plays("refuse")
    (images(bundle) / "descriptors.json").unlink()
    with host_unchanged():  # type: ignore[attr-defined]
        assert f"no checkpoint in {images(bundle)}: no descriptors.json" in runtime.fails(*words).last_line
    images(bundle).rmdir()
    with host_unchanged():  # type: ignore[attr-defined]
        assert f"open {images(bundle)}: no such file or directory" in runtime.fails(*words).last_line
    bundle.bind("/etc", "/mapped", "bind", "idmap").save()
    with host_unchanged():  # type: ignore[attr-defined]
        assert "with ID-mapped mounts cannot be checkpointed [/mounts/6]" in runtime.fails(*words).last_line
    bundle.without_mount("/mapped").without_namespace("mount").save()
    with host_unchanged():  # type: ignore[attr-defined]
        assert "without a mount namespace cannot be checkpointed [/linux/namespaces]" in runtime.fails(*words).last_line


def test_check_says_what_is_wrong(runtime: Runtime, bundle: Bundle, criu: Criu) -> None:
    runtime.launch(bundle.script(LOOP))
    report = runtime.ok("checkpoint", "--check", "--image-path", str(images(bundle)), bundle.id).out
    assert report.splitlines()[:5] == [
        "ok    rights",
        f"ok    criu 3.17 ({WHERE}/criu)",
        "ok    kernel: criu check",
        "ok    container is running",
        "ok    configuration",
    ]
    words = ("--lazy-pages", "--parent-path", "/x", "--image-path", f"{bundle.path}/config.json")
    result = runtime.fails("checkpoint", "--check", *words, bundle.id)
    faults = [line for line in result.out.splitlines() if not line.startswith("ok")]
    assert [line.partition(" - ")[0] for line in faults] == [
        "FAULT kernel: userfaultfd: criu is missing features: lazy_pages",
        f"FAULT images in {bundle.path}/config.json: {bundle.path}/config.json is no directory to write to",
        "FAULT parent /x: --parent-path must be relative",
    ]
    assert f"a checkpoint would not work: 3 of {len(result.out.splitlines())} checks failed" in result.last_line
    assert not images(bundle).exists()
    runtime.stop(bundle)
