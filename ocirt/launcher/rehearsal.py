"""What is executed before the native launcher's image is kept: the part of `create` that decides, which depends on nothing
but what it is given.

Python notes what code meets when it is executed for the eighth time, and from then on does the same work with a third
fewer instructions (PEP 659).  In a command nothing is executed so often that this pays.
"""

from __future__ import annotations

from ocirt.commands.spec import example
from ocirt.config import jsontext
from ocirt.config.bundle import read_config
from ocirt.host import Host
from ocirt.plan import Options, make_plan

TIMES = 16
CONTROLLERS = ("cpu", "cpuacct", "cpuset", "memory", "devices", "freezer", "blkio", "pids")
HOSTS = (
    Host(
        kernel=(6, 1),
        cgroup="hybrid",
        cgroup_mounts={name: f"/sys/fs/cgroup/{name}" for name in CONTROLLERS},
        unified_mount="/sys/fs/cgroup/unified",
        own_cgroups=dict.fromkeys((*CONTROLLERS, ""), "/"),
    ),
    Host(kernel=(6, 1), cgroup="v2", unified_mount="/sys/fs/cgroup", own_cgroups={"": "/"}),
)


def rehearse() -> None:
    for _ in range(TIMES):
        for on_v2, host in enumerate(HOSTS):
            text = jsontext.dump(example(None, bool(on_v2)))
            make_plan(read_config(text.encode()), host, Options("rehearsal", "/"))
