"""Every mount option of the specification: what it does is seen from inside, and what cannot be is refused exactly."""

from __future__ import annotations

import errno
import json
import os
import subprocess
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.test_mounts import MountInfo
from tests.support.bundles import Bundle
from tests.support.runtime import Runtime

# option -> (options before it, what mountinfo then has, what it then lacks), for a tmpfs
OF_A_FILE_SYSTEM: dict[str, tuple[list[str], set[str], set[str]]] = {
    "defaults": ([], {"rw", "relatime"}, {"ro", "nosuid", "nodev", "noexec"}),
    "ro": ([], {"ro"}, set()),
    "rw": (["ro"], {"rw"}, {"ro"}),
    "nosuid": ([], {"nosuid"}, set()),
    "suid": (["nosuid"], set(), {"nosuid"}),
    "nodev": ([], {"nodev"}, set()),
    "dev": (["nodev"], set(), {"nodev"}),
    "noexec": ([], {"noexec"}, set()),
    "exec": (["noexec"], set(), {"noexec"}),
    "sync": ([], {"sync"}, set()),
    "async": (["sync"], set(), {"sync"}),
    "dirsync": ([], {"dirsync"}, set()),
    "noatime": ([], {"noatime"}, {"relatime"}),
    "atime": (["noatime"], {"relatime"}, {"noatime"}),
    "nodiratime": ([], {"nodiratime"}, set()),
    "diratime": (["nodiratime"], set(), {"nodiratime"}),
    "strictatime": ([], set(), {"relatime", "noatime"}),
    "nostrictatime": (["strictatime"], {"relatime"}, set()),
    "relatime": ([], {"relatime"}, set()),
    "norelatime": (["relatime"], {"relatime"}, set()),  # the kernel's default all the same
    "lazytime": ([], {"lazytime"}, set()),
    "nolazytime": (["lazytime"], set(), {"lazytime"}),
    "nosymfollow": ([], {"nosymfollow"}, set()),
    "symfollow": (["nosymfollow"], set(), {"nosymfollow"}),
    # The kernel shows nothing of these; tests/unit/stages/test_mounts.py sees them handed over.
    "iversion": ([], {"rw"}, set()),
    "noiversion": (["iversion"], {"rw"}, set()),
    "mand": ([], {"rw"}, set()),
    "nomand": (["mand"], {"rw"}, set()),
    "rsync": ([], {"sync"}, set()),
    "rasync": (["rsync"], set(), {"sync"}),
    "rdirsync": ([], {"dirsync"}, set()),
    "rmand": ([], {"rw"}, set()),
    "rnomand": (["rmand"], {"rw"}, set()),
}

# The same for the whole tree of an rbind: (attributes of both mounts at the source, present in both, absent in both).
OF_A_TREE: dict[str, tuple[str, set[str], set[str]]] = {
    "rro": ("", {"ro"}, {"rw"}),
    "rrw": ("ro", {"rw"}, {"ro"}),
    "rnosuid": ("", {"nosuid"}, set()),
    "rsuid": ("nosuid", set(), {"nosuid"}),
    "rnodev": ("", {"nodev"}, set()),
    "rdev": ("nodev", set(), {"nodev"}),
    "rnoexec": ("", {"noexec"}, set()),
    "rexec": ("noexec", set(), {"noexec"}),
    "rnodiratime": ("", {"nodiratime"}, set()),
    "rdiratime": ("nodiratime", set(), {"nodiratime"}),
    "rnoatime": ("", {"noatime"}, {"relatime"}),
    "ratime": ("noatime", {"relatime"}, {"noatime"}),
    "rrelatime": ("noatime", {"relatime"}, {"noatime"}),
    "rnorelatime": ("noatime", {"relatime"}, {"noatime"}),
    "rstrictatime": ("", set(), {"relatime", "noatime"}),
    "rnostrictatime": ("strictatime", {"relatime"}, set()),
    "rnosymfollow": ("", {"nosymfollow"}, set()),
    "rsymfollow": ("nosymfollow", set(), {"nosymfollow"}),
}

# Of a bind of a shared mount in a shared root: (of the top mount, of the one below).
PROPAGATION: dict[str, tuple[str, str]] = {
    "shared": ("shared", "shared"),
    "slave": ("master", "shared"),
    "private": ("", "shared"),
    "unbindable": ("unbindable", "shared"),
    "rshared": ("shared", "shared"),
    "rslave": ("master", "master"),
    "rprivate": ("", ""),
    "runbindable": ("unbindable", "unbindable"),
}

