"""The directory of a container: identity, record, status, removal."""

from __future__ import annotations

import errno
import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from ocirt import container as module
from ocirt.container import Container, check_id, list_containers, never_executed, process_start
from ocirt.errors import StateError
from ocirt.kernel import files
from tests.support import records

RECORD: dict[str, Any] = {
    "oci_version": "1.3.0",
    "bundle": "/b",
    "rootfs": "/b/rootfs",
    "created": "2026-01-02T03:04:05.000000006Z",
    "owner": 0,
    "cgroup": None,
    "annotations": {},
    "root_mount": [],
    "poststop": False,
}


CGROUP = {"kind": "v1", "paths": {"pids": "/sys/fs/cgroup/pids/web1"}, "made": [], "token": "00"}


def make(root: Path, name: str = "web1") -> Container:
    container = Container.make(str(root), name, dict(RECORD), b'{"ociVersion": "1.3.0"}')
    container.unlock()
    return container


def alive(container: Container) -> None:
    """Make the record name this very process."""
    container.record["pid"] = os.getpid()
    container.record["start_time"] = process_start(os.getpid())
    container.save()


@pytest.mark.parametrize("name", ["a", "A-b_c+d.e", "..a", "0", "x" * 255])
def test_good_ids(name: str) -> None:
    check_id(name)


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "a b", "ä", "a\n", "a\0", "x" * 256])
def test_bad_ids(name: str) -> None:
    with pytest.raises(StateError) as caught:
        check_id(name)
    assert caught.value.code == "container-id"


def test_make_writes_record_and_exact_config(tmp_path: Path) -> None:
    make(tmp_path)
    folder = tmp_path / "web1"
    assert oct(folder.stat().st_mode) == "0o40711"
    assert (folder / "config.json").read_bytes() == b'{"ociVersion": "1.3.0"}'
    assert json.loads((folder / "state.json").read_text())["rootfs"] == "/b/rootfs"


def test_the_same_id_twice_is_refused_and_harmless(tmp_path: Path) -> None:
    make(tmp_path)
    with pytest.raises(StateError) as caught:
        make(tmp_path)
    assert (caught.value.code, caught.value.what) == ("exists", "container with given ID already exists")
    assert Container.load(str(tmp_path), "web1").status() == "creating"


def test_the_root_of_all_containers_is_made(tmp_path: Path) -> None:
    make(tmp_path / "new" / "root")
    assert oct((tmp_path / "new" / "root").stat().st_mode) == "0o40700"
    (tmp_path / "file").touch()
    with pytest.raises(FileExistsError):
        make(tmp_path / "file")


def test_what_is_saved_ahead_is_no_record_but_tells_what_was_made(tmp_path: Path) -> None:
    """Until init is ready: delete must find it, and nobody may take the container for created."""
    container = make(tmp_path)
    container.record |= {"cgroup": CGROUP, "cgroup_wanted": [], "root_mount": ["/mnt", 1, 2]}
    container.dump()
    container.record |= {"pid": os.getpid(), "start_time": process_start(os.getpid())}
    container.save_ahead()
    found = Container.load(str(tmp_path), "web1")
    assert (found.status(), found.pid, found.record["start_time"]) == ("creating", 0, 0)
    assert (found.record["cgroup"], found.record["root_mount"]) == (CGROUP, ["/mnt", 1, 2])
    container.publish()
    found = Container.load(str(tmp_path), "web1")
    assert (found.status(), found.record) == ("running", container.record)
    found.remove()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOSYS])
