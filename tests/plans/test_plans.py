"""Golden plans: what a configuration becomes, as text, for hosts that need not be this one.

A case is <name>.json; its plan for a host is <name>.<host>.txt.  `make plans` writes them anew; a changed
order shows as a changed line, to be reviewed like code.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ocirt.config.bundle import read_config
from ocirt.host import Host
from ocirt.plan import Options, make_plan
from ocirt.seccomp.watcher import record
from ocirt.stages.cap_audit import Audit

HERE = Path(__file__).parent
CONTROLLERS = ("cpu", "cpuacct", "cpuset", "memory", "devices", "freezer", "blkio", "pids")

HOSTS = {
    "hybrid": Host(
        kernel=(6, 18),
        cgroup="hybrid",
        cgroup_mounts={name: f"/sys/fs/cgroup/{name}" for name in CONTROLLERS},
        unified_mount="/sys/fs/cgroup/unified",
        resctrl="/mnt/rdt",
        systemd="system",
        own_cgroups=dict.fromkeys((*CONTROLLERS, ""), "/"),
    ),
    "v1": Host(
        kernel=(5, 10),
        apparmor=True,
        cgroup="v1",
        cgroup_mounts={
            **{name: f"/sys/fs/cgroup/{name}" for name in CONTROLLERS},
            "cpu": "/sys/fs/cgroup/cpu,cpuacct",
            "cpuacct": "/sys/fs/cgroup/cpu,cpuacct",
            "name=systemd": "/sys/fs/cgroup/systemd",
        },
        resctrl="/sys/fs/resctrl",
        systemd="system",
        own_cgroups=dict.fromkeys((*CONTROLLERS, "name=systemd"), "/user.slice"),
    ),
    "v2": Host(
        kernel=(6, 1),
        apparmor=True,
        cgroup="v2",
        unified_mount="/sys/fs/cgroup",
        resctrl="/sys/fs/resctrl",
        systemd="system",
        own_cgroups={"": "/user.slice/user-0.slice/session-1.scope"},
    ),
}
MANAGERS = {"systemd": "systemd", "no-cgroup": "disabled"}
ROOTLESS = ("rootless", "rootless-one-id")  # a user other than root, for whom the other cases are no use
HOSTS["rootless"] = Host(
    euid=1000,
    egid=1000,
    mapping_tools={"newuidmap": "/usr/bin/newuidmap", "newgidmap": "/usr/bin/newgidmap"},
    cgroup="v1",
    cgroup_mounts={"pids": "/sys/fs/cgroup/pids", "memory": "/sys/fs/cgroup/memory"},
    own_cgroups={"pids": "/user.slice", "memory": "/user.slice"},
)
CASES = sorted(path.stem for path in HERE.glob("*.json"))


def options_of(name: str, host: Host) -> Options:
    return Options(
        "web1",
        "/bundle",
        no_pivot=name == "no-pivot",
        preserve_fds=2 if name == "minimal" else 0,
        rootless=host.rootless,
        cgroup_manager=MANAGERS.get(name, "cgroupfs"),
        notify="/run/ocirt/web1/notify" if name == "notify" else "",
        watch=record("/profiles/web1.json", None, host.machine, host.kernel) if name == "record" else None,
        audit=Audit() if name == "record" else None,
    )


def plan_text(name: str, host: Host) -> str:
    config = read_config((HERE / f"{name}.json").read_bytes())
    return make_plan(config, host, options_of(name, host)).describe()


PLANS = [(name, host) for name in CASES for host in HOSTS if (name in ROOTLESS) == (host == "rootless")]


def test_there_are_cases() -> None:
    assert len(CASES) >= 12
    assert {host for _, host in PLANS} == set(HOSTS)


@pytest.mark.parametrize(("name", "host"), PLANS)
def test_plan(name: str, host: str) -> None:
    golden = HERE / f"{name}.{host}.txt"
    found = plan_text(name, HOSTS[host])
    if os.environ.get("OCIRT_REWRITE_PLANS"):
        golden.write_text(found)
    assert found == golden.read_text()
