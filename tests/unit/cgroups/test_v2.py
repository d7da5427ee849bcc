"""The v2 manager on ordinary directories that hold what the kernel's files say."""

from __future__ import annotations

import errno
import os
import signal
from pathlib import Path

import pytest

from ocirt.cgroups import Write, manager_from_record, open_manager, v2
from ocirt.cgroups.v2 import V2Manager, enable_controllers, why_missing
from ocirt.errors import OcirtError
from ocirt.host import Host

HOST = Host(cgroup="v2", unified_mount="/c", own_cgroups={"": "/user/shell"})
EVERYTHING = "cpuset cpu io memory pids"


def cgroup(path: Path, controllers: str = EVERYTHING, given: str = "", kind: str = "domain", procs: str = "") -> Path:
    path.mkdir(exist_ok=True)
    for name, text in {
        "cgroup.controllers": controllers,
        "cgroup.subtree_control": given,
        "cgroup.type": kind,
        "cgroup.procs": procs,
        "cgroup.events": "populated 0\nfrozen 0",
        "cgroup.freeze": "0",
    }.items():
        (path / name).write_text(f"{text}\n")
    return path


@pytest.fixture
def top(tmp_path: Path) -> Path:
    return cgroup(tmp_path / "top")


def test_record_and_back() -> None:
    manager = open_manager(HOST, "/a/b", "id")
    assert manager.paths == {"": "/c/a/b"}
    manager.made.append("/c/a")
    again = manager_from_record(manager.record())
    assert isinstance(again, V2Manager)
    assert (again.paths, again.made) == (manager.paths, ["/c/a"])


def test_controllers_are_given_down_the_path(top: Path) -> None:
    """Only those that are missing are asked for: "+cpu +io"; a file here keeps what was written."""
    middle = cgroup(top / "a", "cpu io pids", "pids")
    enable_controllers(str(middle / "b"))
    assert (top / "cgroup.subtree_control").read_text() == "+cpuset +cpu +io +memory +pids"
    assert (middle / "cgroup.subtree_control").read_text() == "+cpu +io"


def test_nothing_is_written_where_all_is_given(top: Path) -> None:
    (top / "cgroup.subtree_control").write_text("pids memory io cpu cpuset\n")
    enable_controllers(str(top / "a"))
    assert (top / "cgroup.subtree_control").read_text() == "pids memory io cpu cpuset\n"


def test_limits_and_the_way_back(top: Path) -> None:
    box = cgroup(top / "box")
    (box / "pids.max").write_text("max\n")
    (box / "cpu.max").write_text("5 9\n")
    (box / "io.max").write_text("8:0 rbps=9 wbps=max riops=max wiops=max\n")
    manager = V2Manager({"": str(box)})
    writes = [
        Write("pids.max", "9", "/pids", "pids"),
        Write("cpu.max", "max 7", "/cpu", "cpu", whole=True),
        Write("io.max", "8:0 rbps=1", "/io", "io", absent="rbps=max"),
        Write("io.max", "8:16 rbps=1", "/io", "io", absent="rbps=max"),
        Write("memory.current", "9", "/m", "memory", must_exceed="memory limit"),
    ]
    assert [write.text for write in manager.read(writes)] == [
        "max",
        "5 9",
        "8:0 rbps=9 wbps=max riops=max wiops=max",
        "8:16 rbps=max",
    ]


@pytest.mark.parametrize(("limit", "refused"), [("100", True), ("101", False)])
def test_check_before_update(top: Path, limit: str, refused: bool) -> None:
    box = cgroup(top / "box")
    (box / "memory.current").write_text("60\n")
    (box / "memory.swap.current").write_text("40\n")
    check = Write("memory.current memory.swap.current", limit, "/m", "memory", must_exceed="memory+swap limit")
    manager = V2Manager({"": str(box)})
    if not refused:
        manager.write([check])
        return
    with pytest.raises(OcirtError) as caught:
        manager.write([check])
    assert caught.value.what == "rejecting memory+swap limit 100 <= usage 100"


def test_a_missing_controller_is_named_with_its_reason(top: Path) -> None:
    box = cgroup(top / "box", "cpu")
    with pytest.raises(OcirtError) as caught:
        V2Manager({"": str(box)}).write([Write("pids.max", "9", "/pids/limit", "pids")])
    error = caught.value
    assert (error.code, error.at) == ("cgroup", "/pids/limit")
    assert error.what == "cannot set pids limit: container could not join or create cgroup"
    assert error.remedy == f"write +pids to {top}/cgroup.subtree_control, or have it done by its owner"


def test_why_missing(top: Path) -> None:
    box = cgroup(top / "box", "")
    (top / "cgroup.procs").write_text("7\n8\n")
    assert why_missing(str(box), "pids").startswith(f"{top} has 2 process(es) of its own")
    assert why_missing(str(box), "hugetlb").startswith("this kernel has no hugetlb controller")
    cgroup(box, "cpu", kind="threaded")
    assert why_missing(str(box), "memory").startswith("the cgroup is threaded, and memory needs a domain")
    assert why_missing(str(box), "pids").startswith(f"{top} has 2 process(es)")


def test_a_parent_with_processes_is_asked_for_what_is_needed_only(top: Path) -> None:
    """It would become threaded.  Here every write succeeds, and a file keeps the last one."""
    box = cgroup(top / "box", "", kind="domain")
    manager = V2Manager({"": str(box)}, [str(box)])
    with pytest.raises(OcirtError):
        manager.write([Write("pids.max", "9", "/pids/limit", "pids")])
    assert (top / "cgroup.subtree_control").read_text() == "+pids"
    with pytest.raises(OcirtError):
        manager.write([Write("pids.max", "9", "", "pids"), Write("memory.max", "9", "", "memory")])
    assert (top / "cgroup.subtree_control").read_text() == "+pids"