def test_a_file_system_that_cannot_exchange(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def cannot(*_: object) -> None:
        raise OSError(number, "cannot")

    container = make(tmp_path)
    container.record["bundle"] = "/c"
    container.dump()
    container.save_ahead()
    monkeypatch.setattr(files, "exchange", cannot)
    container.publish()
    assert Container.load(str(tmp_path), "web1").record["bundle"] == "/c"
    assert not (tmp_path / "web1" / "state.json.new").exists()


@pytest.mark.parametrize("text", ["", '{"version":1,"id":"we', "{}"])
def test_what_was_not_written_to_its_end_tells_nothing(tmp_path: Path, text: str) -> None:
    container = make(tmp_path)
    container.record["cgroup_wanted"] = ["/sys/fs/cgroup/web1"]
    container.save()
    (tmp_path / "web1" / "state.json.new").write_text(text)
    assert Container.load(str(tmp_path), "web1").record["cgroup_wanted"] == ["/sys/fs/cgroup/web1"]


def test_a_command_that_was_killed_while_it_saved_changes_nothing(tmp_path: Path) -> None:
    container = make(tmp_path)
    alive(container)
    container.record["cgroup"] = CGROUP
    container.dump()
    container.save_ahead()
    assert Container.load(str(tmp_path), "web1").record["cgroup"] is None


def test_unknown_id(tmp_path: Path) -> None:
    with pytest.raises(StateError) as caught:
        Container.load(str(tmp_path), "nobody")
    assert (caught.value.code, caught.value.what) == ("not-found", "container does not exist")


def test_a_damaged_record_is_named(tmp_path: Path) -> None:
    make(tmp_path)
    (tmp_path / "web1" / "state.json").write_text('{"version": 99}')
    with pytest.raises(StateError) as caught:
        Container.load(str(tmp_path), "web1")
    assert caught.value.code == "record"


def test_status_follows_the_facts(tmp_path: Path) -> None:
    container = make(tmp_path)
    assert container.status() == "creating"
    alive(container)
    listening = container.listen()
    assert container.status() == "created"
    container.remove_start_socket()
    assert container.status() == "running"
    container.record["start_time"] += 1
    assert container.status() == "stopped"
    os.close(listening)


def test_another_boot_means_stopped(tmp_path: Path) -> None:
    container = make(tmp_path)
    alive(container)
    container.record["boot_id"] = "another"
    assert container.status() == "stopped"
    assert container.send_signal(0) is False


def test_state_has_runcs_keys_in_runcs_order(tmp_path: Path) -> None:
    container = make(tmp_path)
    alive(container)
    assert list(container.state()) == ["ociVersion", "id", "pid", "status", "bundle", "rootfs", "created", "owner"]
    container.record["annotations"] = {"a": "b"}
    assert container.state("stopped")["pid"] == 0
    assert container.state()["annotations"] == {"a": "b"}


def test_the_start_socket_talks_even_below_a_long_path(tmp_path: Path) -> None:
    root = tmp_path / ("d" * 100) / ("e" * 100)
    container = make(root)
    listening = container.listen()
    ours = container.connect()
    theirs = module.Channel(module._socket.socket(fileno=module._socket.socket(fileno=listening)._accept()[0]))
    ours.send("GO")
    assert theirs.receive().kind == "GO"


def test_remove_leaves_nothing(tmp_path: Path) -> None:
    container = make(tmp_path)
    os.close(container.listen())
    (tmp_path / "web1" / "notify").mkdir()
    (tmp_path / "web1" / "link").symlink_to("/")
    container.remove()
    assert list(tmp_path.iterdir()) == []


def test_a_held_lock_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LOCK_DEADLINE", 0.05)
    make(tmp_path)
    first, second = (Container.load(str(tmp_path), "web1") for _ in range(2))
    with first.lock():
        with pytest.raises(StateError) as caught, second.lock():
            pass
        assert caught.value.code == "busy"
    with second.lock():
        pass


def test_a_record_that_is_remembered_is_read_again_only_when_it_is_another_one(tmp_path: Path) -> None:
    container = make(tmp_path)
    container.remember()
    with container.lock():
        assert container.record["bundle"] == "/b"
    container.record["bundle"] = "as we have it"
    with container.lock():
        assert container.record["bundle"] == "as we have it"
    other = Container.load(str(tmp_path), "web1")
    other.record["bundle"] = "as another command has written it"
    other.save()
    with container.lock():
        assert container.record["bundle"] == "as another command has written it"
    other.remove()
    with pytest.raises(StateError) as caught, container.lock():
        pass
    assert caught.value.code == "not-found"


def test_list_leaves_out_what_is_damaged(tmp_path: Path) -> None:
    make(tmp_path, "b")
    make(tmp_path, "a")
    (tmp_path / "broken").mkdir()
    (tmp_path / "file").write_text("")
    assert [container.id for container in list_containers(str(tmp_path))] == ["a", "b"]


def test_one_of_the_listed_is_open_at_a_time(tmp_path: Path) -> None:
    for name in "abc":
        make(tmp_path, name)
        (tmp_path / f"broken-{name}").mkdir()
    before = len(os.listdir("/proc/self/fd"))
    assert [len(os.listdir("/proc/self/fd")) - before for _ in list_containers(str(tmp_path))] == [1, 1, 1]
    assert len(os.listdir("/proc/self/fd")) == before


def test_another_container_of_the_same_id_is_not_removed(tmp_path: Path) -> None:
    old = Container.make(str(tmp_path), "web1", RECORD, b"{}")
    old.remove()
    Container.make(str(tmp_path), "web1", RECORD, b"{}").unlock()
    old.remove()
    assert sorted(path.name for path in (tmp_path / "web1").iterdir()) == ["config.json", "state.json"]


def test_nothing_is_left_when_the_record_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(Container, "save", full)
    with pytest.raises(OSError, match="full"):
        Container.make(str(tmp_path), "web1", RECORD, b"{}")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("text", ["", "[]", '{"version":1}', '{"version":1,"pid":"7"}'])
def test_damaged_record(tmp_path: Path, text: str) -> None:
    Container.make(str(tmp_path), "web1", RECORD, b"{}").unlock()
    (tmp_path / "web1" / "state.json").write_text(text)
    with pytest.raises(StateError) as caught:
        Container.load(str(tmp_path), "web1")
    assert caught.value.code == "record"
    assert list(list_containers(str(tmp_path))) == []
    salvaged = Container.salvage(str(tmp_path), "web1")
    assert salvaged is not None
    assert (salvaged.pid, salvaged.manager(), salvaged.status()) == (0, None, "creating")


UNIT = {
    "token": "0123456789abcdef",
    "kind": "systemd",
    "files": "v2",
    "slice": "a.slice",
    "unit": "b.scope",
    "user": False,
}


@pytest.mark.parametrize(
    "cgroup",
    [
        {"kind": "v1", "paths": {"pids": "/sys/fs/cgroup/pids/web1"}, "made": [], "token": ""},
        {"kind": "v2", "paths": {"": "/sys/fs/cgroup/web1"}, "made": ["/sys/fs/cgroup/web1"], "token": "01"},
        {"paths": {"": "/c/web1"}, "made": [], **UNIT},
    ],
)
def test_salvage_takes_what_is_whole(tmp_path: Path, cgroup: dict[str, Any]) -> None:
    Container.make(str(tmp_path), "web1", RECORD | {"cgroup": cgroup}, b"{}").unlock()
    path = tmp_path / "web1" / "state.json"
    assert Container.salvage(str(tmp_path), "web1") is None
    path.write_text(path.read_text().replace('"owner":0', '"owner":"root"'))
    salvaged = Container.salvage(str(tmp_path), "web1")
    assert salvaged is not None
    manager = salvaged.manager()
    assert manager is not None
    assert manager.record() == cgroup
    assert salvaged.record["bundle"] == RECORD["bundle"]


RESCTRL = {"root": "/rdt", "group": "/rdt/web1", "monitor": "", "made": ["/rdt/web1"], "wanted": []}


def test_salvage_takes_the_resctrl_group(tmp_path: Path) -> None:
    Container.make(str(tmp_path), "web1", RECORD | {"resctrl": RESCTRL}, b"{}").unlock()
    assert Container.load(str(tmp_path), "web1").record["resctrl"] == RESCTRL
    path = tmp_path / "web1" / "state.json"
    path.write_text(path.read_text().replace('"owner":0', '"owner":"root"'))
    salvaged = Container.salvage(str(tmp_path), "web1")
    assert salvaged is not None
    assert salvaged.record["resctrl"] == RESCTRL


@pytest.mark.parametrize("wrong", [{"root": 1}, {"made": "/rdt"}, {"wanted": [1]}, {"monitor": ["x"]}])
def test_a_resctrl_group_that_is_damaged(tmp_path: Path, wrong: dict[str, Any]) -> None:
    Container.make(str(tmp_path), "web1", RECORD | {"resctrl": RESCTRL | wrong}, b"{}").unlock()
    with pytest.raises(StateError, match="damaged: resctrl"):
        Container.load(str(tmp_path), "web1")
    salvaged = Container.salvage(str(tmp_path), "web1")
    assert salvaged is not None
    assert "resctrl" not in salvaged.record


def test_the_cgroup_of_an_earlier_version_has_no_token(tmp_path: Path) -> None:
    cgroup = {"kind": "v2", "paths": {"": "/sys/fs/cgroup/web1"}, "made": []}
    Container.make(str(tmp_path), "web1", RECORD | {"cgroup": cgroup}, b"{}").unlock()
    manager = Container.load(str(tmp_path), "web1").manager()
    assert manager is not None
    assert manager.token == ""
    assert manager.ours()


@pytest.mark.parametrize(
    "wrong",
    [
        {"files": "v3"},
        {"token": 1},
        {"files": "systemd"},
        {"unit": 1},
        {"slice": None},
        {"user": "no"},
        {"paths": {"x": "/c"}},
    ],
)
def test_a_record_of_a_unit_that_is_damaged(tmp_path: Path, wrong: dict[str, Any]) -> None:
    cgroup = {"paths": {"": "/c/web1"}, "made": [], **UNIT, **wrong}
    Container.make(str(tmp_path), "web1", RECORD | {"cgroup": cgroup}, b"{}").unlock()
    with pytest.raises(StateError, match="damaged: cgroup"):
        Container.load(str(tmp_path), "web1")


def test_a_death_before_execve_is_told_from_one_after_it() -> None:
    """As long as nobody has reaped it."""
    forked = os.fork()
    if forked == 0:
        os._exit(0)
    executed = os.posix_spawn("/bin/true", ["true"], {})
    for pid, wanted in ((forked, True), (executed, False)):
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        assert never_executed(pid) is wanted
        os.waitpid(pid, 0)
        assert never_executed(pid) is False


def test_a_number_that_is_only_that_of_a_session_any_more(tmp_path: Path) -> None:
    """init was a session's leader and its children live on: pidfd_open(2) may say EINVAL."""
    command = ["setsid", "sh", "-c", "sleep 100 >&- & echo $!"]
    leader = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert leader.stdout is not None
    child = int(leader.stdout.read())
    leader.wait()
    try:
        assert os.getsid(child) == leader.pid
        container = records.make(tmp_path, "web1", leader.pid)
        assert container.open_pidfd() is None
        assert not container.send_signal(9)
    finally:
        os.kill(child, 9)