ELSEWHERE = {
    "bind": "test_bind_has_the_top_mount_alone",
    "rbind": "test_rbind_has_the_tree",
    "remount": "test_remount",
    "silent": "test_silent_and_loud",
    "loud": "test_silent_and_loud",
    "copy-symlink": "test_a_link_is_copied",
    "src-nofollow": "test_a_link_is_bound",
    "dest-nofollow": "test_what_is_bound_on_a_link",
    "tmpcopyup": "tests/e2e/test_mounts.py::test_tmpfs_copy_up",
    "idmap": "tests/e2e/test_idmap.py",
    "ridmap": "tests/e2e/test_idmap.py",
}

BIND_FLAGS = [
    name
    for name, (_, present, absent) in OF_A_FILE_SYSTEM.items()
    if not (present | absent) & {"sync", "dirsync", "lazytime"} and name != "defaults"
]
LATER = pytest.mark.differs(runc="not in this version", crun="not in this version")
NOT_TAKEN_BACK = pytest.mark.differs(crun="1.8 does not take a word back")
OF_CRUN = pytest.mark.differs(runc="crun's own word", crun="1.8 asks mount_setattr(2) for it, which has none")
OWN_WORDS = {"rsync", "rasync", "rdirsync", "rmand", "rnomand"}
YOUNG = {"defaults", "symfollow", "iversion", "lazytime", "mand"}  # with their opposites


def named(options: Iterable[str]) -> list[Any]:
    """Marked with what the others of Debian 12 do not do."""
    found = []
    for name in options:
        marks = [NOT_TAKEN_BACK] if OF_A_FILE_SYSTEM[name][0] else []
        if name in OWN_WORDS:
            marks = [OF_CRUN]
        elif name.replace("no", "") in YOUNG:
            marks = [LATER]
        found.append(pytest.param(name, marks=marks))
    return found


def mount(*args: object) -> None:
    subprocess.run(["mount", *map(str, args)], check=True, timeout=30)


def mounts_below(runtime: Runtime, bundle: Bundle, target: str = "/mnt") -> dict[str, MountInfo]:
    """The topmost mount of each target at and below this one, seen from inside."""
    out = runtime.inside(bundle, "cat /proc/self/mountinfo")
    found = {info.target: info for info in map(MountInfo, out.splitlines())}
    return {path: info for path, info in found.items() if path == target or path.startswith(f"{target}/")}


def words(info: MountInfo) -> set[str]:
    """Of the mount, and of the file system except its own rw, which is the mount's to say."""
    return info.options | info.super_options - {"rw", "ro"}


@pytest.fixture
def tree(bundle: Bundle) -> Iterator[Path]:
    """Two file systems, one in the other."""
    source = bundle.path / "source"
    source.mkdir()
    mount("-t", "tmpfs", "tmpfs", source)
    (source / "inner").mkdir()
    mount("-t", "tmpfs", "tmpfs", source / "inner")
    (source / "inner/below").touch()
    yield source
    subprocess.run(["umount", "-R", source], check=True, timeout=30)


@pytest.mark.only_ocirt("the others have other words")
def test_every_option_is_here(runtime: Runtime) -> None:
    known = set(json.loads(runtime.ok("features").out)["mountOptions"])
    assert known == {*OF_A_FILE_SYSTEM, *OF_A_TREE, *PROPAGATION, *ELSEWHERE}


@pytest.mark.parametrize("option", named(OF_A_FILE_SYSTEM))
def test_of_a_file_system(runtime: Runtime, bundle: Bundle, option: str) -> None:
    before, present, absent = OF_A_FILE_SYSTEM[option]
    seen = words(mounts_below(runtime, bundle.mount("/mnt", "tmpfs", "tmpfs", *before, option))["/mnt"])
    assert (present - seen, absent & seen) == (set(), set())


@pytest.mark.parametrize("option", named(BIND_FLAGS))
def test_of_a_bind(runtime: Runtime, bundle: Bundle, tree: Path, option: str) -> None:
    """For the top mount alone."""
    before, present, absent = OF_A_FILE_SYSTEM[option]
    seen = mounts_below(runtime, bundle.bind(tree, "/mnt", "rbind", *before, option))
    assert (present - seen["/mnt"].options, absent & seen["/mnt"].options) == (set(), set())
    assert seen["/mnt/inner"].options == {"rw", "relatime"}


