"""What is executed before the native launcher's image is kept: the part of `create` that decides, which depends on
nothing but what it is given.

Python notes what code meets when it is executed for the eighth time, and from then on does the same work with fewer
instructions (PEP 659); in a command nothing is executed so often that this pays.  It is a tenth of a run.
"""

from __future__ import annotations

import _socket

from ocirt import cli, options
from ocirt.cgroups.layout import cgroup_layout, parse_cgroup_mounts, parse_own_cgroups
from ocirt.commands import create
from ocirt.commands.spec import example
from ocirt.config import jsontext
from ocirt.config.bundle import read_config
from ocirt.host import Host
from ocirt.pipeline import HOST, INIT
from ocirt.plan import Options, make_plan
from ocirt.process.launch import patience

TIMES = 16
LINE = ("--root", "/run/ocirt", "run", "--bundle", "/bundle", "rehearsal")
CONTROLLERS = ("cpu", "cpuacct", "cpuset", "memory", "devices", "freezer", "blkio", "pids")
# /proc/self/mountinfo and /proc/self/cgroup.
V1 = (
    "".join(f"3 2 0:2 / /sys/fs/cgroup/{name} rw - cgroup cgroup rw,{name}\n" for name in CONTROLLERS)
    + "4 2 0:3 / /sys/fs/cgroup/unified rw - cgroup2 cgroup rw\n",
    "".join(f"{number}:{name}:/\n" for number, name in enumerate((*CONTROLLERS, ""))),
)
V2 = ("4 2 0:3 / /sys/fs/cgroup rw - cgroup2 cgroup rw\n", "0::/\n")
SECCOMP = {
    "defaultAction": "SCMP_ACT_ERRNO",
    "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"],
    "syscalls": [
        {"names": ["read", "write", "openat", "close", "execve", "exit_group", "mmap"], "action": "SCMP_ACT_ALLOW"},
        {
            "names": ["personality", "socket"],
            "action": "SCMP_ACT_ALLOW",
            "args": [{"index": 0, "value": 8, "op": "SCMP_CMP_EQ"}],
        },
    ],
}


def rehearse() -> None:
    hasattr(_socket.socket, "close")  # a type that Python makes ready on first use: 30 pages of the runtime, 30 of init
    for number in range(TIMES):
        on_v2 = bool(number % 2)
        options.parse(create.OPTIONS, options.parse(cli.OPTIONS, list(LINE), stop_at_positional=True).args[1:])
        config = example(None, on_v2)
        config["linux"]["seccomp"] = SECCOMP
        host = host_of(*(V2 if on_v2 else V1))
        plan = make_plan(read_config(jsontext.dump(config).encode()), host, Options("rehearsal", "/"))
        patience(plan.part(INIT))
        plan.part(HOST)


def host_of(mountinfo: str, cgroup: str) -> Host:
    own = parse_own_cgroups(cgroup)
    mounts, roots, unified = parse_cgroup_mounts(mountinfo, own)
    return Host(
        cgroup=cgroup_layout(mounts, unified),
        cgroup_mounts=mounts,
        cgroup_roots=roots,
        unified_mount=unified,
        own_cgroups=own,
    )
