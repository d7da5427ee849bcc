"""ID-mapped mounts: who owns what, seen from inside and, for what is made inside, from the host."""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ocirt.kernel import flags
from ocirt.kernel import live as kernel
from tests.support.bundles import Bundle
from tests.support.runtime import Runtime, poll
from tests.support.user import User, UserRuntime

pytestmark = pytest.mark.differs(runc="not in this version")


def lines(*ranges: tuple[int, int, int]) -> list[dict[str, int]]:
    return [{"containerID": inside, "hostID": outside, "size": size} for inside, outside, size in ranges]


def mapped(bundle: Bundle, source: Path | str, target: str, *options: str, **maps: list[dict[str, int]]) -> Bundle:
    bundle.bind(source, target, *options)
    bundle.mounts[-1].update(maps)
    return bundle


def both(*ranges: tuple[int, int, int]) -> dict[str, Any]:
    return {"uidMappings": lines(*ranges), "gidMappings": lines(*ranges)}


@pytest.fixture
def source(bundle: Bundle) -> Path:
    """Files 0, 3, 12 and 900, each of the user and group of its name; the directory is root's."""
    path = bundle.path / "source"
    (path / "inner").mkdir(parents=True)
    for owner in (0, 3, 12, 900):
        (path / str(owner)).touch()
        os.chown(path / str(owner), owner, owner)
    return path


@pytest.fixture
def nested(source: Path) -> Iterator[Path]:
    """Another file system below it, with a file of root's."""
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", source / "inner"], check=True, timeout=30)
    (source / "inner/below").touch()
    yield source
    subprocess.run(["umount", source / "inner"], check=True, timeout=30)


def owners(runtime: Runtime, bundle: Bundle, *paths: str) -> list[str]:
    return runtime.inside(bundle, f"stat -c %u:%g {' '.join(paths)}").split()


# -- whose mapping


def test_own_mapping(runtime: Runtime, bundle: Bundle, source: Path) -> None:
    mapped(bundle, source, "/mnt", "bind", "idmap", **both((0, 5000, 100)))
    assert owners(runtime, bundle, "/mnt", "/mnt/3", "/mnt/900") == ["5000:5000", "5003:5003", "65534:65534"]


def test_what_is_made_belongs_to_whom_the_mapping_says(runtime: Runtime, bundle: Bundle, source: Path) -> None:
    mapped(bundle, source, "/mnt", "bind", "idmap", **both((0, 5000, 100)))
    bundle.process["user"] = {"uid": 5000, "gid": 5007}
    runtime.inside(bundle, "touch /mnt/new")
    status = (source / "new").stat()
    assert (status.st_uid, status.st_gid) == (0, 7)


def test_who_is_not_in_the_mapping_cannot_make_a_file(runtime: Runtime, bundle: Bundle, source: Path) -> None:
    mapped(bundle, source, "/mnt", "bind", "idmap", **both((0, 5000, 100)))
    bundle.capabilities("CAP_DAC_OVERRIDE")
    assert runtime.inside(bundle, "touch /mnt/new 2>/dev/null || echo refused") == "refused\n"
    assert not (source / "new").exists()


def test_users_and_groups_apart_and_several_ranges(runtime: Runtime, bundle: Bundle, source: Path) -> None:
    uids, gids = lines((0, 6000, 10), (10, 7000, 10)), lines((12, 8000, 1), (0, 9000, 1), (900, 1, 1))
    mapped(bundle, source, "/mnt", "bind", "idmap", uidMappings=uids, gidMappings=gids)
    found = owners(runtime, bundle, *(f"/mnt/{owner}" for owner in (0, 3, 12, 900)))
    assert found == ["6000:9000", "6003:65534", "7002:8000", "65534:1"]


def test_one_source_in_several_ways(runtime: Runtime, bundle: Bundle, source: Path) -> None:
    mapped(bundle, source, "/a", "bind", "idmap", **both((0, 5000, 100)))
    mapped(bundle, source, "/b", "bind", "idmap", **both((0, 6000, 100)))
    mapped(bundle, source, "/c", "bind", "idmap", **both((0, 5000, 100)))
    bundle.bind(source, "/d")
    found = owners(runtime, bundle, *(f"/{target}/3" for target in "abcd"))
    assert found == ["5003:5003", "6003:6003", "5003:5003", "3:3"]