CLEARED = {"rw": "ro", "suid": "nosuid", "dev": "nodev", "exec": "noexec", "symfollow": "nosymfollow"}


@pytest.mark.differs(runc="1.1 leaves what the source has", crun="1.8 leaves what the source has")
@pytest.mark.parametrize("option", CLEARED)
def test_clearing_what_the_source_has(runtime: Runtime, bundle: Bundle, tree: Path, option: str) -> None:
    flag = CLEARED[option]
    mount("-o", f"remount,bind,{flag}", tree)
    bundle.bind(tree, "/mnt", "bind", option).bind(tree, "/mnt2", "bind")
    assert flag not in mounts_below(runtime, bundle)["/mnt"].options
    assert flag in mounts_below(runtime, bundle, "/mnt2")["/mnt2"].options


@pytest.mark.differs(crun="1.8 does not do all of these", runc="1.1 does not do all of these")
@pytest.mark.parametrize("option", OF_A_TREE)
def test_of_a_tree(runtime: Runtime, bundle: Bundle, tree: Path, option: str) -> None:
    before, present, absent = OF_A_TREE[option]
    if before:
        mount("-o", f"remount,bind,{before}", tree / "inner")
        mount("-o", f"remount,bind,{before}", tree)
    seen = mounts_below(runtime, bundle.bind(tree, "/mnt", "rbind", option))
    assert [(present - info.options, absent & info.options) for info in seen.values()] == [(set(), set())] * 2


@pytest.mark.differs(runc="1.1 lets rro win", crun="1.8 lets rro win")
@pytest.mark.parametrize(("first", "second", "kept"), [("rro", "rrw", "rw"), ("rrw", "rro", "ro")])
def test_the_last_word_for_a_tree_counts(
    runtime: Runtime, bundle: Bundle, tree: Path, first: str, second: str, kept: str
) -> None:
    seen = mounts_below(runtime, bundle.bind(tree, "/mnt", "rbind", first, second))
    assert [info.options & {"ro", "rw"} for info in seen.values()] == [{kept}] * 2


@pytest.mark.differs(runc="1.1 does it for binds alone")
@pytest.mark.parametrize("kind", ["tmpfs", "proc"])
def test_recursive_words_for_a_file_system(runtime: Runtime, bundle: Bundle, kind: str) -> None:
    target = "/proc" if kind == "proc" else "/mnt"
    bundle.without_mount("/proc").linux.update(maskedPaths=[], readonlyPaths=[])
    if kind == "tmpfs":
        bundle.mount("/proc", "proc", "proc")
    bundle.mount(target, kind, kind, "rro", "rnoexec", "rnosuid")
    assert {"ro", "noexec", "nosuid"} <= mounts_below(runtime, bundle, target)[target].options


@LATER
def test_links_of_a_bind_with_nosymfollow_are_not_followed(runtime: Runtime, bundle: Bundle, tree: Path) -> None:
    (tree / "link").symlink_to("inner")
    script = "cat /follow/link/below && echo followed; ls /not/link/below 2>/dev/null || echo refused"
    bundle.bind(tree, "/follow", "rbind").bind(tree, "/not", "rbind", "nosymfollow")
    assert runtime.inside(bundle, script) == "followed\nrefused\n"


# -- propagation


def tags(info: MountInfo) -> set[str]:
    return {entry.partition(":")[0] for entry in info.propagation}


@pytest.mark.differs(runc="1.1 does not share the root", crun="1.8 does not share the root")
@pytest.mark.parametrize("option", PROPAGATION)
def test_propagation(runtime: Runtime, bundle: Bundle, tree: Path, option: str) -> None:
    bundle.linux["rootfsPropagation"] = "shared"
    seen = mounts_below(runtime, bundle.bind(tree, "/mnt", "rbind", option))
    top, below = ({tag} - {""} for tag in PROPAGATION[option])
    assert (tags(seen["/mnt"]), tags(seen["/mnt/inner"])) == (top, below)


@pytest.mark.differs(crun="1.8 does it for binds alone")
@pytest.mark.parametrize("option", ["shared", "unbindable", "private"])
def test_propagation_of_a_file_system(runtime: Runtime, bundle: Bundle, option: str) -> None:
    seen = mounts_below(runtime, bundle.mount("/mnt", "tmpfs", "tmpfs", option))["/mnt"]
    assert tags(seen) == {option} - {"private"}


