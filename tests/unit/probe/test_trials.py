"""The parts of the trials that decide, without a kernel: ids, controllers, what is missing."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from ocirt import users
from ocirt.host import Host
from ocirt.probe import Unavailable, cgroups, namespaces, process


@pytest.mark.parametrize(
    ("text", "ids"),
    [
        ("         0          0 4294967295\n", (100000, 65536)),
        ("         0       1000          1\n         1     100000      65536\n", (1, 65536)),
        ("         0       1000          1\n", (0, 1)),
    ],
)
def test_given_ids(text: str, ids: tuple[int, int]) -> None:
    assert namespaces.given_ids(text) == ids


def test_subordinate_ids(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    (tmp_path / "passwd").write_text("root:x:0:0::/:/bin/sh\nme:x:1000:1000::/:/bin/sh\n")
    monkeypatch.setattr(users, "PASSWD", str(tmp_path / "passwd"))
    assert namespaces.subordinate("you:1:2\nme:100000:65536\n", "/etc/subuid") == ("100000", "65536")
    assert namespaces.subordinate("1000:7:8\n", "/etc/subuid") == ("7", "8")
    with pytest.raises(Unavailable, match="/etc/subuid has no range for this user"):
        namespaces.subordinate("you:1:2\n", "/etc/subuid")


def test_programs() -> None:
    namespaces.run("/bin/true")
    with pytest.raises(Unavailable, match=r"^said this$"):
        namespaces.run("/bin/sh", "-c", "echo said this; exit 1")
    with pytest.raises(Unavailable, match=r"^/bin/false ended with 1$"):
        namespaces.run("/bin/false")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A hierarchy of version 2, as ordinary files: top/slice/new; cpu goes all the way, memory to the slice."""
    for path, controllers, given, processes in (
        ("top", "cpu memory io", "cpu memory", "1\n"),
        ("top/slice", "cpu memory", "cpu", ""),
        ("top/slice/new", "cpu", "", ""),
    ):
        (tmp_path / path).mkdir()
        for name, text in (("controllers", controllers), ("subtree_control", given), ("procs", processes)):
            (tmp_path / path / f"cgroup.{name}").write_text(text)
    return tmp_path / "top"


def test_a_controller_that_is_enabled(tree: Path) -> None:
    assert cgroups.enabled("cpu")(str(tree / "slice/new")) == ""


@pytest.mark.parametrize(("controller", "where"), [("memory", ["slice"]), ("io", ["", "slice"])])
def test_a_controller_that_create_would_enable(tree: Path, controller: str, where: list[str]) -> None:
    directories = " and ".join(str(tree / one) for one in where)
    assert cgroups.enabled(controller)(str(tree / "slice/new")) == f"create enables it in {directories}"


def test_a_controller_that_is_not_there(tree: Path) -> None:
    with pytest.raises(Unavailable, match="the kernel does not have it, or not for"):
        cgroups.enabled("rdma")(str(tree / "slice/new"))


@pytest.mark.parametrize("controller", ["memory", "io"])
def test_a_controller_that_processes_are_in_the_way_of(tree: Path, controller: str) -> None:
    (tree / "slice/cgroup.procs").write_text("1\n")
    with pytest.raises(Unavailable, match="slice has processes, and cannot give it away"):
        cgroups.enabled(controller)(str(tree / "slice/new"))


@pytest.mark.parametrize(
    ("trial", "reason"),
    [
        (lambda: process.apparmor(Host()), "the kernel has no AppArmor, or it is switched off"),
        (lambda: process.selinux(Host()), "the kernel has no SELinux, or it is switched off"),
        (lambda: cgroups.layout(Host()), "no cgroup file system is mounted"),
        (lambda: cgroups.systemd(Host()), "systemd is not the service manager here"),
        (cgroups.absent("rdma"), "no hierarchy with the controller rdma is mounted"),
    ],
)
def test_what_is_missing(trial: object, reason: str) -> None:
    assert callable(trial)
    with pytest.raises(Unavailable, match=re.escape(reason)):
        trial()


def test_network_devices() -> None:
    namespaces.connection().close()


def test_resctrl(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "info/L3").mkdir(parents=True)
    (tmp_path / "info/MB").mkdir()
    files = {
        "/proc/self/mountinfo": f"30 1 0:30 / {tmp_path} rw - resctrl resctrl rw\n",
        "/proc/filesystems": "nodev\tresctrl\n",
    }
    monkeypatch.setattr(process, "read", files.__getitem__)
    assert process.resctrl() == f"at {tmp_path}: L3 MB"
    files["/proc/self/mountinfo"] = ""
    with pytest.raises(Unavailable, match=r"^resctrl is not mounted$"):
        process.resctrl()
    files["/proc/filesystems"] = "nodev\tproc\n"
    with pytest.raises(Unavailable, match=r"^the kernel or the processor has no resctrl$"):
        process.resctrl()
