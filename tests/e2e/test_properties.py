"""Properties of config.json whose effect no other file shows; spec/properties.toml names the tests of each.

And for every property a value that is refused, through the command itself.
"""

from __future__ import annotations

import copy
import json
import os
import platform
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.test_hooks import ALL, AT_CREATE
from tests.e2e.test_seccomp import ALLOWED, profile
from tests.support.bundles import Bundle
from tests.support.host import Place
from tests.support.properties import BAD, every_property, replace
from tests.support.runtime import Runtime

PAUSE = ("/bin/probe", "pause")
CRUN_CGROUPS = "makes its cgroups elsewhere (/crun)"


@pytest.mark.only_ocirt("the words and the pointers are ours")
def test_bad_values(runtime: Runtime, bundle: Bundle, tmp_path: Path, host_unchanged: Callable[[], Any]) -> None:
    """Each in a configuration that is right but for it: refused with its code and its pointer, and nothing is made."""
    whole = every_property()
    log = tmp_path / "log.json"
    wrong = []
    with host_unchanged():
        for bad in BAD:
            (bundle.path / "config.json").write_text(json.dumps(replace(copy.deepcopy(whole), bad.at, bad.value)))
            log.unlink(missing_ok=True)
            options = ("--log", str(log), "--log-format", "json")
            result = runtime.call("create", "--bundle", str(bundle.path), bundle.id, options=options)
            record = json.loads(log.read_text().splitlines()[-1])
            if (result.code, record["code"], record.get("pointer", "")) != (1, bad.code, bad.pointer):
                wrong.append((bad.property, record))
    assert wrong == []
    assert len(BAD) > 150


# --- process


def test_what_is_for_windows_is_ignored(runtime: Runtime, bundle: Bundle) -> None:
    bundle.process["commandLine"] = "cmd /c echo other"
    bundle.process["user"]["username"] = "user"
    assert runtime.inside(bundle, "id -u; echo ran") == "0\nran\n"


# --- hooks


@pytest.fixture
def hook(bundle: Bundle) -> Callable[..., Bundle]:
    """Add a hook that runs a shell script; it serves both sides, by a mount at its own path."""
    bundle.bind(bundle.path, str(bundle.path), "rbind")

    def add(kind: str, script: str, **fields: Any) -> Bundle:
        path = bundle.path / f"hook-{kind}"
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
        return bundle.hook(kind, path, **fields)

    return add


@pytest.mark.parametrize("kind", ALL)
def test_arguments_of_a_hook(runtime: Runtime, bundle: Bundle, hook: Callable[..., Bundle], kind: str) -> None:
    hook(kind, f'for word; do echo "[$word]"; done > {bundle.path}/seen', args=["zero", "one two", "", "three"])
    runtime.inside(bundle, "true")
    assert (bundle.path / "seen").read_text() == "[one two]\n[]\n[three]\n"


@pytest.mark.parametrize("kind", ALL)
def test_environment_of_a_hook(runtime: Runtime, bundle: Bundle, hook: Callable[..., Bundle], kind: str) -> None:
    hook(kind, f'echo "$KIND" > {bundle.path}/seen', env=[f"KIND=of {kind}"])
    runtime.inside(bundle, "true")
    assert (bundle.path / "seen").read_text() == f"of {kind}\n"


@pytest.mark.only_ocirt("each says and does something else of a hook that takes too long")
@pytest.mark.parametrize("kind", ALL)
def test_timeout_of_a_hook(runtime: Runtime, bundle: Bundle, hook: Callable[..., Bundle], kind: str) -> None:
    """It is killed with its children: an error of create or start, a warning of delete."""
    hook(kind, "exec sleep 1000", timeout=1, env=["PATH=/bin:/usr/bin"])
    bundle.args(*PAUSE).save()
    says = "hook ran past specified timeout of 1.0s"
    if kind in AT_CREATE:
        runtime.fails("create", "--bundle", str(bundle.path), bundle.id, says=says)
        return
    runtime.create(bundle)
    if kind == "poststop":
        result = runtime.ok("delete", "--force", bundle.id)
        assert says in result.err
        assert "level=warning" in result.err
        return
    runtime.fails("start", bundle.id, says=says)
    runtime.wait(bundle)
    runtime.ok("delete", bundle.id)