@pytest.mark.differs(crun="1.8 makes it shared alone")
def test_several_in_order(runtime: Runtime, bundle: Bundle, tree: Path) -> None:
    """A slave that is shared then: receives from the host, and hands on to its own peers."""
    seen = mounts_below(runtime, bundle.bind(tree, "/mnt", "rbind", "rslave", "rshared"))
    assert [tags(info) for info in seen.values()] == [{"shared", "master"}] * 2


# -- words of their own


def test_bind_has_the_top_mount_alone(runtime: Runtime, bundle: Bundle, tree: Path) -> None:
    assert set(mounts_below(runtime, bundle.bind(tree, "/mnt", "bind"))) == {"/mnt"}


def test_rbind_has_the_tree(runtime: Runtime, bundle: Bundle, tree: Path) -> None:
    assert set(mounts_below(runtime, bundle.bind(tree, "/mnt", "rbind"))) == {"/mnt", "/mnt/inner"}


def test_the_words_bind_and_rbind_make_the_type_none(runtime: Runtime, bundle: Bundle, tree: Path) -> None:
    bundle.mount("/mnt", "nonesuchfs", str(tree), "bind")
    assert mounts_below(runtime, bundle)["/mnt"].kind == "tmpfs"


@pytest.mark.differs(crun="1.8 does not do this")
def test_remount(runtime: Runtime, bundle: Bundle) -> None:
    """Of the file system, and of the mount alone."""
    for target in ("/a", "/b"):
        bundle.mount(target, "tmpfs", "tmpfs", "size=64k", "nosuid")
    bundle.mount("/a", "tmpfs", "tmpfs", "remount", "size=128k", "noexec")
    bundle.mount("/b", "none", "/", "remount", "bind", "ro")
    one, two = (mounts_below(runtime, bundle, target)[target] for target in ("/a", "/b"))
    assert ("size=128k" in one.super_options, {"noexec", "rw"} <= one.options, "nosuid" in one.options) == (
        True,
        True,
        False,
    )
    assert ("size=64k" in two.super_options, "ro" in two.options, "ro" in two.super_options) == (True, True, False)


def test_copy_up_with_other_options(runtime: Runtime, bundle: Bundle) -> None:
    (bundle.root / "srv").mkdir()
    (bundle.root / "srv/file").write_text("of the image\n")
    bundle.mount("/srv", "tmpfs", "tmpfs", "tmpcopyup", "dirsync", "nodev", "noatime", "size=1m", "ro")
    seen = mounts_below(runtime, bundle, "/srv")["/srv"]
    wanted = {"nodev", "noatime", "ro"} | ({"dirsync", "size=1024k"})
    assert wanted <= seen.options | seen.super_options
    assert (
        runtime.inside(bundle, "cat /srv/file; touch /srv/x 2>/dev/null || echo refused") == "of the image\nrefused\n"
    )


@pytest.fixture(scope="module", autouse=True)
def _loop_devices() -> None:
    """The first look for one loads the kernel's module, which makes files in /dev: before the host is looked at."""
    subprocess.run(["losetup", "--find"], capture_output=True, timeout=30, check=False)


@pytest.fixture
def empty_disk(bundle: Bundle) -> Iterator[str]:
    """A block device without a file system."""
    image = bundle.path / "disk"
    with image.open("wb") as file:
        file.truncate(1 << 20)
    made = subprocess.run(
        ["losetup", "--find", "--show", image], capture_output=True, text=True, timeout=30, check=False
    )
    if made.returncode:
        pytest.skip(f"this machine has no loop devices: {made.stderr.strip()}")
    yield made.stdout.strip()
    subprocess.run(["losetup", "--detach", made.stdout.strip()], check=True, timeout=30)


@pytest.mark.differs(runc="not in this version", crun="not in this version")
@pytest.mark.parametrize(("option", "said"), [("silent", False), ("loud", True)])
def test_silent_and_loud(runtime: Runtime, bundle: Bundle, empty_disk: str, option: str, said: bool) -> None:
    """Whether the kernel's log hears of a disk that cannot be mounted."""
    bundle.resources(devices=[{"allow": False, "access": "rwm"}])  # the container's, not the runtime's
    with open("/dev/kmsg", "rb", buffering=0) as log:
        os.set_blocking(log.fileno(), False)
        log.seek(0, os.SEEK_END)
        bundle.mount("/mnt", "ext4", empty_disk, option).save()
        runtime.fails("create", "--bundle", str(bundle.path), bundle.id)
        text = ""
        while True:
            try:
                text += os.read(log.fileno(), 8192).decode(errors="replace")
            except BlockingIOError:
                break
    assert ("an't find ext4 filesystem" in text) == said, text