def test_an_optional_file_needs_no_controller(top: Path) -> None:
    box = cgroup(top / "box", "")
    V2Manager({"": str(box)}).write([Write("memory.swap.max", "max", "/m", "memory", optional=True)])


def test_frozen(top: Path) -> None:
    manager = V2Manager({"": str(cgroup(top / "box"))})
    assert not manager.frozen()
    (top / "box/cgroup.freeze").write_text("1\n")
    assert manager.frozen()
    assert not V2Manager({"": str(top / "gone")}).frozen()


def test_a_frozen_cgroup_is_refused(top: Path) -> None:
    box = cgroup(top / "box")
    (box / "cgroup.events").write_text("populated 0\nfrozen 1\n")
    with pytest.raises(OcirtError) as caught:
        V2Manager({"": str(box)}).create()
    assert caught.value.what == "container's cgroup unexpectedly frozen"


def test_an_occupied_cgroup_is_refused(top: Path) -> None:
    box = cgroup(top / "box", procs="1")
    with pytest.raises(OcirtError) as caught:
        V2Manager({"": str(box)}).create()
    assert caught.value.what == "container's cgroup is not empty: 1 process(es) found"


def test_below_a_threaded_cgroup(top: Path) -> None:
    """What create() made there would be of no use as it is.  An ordinary file keeps its end."""
    box = cgroup(top / "box", kind="domain invalid")
    manager = V2Manager({"": str(box)}, [str(box)])
    manager.create()
    assert (box / "cgroup.type").read_text().startswith("threaded")


def test_oom_kills(top: Path) -> None:
    box = cgroup(top / "box")
    manager = V2Manager({"": str(box)})
    assert manager.oom_kills() == 0
    (box / "memory.events").write_text("low 0\nhigh 0\nmax 3\noom 2\noom_kill 1\noom_group_kill 0\n")
    assert manager.oom_kills() == 1


def test_without_a_memory_controller_there_is_no_watch(top: Path) -> None:
    with pytest.raises(OcirtError) as caught:
        V2Manager({"": str(cgroup(top / "box", "cpu"))}).watch_oom()
    assert caught.value.code == "cgroup"


def test_threads_of_a_threaded_cgroup_are_their_process(top: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    box = cgroup(top / "box")
    (box / "cgroup.threads").write_text(f"{os.getpid()}\n0\n99999999\n")
    from ocirt.cgroups import files

    real = files.os.read_whole

    def read_whole(name: str, dir_fd: int | None = None) -> bytes:
        if name == "cgroup.procs":
            raise OSError(errno.EOPNOTSUPP, "")
        return real(name, dir_fd)

    monkeypatch.setattr(files.os, "read_whole", read_whole)
    assert V2Manager({"": str(box)}).pids() == [os.getpid()]


def test_where_the_caller_may_not_move_processes_nothing_is_made(top: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who owns the directory but not the one above both can make a cgroup and not use it."""
    monkeypatch.setattr("ocirt.system.access", lambda path, _mode: path != f"{top}/cgroup.procs")
    manager = V2Manager({"": f"{top}/box"})
    manager.create(bear_denial=True)
    assert (manager.paths, manager.made) == ({}, [])
    assert not (top / "box").exists()


def test_a_denied_directory_is_borne_only_when_asked(top: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def mkdir(path: str, mode: int) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", path)

    monkeypatch.setattr("ocirt.system.mkdir", mkdir)
    manager = V2Manager({"": f"{top}/box"})
    manager.create(bear_denial=True)
    assert manager.paths == {}
    with pytest.raises(PermissionError):
        V2Manager({"": f"{top}/box"}).create()


@pytest.mark.parametrize("kernel_says", [True, False])
def test_given_away(top: Path, monkeypatch: pytest.MonkeyPatch, kernel_says: bool) -> None:
    """What the kernel lists and is there; before it could say, the three of cgroup-v2.rst."""
    box = cgroup(top / "box")
    (box / "cgroup.threads").touch()
    (box / "memory.reclaim").touch()
    given: list[tuple[str, int, int]] = []

    def chown(path: str, uid: int, gid: int) -> None:
        os.stat(path)
        given.append((path, uid, gid))

    def read_file(directory: str, name: str) -> str:
        assert (directory, name) == ("/sys/kernel/cgroup", "delegate")
        if not kernel_says:
            raise FileNotFoundError
        return "cgroup.procs\nmemory.reclaim\nmemory.oom.group\n"

    monkeypatch.setattr(v2, "read_file", read_file)
    monkeypatch.setattr(v2.os, "chown", chown)
    V2Manager({"": str(box)}).delegate(100)
    named = ["cgroup.procs", "memory.reclaim"] if kernel_says else list(v2.DELEGATE)
    assert given == [(path, 100, -1) for path in (str(box), *(f"{box}/{name}" for name in named))]


def test_kill_in_a_cgroup_that_is_gone(tmp_path: Path) -> None:
    """systemd removes a scope as soon as its last process has ended."""
    V2Manager({"": str(tmp_path / "gone")}).kill(signal.SIGKILL)


def test_kill_where_it_cannot_be_told(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        V2Manager({"": str(tmp_path)}).kill(signal.SIGKILL)