# --- linux


@pytest.mark.only_ocirt("these versions have no time namespaces")
def test_nanoseconds_of_time_offsets(runtime: Runtime, bundle: Bundle) -> None:
    bundle.namespace("time")
    bundle.linux["timeOffsets"] = {"monotonic": {"nanosecs": 11}, "boottime": {"secs": 3, "nanosecs": 999999999}}
    runtime.launch(bundle.args(*PAUSE))
    offsets = Path(f"/proc/{bundle.pid}/timens_offsets").read_text().split()
    runtime.stop(bundle)
    assert offsets == ["monotonic", "0", "11", "boottime", "3", "999999999"]


@pytest.mark.only_ocirt("runc 1.1 and crun 1.8 know no memoryPolicy")
@pytest.mark.parametrize(
    ("mode", "flags", "seen"),
    [
        ("MPOL_DEFAULT", [], "default"),
        ("MPOL_BIND", [], "bind:0"),
        ("MPOL_PREFERRED", [], "prefer:0"),
        ("MPOL_INTERLEAVE", [], "interleave:0"),
        ("MPOL_PREFERRED_MANY", [], "prefer (many):0"),
        ("MPOL_LOCAL", [], "local"),
        ("MPOL_BIND", ["MPOL_F_STATIC_NODES"], "bind=static:0"),
        ("MPOL_INTERLEAVE", ["MPOL_F_RELATIVE_NODES"], "interleave=relative:0"),
    ],
)
def test_memory_policy(runtime: Runtime, bundle: Bundle, mode: str, flags: list[str], seen: str) -> None:
    if not Path("/proc/self/numa_maps").exists():
        pytest.skip("the kernel has no NUMA policies")
    bundle.linux["memoryPolicy"] = {"mode": mode, "flags": flags}
    if mode not in ("MPOL_DEFAULT", "MPOL_LOCAL"):
        bundle.linux["memoryPolicy"]["nodes"] = "0"
    out = runtime.inside(bundle, "head -1 /proc/self/numa_maps")
    assert out.partition(" ")[2].startswith(f"{seen} "), out


@pytest.mark.only_ocirt("others refuse them, or say nothing")
def test_flags_of_a_personality_are_a_warning(runtime: Runtime, bundle: Bundle) -> None:
    """None is defined."""
    bundle.linux["personality"] = {"domain": "LINUX32", "flags": ["NONESUCH"]}
    result = runtime.run(bundle.script("uname -m"))
    assert (result.code, result.out) == (0, {"x86_64": "i686\n"}.get(platform.machine(), result.out))
    assert "[/linux/personality/flags]" in result.err


# --- linux.resources


@pytest.mark.cgroup_v1("names the files of v1")
@pytest.mark.differs(crun=CRUN_CGROUPS)
def test_memory_settings_that_have_no_effect_any_more(runtime: Runtime, bundle: Bundle, place: Place) -> None:
    """Limits of kernel memory are deprecated; hierarchies cannot be had otherwise since Linux 5.11."""
    plain = (place.cgroup("memory") / "memory.kmem.limit_in_bytes").read_text()
    bundle.resources(memory={"kernel": 1 << 24, "kernelTCP": 1 << 24, "useHierarchy": True})
    result = runtime.create(bundle.args(*PAUSE))
    directory = place.cgroup("memory") / bundle.id
    for name in ("kmem", "kmem.tcp"):
        assert (directory / f"memory.{name}.limit_in_bytes").read_text() == plain
    assert (directory / "memory.use_hierarchy").read_text() == "1\n"
    runtime.stop(bundle)
    if runtime.name == "ocirt":
        assert "kernel memory limits are deprecated and ignored [/linux/resources/memory/kernel]" in result.err