@pytest.mark.differs(crun="1.8 may not open it either")
def test_disk_that_the_container_may_not_open(runtime: Runtime, bundle: Bundle, empty_disk: str) -> None:
    """The runtime mounts it: init is in the container's device cgroup."""
    subprocess.run(["mkfs.ext4", "-q", bundle.path / "disk"], check=True, timeout=30)
    bundle.resources(devices=[{"allow": False, "access": "rwm"}])
    bundle.mount("/mnt", "ext4", empty_disk, "nosuid", "dirsync", "noatime", "errors=remount-ro", "shared")
    seen = mounts_below(runtime, bundle)["/mnt"]
    assert (seen.kind, seen.source, seen.root) == ("ext4", empty_disk, "/")
    assert {"nosuid", "noatime", "dirsync", "errors=remount-ro"} <= seen.options | seen.super_options
    assert tags(seen) == {"shared"}


@pytest.mark.only_ocirt("the fields are ours")
def test_disk_without_a_file_system(
    runtime: Runtime, bundle: Bundle, empty_disk: str, host_unchanged: Callable[[], Any]
) -> None:
    bundle.mount("/mnt", "ext4", empty_disk, "silent")
    with host_unchanged():
        assert refused(runtime, bundle) == ("step-failed", "", "mount", errno.EINVAL)


# -- flags of the host's mounts in a user namespace


@pytest.fixture
def guarded(tree: Path) -> Path:
    mount("-o", "remount,bind,ro,nosuid,nodev,noexec,noatime", tree)
    return tree


MAY_MOUNT = ("CAP_SYS_ADMIN", "CAP_DAC_OVERRIDE")


@pytest.mark.differs(crun="1.8 lets it", runc="1.1 cannot bind what has mounts below")
@pytest.mark.parametrize("kind", ["bind", "rbind"])
def test_what_the_host_forbids_is_locked(runtime: Runtime, bundle: Bundle, guarded: Path, kind: str) -> None:
    """Who is root of a user namespace may change its own mounts, but not take back what came with the host's."""
    bundle.user_namespace().capabilities(*MAY_MOUNT).bind(guarded, "/mnt", kind)
    script = (
        "for o in rw suid dev exec; do mount -o remount,bind,ro,nosuid,nodev,noexec,noatime,$o /mnt 2>/dev/null"
        " && echo $o; done; umount /mnt/inner 2>/dev/null && echo umount; grep ' /mnt ' /proc/self/mountinfo"
    )
    lines = runtime.inside(bundle, script).splitlines()
    assert len(lines) == 1
    assert {"ro", "nosuid", "nodev", "noexec", "noatime"} <= MountInfo(lines[0]).options


@pytest.mark.differs(crun="1.8 clears them", runc="1.1 leaves them as they are")
@pytest.mark.parametrize("kind", ["bind", "rbind"])
@pytest.mark.parametrize("options", [["ro"], ["rw", "noatime"], ["suid"], ["relatime"]])
def test_options_against_locked_flags(
    runtime: Runtime, bundle: Bundle, guarded: Path, kind: str, options: list[str], host_unchanged: Callable[[], Any]
) -> None:
    """What is not named stays; what is named and cannot be had is an error."""
    bundle.user_namespace().capabilities(*MAY_MOUNT).bind(guarded, "/mnt", kind, *options)
    if options == ["ro"]:
        seen = mounts_below(runtime, bundle)["/mnt"]
        assert {"ro", "nosuid", "nodev", "noexec", "noatime"} <= seen.options
        return
    with host_unchanged():
        record = runtime.refusal(bundle)
    assert (record["code"], record["pointer"]) == ("step-failed", f"/mounts/{len(bundle.mounts) - 1}")
    word = "atime flags" if options == ["relatime"] else "locked flags"
    assert word in record["msg"]