def test_in_a_user_namespace(runtime: Runtime, bundle: Bundle, source: Path) -> None:
    """The mapping's host ids are the host's, which the namespace shows as its own."""
    bundle.user_namespace(host=100000)
    mapped(bundle, source, "/mnt", "bind", "idmap", **both((0, 100007, 100)))
    assert owners(runtime, bundle, "/mnt/0", "/mnt/3") == ["7:7", "10:10"]


def test_the_containers_mapping(runtime: Runtime, bundle: Bundle, source: Path) -> None:
    bundle.user_namespace(host=100000).bind(source, "/mnt", "bind", "idmap").bind(source, "/plain")
    found = runtime.inside(bundle, "stat -c %u:%g /mnt /mnt/3 /plain; touch /mnt/new").split()
    assert found == ["0:0", "3:3", "65534:65534"]
    assert (source / "new").stat().st_uid == 0


def test_the_mapping_of_a_joined_user_namespace(
    runtime: Runtime, new_bundle: Callable[[], Bundle], bundle: Bundle, source: Path
) -> None:
    owner = new_bundle()
    runtime.launch(owner.user_namespace(host=200000).args("/bin/probe", "pause"))
    bundle.user_namespace(host=200000).namespace("user", f"/proc/{owner.pid}/ns/user")
    for which in ("uidMappings", "gidMappings"):
        del bundle.linux[which]
    bundle.bind(source, "/mnt", "bind", "idmap")
    assert owners(runtime, bundle, "/mnt/0", "/mnt/12") == ["0:0", "12:12"]
    runtime.stop(owner)


def test_without_the_option(runtime: Runtime, bundle: Bundle, source: Path) -> None:
    mapped(bundle, source, "/mnt", "bind", **both((0, 5000, 100)))
    assert owners(runtime, bundle, "/mnt/3") == ["5003:5003"]