@pytest.mark.cgroup_v1("names the files of v1")
@pytest.mark.differs(crun=CRUN_CGROUPS)
def test_realtime_limits(runtime: Runtime, bundle: Bundle, place: Place, realtime_budget: None) -> None:
    bundle.resources(cpu={"realtimeRuntime": 4000, "realtimePeriod": 500000})
    runtime.create(bundle.args(*PAUSE))
    directory = place.cgroup("cpu") / bundle.id
    values = [(directory / f"cpu.rt_{name}_us").read_text() for name in ("runtime", "period")]
    runtime.stop(bundle)
    assert values == ["4000\n", "500000\n"]


@pytest.fixture
def scheduled_disk(tmp_path: Path) -> Iterator[tuple[int, int]]:
    """Major and minor number of a disk whose requests bfq orders, the only scheduler with weights."""
    image = tmp_path / "disk"
    image.touch()
    os.truncate(image, 1 << 20)
    device = subprocess.run(
        ["losetup", "--find", "--show", image], check=True, capture_output=True, text=True, timeout=30
    ).stdout.strip()
    scheduler = Path("/sys/block", Path(device).name, "queue/scheduler")
    before = scheduler.read_text()
    try:
        if "bfq" not in before:
            pytest.skip("the kernel has no bfq")
        scheduler.write_text("bfq")
        number = os.stat(device).st_rdev
        yield os.major(number), os.minor(number)
    finally:
        scheduler.write_text(before.partition("[")[2].partition("]")[0])
        subprocess.run(["losetup", "--detach", device], check=True, timeout=30)


@pytest.mark.cgroup_v1("names the files of v1")
@pytest.mark.differs(crun=CRUN_CGROUPS)
def test_block_io_weights(runtime: Runtime, bundle: Bundle, place: Place, scheduled_disk: tuple[int, int]) -> None:
    major, minor = scheduled_disk
    bundle.resources(
        blockIO={"weight": 500, "weightDevice": [{"major": major, "minor": minor, "weight": 300}]},
    )
    runtime.create(bundle.args(*PAUSE))
    directory = place.cgroup("blkio") / bundle.id
    values = [(directory / f"blkio.bfq.{name}").read_text() for name in ("weight", "weight_device")]
    runtime.stop(bundle)
    assert values == ["500\n", f"default 500\n{major}:{minor} 300\n"]


@pytest.mark.cgroup_v1("v2 has its own test of what it refuses")
@pytest.mark.only_ocirt("others ignore some")
@pytest.mark.parametrize(
    ("resources", "pointer", "file"),
    [
        ({"blockIO": {"leafWeight": 500}}, "/blockIO/leafWeight", "blkio/blkio.leaf_weight"),
        (
            {"blockIO": {"weightDevice": [{"major": 8, "minor": 0, "leafWeight": 500}]}},
            "/blockIO/weightDevice/0/leafWeight",
            "blkio/blkio.leaf_weight_device",
        ),
        ({"hugepageLimits": [{"pageSize": "2MB", "limit": 0}]}, "/hugepageLimits/0/limit", "hugetlb"),
        ({"network": {"classID": 1}}, "/network/classID", "net_cls"),
        ({"network": {"priorities": [{"name": "lo", "priority": 1}]}}, "/network/priorities/0", "net_prio"),
        ({"rdma": {"mlx5_1": {"hcaHandles": 3}}}, "/rdma/mlx5_1", "rdma"),
    ],
)
def test_what_this_machine_has_not_is_refused(
    runtime: Runtime,
    bundle: Bundle,
    place: Place,
    host_unchanged: Callable[[], Any],
    resources: dict[str, Any],
    pointer: str,
    file: str,
) -> None:
    controller, _, name = file.partition("/")
    mounted = {one for names in place.cgroups for one in names.split(",")}
    if controller in mounted and (not name or (place.cgroup(controller) / name).exists()):
        pytest.skip(f"this machine has {file}")
    bundle.resources(**resources).save()
    with host_unchanged():
        runtime.fails("create", "--bundle", str(bundle.path), bundle.id, says=f"[/linux/resources{pointer}]")


# --- linux.seccomp