@pytest.mark.differs(runc="1.1 fails")
def test_bind_of_what_has_mounts_below(runtime: Runtime, bundle: Bundle, tree: Path) -> None:
    """The kernel locks what is mounted below in a user namespace; bind leaves it out all the same."""
    bundle.capabilities(*MAY_MOUNT)
    assert runtime.inside(bundle.user_namespace().bind(tree, "/mnt", "bind"), "ls -a /mnt/inner") == ".\n..\n"


@pytest.mark.differs(runc="not in this version", crun="1.8 does not lock")
def test_mapped_and_locked(runtime: Runtime, bundle: Bundle, guarded: Path) -> None:
    bundle.user_namespace().capabilities(*MAY_MOUNT).bind(guarded, "/mnt", "rbind", "ridmap")
    script = "stat -c %u /mnt /mnt/inner/below; mount -o remount,bind,rw,noatime /mnt 2>/dev/null && echo written"
    assert runtime.run(bundle.script(script)).out == "0\n0\n"


# -- sources, order, and targets


@pytest.mark.parametrize(
    "userns",
    [False, pytest.param(True, marks=pytest.mark.differs(runc="opens sources first", crun="opens sources first"))],
)
def test_source_in_the_container_as_earlier_mounts_made_it(runtime: Runtime, bundle: Bundle, userns: bool) -> None:
    """The list's order holds for sources too: what the second mount binds is in the first."""
    (bundle.path / "data").mkdir()
    (bundle.path / "data/file").write_text("of the host\n")
    if userns:
        bundle.user_namespace()
    (bundle.root / "mnt").mkdir()
    bundle.bind(bundle.path / "data", "/mnt", "bind").bind(bundle.root / "mnt", "/srv", "bind")
    assert runtime.inside(bundle, "cat /srv/file") == "of the host\n"


COPIED_LINKS = pytest.mark.differs(runc="not in this version", crun="not in this version")


@COPIED_LINKS
@pytest.mark.parametrize("userns", [False, True])
def test_a_link_is_copied(runtime: Runtime, bundle: Bundle, userns: bool) -> None:
    """podman's no-dereference: the link itself, wherever it leads; and any other source is bound."""
    source = bundle.path / "source"
    source.mkdir()
    (source / "link").symlink_to("../of/the/host")
    (source / "file").write_text("bound\n")
    if userns:
        bundle.user_namespace()
    bundle.bind(source / "link", "/new/deep/link", "rbind", "copy-symlink")
    bundle.bind(source / "file", "/file", "rbind", "copy-symlink")
    assert runtime.inside(bundle, "readlink /new/deep/link; cat /file") == "../of/the/host\nbound\n"


@COPIED_LINKS
def test_a_copied_link_stays_in_the_root(runtime: Runtime, bundle: Bundle) -> None:
    """Whatever stands on its way in the image; the same link there already is kept."""
    (bundle.path / "link").symlink_to("/text")
    (bundle.root / "away").symlink_to("../../../../../tmp")
    (bundle.root / "same").symlink_to("/text")
    for target in ("/away/link", "/same"):
        bundle.bind(bundle.path / "link", target, "bind", "copy-symlink")
    assert runtime.inside(bundle, "readlink /tmp/link; readlink /same") == "/text\n/text\n"
    assert not Path("/tmp/link").is_symlink()


@COPIED_LINKS
def test_a_link_where_another_file_is(runtime: Runtime, bundle: Bundle, host_unchanged: Callable[[], Any]) -> None:
    (bundle.path / "link").symlink_to("/text")
    bundle.bind(bundle.path / "link", "/etc/passwd", "bind", "copy-symlink")
    with host_unchanged():
        assert refused(runtime, bundle) == ("step-failed", "", "symlinkat", errno.EEXIST)


# crun has them since 1.22.
LINKS = pytest.mark.differs(runc="crun's own words", crun="not in this version")


@pytest.fixture
def linked(bundle: Bundle) -> Bundle:
    """`link` to of-the-host in the bundle; in the image /link to etc/motd, which says "of the image"."""
    (bundle.path / "link").symlink_to("of-the-host")
    (bundle.path / "of-the-host").write_text("what the host's link names\n")
    (bundle.root / "etc/motd").write_text("of the image\n")
    (bundle.root / "link").symlink_to("etc/motd")
    return bundle


def test_without_a_word_links_are_followed(runtime: Runtime, linked: Bundle) -> None:
    """What the tests below are to be seen against."""
    linked.bind(linked.path / "link", "/link", "bind")
    script = "readlink /link; cat /etc/motd"
    assert runtime.inside(linked, script) == "etc/motd\nwhat the host's link names\n"


