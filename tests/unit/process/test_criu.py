"""What checkpoint and restore have in common."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from ocirt.config.views import Config
from ocirt.criu.rpc import CriuFailed
from ocirt.errors import OcirtError
from ocirt.host import Host
from ocirt.process.criu import Directories, make_directory, make_yard, outside_mounts, remove_yard, resolve
from tests.support import records

V2 = Host(cgroup="v2", unified_mount="/sys/fs/cgroup")
HYBRID = Host(
    cgroup="hybrid",
    cgroup_mounts={"cpu": "/cg/cpu,cpuacct", "cpuacct": "/cg/cpu,cpuacct", "name=systemd": "/cg/systemd"},
    unified_mount="/cg/unified",
    own_cgroups={"cpu": "/me", "name=systemd": "/", "": "/"},
)


def outside(tmp_path: Path, host: Host = V2, cgroups: dict[str, str] | None = None, **value: Any) -> dict[str, Any]:
    """point -> (name, source) of what is not a default device."""
    config = Config({"ociVersion": "1.3.0", **value})
    found = outside_mounts(config, "/b", str(tmp_path), host, cgroups or {})
    return {each.point: (each.name, each.source) for each in found if not each.point.startswith("/dev/")}


def bind(destination: str, source: str, *options: str) -> dict[str, Any]:
    return {"destination": destination, "source": source, "type": "none", "options": list(options)}


def test_binds(tmp_path: Path) -> None:
    (tmp_path / "var").mkdir()
    (tmp_path / "var/run").symlink_to("/run")
    (tmp_path / "run").mkdir()
    mounts = [
        bind("/var/run/sock", "/host/sock", "bind"),
        bind("data/", "data", "rbind", "ro"),
        bind("/data", "data", "bind", "remount"),
        {"destination": "/proc", "type": "proc"},
    ]
    assert outside(tmp_path, mounts=mounts) == {
        "/run/sock": ("/run/sock", "/host/sock"),
        "/data": ("/data", "/b/data"),
    }


def test_mounts_in_a_recursive_bind(tmp_path: Path) -> None:
    """/proc is a mount of every machine that runs this."""
    found = outside(tmp_path, mounts=[bind("/host", "/", "rbind")])
    assert found["/host"] == ("/host", "/")
    assert found["/host/proc"] == ("/host/proc", "/proc")
    assert "/host/proc" not in outside(tmp_path, mounts=[bind("/host", "/", "bind")])


def test_devices_and_masks(tmp_path: Path) -> None:
    linux = {"devices": [{"path": "/dev/fuse", "type": "c", "major": 10, "minor": 229}], "maskedPaths": ["/proc/kcore"]}
    config = Config({"ociVersion": "1.3.0", "linux": linux})
    found = {each.point: (each.name, each.source) for each in outside_mounts(config, "/b", str(tmp_path), V2, {})}
    assert found["/dev/fuse"] == ("/dev/fuse", "/dev/fuse")
    assert found["/dev/tty"] == ("/dev/tty", "/dev/tty")
    assert found["/proc/kcore"] == ("/dev/null", "/dev/null")


CGROUP = {"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup"}


def test_cgroup_mounts_without_a_namespace_are_the_hosts(tmp_path: Path) -> None:
    assert outside(tmp_path, mounts=[CGROUP]) == {"/sys/fs/cgroup": ("/sys/fs/cgroup", "/sys/fs/cgroup")}
    assert outside(tmp_path, HYBRID, {"cpu": "/cg/cpu,cpuacct/web"}, mounts=[CGROUP]) == {
        "/sys/fs/cgroup/cpu,cpuacct": ("/sys/fs/cgroup/cpu,cpuacct", "/cg/cpu,cpuacct/web"),
        "/sys/fs/cgroup/systemd": ("/sys/fs/cgroup/systemd", "/cg/systemd"),
    }


def test_cgroup_mounts_of_a_namespace_are_its_own(tmp_path: Path) -> None:
    assert outside(tmp_path, mounts=[CGROUP], linux={"namespaces": [{"type": "cgroup"}]}) == {}


@pytest.mark.parametrize(
    ("destination", "point"),
    [("/", "/"), ("/a/b", "/a/b"), ("/link/x/y", "/a/x/y"), ("/a/up/z", "/z"), ("/file/x", "/file/x")],
)
def test_resolve(tmp_path: Path, destination: str, point: str) -> None:
    """In the root, whatever the links say; of what is not there the text is kept."""
    (tmp_path / "a").mkdir()
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to("/a")
    (tmp_path / "a/up").symlink_to("../../../..")
    root = os.open(tmp_path, os.O_PATH)
    try:
        assert resolve(root, destination) == point
    finally:
        os.close(root)


@pytest.mark.parametrize(
    ("host", "links"),
    [
        (V2, {"unified": "/sys/fs/cgroup"}),
        (
            HYBRID,
            {
                "cpu": "/cg/cpu,cpuacct",
                "cpuacct": "/cg/cpu,cpuacct",
                "cpu,cpuacct": "/cg/cpu,cpuacct",
                "systemd": "/cg/systemd",
                "unified": "/cg/unified",
            },
        ),
    ],
)
def test_the_yard(tmp_path: Path, host: Host, links: dict[str, str]) -> None:
    container = records.make(tmp_path, "web")
    remove_yard(container)
    yard = make_yard(container, host)
    assert Path(yard).parent == tmp_path / "web"
    assert {name: os.readlink(f"{yard}/{name}") for name in os.listdir(yard)} == links
    remove_yard(container)
    assert not Path(yard).exists()


def test_directories(tmp_path: Path) -> None:
    images, work = tmp_path / "images", tmp_path / "deep/work"
    images.mkdir()
    found = Directories(str(images), str(work), "dump.log", "")
    assert {name: os.readlink(f"/proc/self/fd/{found.fields[name]}") for name in ("images_dir_fd", "work_dir_fd")} == {
        "images_dir_fd": str(images),
        "work_dir_fd": str(work),
    }
    assert found.fields["log_file"] == "dump.log"
    assert found.log == f"{work}/dump.log"
    assert work.stat().st_mode & 0o777 == 0o700
    alone = Directories(str(images), "", "restore.log", "")
    assert "work_dir_fd" not in alone.fields
    assert alone.log == f"{images}/restore.log"


@pytest.mark.parametrize(("text", "log"), [("log-file other.log\n", "other.log"), ("", "dump.log")])
def test_the_configuration_file_may_move_the_log(tmp_path: Path, text: str, log: str) -> None:
    file = tmp_path / "criu.conf"
    file.write_text(text)
    found = Directories(str(tmp_path), "", "dump.log", str(file))
    assert found.fields["config_file"] == str(file)
    assert found.log == f"{tmp_path}/{log}"
    file.unlink()
    assert Directories(str(tmp_path), "", "dump.log", str(file)).log == f"{tmp_path}/dump.log"


def test_no_directory(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for act in (lambda: Directories(f"{tmp_path}/none", "", "x", ""), lambda: make_directory(f"{tmp_path}/file/deep")):
        with pytest.raises(OcirtError) as caught:
            act()
        assert caught.value.code == "criu"
    assert caught.value.errno == errno.ENOTDIR


def test_an_error_with_what_the_log_says(tmp_path: Path) -> None:
    found = Directories(str(tmp_path), "", "dump.log", "")
    error = found.explained(CriuFailed("dump", 0, "Error (a.c:1): first\n"))
    assert (error.what, error.detail) == ("criu failed: dump: a.c:1: first", f"log file: {tmp_path}/dump.log")
    (tmp_path / "dump.log").write_text("(0.1) Error (a.c:1): first\n(0.2) Error (b.c:2): second\n")
    error = found.explained(CriuFailed("dump", 0, "Error (a.c:1): first\n"))
    assert error.what == "criu failed: dump: a.c:1: first; b.c:2: second"
    error = found.explained(OcirtError("criu", "criu ended"))
    assert error.what == "criu ended: a.c:1: first; b.c:2: second"