def test_default_errno(runtime: Runtime, bundle: Bundle) -> None:
    """Of what no rule names; the rule is of a call that is older than the others."""
    profile(bundle, "SCMP_ACT_ERRNO", {"names": ALLOWED, "action": "SCMP_ACT_ALLOW"}, defaultErrnoRet=95)
    assert runtime.inside(bundle, "probe syscall 83 0") == "EOPNOTSUPP\n"


@pytest.mark.skipif(platform.machine() != "x86_64", reason="it is about its 32-bit entry")
@pytest.mark.parametrize(("architectures", "seen"), [(["X86_64"], "killed"), (["X86_64", "X86"], "EXDEV\n")])
def test_architectures(runtime: Runtime, bundle: Bundle, architectures: list[str], seen: str) -> None:
    """mkdir(2) by the 32-bit entry: refused by its own number where it is listed, else the call is deadly."""
    mkdir_32 = 39
    if runtime.run(bundle.args("/bin/probe", "syscall32", str(mkdir_32))).out != "EFAULT\n":
        pytest.skip("the kernel has no 32-bit entry")
    bundle.without_namespace("pid")  # the first process of a pid namespace ignores SIGSYS
    bundle.linux["seccomp"] = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "architectures": [f"SCMP_ARCH_{name}" for name in architectures],
        "syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_ERRNO", "errnoRet": 18}],
    }
    result = runtime.run(bundle)
    if seen == "killed":
        assert result.code == 128 + signal.SIGSYS
    else:
        assert (result.code, result.out) == (0, seen)


@pytest.mark.only_ocirt("libseccomp adds flags of its own")
@pytest.mark.parametrize(
    ("names", "seen"),
    [
        (None, "SECCOMP_FILTER_FLAG_SPEC_ALLOW"),
        ([], "0"),
        (["TSYNC"], "0"),
        (["LOG"], "SECCOMP_FILTER_FLAG_LOG"),
        (["SPEC_ALLOW"], "SECCOMP_FILTER_FLAG_SPEC_ALLOW"),
        (["LOG", "SPEC_ALLOW"], "SECCOMP_FILTER_FLAG_LOG|SECCOMP_FILTER_FLAG_SPEC_ALLOW"),
    ],
)
def test_flags_of_the_filter(
    runtime: Runtime, bundle: Bundle, tmp_path: Path, names: list[str] | None, seen: str
) -> None:
    """As strace sees the call: what they do is in the kernel's log and in the processor."""
    bundle.linux["seccomp"] = {
        "defaultAction": "SCMP_ACT_ALLOW",
        **({} if names is None else {"flags": [f"SECCOMP_FILTER_FLAG_{name}" for name in names]}),
        "syscalls": [{"names": ["swapon"], "action": "SCMP_ACT_ERRNO"}],
    }
    bundle.script("true").save()
    trace = tmp_path / "trace"
    command = runtime.arguments("run", "--bundle", str(bundle.path), bundle.id)
    done = subprocess.run(
        ["strace", "-f", "-e", "trace=seccomp", "-o", str(trace), *command], check=False, timeout=60, cwd="/"
    )
    assert done.returncode == 0
    calls = [line for line in trace.read_text().splitlines() if "SECCOMP_SET_MODE_FILTER, " in line]
    assert [line.partition("SECCOMP_SET_MODE_FILTER, ")[2].partition(", ")[0] for line in calls] == [seen]


@pytest.mark.parametrize(("value", "seen"), [(0, "EDOM\n"), (5, "ok\n")])
def test_index_of_an_argument(runtime: Runtime, bundle: Bundle, value: int, seen: str) -> None:
    """The second one of a call that has none: the probe passes 0 there."""
    condition = {"index": 1, "value": value, "op": "SCMP_CMP_EQ"}
    bundle.linux["seccomp"] = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "architectures": ["SCMP_ARCH_X86_64"],
        "syscalls": [{"names": ["alarm"], "action": "SCMP_ACT_ERRNO", "errnoRet": 33, "args": [condition]}],
    }
    alarm = 37
    assert runtime.run(bundle.args("/bin/probe", "syscall", str(alarm), "7")).out == seen