@LINKS
@pytest.mark.parametrize("userns", [False, True])
@pytest.mark.parametrize("word", ["bind", "rbind"])
def test_a_link_is_bound(runtime: Runtime, linked: Bundle, word: str, userns: bool) -> None:
    """With both words it covers the image's link, wherever either leads; it is the host's own, and read-only here."""
    if userns:
        linked.user_namespace().capabilities("CAP_SYS_ADMIN")
    linked.bind(linked.path / "link", "/link", word, "ro", "src-nofollow", "dest-nofollow")
    linked.bind(linked.path / "link", "/new/deep/link", word, "src-nofollow", "dest-nofollow")
    script = "readlink /link; readlink /new/deep/link; cat /etc/motd; grep -o ' /link ro' /proc/self/mountinfo"
    assert runtime.inside(linked, script) == "of-the-host\nof-the-host\nof the image\n /link ro\n"
    assert os.readlink(linked.root / "link") == "etc/motd"


@LINKS
def test_a_link_is_bound_on_a_file(runtime: Runtime, linked: Bundle) -> None:
    """src-nofollow alone: the destination's link is followed, and what it names shows the source's link."""
    linked.bind(linked.path / "link", "/link", "bind", "src-nofollow")
    assert runtime.inside(linked, "readlink /link; readlink /etc/motd") == "etc/motd\nof-the-host\n"


@LINKS
@pytest.mark.parametrize("userns", [False, True])
def test_what_is_bound_on_a_link(runtime: Runtime, linked: Bundle, userns: bool) -> None:
    """dest-nofollow alone: the source's link is followed; what the destination's names is neither covered nor made."""
    if userns:
        linked.user_namespace()
    (linked.root / "dangling").symlink_to("/not/there")
    for target in ("/link", "/dangling", "/new/file"):
        linked.bind(linked.path / "link", target, "bind", "dest-nofollow")
    script = "cat /link /dangling /new/file /etc/motd; ls -d /not || echo missing"
    assert runtime.inside(linked, script) == "what the host's link names\n" * 3 + "of the image\nmissing\n"


@LINKS
def test_the_words_mean_nothing_for_other_files(runtime: Runtime, linked: Bundle) -> None:
    (linked.path / "directory/below").mkdir(parents=True)
    for source, target in (("of-the-host", "/etc/motd"), ("directory", "/mnt"), ("directory", "/new/directory")):
        linked.bind(linked.path / source, target, "bind", "src-nofollow", "dest-nofollow")
    script = "cat /etc/motd; ls /mnt /new/directory"
    expected = "what the host's link names\n/mnt:\nbelow\n\n/new/directory:\nbelow\n"
    assert runtime.inside(linked, script) == expected


@LINKS
def test_links_above_the_last_name_stay_in_the_root(runtime: Runtime, linked: Bundle) -> None:
    (linked.root / "away").symlink_to("../../../../../tmp")
    (linked.root / "tmp/link").symlink_to("/etc/motd")
    linked.bind(linked.path / "link", "/away/link", "bind", "src-nofollow", "dest-nofollow")
    assert runtime.inside(linked, "readlink /tmp/link; cat /etc/motd") == "of-the-host\nof the image\n"


@LINKS
def test_the_owner_of_a_bound_link_is_mapped(runtime: Runtime, linked: Bundle) -> None:
    os.chown(linked.path / "link", 5000, 5001, follow_symlinks=False)
    linked.bind(linked.path / "link", "/link", "bind", "src-nofollow", "dest-nofollow")
    for which, owner in (("uidMappings", 5000), ("gidMappings", 5001)):
        linked.mounts[-1][which] = [{"containerID": owner, "hostID": owner - 4000, "size": 1}]
    assert runtime.inside(linked, "stat -c '%F %u %g' /link") == "symbolic link 1000 1001\n"


def test_rro_of_dev_comes_last(runtime: Runtime, bundle: Bundle) -> None:
    """Devices and links are still to be made in it, as with ro."""
    bundle.mounts[1]["options"].append("rro")
    script = "stat -c %t:%T /dev/null; touch /dev/x 2>/dev/null || echo refused; echo >/dev/null"
    assert runtime.inside(bundle, script) == "1:3\nrefused\n"


# -- what is refused


