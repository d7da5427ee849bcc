"""--host: of what does not work here, what the configuration needs; what it names and is not there."""

from __future__ import annotations

import os
import resource
from pathlib import Path
from typing import Any

import pytest

from ocirt.check import machine
from ocirt.config.views import Config
from ocirt.host import Host
from ocirt.kernel.capabilities import CAPABILITIES
from ocirt.options import Globals
from ocirt.probe import Outcome, report

ALL = (1 << len(CAPABILITIES)) - 1
SPACES = [{"type": "mount"}, {"type": "pid"}]
MAP = [{"containerID": 0, "hostID": 100000, "size": 65536}]


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Here:
    return Here(monkeypatch, tmp_path)


class Here:
    """A host that can do everything; what a test takes away is gone."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, directory: Path) -> None:
        self.directory = directory
        hierarchies = {name: f"/c/{name}" for name in ("devices", "pids")}
        own = dict.fromkeys(hierarchies, "/")
        self.host = Host(kernel=(6, 18), cgroup="v1", cgroup_mounts=hierarchies, own_cgroups=own)
        self.failing: list[tuple[str, str]] = []
        self.capabilities = (ALL, ALL)
        self.texts = {"/proc/filesystems": "nodev\tproc\nnodev\ttmpfs\n\text4", "/proc/self/uid_map": "0 0 4294967295"}
        self.texts["/proc/self/gid_map"] = self.texts["/proc/self/uid_map"]
        self.numbers = {"/proc/sys/kernel/cap_last_cap": 40, "/proc/self/oom_score_adj": 0}
        (directory / "rootfs").mkdir()
        monkeypatch.setattr(report, "try_all", lambda: (self.host, self.outcomes()))
        monkeypatch.setattr(machine, "capget", lambda: (*self.capabilities, 0))
        monkeypatch.setattr(machine, "text_if_there", lambda path: self.texts.get(path, ""))
        monkeypatch.setattr(machine, "number_if_there", self.numbers.get)

    def outcomes(self) -> list[Outcome]:
        works = Outcome("namespace.pid", "/linux/namespaces", True, "")
        return [works, *(Outcome(name, at, False, "because") for name, at in self.failing)]

    def findings(self, **parts: Any) -> list[tuple[str, str, str]]:
        config = {"ociVersion": "1.0.0", "root": {"path": "rootfs"}, "linux": {"namespaces": SPACES}, **parts}
        g = Globals()
        g.systemd_cgroup, g.cgroup_manager = False, "cgroupfs"
        found = machine.findings(Config(config), str(self.directory), g)
        return [(one.level, one.at, one.what) for one in found]


def test_nothing_to_say(here: Here) -> None:
    assert here.findings() == []


CONFIG: dict[str, Any] = {
    "hostname": "h",
    "process": {
        "cwd": "/",
        "args": ["sh"],
        "scheduler": {"policy": "SCHED_IDLE"},
        "ioPriority": {"class": "IOPRIO_CLASS_BE", "priority": 4},
    },
    "mounts": [
        {"destination": "/t", "type": "tmpfs", "source": "t", "options": ["rro"]},
        {"destination": "/b", "type": "tmpfs", "source": "/", "options": ["bind", "rslave"]},
    ],
    "linux": {
        "namespaces": [*SPACES, {"type": "uts"}, {"type": "network", "path": "/proc/self/ns/net"}],
        "seccomp": {
            "defaultAction": "SCMP_ACT_ERRNO",
            "flags": ["SECCOMP_FILTER_FLAG_LOG"],
            "syscalls": [{"names": ["read"], "action": "SCMP_ACT_ALLOW"}],
        },
        "devices": [{"type": "c", "path": "/dev/x", "major": 1, "minor": 3}],
        "resources": {"pids": {"limit": 5}},
        "memoryPolicy": {"mode": "MPOL_LOCAL"},
    },
}
NEEDED = {
    "namespace.pid": "/linux/namespaces/1/type",
    "namespace.uts": "/linux/namespaces/2/type",
    "hostname": "/hostname",
    "seccomp.filter": "/linux/seccomp",
    "seccomp.SCMP_ACT_ERRNO": "/linux/seccomp/defaultAction",
    "seccomp.SCMP_ACT_ALLOW": "/linux/seccomp/syscalls/0/action",
    "seccomp.SECCOMP_FILTER_FLAG_LOG": "/linux/seccomp/flags/0",
    "mount.tmpfs": "/mounts/0",
    "mount.recursive": "/mounts/0",
    "mount.bind": "/mounts/1",
    "mount.propagation": "/mounts/1",
    "mknod": "/linux/devices",
    "cgroup.pids": "/linux/resources/pids",
    "cgroup.hierarchy": "/linux/cgroupsPath",
    "scheduler.SCHED_IDLE": "/process/scheduler/policy",
    "io_priority.IOPRIO_CLASS_BE": "/process/ioPriority/class",
    "memory_policy.MPOL_LOCAL": "/linux/memoryPolicy/mode",
    "pivot_root": "/root/path",
}
NOT_NEEDED = (
    *("namespace.network", "namespace.time", "namespace.user", "idmap.own", "idmap.ranges", "time.offsets"),
    *("seccomp.SCMP_ACT_TRAP", "seccomp.notify", "mount.proc", "mount.idmap", "mount.nosymfollow", "cgroup.memory"),
    *("cgroup.systemd", "cgroup.unified", "scheduler.SCHED_FIFO", "memory_policy.MPOL_BIND", "apparmor", "selinux"),
    *("network_devices", "personality", "resctrl", "keyring", "criu"),
)


@pytest.mark.parametrize("name", [*NEEDED, *NOT_NEEDED])
def test_what_does_not_work_counts_where_it_is_needed(here: Here, name: str) -> None:
    at = {check.name: check.at for check in report.all_checks(Host(cgroup="v2", unified_mount="/c", own_cgroups={}))}
    at |= {check.name: check.at for check in report.all_checks(Host(cgroup="v1", own_cgroups={}))}
    here.failing = [(name, at[name])]
    expected = [("error", NEEDED[name], f"{name} does not work here: because")] if name in NEEDED else []
    assert [row for row in here.findings(**CONFIG) if "ioprio" not in row[2]] == expected


def test_user_namespaces(here: Here) -> None:
    here.failing = [("idmap.ranges", "/linux/uidMappings"), ("mknod", "/linux/devices")]
    linux = {**CONFIG["linux"], "namespaces": [*SPACES, {"type": "user"}], "uidMappings": MAP, "gidMappings": MAP}
    assert here.findings(linux={**linux, "seccomp": None, "memoryPolicy": None}) == [
        ("error", "/linux/uidMappings", "idmap.ranges does not work here: because")
    ]


def test_the_plan_fails_on_this_host(here: Here) -> None:
    found = here.findings(process={"cwd": "/", "args": ["sh"], "apparmorProfile": "p"})
    assert found == [("error", "/process/apparmorProfile", "apparmor: config provided but apparmor not supported")]
    here.host.euid = here.host.egid = 1000
    assert here.findings() == [("error", "/linux/namespaces", "rootless container requires user namespaces")]


def test_files_that_are_not_there(here: Here) -> None:
    missing = f"{here.directory}/no"
    hook = here.directory / "hook"
    hook.write_text("#!/bin/sh\n")
    found = here.findings(
        root={"path": "no"},
        mounts=[
            {"destination": "/a", "source": "no", "options": ["bind"]},
            {"destination": "/b", "source": "rootfs", "options": ["bind"]},
            {"destination": "/b", "source": "no", "options": ["bind", "remount", "ro"]},
        ],
        hooks={
            "createRuntime": [{"path": missing}, {"path": str(hook)}],
            "createContainer": [{"path": str(here.directory / "rootfs")}],
            "startContainer": [{"path": "/in/the/container"}],
        },
        linux={
            "namespaces": [*SPACES, {"type": "ipc", "path": missing}],
            "seccomp": {"defaultAction": "SCMP_ACT_ALLOW", "listenerPath": missing},
        },
    )
    assert found == [
        ("error", "/root/path", f'"{missing}" is no directory'),
        ("error", "/mounts/0/source", f'"{missing}" is not there'),
        ("error", "/linux/namespaces/2/path", f'the namespace "{missing}" is not there'),
        ("error", "/linux/seccomp/listenerPath", f'"{missing}" is not there'),
        ("error", "/hooks/createRuntime/0/path", f'"{missing}" is no file'),
        ("error", "/hooks/createRuntime/1/path", f'"{hook}" cannot be executed'),
        ("error", "/hooks/createContainer/0/path", f'"{here.directory}/rootfs" is no file'),
    ]


def test_file_systems(here: Here) -> None:
    mounts = [{"destination": f"/{kind}", "type": kind, "source": "x"} for kind in ("proc", "ext3", "cgroup", "zfs")]
    assert here.findings(mounts=mounts) == [
        ("advice", "/mounts/1/type", 'the kernel does not list the file system "ext3"'),
        ("advice", "/mounts/3/type", 'the kernel does not list the file system "zfs"'),
    ]


def test_capabilities(here: Here) -> None:
    here.numbers["/proc/sys/kernel/cap_last_cap"] = CAPABILITIES.index("CAP_PERFMON") - 1
    here.capabilities = (0, ALL & ~1)
    sets = {"bounding": ["CAP_KILL", "CAP_CHOWN"], "ambient": ["CAP_BPF", "CAP_X"]}
    process = {"cwd": "/", "args": ["sh"], "capabilities": sets}
    at = "/process/capabilities"
    lacking = ("advice", f"{at}/ambient/0", "the kernel lacks CAP_BPF, which is ignored")
    assert here.findings(process=process) == [
        ("advice", f"{at}/bounding/1", "ocirt itself does not have CAP_CHOWN, and cannot give it"),
        lacking,
    ]
    linux = {"namespaces": [*SPACES, {"type": "user"}], "uidMappings": MAP, "gidMappings": MAP}
    assert here.findings(process=process, linux=linux) == [lacking]


def test_ids_of_the_host(here: Here) -> None:
    linux = {"namespaces": [*SPACES, {"type": "user"}], "uidMappings": MAP, "gidMappings": MAP}
    here.texts["/proc/self/uid_map"] = "0 0 100000\n100000 5 65536\n"
    here.texts["/proc/self/gid_map"] = "0 0 1000\n"
    what = "the host's ids 100000 to 165535 are not root's to give"
    assert here.findings(linux=linux) == [("error", "/linux/gidMappings/0/hostID", what)]


def test_ids_of_a_user(here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    here.host.euid = here.host.egid = 54321
    here.host.mapping_tools = {"newuidmap": "/usr/bin/newuidmap", "newgidmap": "/usr/bin/newgidmap"}
    given = {"uid": [(100000, 65536)], "gid": [(100000, 65535)]}
    monkeypatch.setattr(machine, "subordinate_ranges", lambda kind, name, uid: given[kind])
    own = [{"containerID": 0, "hostID": 54321, "size": 1}, {**MAP[0], "containerID": 1}]
    linux = {"namespaces": [*SPACES, {"type": "user"}], "uidMappings": own, "gidMappings": own}
    what = "the host's ids 100000 to 165535 are not 54321's to give"
    assert here.findings(linux=linux) == [("error", "/linux/gidMappings/1/hostID", what)]


def test_limits(here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    def limit(name: str, hard: int) -> dict[str, object]:
        return {"type": name, "soft": 0, "hard": hard}

    limits = {resource.RLIMIT_NOFILE: (9, 1024), resource.RLIMIT_CPU: (9, 2**64 - 1)}
    monkeypatch.setattr(machine, "rlimit", lambda pid, number: limits[number])
    rlimits = [limit("RLIMIT_NOFILE", 1024), limit("RLIMIT_NOFILE", 1025), limit("RLIMIT_CPU", 2**64 - 1)]
    process = {"cwd": "/", "args": ["sh"], "rlimits": rlimits, "oomScoreAdj": -5}
    assert here.findings(process=process) == []
    here.capabilities = (ALL & ~(1 << CAPABILITIES.index("CAP_SYS_RESOURCE")), ALL)
    assert here.findings(process=process) == [
        ("error", "/process/rlimits/1/hard", "the hard limit 1025 is above the 1024 that ocirt runs with"),
        ("error", "/process/oomScoreAdj", "oom_score_adj -5 is below the 0 that ocirt runs with"),
    ]


def test_the_ids_of_this_machine_are_read() -> None:
    ranges = machine._mapped_here("uid")
    assert sum(count for _, count in ranges) > 0
    assert any(first <= os.geteuid() < first + count for first, count in ranges)