def test_in_a_joined_mount_namespace_and_in_none(runtime: Runtime, bundle: Bundle, source: Path) -> None:
    command = ["unshare", "--mount", "--propagation", "private", "sh", "-c", "echo ready; exec sleep 1000"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as keeper:
        assert keeper.stdout is not None
        assert keeper.stdout.readline() == b"ready\n"
        bundle.namespace("mount", f"/proc/{keeper.pid}/ns/mnt")
        mapped(bundle, source, "/mnt", "bind", "idmap", **both((0, 5000, 100)))
        found = runtime.run(bundle.script("stat -c %u /mnt/3"))
        keeper.kill()
    assert (found.code, found.out) == (0, "5003\n"), found


@pytest.mark.only_ocirt("the others refuse a container without a mount namespace, or leave its mounts")
def test_without_a_mount_namespace(runtime: Runtime, bundle: Bundle, source: Path) -> None:
    bundle.without_namespace("mount")
    bundle.config["mounts"] = []
    for name in ("maskedPaths", "readonlyPaths"):
        del bundle.linux[name]
    mapped(bundle, source, "/mnt", "bind", "idmap", **both((0, 5000, 100)))
    assert owners(runtime, bundle, "/mnt/3") == ["5003:5003"]


def test_mapping_in_the_option(runtime: Runtime, bundle: Bundle, source: Path) -> None:
    bundle.bind(source, "/mnt", "bind", "idmap=uids=0-5000-10#12-7000-1;gids=0-6000-100")
    assert owners(runtime, bundle, "/mnt/3", "/mnt/12") == ["5003:6003", "7000:6012"]


def test_mapping_in_the_option_relative_to_the_containers(runtime: Runtime, bundle: Bundle, source: Path) -> None:
    bundle.user_namespace(host=100000).bind(source, "/mnt", "bind", "idmap=uids=@0-7-10;gids=0-100009-10")
    assert owners(runtime, bundle, "/mnt/0", "/mnt/3") == ["7:9", "10:12"]


# -- how deep


@pytest.mark.differs(crun="1.8 leaves out what is mounted below")
@pytest.mark.parametrize(("option", "below"), [("idmap", "0:0"), ("ridmap", "5000:5000")])
def test_depth(runtime: Runtime, bundle: Bundle, nested: Path, option: str, below: str) -> None:
    mapped(bundle, nested, "/mnt", "rbind", option, **both((0, 5000, 100)))
    assert owners(runtime, bundle, "/mnt/0", "/mnt/inner/below") == ["5000:5000", below]


@pytest.mark.only_ocirt("crun lets one ridmap count, and leaves out what is mounted below")
@pytest.mark.parametrize(("options", "below"), [(("ridmap", "idmap"), "0:0"), (("idmap", "ridmap"), "5000:5000")])
def test_the_last_word_counts(
    runtime: Runtime, bundle: Bundle, nested: Path, options: tuple[str, ...], below: str
) -> None:
    mapped(bundle, nested, "/mnt", "rbind", *options, **both((0, 5000, 100)))
    assert owners(runtime, bundle, "/mnt/inner/below") == [below]


@pytest.mark.differs(crun="1.8 leaves out what is mounted below")
def test_the_containers_mapping_for_the_whole_tree(runtime: Runtime, bundle: Bundle, nested: Path) -> None:
    bundle.user_namespace(host=100000).bind(nested, "/mnt", "rbind", "ridmap")
    assert owners(runtime, bundle, "/mnt/0", "/mnt/inner/below") == ["0:0", "0:0"]


def test_a_single_file(runtime: Runtime, bundle: Bundle, source: Path) -> None:
    mapped(bundle, source / "3", "/etc/owned", "bind", "idmap", **both((0, 5000, 100)))
    assert owners(runtime, bundle, "/etc/owned") == ["5003:5003"]


@pytest.mark.differs(crun="1.8 does not find it")
def test_relative_source(runtime: Runtime, bundle: Bundle, source: Path) -> None:
    assert source.is_dir()
    mapped(bundle, "source", "/mnt", "bind", "idmap", **both((0, 5000, 100)))
    assert owners(runtime, bundle, "/mnt/3") == ["5003:5003"]


def test_with_other_options(runtime: Runtime, bundle: Bundle, source: Path) -> None:
    mapped(bundle, source, "/mnt", "bind", "idmap", "ro", "nosuid", "rnoexec", "rslave", **both((0, 5000, 100)))
    line = runtime.inside(bundle, "grep ' /mnt ' /proc/self/mountinfo").split()
    assert {"ro", "nosuid", "noexec"} <= set(line[5].split(","))
    assert owners(runtime, bundle, "/mnt/3") == ["5003:5003"]


def test_order_with_other_mounts(runtime: Runtime, bundle: Bundle, source: Path) -> None:
    bundle.mount("/mnt", "tmpfs", "tmpfs")
    mapped(bundle, source, "/mnt/mapped", "bind", "idmap", **both((0, 5000, 100))).mount(
        "/mnt/mapped/inner", "tmpfs", "x"
    )
    out = runtime.inside(bundle, "stat -c %u /mnt/mapped/3; cut -d' ' -f5 /proc/self/mountinfo | grep ^/mnt")
    assert (out.split()[0], sorted(out.split()[1:])) == ("5003", ["/mnt", "/mnt/mapped", "/mnt/mapped/inner"])


# -- propagation


@pytest.mark.only_ocirt("the others make the copy a peer of the host's in any case")
@pytest.mark.parametrize(
    ("root", "tag"),
    [("", "master"), ("rslave", "master"), ("shared", "shared"), ("rshared", "shared"), ("rprivate", "")],
)
def test_propagation_is_that_of_any_bind(runtime: Runtime, bundle: Bundle, nested: Path, root: str, tag: str) -> None:
    """As of the same bind without idmap."""
    if root:
        bundle.linux["rootfsPropagation"] = root
    mapped(bundle, nested / "inner", "/mnt", "bind", "idmap", **both((0, 5000, 100)))
    bundle.bind(nested / "inner", "/plain", "bind")
    fields = runtime.inside(bundle, "grep -E ' /(mnt|plain) ' /proc/self/mountinfo").splitlines()
    tags = [" ".join(line.split(" - ")[0].split()[6:]).partition(":")[0] for line in fields]
    assert tags == [tag, tag]


# -- nothing is left


@pytest.mark.only_ocirt("what ours holds open")
def test_no_descriptor_is_left(runtime: Runtime, bundle: Bundle, source: Path) -> None:
    """Neither init while it waits, nor the runtime that stays in the foreground, nor the program."""
    mapped(bundle, source, "/a", "bind", "idmap", **both((0, 5000, 100)))
    mapped(bundle, source, "/b", "bind", "idmap", **both((0, 6000, 100)))
    runtime.create(bundle)
    held = [os.readlink(entry) for entry in Path(f"/proc/{bundle.pid}/fd").iterdir()]
    assert not [name for name in held if "user:" in name or str(source) in name]
    runtime.stop(bundle)


@pytest.mark.only_ocirt("what ours holds open")
def test_the_runtime_in_the_foreground_holds_none(runtime: Runtime, bundle: Bundle, source: Path) -> None:
    mapped(bundle, source, "/a", "bind", "idmap", **both((0, 5000, 100)))
    bundle.script("touch /a/../tmp/up; exec probe pause").save()
    command = runtime.arguments("run", "--bundle", str(bundle.path), bundle.id)
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as run:
        poll((bundle.root / "tmp/up").exists, "the program's start")
        held = [os.readlink(entry) for entry in Path(f"/proc/{run.pid}/fd").iterdir()]
        runtime.ok("kill", bundle.id, "KILL")
        run.wait(30)
    assert not [name for name in held if "user:" in name or name == "/a"]


def test_a_later_failure_leaves_nothing(
    runtime: Runtime, bundle: Bundle, source: Path, host_unchanged: Callable[[], Any]
) -> None:
    mapped(bundle, source, "/mnt", "bind", "idmap", **both((0, 5000, 100)))
    mapped(bundle, "/no/such/source", "/b", "bind", "idmap", **both((0, 6000, 100))).save()
    with host_unchanged():
        runtime.fails("create", "--bundle", str(bundle.path), bundle.id, says="no such file or directory")


# -- refusals


def refusal(runtime: Runtime, bundle: Bundle, host_unchanged: Callable[[], Any]) -> tuple[object, ...]:
    """code, pointer below the last mount, call, errno and message."""
    with host_unchanged():
        record = runtime.refusal(bundle)
    last = f"/mounts/{len(bundle.mounts) - 1}"
    assert record["pointer"].startswith(last)
    assert f" - {record['remedy']}" in record["msg"]
    pointer = record["pointer"].removeprefix(last)
    return record["code"], pointer, record.get("call", ""), record.get("errno", 0), record["msg"]


@pytest.mark.only_ocirt("the fields are ours")
@pytest.mark.parametrize("path", ["/sys/kernel", "/proc/sys"])
def test_file_system_without_support(
    runtime: Runtime, bundle: Bundle, host_unchanged: Callable[[], Any], path: str
) -> None:
    mapped(bundle, path, "/mnt", "bind", "idmap", **both((0, 5000, 100)))
    code, pointer, call, number, message = refusal(runtime, bundle, host_unchanged)
    assert (code, pointer, call, number) == ("unsupported", "", "mount_setattr", errno.EINVAL)
    assert f"cannot map the ids of the bind source {path}: its file system, or one mounted below it" in str(message)


@pytest.mark.only_ocirt("the fields are ours")
def test_file_system_without_support_below(
    runtime: Runtime, bundle: Bundle, nested: Path, host_unchanged: Callable[[], Any]
) -> None:
    subprocess.run(["mount", "-t", "proc", "proc", nested / "inner"], check=True, timeout=30)
    mapped(bundle, nested, "/mnt", "rbind", "ridmap", **both((0, 5000, 100)))
    try:
        found = refusal(runtime, bundle, host_unchanged)
        bundle.mounts[-1]["options"] = ["rbind", "idmap"]
        assert owners(runtime, bundle, "/mnt/3") == ["5003:5003"]
    finally:
        subprocess.run(["umount", nested / "inner"], check=True, timeout=30)
    assert found[:4] == ("unsupported", "", "mount_setattr", errno.EINVAL)


def bind_mapped(source: Path, target: Path, pid: int) -> None:
    """A bind with the ids of the process's user namespace; mount(8) before 2.39 cannot."""
    tree = kernel.open_tree(flags.AT_FDCWD, str(source), flags.OPEN_TREE_CLONE)
    space = os.open(f"/proc/{pid}/ns/user", os.O_RDONLY)
    kernel.mount_setattr(tree, "", 0, flags.MOUNT_ATTR_IDMAP, 0, 0, space)
    kernel.move_mount(tree, "", flags.AT_FDCWD, str(target))
    os.close(space)
    os.close(tree)


@pytest.mark.only_ocirt("the fields are ours")
def test_mount_that_is_mapped_already(
    runtime: Runtime,
    new_bundle: Callable[[], Bundle],
    bundle: Bundle,
    source: Path,
    host_unchanged: Callable[[], Any],
) -> None:
    owner, there = new_bundle(), bundle.path / "mapped"
    runtime.launch(owner.user_namespace().args("/bin/probe", "pause"))
    there.mkdir()
    bind_mapped(source, there, owner.pid)
    try:
        mapped(bundle, there, "/mnt", "bind", "idmap", **both((0, 5000, 100)))
        found = refusal(runtime, bundle, host_unchanged)
    finally:
        subprocess.run(["umount", there], check=True, timeout=30)
        runtime.stop(owner)
    assert found[:4] == ("step-failed", "", "mount_setattr", errno.EPERM)


@pytest.mark.only_ocirt("the fields are ours")
@pytest.mark.parametrize(
    ("kind", "options", "pointer"),
    [
        ("tmpfs", ["idmap"], "/options"),
        ("tmpfs", ["ridmap", "nosuid"], "/options"),
        ("tmpfs", [], "/uidMappings"),
        ("cgroup", ["idmap"], "/options"),
        ("none", ["bind", "remount", "idmap"], "/options"),
    ],
)
def test_not_a_bind(
    runtime: Runtime, bundle: Bundle, host_unchanged: Callable[[], Any], kind: str, options: list[str], pointer: str
) -> None:
    bundle.mount("/mnt", kind, "x", *options)
    bundle.mounts[-1].update(both((0, 5000, 100)))
    found = refusal(runtime, bundle, host_unchanged)
    assert found[:4] == ("rule", pointer, "", 0)
    assert "id-mapped mounts are only supported for bind-mounts" in str(found[4])


@pytest.mark.only_ocirt("the fields are ours")
@pytest.mark.parametrize("option", ["idmap", "ridmap"])
def test_no_mapping_anywhere(
    runtime: Runtime, bundle: Bundle, source: Path, host_unchanged: Callable[[], Any], option: str
) -> None:
    found = refusal(runtime, bundle.bind(source, "/mnt", "bind", option), host_unchanged)
    assert found[:4] == ("rule", "/options", "", 0)


@pytest.mark.only_ocirt("the fields are ours")
def test_mapping_with_an_id_twice(
    runtime: Runtime, bundle: Bundle, source: Path, host_unchanged: Callable[[], Any]
) -> None:
    mapped(
        bundle, source, "/mnt", "bind", "idmap", uidMappings=lines((0, 1, 5), (5, 5, 5)), gidMappings=lines((0, 1, 5))
    )
    with host_unchanged():
        record = runtime.refusal(bundle)
    assert (record["code"], record["pointer"]) == ("rule", f"/mounts/{len(bundle.mounts) - 1}/uidMappings/1")


@pytest.mark.only_ocirt("the fields are ours")
@pytest.mark.parametrize(
    "word", ["idmap=uids=0-1", "ridmap=uids=0-0-1", "idmap=uids=@0-0-1;gids=0-0-1", "idmap=x=0-0-1"]
)
def test_bad_mapping_in_the_option(
    runtime: Runtime, bundle: Bundle, source: Path, host_unchanged: Callable[[], Any], word: str
) -> None:
    bundle.bind(source, "/mnt", "bind", word).save()
    with host_unchanged():
        record = runtime.refusal(bundle)
    assert (record["code"], record["pointer"]) == ("rule", f"/mounts/{len(bundle.mounts) - 1}/options")


@pytest.mark.only_ocirt("the words are ours, and runc's of later versions")
def test_rootless(user: User, tmp_path: Path, bundle: Bundle) -> None:
    user.give_ranges(True)
    bundle = user.bundle(bundle, ranges=True)
    bundle.bind(bundle.path, "/mnt", "bind", "idmap").save()
    says = "id-mapped mounts are not supported for rootless containers"
    result = UserRuntime(tmp_path, user).fails("run", "--bundle", str(bundle.path), bundle.id, says=says)
    assert f"[/mounts/{len(bundle.mounts) - 1}/options]" in result.last_line
