"""Order, missing files, clamped values and the way back; plain files stand for the kernel's."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from ocirt import system
from ocirt.cgroups import Write, writer
from ocirt.cgroups.writer import read_all, write_all
from ocirt.errors import OcirtError


@pytest.fixture
def cgroup(tmp_path: Path) -> Path:
    for name in ("memory.limit", "memory.swap", "pids.max"):
        (tmp_path / name).touch()
    return tmp_path


class Refusals(dict[bytes, list[int]]):
    """Text of a write -> the errnos of its next attempts.  log: every attempt."""

    def __init__(self) -> None:
        self.log: list[bytes] = []


@pytest.fixture
def refusals(monkeypatch: pytest.MonkeyPatch) -> Refusals:
    plan = Refusals()
    real = system.write

    def write(fd: int, data: bytes) -> int:
        plan.log.append(data)
        if plan.get(data):
            raise OSError(plan[data].pop(0), "refused")
        return real(fd, data)

    monkeypatch.setattr(system, "write", write)
    return plan


LIMIT = Write("memory.limit", "20", "/limit", "memory", group="memory")
SWAP = Write("memory.swap", "40", "/swap", "memory", group="memory")
PIDS = Write("pids.max", "7", "/pids", "pids")


def test_values_arrive_whole_and_in_order(cgroup: Path, refusals: Refusals) -> None:
    write_all({"memory": str(cgroup), "pids": str(cgroup)}, [LIMIT, SWAP, PIDS])
    assert refusals.log == [b"20", b"40", b"7"]
    assert (cgroup / "memory.limit").read_text() == "20"


def test_what_is_refused_is_tried_again_after_the_rest_of_its_group(cgroup: Path, refusals: Refusals) -> None:
    refusals[b"20"] = [errno.EINVAL]
    write_all({"memory": str(cgroup), "pids": str(cgroup)}, [LIMIT, SWAP, PIDS])
    assert refusals.log == [b"20", b"40", b"20", b"7"]


def test_a_group_without_progress_reports_its_first_refusal(cgroup: Path, refusals: Refusals) -> None:
    refusals[b"20"] = [errno.EINVAL] * 9
    refusals[b"40"] = [errno.EBUSY] * 9
    with pytest.raises(OcirtError) as caught:
        write_all({"memory": str(cgroup)}, [LIMIT, SWAP])
    error = caught.value
    assert (error.code, error.at, error.call, error.errno) == ("cgroup", "/limit", "write", errno.EINVAL)
    assert error.what == "write '20' to memory.limit"
    assert error.detail == f"{cgroup}/memory.limit"


def test_no_second_try_for_what_order_cannot_mend(cgroup: Path, refusals: Refusals) -> None:
    refusals[b"20"] = [errno.EPERM]
    with pytest.raises(OcirtError) as caught:
        write_all({"memory": str(cgroup)}, [LIMIT, SWAP])
    assert caught.value.errno == errno.EPERM
    assert refusals.log == [b"20"]


def test_memory_in_use_is_said_with_figures(cgroup: Path, refusals: Refusals) -> None:
    (cgroup / "memory.usage_in_bytes").write_text("30\n")
    (cgroup / "memory.max_usage_in_bytes").write_text("35\n")
    refusals[b"20"] = [errno.EBUSY] * 2
    with pytest.raises(OcirtError) as caught:
        write_all({"memory": str(cgroup)}, [LIMIT])
    assert caught.value.what == "unable to set memory limit to 20 (current usage: 30, peak usage: 35)"


def test_missing_file_names_it_and_the_setting(cgroup: Path) -> None:
    weight = Write("blkio.weight", "5", "/weight", "blkio", instead="blkio.bfq.weight")
    with pytest.raises(OcirtError) as caught:
        write_all({"blkio": str(cgroup)}, [weight])
    assert (caught.value.at, caught.value.errno) == ("/weight", errno.ENOENT)
    assert caught.value.remedy == "this kernel offers no blkio.weight and blkio.bfq.weight: remove the setting"
    (cgroup / "blkio.bfq.weight").touch()
    write_all({"blkio": str(cgroup)}, [weight])
    assert (cgroup / "blkio.bfq.weight").read_text() == "5"
    assert not (cgroup / "blkio.weight").exists()


def test_optional_file_may_be_missing(cgroup: Path) -> None:
    write_all({"memory": str(cgroup)}, [Write("memory.memsw", "-1", "/swap", "memory", optional=True)])
    assert not (cgroup / "memory.memsw").exists()


def test_controller_that_is_not_mounted(cgroup: Path) -> None:
    with pytest.raises(OcirtError) as caught:
        write_all({"memory": str(cgroup)}, [PIDS])
    assert (caught.value.code, caught.value.at) == ("cgroup", "/pids")
    assert caught.value.what == "cannot set pids limit: container could not join or create cgroup"


@pytest.mark.parametrize(("actual", "bound"), [("2", "minimum"), ("1", ""), ("0", "maximum")])
def test_clamped_value(cgroup: Path, monkeypatch: pytest.MonkeyPatch, actual: str, bound: str) -> None:
    (cgroup / "cpu.shares").touch()
    monkeypatch.setattr(writer, "read_file", lambda directory, name: actual)
    shares = [Write("cpu.shares", "1", "/shares", "cpu", clamped="cpu-shares")]
    if not bound:
        write_all({"cpu": str(cgroup)}, shares)
        return
    with pytest.raises(OcirtError) as caught:
        write_all({"cpu": str(cgroup)}, shares)
    assert (caught.value.what, caught.value.at) == (f"the {bound} allowed cpu-shares is {actual}", "/shares")


@pytest.mark.parametrize(
    ("file", "text", "now", "expected"),
    [
        ("pids.max", "7", "max\n", "max"),
        ("memory.oom_control", "1", "oom_kill_disable 0\nunder_oom 0\n", "0"),
        ("net_prio.ifpriomap", "eth0 5", "lo 0\neth0 3\n", "eth0 3"),
        ("blkio.throttle.read_bps_device", "8:16 100", "8:0 55\n8:16 60\n", "8:16 60"),
        ("blkio.throttle.read_bps_device", "8:16 100", "8:160 60\n", "8:16 0"),
        ("blkio.throttle.read_bps_device", "8:16 100", "", "8:16 0"),
    ],
)
def test_the_way_back(tmp_path: Path, file: str, text: str, now: str, expected: str) -> None:
    (tmp_path / file).write_text(now)
    (back,) = read_all({"c": str(tmp_path)}, [Write(file, text, "/x", "c", group="g")])
    assert (back.file, back.text, back.at, back.controller, back.group) == (file, expected, "/x", "c", "g")


@pytest.mark.parametrize(
    ("writes", "idle", "back"),
    [
        ({"cpu.idle": "1"}, "0", [("cpu.idle", "0"), ("cpu.shares", "512")]),
        ({"cpu.idle": "0", "cpu.shares": "9"}, "1", [("cpu.idle", "1")]),
        ({"cpu.shares": "9"}, "1", [("cpu.idle", "1")]),
        ({"cpu.shares": "9"}, "0", [("cpu.idle", "0"), ("cpu.shares", "512")]),
        ({"cpu.shares": "9"}, "", [("cpu.shares", "512")]),  # before Linux 5.15
    ],
)
def test_idle_takes_the_weight_away(
    tmp_path: Path, writes: dict[str, str], idle: str, back: list[tuple[str, str]]
) -> None:
    (tmp_path / "cpu.shares").write_text("512\n")
    if idle:
        (tmp_path / "cpu.idle").write_text(f"{idle}\n")
    given = [Write(file, text, "/x", "cpu", group="cpu.weight") for file, text in writes.items()]
    assert [(write.file, write.text) for write in read_all({"cpu": str(tmp_path)}, given)] == back


def test_a_cpuset_that_was_not_chosen_goes_back_to_what_was_in_effect(tmp_path: Path) -> None:
    """Linux 6.12 refuses to empty cpuset.cpus of a cgroup with processes (ENOSPC)."""
    (tmp_path / "cpuset.cpus").write_text("\n")
    (tmp_path / "cpuset.cpus.effective").write_text("0-3\n")
    (back,) = read_all({"cpuset": str(tmp_path)}, [Write("cpuset.cpus", "1", "/x", "cpuset")])
    assert (back.file, back.text) == ("cpuset.cpus", "0-3")


def test_no_way_back_to_a_file_that_is_not_there(tmp_path: Path) -> None:
    assert read_all({"c": str(tmp_path)}, [Write("cpu.idle", "1", "/x", "c")]) == ()