def refused(runtime: Runtime, bundle: Bundle) -> tuple[str, str, str, int]:
    """code, pointer below the last mount, call and errno."""
    record = runtime.refusal(bundle)
    pointer = record["pointer"].removeprefix(f"/mounts/{len(bundle.mounts) - 1}")
    return record["code"], pointer, record.get("call", ""), record.get("errno", 0)


REFUSED: list[tuple[dict[str, Any], tuple[str, str, str, int]]] = [
    ({"type": "tmpfs", "options": ["nonesuch=1"]}, ("step-failed", "", "mount", errno.EINVAL)),
    ({"type": "tmpfs", "options": ["nosiud"]}, ("step-failed", "", "mount", errno.EINVAL)),
    ({"type": "tmpfs", "options": ["size=many"]}, ("step-failed", "", "mount", errno.EINVAL)),
    ({"type": "tmpfs", "options": ["mode=9"]}, ("step-failed", "", "mount", errno.EINVAL)),
    ({"type": "nonesuchfs"}, ("step-failed", "", "mount", errno.ENODEV)),
    ({"source": "x"}, ("step-failed", "", "mount", errno.ENODEV)),
    ({"type": "ext4", "source": "/"}, ("step-failed", "", "mount", errno.ENOTBLK)),
    ({"options": ["bind"]}, ("rule", "", "", 0)),
    ({"source": "/no/such", "options": ["bind"]}, ("step-failed", "", "open_tree", errno.ENOENT)),
    ({"source": "/", "options": ["bind", "nosiud"]}, ("rule", "/options", "", 0)),
    ({"source": "/bin/busybox", "options": ["bind"]}, ("step-failed", "", "move_mount", errno.ENOTDIR)),
    ({"type": "sysfs", "options": ["tmpcopyup"]}, ("rule", "/options", "", 0)),
    ({"type": "tmpfs", "options": ["copy-symlink"]}, ("rule", "/options", "", 0)),
    ({"type": "tmpfs", "options": ["src-nofollow"]}, ("rule", "/options", "", 0)),
    ({"type": "tmpfs", "options": ["dest-nofollow"]}, ("rule", "/options", "", 0)),
    ({"source": "/", "options": ["bind", "remount", "dest-nofollow"]}, ("rule", "/options", "", 0)),
    ({"source": "/", "options": ["bind", "copy-symlink", "src-nofollow"]}, ("rule", "/options", "", 0)),
    ({"source": "/no", "options": ["bind", "src-nofollow"]}, ("step-failed", "", "open_tree", errno.ENOENT)),
    (
        {"destination": "/var/link", "source": "/bin", "options": ["bind", "dest-nofollow"]},
        ("step-failed", "", "move_mount", errno.ENOTDIR),
    ),
    (
        {"destination": "/proc/self", "source": "/bin/busybox", "options": ["bind", "dest-nofollow"]},
        ("step-failed", "", "", 0),
    ),
    ({"destination": "/", "source": "/", "options": ["bind", "dest-nofollow"]}, ("step-failed", "", "", 0)),
    ({"type": "tmpfs", "options": [1]}, ("schema", "/options/0", "", 0)),
    ({"type": "tmpfs", "options": "ro"}, ("schema", "/options", "", 0)),
    ({"type": "none", "options": ["remount", "ro"]}, ("step-failed", "", "mount", errno.EINVAL)),
    ({"destination": "/", "type": "tmpfs"}, ("step-failed", "", "", 0)),
    ({"destination": "", "type": "tmpfs"}, ("rule", "/destination", "", 0)),
    ({"destination": "/proc", "type": "tmpfs"}, ("step-failed", "", "", 0)),
    ({"destination": "/proc/sys", "type": "tmpfs"}, ("step-failed", "", "", 0)),
    ({"destination": "/var/link", "type": "proc"}, ("step-failed", "", "openat2", errno.ELOOP)),
]


@pytest.mark.only_ocirt("the fields are ours")
@pytest.mark.parametrize(("entry", "record"), REFUSED, ids=lambda value: str(value) if isinstance(value, dict) else "")
def test_refused(
    runtime: Runtime,
    bundle: Bundle,
    host_unchanged: Callable[[], Any],
    entry: dict[str, Any],
    record: tuple[str, str, str, int],
) -> None:
    (bundle.root / "mnt").mkdir()
    (bundle.root / "var/link").symlink_to("/mnt")
    bundle.mounts.append({"destination": "/mnt", **entry})
    with host_unchanged():
        assert refused(runtime, bundle) == record
